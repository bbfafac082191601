"""For whom a model is better or worse: results by the categories and bands that a run folder keeps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sklar.data.subgroups import SUBGROUPS, By, Partition, read_subgroups
from sklar.evaluation import METRICS, Estimate, Subgroup, bootstrap, by_subgroup
from sklar.report import figures
from sklar.report.cohort import Censoring, Cohort, align
from sklar.report.detail import SMALLEST
from sklar.report.figures import Line
from sklar.report.folder import Run
from sklar.report.formats import Cell, TextTable
from sklar.report.outputs import read_runs
from sklar.report.tables import FEWEST, SEED, display
from sklar.report.writers import estimate

JUDGED = "auroc"
"""The metric that subgroups are judged by."""


@dataclass(frozen=True)
class Divided:
    """A model on the rows of each level of a column.

    Attributes:
        column: Its name.
        levels: In their order; those without a row are left out.
    """

    column: str
    levels: tuple[Subgroup, ...]


def partitions(runs: Mapping[str, Run], cohort: Cohort, by: By | None) -> tuple[Partition, ...]:
    """What the first run that keeps subgroups of the test rows says of them.

    Args:
        runs: By name, the reference first where that matters.
        cohort: The test rows.
        by: Columns, perhaps with cuts (``{"age": (40, 65)}``); None takes those that are categories.

    Raises:
        UserError: No run keeps a column that was asked for.
    """
    folders = [run.folder for run in runs.values()]
    folder = next((own for own in folders if (own / SUBGROUPS).is_file()), folders[0])
    return read_subgroups(folder, cohort.ids, by)


def smallest(restricted: bool, share_safe: bool) -> int:
    """Rows below which a subgroup, or its events, are withheld."""
    return SMALLEST if share_safe else FEWEST if restricted else 0


def divide(
    cohort: Cohort,
    model: str,
    parts: Sequence[Partition],
    resamples: int = 1000,
    censoring: Censoring = "complete",
    smallest: int = 0,
) -> tuple[Divided, ...]:
    """Judge a model on the levels of every column.

    Args:
        cohort: The rows that the models share.
        model: Its name.
        parts: What tells rows apart.
        resamples: Number of bootstrap replicates.
        censoring: ``complete`` or ``ipcw``.
        smallest: Levels with fewer rows are withheld, and counts of events below it, see `by_subgroup`.
    """
    found = []
    for part in parts:
        judged = {
            own.name: own
            for own in by_subgroup(
                (JUDGED,), cohort.y, cohort.probability[model], part.level, cohort.groups, resamples, SEED,
                cohort.case_weight(censoring), smallest=smallest, classes=cohort.classes,
            )
        }  # fmt: skip
        found.append(Divided(part.name, tuple(judged[name] for name in part.levels if name in judged)))
    return tuple(found)


def subgroup_runs(
    runs: Sequence[Path],
    by: By | None = None,
    resamples: int = 1000,
    censoring: Censoring = "complete",
    share_safe: bool = False,
    output: str | None = None,
) -> dict[str, tuple[Divided, ...]]:
    """Every run by subgroup.

    Args:
        runs: Finished run folders that were tested on the same rows.
        by: Columns, perhaps with cuts (``{"age": (40, 65)}``); None takes those that are categories.
        resamples: Number of bootstrap replicates.
        censoring: ``complete`` or ``ipcw``.
        share_safe: Withhold cells of fewer than 20 rows.
        output: Which of several outputs.
    """
    read = read_runs(runs, output)
    cohort = align(read, next(iter(read)))
    parts = partitions(read, cohort, by)
    least = smallest(any(run.restricted for run in read.values()), share_safe)
    return {model: divide(cohort, model, parts, resamples, censoring, least) for model in read}


def subgroup_dict(found: Sequence[Divided]) -> dict[str, Any]:
    """Plain types, ready for JSON; what is withheld is null."""
    return {
        own.column: [
            {
                "level": part.name,
                "rows": part.rows,
                "events": part.events,
                "predicted": part.predicted,
                "observed": part.observed,
                JUDGED: vars(part.estimates[JUDGED]) if part.estimates else None,
                "reason": part.reason,
            }
            for part in own.levels
        ]
        for own in found
    }


def subgroup_table(model: str, found: Sequence[Divided]) -> TextTable:
    """Results by subgroup."""
    rows = [
        [
            Cell(f"{own.column}: {part.name}"),
            *(Cell("withheld" if value is None else f"{value:,}") for value in (part.rows, part.events)),
            *(Cell("" if value is None else f"{value:.3f}") for value in (part.observed, part.predicted)),
            Cell(estimate(part.estimates[JUDGED]) if part.estimates else f"n/a ({part.reason})"),
        ]
        for own in found
        for part in own.levels
    ]
    note = f"{display(model)} by subgroup. Intervals are not adjusted for the number of subgroups."
    headings = ["Subgroup", "Rows", "Events", "Observed", "Predicted", METRICS[JUDGED].label]
    return TextTable(headings, rows, note)


def subgroup_forests(
    cohort: Cohort, model: str, found: Sequence[Divided], resamples: int, censoring: Censoring
) -> list[str]:
    """A forest plot for each column of which two levels can be judged, with all rows to compare with."""
    weight = cohort.case_weight(censoring)
    score = cohort.probability[model]
    drawn = []
    for index, own in enumerate(found):
        lines = [_line(part.name, part.estimates[JUDGED]) for part in own.levels if part.estimates]
        if len(lines) < 2:
            continue
        every = bootstrap(JUDGED, cohort.y, score, cohort.groups, resamples, SEED, weight)
        title = f"{METRICS[JUDGED].label} by {own.column}"
        drawn.append(
            figures.forest(
                [_line("all rows", every, True), *lines], f"by-subgroup-{index}", title, every.value
            )
        )
    return drawn


def _line(name: str, found: Estimate, marked: bool = False) -> Line:
    return Line(name, found.value, found.low, found.high, marked)
