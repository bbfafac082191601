"""What work is ahead: number of fits, how many are shared, and about how long they take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sklar.data.store import PreparedData
from sklar.experiments.paper.grid import Job, unique
from sklar.experiments.paper.published import published
from sklar.runs import METRICS
from sklar.runs.folder import read_json

MILLISECONDS: Mapping[str, float] = {"ehr": 0.3, "cxr": 4.0, "notes": 15.0, "report": 12.0}
"""Assumed time of a training row in an epoch on one recent GPU, by modality: an order of magnitude."""

TINY_SECONDS = 6.0
"""Assumed time of a tiny fit on a laptop."""

_ROWS = {
    ("mimic-iii", False): "MIMIC-III",
    ("mimic-iii", True): "matched, MIMIC-III NOTE",
    ("mimic-iv", False): "MIMIC-IV",
    ("mimic-iv", True): "matched, MIMIC-IV CXR",
}
"""Rows of Table 1 that count what a fit trains on."""


@dataclass(frozen=True)
class Ahead:
    """The work of a reproduction.

    Attributes:
        needed: Fits that the tables and figures ask for.
        different: Those that differ; the others are shared.
        finished: Of the different ones, those whose run is there.
        seconds: Estimate for the rest.
        basis: What the estimate rests on.
    """

    needed: int
    different: int
    finished: int
    seconds: float
    basis: str


def ahead(jobs: Sequence[Job], data: Mapping[str, PreparedData], fits: Path, tiny: bool) -> Ahead:
    """What is left to do.

    Args:
        jobs: As `grid.jobs_of` gives them.
        data: Prepared folders by cohort, perhaps none yet.
        fits: Where runs are kept.
        tiny: Whether the scale is tiny.
    """
    different = unique(jobs)
    took: dict[str, list[float]] = {}
    left = []
    for job in different:
        own = data.get(job.fit.cohort)
        done = None if own is None else job.folder(fits, own) / METRICS
        if done is not None and done.is_file():
            took.setdefault(job.fit.model, []).append(float(read_json(done)["seconds"]))
        else:
            left.append(job)
    every = [seconds for own in took.values() for seconds in own]
    if every:
        mean = float(np.mean(every))
        total = sum(float(np.mean(took.get(job.fit.model, [mean]))) for job in left)
        basis = f"the {len(every)} finished fits"
    elif tiny:
        total, basis = TINY_SECONDS * len(left), f"{TINY_SECONDS:.0f} s for each"
    else:
        total = sum(map(_at_most, left))
        basis = "all epochs on one GPU, from assumed times of a row; early stopping ends many fits before"
    return Ahead(len(jobs), len(different), len(different) - len(left), total, basis)


def _at_most(job: Job) -> float:
    """Seconds of all epochs."""
    rows = published()["Table 1", _ROWS[job.fit.cohort, job.fit.matched], "train"].value
    matched = published()["Table 1", _ROWS[job.fit.cohort, True], "train"].value
    # absent modalities cost nothing
    each = sum(MILLISECONDS[name] * (rows if name == "ehr" else matched) for name in job.fit.modalities)
    return each * job.config.training.max_epochs / 1000
