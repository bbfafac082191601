"""The report of a set of runs: tables, figures and one page. It reads run folders and never trains."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sklar.errors import UserError
from sklar.report.card import TRIPOD, Card
from sklar.report.cohort import Censoring, Cohort, align, named
from sklar.report.contest import Contest, contest_dict, contest_or_none, contest_table
from sklar.report.detail import (
    SMALLEST,
    Detail,
    calibration_table,
    detail_dict,
    pattern_table,
    threshold_table,
    withhold,
)
from sklar.report.folder import Run, read_run
from sklar.report.formats import FORMATS, TextTable
from sklar.report.html import page
from sklar.report.stress_tables import stress_dict, stress_tables
from sklar.report.subgroups import Divided, subgroup_dict, subgroup_runs, subgroup_table
from sklar.report.tables import Pattern, Results, Row, build
from sklar.report.verbs import contest_runs, detail_runs, write_card, write_text
from sklar.report.writers import as_dict, console_table, markdown, patients_table, rich_table

__all__ = [
    "FORMATS",
    "SMALLEST",
    "TRIPOD",
    "Card",
    "Censoring",
    "Contest",
    "Detail",
    "Divided",
    "Pattern",
    "Results",
    "Row",
    "Run",
    "TextTable",
    "as_dict",
    "calibration_table",
    "compare_runs",
    "console_table",
    "contest_dict",
    "contest_runs",
    "contest_table",
    "detail_dict",
    "detail_runs",
    "markdown",
    "patients_table",
    "pattern_table",
    "read_run",
    "rich_table",
    "stress_dict",
    "stress_tables",
    "subgroup_dict",
    "subgroup_runs",
    "subgroup_table",
    "threshold_table",
    "withhold",
    "write",
    "write_card",
    "write_text",
]


def compare_runs(
    runs: Sequence[Path],
    reference: str = "cm2",
    resamples: int = 1000,
    censoring: Censoring = "complete",
) -> Results:
    """The numbers of a report, without the page.

    Args:
        runs: Finished run folders that were tested on the same rows.
        reference: Model that the others are compared with.
        resamples: Number of bootstrap replicates.
        censoring: ``complete`` counts every row with a known outcome once; ``ipcw`` weights them for
            censoring. Where the rows carry weights, the other treatment is reported too.
    """
    read = named([read_run(folder) for folder in runs])
    return _judge(read, align(read, reference), reference, resamples, censoring)


def _judge(
    runs: Mapping[str, Run], cohort: Cohort, reference: str, resamples: int, censoring: Censoring
) -> Results:
    results = build(runs, cohort, reference, resamples, censoring)
    against = contest_or_none(cohort, resamples, censoring)
    return results if against is None else replace(results, tied=against.tied)


def write(
    runs: Sequence[Path],
    out: Path,
    reference: str = "cm2",
    resamples: int = 1000,
    censoring: Censoring = "complete",
    *,
    share_safe: bool = False,
    show_examples: bool = False,
    by: Sequence[str] | None = None,
) -> Results:
    """Write the page to the file ``out`` and return its numbers.

    The file appears whole or not at all: it is written under another name and then renamed.

    Args:
        runs: Finished run folders that were tested on the same rows.
        out: The HTML file; its folder is made where needed.
        reference: Model that the others are compared with.
        resamples: Number of bootstrap replicates.
        censoring: As in ``compare_runs``.
        share_safe: Show no row, no id and no count below 20.
        show_examples: Show a few rows of restricted data too.
        by: Columns that tell subgroups apart; None takes the categories that the reference's run keeps.
    """
    if out.is_dir():
        raise UserError(f"{out} is a folder; name the file to write, such as {out / 'report.html'}")
    read = named([read_run(folder) for folder in runs])
    cohort = align(read, reference)
    results = _judge(read, cohort, reference, resamples, censoring)
    write_text(out, page(read, cohort, results, share_safe, show_examples, by))
    return results
