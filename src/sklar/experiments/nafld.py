"""The NAFLD comparison: CM² beside what a reader would have used instead, on the same test rows."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from sklar.data.nafld import prepare_nafld
from sklar.experiments import comparison
from sklar.experiments.comparison import Comparison, train_all
from sklar.training.config import RunConfig

SINGLES = ("labs", "events", "demographics")
"""The modalities of the cohort; each gets a model of its own."""


def configurations(
    seed: int, settings: Sequence[str] = (), censoring: Literal["complete", "ipcw"] = "complete"
) -> dict[str, RunConfig]:
    """The runs of the comparison by name, all with the same seed and the same optimisation.

    Args:
        seed: Of initialisation and order.
        settings: ``training.*=...`` for every network, ``model.*=...`` for CM².
        censoring: Weighting of loss and metrics.
    """
    base = {"seed": seed, "training": {"censoring": censoring}}
    return comparison.configurations(("medfuse", "unified", "late"), SINGLES, settings, base)


def compare(
    out: Path,
    seed: int = 0,
    *,
    settings: Sequence[str] = (),
    censoring: Literal["complete", "ipcw"] = "complete",
    subsample: int | None = None,
    progress: bool = False,
    announce: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Prepare the cohort, train or fit every model, write the report.

    What is finished already, with the same configuration, is kept: an interrupted comparison goes on.

    Args:
        out: Receives ``data/``, ``runs/<name>/`` and ``report.html``.
        seed: Of the split and of every run.
        settings: See `configurations`.
        censoring: Weighting of loss and metrics.
        subsample: Use about this many subjects.
        progress: Show bars on standard error.
        announce: Is told each step.
    """
    started = time.monotonic()
    chosen = configurations(seed, settings, censoring)
    announce(f"[1/{len(chosen) + 2}] prepare the NAFLD cohort")
    data = prepare_nafld(out / "data", seed=seed, subsample=subsample)
    return train_all(
        chosen, data, out, announce, started=started, before=1, progress=progress, censoring=censoring
    )
