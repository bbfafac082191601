"""Tables of AUROC and AUPR: each cell with its interval, beside the paper's number."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from sklar.evaluation import Estimate, EvaluationError, Resampled, resample, summarise
from sklar.experiments.paper.plan import METRICS, TASKS, CohortName, Experiment, Fit, Outcomes, Rendered
from sklar.experiments.paper.published import Published, published
from sklar.report import TextTable
from sklar.report.formats import Cell
from sklar.report.writers import estimate, signed
from sklar.runs import read_predictions

COLUMNS = tuple(f"{task} {metric}" for task in TASKS for metric in METRICS)

HEADINGS = ("Model", "IHM AUROC", "IHM AUPR", "READM AUROC", "READM AUPR")

NOTE = (
    "Ours with its 95 % interval (percentile bootstrap over patients; several seeds are averaged on the same"
    " draws); then, where the paper prints one: its number, ours minus it, and whether it is inside our "
    "interval."
)


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        name: As in `published`.
        fits: One for each task, in the order of `TASKS`.
        only_matched: Judge on the test rows that have every modality.
    """

    name: str
    fits: tuple[Fit, ...]
    only_matched: bool = False


@dataclass(frozen=True)
class Judged:
    """A number.

    Attributes:
        estimate: The mean over seeds with its interval.
        deviation: Standard deviation over seeds, None for one.
        seeds: How many.
        rows: Labelled test rows.
        events: Positives among them.
    """

    estimate: Estimate
    deviation: float | None
    seeds: int
    rows: int
    events: int


def resampled(fit: Fit, outcomes: Outcomes, only_matched: bool = False) -> tuple[Resampled, int, int]:
    """The metrics of every seed of a fit on the same draws of test rows, how many those are, and the events.

    Raises:
        EvaluationError: There are too few events or other rows for an interval.
    """
    found = [read_predictions(folder / "predictions_test.parquet") for folder in outcomes.runs[fit]]
    first = found[0]
    chosen = ~np.isnan(first.target)
    if only_matched:
        chosen &= first.present.all(1)
    y = first.target[chosen].astype(np.int64)
    scores = {str(seed): own.probability[chosen] for seed, own in enumerate(found)}
    judged = resample(METRICS, y, scores, first.groups[chosen], outcomes.resamples)
    return judged, len(y), int(y.sum())


def averaged(judged: Resampled, metric: str) -> tuple[list[float], np.ndarray[Any, np.dtype[np.float64]]]:
    """The values of the seeds, and (R,) replicates of their mean."""
    values = [own[metric] for own in judged.values.values()]
    return values, np.mean([own[metric] for own in judged.replicates.values()], axis=0)


def judge_row(row: Row, outcomes: Outcomes) -> Mapping[str, Judged | str]:
    """Per column a number, or why there is none."""
    out: dict[str, Judged | str] = {}
    for fit in row.fits:
        columns = {f"{fit.task} {metric}": metric for metric in METRICS}
        if fit not in outcomes.runs:
            out |= dict.fromkeys(columns, outcomes.why(fit))
            continue
        try:
            judged, rows, events = resampled(fit, outcomes, row.only_matched)
        except EvaluationError as error:
            out |= dict.fromkeys(columns, str(error))
            continue
        for column, metric in columns.items():
            values, replicates = averaged(judged, metric)
            mean = summarise(float(np.mean(values)), replicates)
            deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
            out[column] = Judged(mean, deviation, len(values), rows, events)
    return out


@final
class Scores(Experiment):
    """A table with a row for each model and a column for each metric of each task.

    Args:
        place: Such as "Table 2".
        title: What it compares.
        rows: Its lines.
    """

    def __init__(self, place: str, title: str, rows: tuple[Row, ...]) -> None:
        self.place, self.title, self.rows = place, title, rows
        self.cohorts: tuple[CohortName, ...] = tuple(
            dict.fromkeys(fit.cohort for row in rows for fit in row.fits)
        )

    def fits(self) -> tuple[Fit, ...]:
        return tuple(dict.fromkeys(fit for row in self.rows for fit in row.fits))

    def render(self, outcomes: Outcomes) -> Rendered:
        lines, records, missing = [], [], {}
        for row in self.rows:
            judged = judge_row(row, outcomes)
            texts = []
            for column in COLUMNS:
                own = judged[column]
                printed = published().get((self.place, row.name, column))
                texts.append(Cell(_text(own, printed)))
                records.append(
                    {"place": self.place, "row": row.name, "column": column, **record(own, printed)}
                )
                if isinstance(own, str):
                    missing[row.name] = own
            lines.append([Cell(row.name), *texts])
        notes = tuple(f"{name}: no number, {why}" for name, why in missing.items())
        return Rendered(TextTable(HEADINGS, lines, NOTE), records, notes=notes)


def record(own: Judged | str, printed: Published | None) -> dict[str, Any]:
    """A number and the paper's as plain values; empty where there is none."""
    names = ("value", "low", "high", "seed_sd", "seeds", "test_rows", "events")
    paper = {
        "paper": None if printed is None else printed.value,
        "paper_low": None if printed is None else printed.low,
        "paper_high": None if printed is None else printed.high,
    }
    if isinstance(own, str):
        return {**dict.fromkeys(names), **paper, "difference": None, "paper_inside": None, "why": own}
    value = own.estimate
    numbers = (value.value, value.low, value.high, own.deviation, own.seeds, own.rows, own.events)
    return {
        **dict(zip(names, numbers, strict=True)),
        **paper,
        "difference": None if printed is None else value.value - printed.value,
        "paper_inside": None if printed is None else value.low <= printed.value <= value.high,
        "why": "",
    }


def _text(own: Judged | str, printed: Published | None) -> str:
    paper = "" if printed is None else f"; paper {printed.value:.3f}"
    if isinstance(own, str):
        return f"none{paper}"
    if printed is None:
        return estimate(own.estimate)
    where = "inside" if own.estimate.low <= printed.value <= own.estimate.high else "outside"
    return f"{estimate(own.estimate)}{paper}, {signed(own.estimate.value - printed.value)}, {where}"
