"""Table 11: whether CM² differs from the compared models."""

import warnings
from typing import final

import numpy as np

from sklar.evaluation import EvaluationError, contrast, replicate_t_test
from sklar.experiments.paper.plan import METRICS, CohortName, Experiment, Fit, Outcomes, Rendered
from sklar.experiments.paper.published import published
from sklar.experiments.paper.scores import COLUMNS, HEADINGS, Row, averaged, resampled
from sklar.report import TextTable
from sklar.report.formats import Cell

NOTE = (
    "p-values of a paired bootstrap of the difference; then what the paper's test, a t-test between "
    "bootstrap replicates, says of the same predictions, and what the paper prints. That test is no "
    "evidence: its p-value shrinks with the number of replicates, and of two equally good models it rejects "
    "in most cohorts."
)


@final
class PValues(Experiment):
    """p-values of the difference between a model and each of several others.

    Args:
        place: Such as "Table 11".
        title: What it compares.
        reference: The row of the model.
        others: The rows that it is compared with.
    """

    cohorts: tuple[CohortName, ...] = ("mimic-iv",)

    def __init__(self, place: str, title: str, reference: Row, others: tuple[Row, ...]) -> None:
        self.place, self.title, self._reference, self._others = place, title, reference, others

    def fits(self) -> tuple[Fit, ...]:
        return tuple(fit for row in (self._reference, *self._others) for fit in row.fits)

    def render(self, outcomes: Outcomes) -> Rendered:
        lines, records, missing = [], [], {}
        for row in self._others:
            found = {
                column: pair
                for ours, other in zip(self._reference.fits, row.fits, strict=True)
                for column, pair in _test(ours, other, outcomes).items()
            }
            texts = []
            for column in COLUMNS:
                pair = found[column]
                paper = published()[self.place, row.name, column].value
                known = not isinstance(pair, str)
                paired, test = (None, None) if isinstance(pair, str) else pair
                shown = f"{paired:.3f}; t-test {test:.3g}" if known else "none"
                texts.append(Cell(f"{shown}; paper {paper:.3g}"))
                records.append(
                    {
                        "place": self.place,
                        "row": row.name,
                        "column": column,
                        "paired_bootstrap": paired,
                        "t_test_of_replicates": test,
                        "paper": paper,
                        "why": "" if known else pair,
                    }
                )
                if isinstance(pair, str):
                    missing[row.name] = pair
            lines.append([Cell(row.name), *texts])
        notes = tuple(f"{name}: no number, {why}" for name, why in missing.items())
        return Rendered(TextTable(HEADINGS, lines, NOTE), records, notes=notes)


def _test(ours: Fit, other: Fit, outcomes: Outcomes) -> dict[str, tuple[float, float] | str]:
    """Per column of a task both p-values, or why there are none."""
    columns = {f"{ours.task} {metric}": metric for metric in METRICS}
    for fit in (ours, other):
        if fit not in outcomes.runs:
            return dict.fromkeys(columns, outcomes.why(fit))
    try:
        first, _, _ = resampled(ours, outcomes)
        second, _, _ = resampled(other, outcomes)
        return {
            column: _pair(averaged(first, metric), averaged(second, metric))
            for column, metric in columns.items()
        }
    except EvaluationError as error:
        return dict.fromkeys(columns, str(error))


def _pair(
    first: tuple[list[float], np.ndarray[tuple[int], np.dtype[np.float64]]],
    second: tuple[list[float], np.ndarray[tuple[int], np.dtype[np.float64]]],
) -> tuple[float, float]:
    paired = contrast(float(np.mean(first[0]) - np.mean(second[0])), first[1] - second[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is invalid is said under the table
        test = replicate_t_test(first[1], second[1])
    return paired.p_value, test.p_value
