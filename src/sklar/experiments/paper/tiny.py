"""The data of the tiny scale: a simulated hospital, prepared in both layouts."""

from collections.abc import Mapping
from pathlib import Path

from sklar.data.store import PreparedData
from sklar.experiments.paper.plan import CohortName
from sklar.mimic import prepare, resolve
from sklar.mimic.hospital import HospitalPlan, write_hospital

STAYS = 1000
"""Enough for five events of each task among the test rows that have all three modalities."""

IMAGE_SIZE = 32
"""Side of the pictures that models see, in pixels."""


def simulated(out: Path, stays: int = STAYS) -> Mapping[str, PreparedData]:
    """Raw tables, notes, pictures and reports, and the two folders prepared from them; kept when there.

    Args:
        out: Receives ``raw/``, ``mimic-iii/`` and ``mimic-iv/``.
        stays: ICU stays.
    """
    raw, images = out / "raw", out / "raw" / "mimic-cxr"
    write_hospital(raw, HospitalPlan(stays=stays, missing=0.3))
    # the paper counts deaths among readmissions
    rules = resolve("strict", ["readmission=cohort"])
    three: CohortName = "mimic-iii"
    four: CohortName = "mimic-iv"
    return {
        three: prepare(three, raw / three, out / three, rules=rules, notes=True),
        four: prepare(
            four, raw / four, out / four, rules=rules, cxr=images, reports=images, image_size=IMAGE_SIZE
        ),
    }
