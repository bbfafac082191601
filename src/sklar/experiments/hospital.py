"""The hospital comparison: CM² beside simpler models, and beside the best that is possible.

Raw tables, images and reports are simulated, prepared like any MIMIC-IV, and learned from. Because severities
are known, so is the AUROC that no model can beat but by chance.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sklar.data.store import PreparedData
from sklar.evaluation import auroc
from sklar.experiments import comparison
from sklar.experiments.comparison import Comparison, train_all
from sklar.mimic import prepare
from sklar.mimic.hospital import TRUTH, HospitalPlan, write_hospital
from sklar.mimic.layout import Source
from sklar.training.config import RunConfig

SINGLES = ("ehr", "cxr", "report")
"""The modalities, in the order of the hospital's; each gets a model of its own."""

STAYS = 1500

SOURCE: Source = "mimic-iv"

IMAGE_SIZE = 64
"""Side of the pictures that models see, in pixels."""

ENCODERS = {"image": {"widths": (16, 32, 32, 64), "depths": (1, 1, 1, 1)}}
"""A small network is enough for what the pictures show."""

OPTIMISATION = {"batch_size": 32}
"""A thousand stays are 33 such batches."""


def configurations(seed: int, settings: Sequence[str] = ()) -> dict[str, RunConfig]:
    """The runs of the comparison by name, all with the same seed and the same optimisation.

    Args:
        seed: Of initialisation and order.
        settings: ``training.*=...`` for every network, ``model.*=...`` for CM².
    """
    base = {"seed": seed, "training": OPTIMISATION}
    return comparison.configurations(("unified", "late"), SINGLES, settings, base, {"encoders": ENCODERS})


def compare(
    out: Path,
    seed: int = 0,
    *,
    settings: Sequence[str] = (),
    stays: int | None = None,
    progress: bool = False,
    announce: Callable[[str], None] = lambda _: None,
) -> tuple[Comparison, dict[str, float]]:
    """Simulate the hospital, prepare it, train or fit every model, write the report.

    What is finished already, with the same configuration, is kept: an interrupted comparison goes on.

    Args:
        out: Receives ``raw/``, ``data/``, ``runs/<name>/`` and ``report.html``.
        seed: Of the hospital and of every run.
        settings: See `configurations`.
        stays: ICU stays (1,500).
        progress: Show bars on standard error.
        announce: Is told each step.

    Returns:
        The comparison, and the best possible AUROC on its test rows, see `best_possible`.
    """
    started = time.monotonic()
    chosen = configurations(seed, settings)
    steps = len(chosen) + 3
    announce(f"[1/{steps}] simulate a hospital")
    raw = out / "raw"
    write_hospital(raw, HospitalPlan(stays=stays or STAYS, seed=seed, sources=(SOURCE,)))
    announce(f"[2/{steps}] prepare its tables, images and reports")
    images = raw / "mimic-cxr"
    data = prepare(
        SOURCE, raw / SOURCE, out / "data", ("ihm",), "strict",
        cxr=images, reports=images, image_size=IMAGE_SIZE,
    )  # fmt: skip
    done = train_all(chosen, data, out, announce, started=started, before=2, progress=progress)
    return done, best_possible(raw, data)


def best_possible(raw: Path, data: PreparedData) -> dict[str, float]:
    """AUROC on the test rows of who knows the severities, and with them the probability of death.

    Args:
        raw: The hospital.
        data: The folder that was prepared from it.

    Returns:
        "bayes" from what each stay has, "skip" without inferring what is absent, "complete" from all three
        severities.
    """
    table = pq.read_table(raw / Path(TRUTH).with_suffix(".parquet"))
    ids = [data.ids[row] for row in data.rows("test")]
    known = table[f"{SOURCE} stay_id"].cast("string")
    rows = pc.index_in(np.array(ids, dtype=object), value_set=known.combine_chunks())
    test = table.take(rows)
    died = test["died"].to_numpy().astype(np.int64)
    columns = {"bayes": f"{SOURCE} bayes", "skip": f"{SOURCE} skip", "complete": "complete"}
    return {name: auroc(died, test[column].to_numpy()) for name, column in columns.items()}
