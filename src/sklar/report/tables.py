"""The numbers of a report: models on the same test rows, and the reference model by pattern."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklar.errors import DataError, UserError
from sklar.evaluation import (
    METRICS,
    Comparison,
    Estimate,
    auroc,
    bootstrap,
    brier,
    contrast,
    replicates,
    resample_weights,
    summarise,
    too_few,
)
from sklar.report.cohort import Censoring, Cohort
from sklar.report.folder import Run

SEED = 0
"""Of the resampling. One seed for all models, so that all see the same draws."""
RANKED = ("auroc", "average_precision")
"""Metrics that get an interval and a paired difference."""
FEWEST = 5
"""Events, and non-events, below which a pattern gets no AUROC."""
_NAMES = {
    "cm2": "CM²",
    "daft": "DAFT",
    "drfuse": "DrFuse",
    "lsmt": "LSMT",
    "medfuse": "MedFuse",
    "mmtm": "MMTM",
}


@dataclass(frozen=True)
class Row:
    """One model.

    Attributes:
        model: Its name among the runs.
        estimates: Per ranked metric, with a group bootstrap interval.
        brier: Brier score.
        differences: Per ranked metric this model minus the reference; empty for the reference itself.
        parameters: Number of fitted parameters, where recorded.
        seconds: Training time, where recorded.
        memory: Bytes that the process held at its peak, where recorded.
    """

    model: str
    estimates: Mapping[str, Estimate]
    brier: float
    differences: Mapping[str, Comparison]
    parameters: int | None
    seconds: float | None
    memory: int | None


@dataclass(frozen=True)
class Pattern:
    """The reference model on the rows with one pattern of present modalities.

    Attributes:
        present: Names of the modalities that were observed.
        rows: Number of test rows with a known outcome.
        events: Number of events among them.
        predicted: Mean predicted risk.
        observed: Observed risk.
        auroc: None where the cell is too small.
        reason: Why there is no AUROC; empty where there is one.
    """

    present: tuple[str, ...]
    rows: int
    events: int
    predicted: float
    observed: float
    auroc: Estimate | None
    reason: str


@dataclass(frozen=True)
class Results:
    """What a report says in numbers.

    Attributes:
        reference: The model that the others are compared with.
        censoring: How ``rows`` and ``patterns`` treat censored subjects.
        rows: One for each model, best AUROC first.
        sensitivity: The same rows under the other treatment of censoring; empty without weights.
        patterns: Most frequent first.
        test_rows: Number of test rows with a known outcome.
        events: Number of events among them.
        resamples: Number of bootstrap replicates.
        tied: Per metric the best model and those that cannot be told from it; empty where events are too few
            to tell.
    """

    reference: str
    censoring: Censoring
    rows: tuple[Row, ...]
    sensitivity: tuple[Row, ...]
    patterns: tuple[Pattern, ...]
    test_rows: int
    events: int
    resamples: int
    tied: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def other_censoring(self) -> Censoring:
        """The treatment of censoring of ``sensitivity``."""
        return "complete" if self.censoring == "ipcw" else "ipcw"


def build(
    runs: Mapping[str, Run],
    cohort: Cohort,
    reference: str,
    resamples: int = 1000,
    censoring: Censoring = "complete",
) -> Results:
    """All numbers of a report, with one set of bootstrap draws for all models."""
    if censoring not in ("complete", "ipcw"):
        raise UserError(f"censoring is {censoring!r}; choose 'complete' or 'ipcw'")
    if censoring == "ipcw" and not cohort.is_weighted:
        raise UserError(
            "censoring='ipcw' was asked for, but every test row has weight 1, so the data carry no censoring "
            "weights. Use censoring='complete', or prepare the data with a time of censoring."
        )
    if min(np.bincount(cohort.y, minlength=2)) == 0:
        raise DataError(
            f"all {len(cohort.y)} test rows have one outcome, so models cannot be ranked. "
            "Use a larger test set."
        )
    headline = _rows(runs, cohort, reference, resamples, censoring)
    other: Censoring = "complete" if censoring == "ipcw" else "ipcw"
    order = [row.model for row in headline]
    sensitivity = _rows(runs, cohort, reference, resamples, other) if cohort.is_weighted else ()
    return Results(
        reference=reference,
        censoring=censoring,
        rows=headline,
        sensitivity=tuple(sorted(sensitivity, key=lambda row: order.index(row.model))),
        patterns=_patterns(cohort, reference, resamples, censoring),
        test_rows=len(cohort.y),
        events=int(cohort.y.sum()),
        resamples=resamples,
    )


def display(model: str) -> str:
    """A model's name as a reader writes it."""
    return _NAMES.get(model, model.replace("_", " ").capitalize())


