"""One model after the other: calibration, what acting on a threshold does, results by pattern."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklar.evaluation import (
    METRICS,
    Estimate,
    EvaluationError,
    Subgroup,
    Thresholds,
    at_thresholds,
    bootstrap,
    by_pattern,
    log_loss,
)
from sklar.report.cohort import Censoring, Cohort
from sklar.report.formats import Cell, TextTable
from sklar.report.tables import display
from sklar.report.writers import estimate

CALIBRATION = ("calibration_intercept", "calibration_slope")
ERRORS = ("ece", "ici")
"""Mean distances, of which a bootstrap interval would lie too high: they get none."""
THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.5)
SMALLEST = 20
"""Cells with fewer rows are withheld from what is shared."""
_SEED = 0
_PUBLIC = ("threshold", "treat_all")
"""What a line of thresholds says of all rows together."""


@dataclass(frozen=True)
class Detail:
    """What a table of AUROCs does not say of a model.

    Attributes:
        model: Its name among the runs.
        log_loss: In nats.
        calibration: Per measure of ``CALIBRATION`` that is defined on these rows.
        refused: Per other measure why it is not.
        errors: Per measure of ``ERRORS``.
        thresholds: What calling rows at or above a predicted risk does; NaN where it is withheld.
        patterns: Results on rows that share a pattern of present modalities, the most frequent first.
    """

    model: str
    log_loss: float
    calibration: Mapping[str, Estimate]
    refused: Mapping[str, str]
    errors: Mapping[str, float]
    thresholds: Thresholds
    patterns: tuple[Subgroup, ...]


def details(
    cohort: Cohort,
    resamples: int = 1000,
    censoring: Censoring = "complete",
    thresholds: Sequence[float] = THRESHOLDS,
    share_safe: bool = False,
) -> tuple[Detail, ...]:
    """Calibration, thresholds and patterns of every model.

    Args:
        cohort: The rows that the models share.
        resamples: Number of bootstrap replicates.
        censoring: ``complete`` or ``ipcw``.
        thresholds: Predicted risks to act on.
        share_safe: Withhold patterns with fewer than 20 rows, counts of fewer than 20 events, and thresholds
            that tell of fewer than 20 rows.
    """
    weight = cohort.case_weight(censoring)
    least = SMALLEST if share_safe else 0
    found = []
    for model, p in cohort.probability.items():
        calibration: dict[str, Estimate] = {}
        refused: dict[str, str] = {}
        for name in CALIBRATION:
            try:
                calibration[name] = bootstrap(name, cohort.y, p, cohort.groups, resamples, _SEED, weight)
            except EvaluationError as error:
                refused[name] = str(error)
        found.append(
            Detail(
                model=model,
                log_loss=log_loss(cohort.y, p, weight),
                calibration=calibration,
                refused=refused,
                errors={name: METRICS[name](cohort.y, p, weight) for name in ERRORS},
                thresholds=shareable_thresholds(
                    at_thresholds(cohort.y, p, thresholds, weight), cohort.y, p, least
                ),
                patterns=by_pattern(
                    ("auroc",), cohort.y, p, cohort.present, cohort.modalities, cohort.groups, resamples,
                    _SEED, weight, smallest=least, classes=cohort.classes,
                ),
            )
        )  # fmt: skip
    return tuple(found)


def shareable_thresholds(
    table: Thresholds, y: NDArray[np.int64], probability: NDArray[np.float64], smallest: int
) -> Thresholds:
    """The measures, NaN at thresholds that tell of too few rows.

    At a threshold that is shown, called and uncalled events and non-events, and those of each between it and
    the next lower one that is shown, are none or ``smallest`` and more. Of few events or non-events in all,
    treating all is withheld too.
    """
    order = np.argsort(table.threshold, kind="stable")
    hidden = np.zeros(len(order), dtype=bool)
    below = np.zeros(2, dtype=np.int64)
    total = np.bincount(y, minlength=2)
    for index in order:  # what may be shown depends on what was shown before
        uncalled = np.bincount(y[probability < table.threshold[index]], minlength=2)
        cells = np.concatenate([uncalled, total - uncalled, uncalled - below])
        hidden[index] = bool(((cells > 0) & (cells < smallest)).any())
        below = below if hidden[index] else uncalled
    measures = {
        name: np.where(hidden, np.nan, own) for name, own in vars(table).items() if name not in _PUBLIC
    }
    if ((total > 0) & (total < smallest)).any():
        measures["treat_all"] = np.full(len(order), np.nan)
    return replace(table, **measures)


def detail_dict(detail: Detail) -> dict[str, Any]:
    """Plain types, ready for JSON; what is undefined or withheld is null."""
    table = detail.thresholds
    return {
        "log_loss": detail.log_loss,
        "calibration": {
            name: vars(detail.calibration[name]) if name in detail.calibration else None
            for name in CALIBRATION
        },
        "refused": dict(detail.refused),
        **detail.errors,
        "thresholds": {
            name: [None if np.isnan(value) else float(value) for value in column]
            for name, column in vars(table).items()
        },
        "patterns": [
            {
                "present": list(part.name),
                "rows": part.rows,
                "events": part.events,
                "predicted": part.predicted,
                "observed": part.observed,
                "auroc": vars(part.estimates["auroc"]) if part.estimates else None,
                "reason": part.reason,
            }
            for part in detail.patterns
        ],
    }


def label(measure: str) -> str:
    """What a table prints above a measure of calibration."""
    name = METRICS[measure].label.removeprefix("Calibration ")
    return name[0].upper() + name[1:]


def calibration_table(found: Sequence[Detail]) -> TextTable:
    """Log loss and calibration of every model."""
    rows = [
        [
            Cell(display(detail.model)),
            Cell(f"{detail.log_loss:.3f}"),
            *(Cell(_known(detail.calibration.get(name))) for name in CALIBRATION),
            *(Cell(f"{detail.errors[name]:.3f}") for name in ERRORS),
        ]
        for detail in found
    ]
    note = "A perfect calibration has intercept 0, slope 1, ECE and ICI 0."
    undefined = sorted({reason for detail in found for reason in detail.refused.values()})
    return TextTable(
        ["Model", "Log loss", *map(label, (*CALIBRATION, *ERRORS))], rows, " ".join([note, *undefined])
    )


def threshold_table(detail: Detail) -> TextTable:
    """What calling rows at or above a predicted risk does."""
    table = detail.thresholds
    names = ("called", "sensitivity", "specificity", "ppv", "npv", "net_benefit", "treat_all")
    rows = [
        [Cell(f"{cut:g}"), *(Cell(_number(float(getattr(table, name)[index]))) for name in names)]
        for index, cut in enumerate(table.threshold)
    ]
    headings = [
        "Risk at least",
        "Called",
        "Sensitivity",
        "Specificity",
        "PPV",
        "NPV",
        "Net benefit",
        "Treat all",
    ]
    note = f"{display(detail.model)}: shares of the test rows, and net benefit; that of calling nobody is 0."
    if np.isnan(table.called).any():
        note += f" Lines that tell of fewer than {SMALLEST} rows are withheld."
    return TextTable(headings, rows, note)


def pattern_table(detail: Detail) -> TextTable:
    """Results by what was observed."""
    rows = [
        [
            Cell(" + ".join(part.name) or "nothing"),
            Cell("withheld" if part.rows is None else f"{part.rows:,}"),
            Cell("withheld" if part.events is None else f"{part.events:,}"),
            Cell(_number(part.observed)),
            Cell(_number(part.predicted)),
            Cell(_known(part.estimates.get("auroc"), part.reason)),
        ]
        for part in detail.patterns
    ]
    note = f"{display(detail.model)} by present modalities."
    return TextTable(["Present", "Rows", "Events", "Observed", "Predicted", "AUROC"], rows, note)


def withhold(content: Mapping[str, Any], detail: Detail) -> dict[str, Any]:
    """Results as a dictionary, with the share-safe patterns of the reference and without small counts."""
    rows, events = content["test"]["rows"], content["test"]["events"]
    few = 0 < rows - events < SMALLEST  # the events would tell how many had none
    known = {"rows": rows, "events": 0 if few else events}
    test = {name: count if count >= SMALLEST else None for name, count in known.items()}
    return {**content, "patterns": detail_dict(detail)["patterns"], "test": test}


def _known(value: Estimate | None, otherwise: str = "undefined") -> str:
    return f"n/a ({otherwise})" if value is None else estimate(value)


def _number(value: float | None) -> str:
    return "" if value is None or np.isnan(value) else f"{value:.3f}"
