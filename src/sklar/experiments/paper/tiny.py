"""The data of the tiny scale: a simulated hospital, prepared in both layouts."""

from collections.abc import Mapping
from pathlib import Path

from sklar.data.store import PreparedData
from sklar.experiments.paper.plan import CohortName
from sklar.mimic import prepare
from sklar.mimic.hospital import HospitalPlan, write_hospital

STAYS = 1000
"""Enough for five readmissions among the test rows that have all three modalities."""

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
    three: CohortName = "mimic-iii"
    four: CohortName = "mimic-iv"
    return {
        three: prepare(three, raw / three, out / three, rules="strict", notes=True),
        four: prepare(
            four, raw / four, out / four, rules="strict", cxr=images, reports=images, image_size=IMAGE_SIZE
        ),
    }