def _rows(
    runs: Mapping[str, Run], cohort: Cohort, reference: str, resamples: int, censoring: Censoring
) -> tuple[Row, ...]:
    weight = cohort.case_weight(censoring)
    counts = resample_weights(cohort.groups, resamples, SEED, cohort.y, weight)
    drawn: dict[str, dict[str, tuple[float, NDArray[np.float64]]]] = {
        model: {
            name: (
                METRICS[name](cohort.y, score, weight),
                replicates(name, cohort.y, score, counts, weight),
            )
            for name in RANKED
        }
        for model, score in cohort.probability.items()
    }
    rows = [
        Row(
            model=model,
            estimates={name: summarise(*drawn[model][name]) for name in RANKED},
            brier=brier(cohort.y, score, weight),
            differences={}
            if model == reference
            else {name: _difference(drawn[model][name], drawn[reference][name]) for name in RANKED},
            parameters=_number(runs[model].metrics, "parameters", int),
            seconds=_number(runs[model].metrics, "seconds", float),
            memory=_number(runs[model].metrics.get("peak_memory", {}), "resident", int),
        )
        for model, score in cohort.probability.items()
    ]
    return tuple(sorted(rows, key=lambda row: -row.estimates["auroc"].value))


def _difference(
    one: tuple[float, NDArray[np.float64]], other: tuple[float, NDArray[np.float64]]
) -> Comparison:
    return contrast(one[0] - other[0], one[1] - other[1])


def _number(metrics: Mapping[str, Any], name: str, kind: type) -> Any:
    value = metrics.get(name)
    return None if value is None else kind(value)


def _patterns(cohort: Cohort, reference: str, resamples: int, censoring: Censoring) -> tuple[Pattern, ...]:
    weights = cohort.case_weight(censoring)
    weight = np.ones(len(cohort.y)) if weights is None else weights
    counted = weight > 0
    kinds, code = np.unique(cohort.present, axis=0, return_inverse=True)
    code = code.reshape(-1)  # numpy 2.0 alone returns a column
    found = []
    for index, kind in enumerate(kinds):
        rows = counted & (code == index)
        if rows.any():
            names = tuple(name for name, seen in zip(cohort.modalities, kind, strict=True) if seen)
            score = cohort.probability[reference]
            found.append(
                _pattern(names, cohort.y[rows], score[rows], cohort.groups[rows], weight[rows], resamples)
            )
    return tuple(sorted(found, key=lambda pattern: -pattern.rows))


def _pattern(
    present: tuple[str, ...],
    y: NDArray[np.int64],
    score: NDArray[np.float64],
    groups: NDArray[np.str_],
    weight: NDArray[np.float64],
    resamples: int,
) -> Pattern:
    reason = too_few(y, groups, weight, FEWEST)
    return Pattern(
        present=present,
        rows=len(y),
        events=int(y.sum()),
        predicted=float(np.average(score, weights=weight)),
        observed=float(np.average(y, weights=weight)),
        auroc=None if reason else bootstrap(auroc, y, score, groups, resamples, SEED, weight),
        reason=reason,
    )
