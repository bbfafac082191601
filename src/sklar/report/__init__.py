"""The report of a set of runs: tables, figures and one page. It reads run folders and never trains."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sklar.data.subgroups import By
from sklar.errors import UserError
from sklar.report.averages import (
    AVERAGES,
    Averages,
    averages,
    averages_dict,
    averages_table,
    outputs_table,
    withheld_outputs,
)
from sklar.report.card import TRIPOD, Card
from sklar.report.cohort import Censoring, Cohort, align
from sklar.report.contest import CONTESTED, Contest, contest_dict, contest_or_none, contest_table
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
from sklar.report.html import outputs_page, page
from sklar.report.outputs import of_output, outputs_of, read_runs
from sklar.report.stress_tables import stress_dict, stress_tables
from sklar.report.subgroups import Divided, subgroup_dict, subgroup_runs, subgroup_table
from sklar.report.tables import Pattern, Results, Row, build
from sklar.report.verbs import contest_runs, detail_runs, write_card, write_text
from sklar.report.writers import as_dict, console_table, markdown, patients_table, rich_table

__all__ = [
    "AVERAGES",
    "CONTESTED",
    "FORMATS",
    "SMALLEST",
    "TRIPOD",
    "Averages",
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
    "average_runs",
    "averages_dict",
    "averages_table",
    "calibration_table",
    "compare_runs",
    "console_table",
    "contest_dict",
    "contest_runs",
    "contest_table",
    "detail_dict",
    "detail_runs",
    "markdown",
    "outputs_of",
    "outputs_table",
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
    "withheld_outputs",
    "withhold",
    "write",
    "write_card",
    "write_outputs",
    "write_text",
]


def compare_runs(
    runs: Sequence[Path],
    reference: str = "cm2",
    resamples: int = 1000,
    censoring: Censoring = "complete",
    output: str | None = None,
) -> Results:
    """The numbers of a report, without the page.

    Args:
        runs: Finished run folders that were tested on the same rows.
        reference: Model that the others are compared with.
        resamples: Number of bootstrap replicates.
        censoring: ``complete`` counts every row with a known outcome once; ``ipcw`` weights them for
            censoring. Where the rows carry weights, the other treatment is reported too.
        output: Which of several outputs.
    """
    read = read_runs(runs, output)
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
    by: By | None = None,
    output: str | None = None,
) -> Results:
    """Write the page of one event to the file ``out`` and return its numbers.

    The file appears whole or not at all: it is written under another name and then renamed.

    Args:
        runs: Finished run folders that were tested on the same rows.
        out: The HTML file; its folder is made where needed.
        reference: Model that the others are compared with.
        resamples: Number of bootstrap replicates.
        censoring: As in ``compare_runs``.
        share_safe: Show no row, no id and no count below 20.
        show_examples: Show a few rows of restricted data too.
        by: Columns that tell subgroups apart, perhaps with cuts (``{"age": (40, 65)}``); None takes the
            categories that the reference's run keeps.
        output: Which of several outputs.
    """
    _check_file(out)
    read = read_runs(runs, output)
    cohort = align(read, reference)
    results = _judge(read, cohort, reference, resamples, censoring)
    write_text(out, page(read, cohort, results, share_safe, show_examples, by))
    return results


def write_outputs(
    runs: Sequence[Path],
    out: Path,
    reference: str = "cm2",
    resamples: int = 1000,
    censoring: Censoring = "complete",
    *,
    share_safe: bool = False,
    show_examples: bool = False,
    by: By | None = None,
) -> Averages:
    """Write the page of several outputs, all together and then each, and return what all together reach.

    Arguments are as of ``write``.
    """
    _check_file(out)
    read = read_runs(runs)
    found = averages(read, reference, resamples=resamples, censoring=censoring)
    parts = {}
    for output in found.judged:
        own = {name: of_output(run, output) for name, run in read.items()}
        cohort = align(own, reference)
        parts[output] = own, cohort, _judge(own, cohort, reference, resamples, censoring)
    write_text(out, outputs_page(read, found, parts, share_safe, show_examples, by))
    return found


def average_runs(
    runs: Sequence[Path],
    reference: str,
    metrics: Sequence[str] = AVERAGES,
    resamples: int = 1000,
    censoring: Censoring = "complete",
) -> Averages:
    """Runs that predict several outputs, judged on all of them; see `sklar.report.averages.averages`."""
    return averages(read_runs(runs), reference, metrics, resamples, censoring)


def _check_file(out: Path) -> None:
    if out.is_dir():
        raise UserError(f"{out} is a folder; name the file to write, such as {out / 'report.html'}")
