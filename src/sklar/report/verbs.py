"""What the command line asks of finished runs, beside the page."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from sklar.errors import UserError
from sklar.evaluation import METRICS
from sklar.report.averages import averages
from sklar.report.card import Card, card, outputs_card
from sklar.report.cohort import Censoring, align
from sklar.report.contest import CONTESTED, Contest, contest
from sklar.report.detail import THRESHOLDS, Detail, details
from sklar.report.folder import Run
from sklar.report.outputs import of_output, read_runs


def contest_runs(
    runs: Sequence[Path],
    metrics: Sequence[str] = CONTESTED,
    resamples: int = 1000,
    censoring: Censoring = "complete",
    paper_t_test: bool = False,
    output: str | None = None,
) -> Contest:
    """Runs on the same rows, each against the best, adjusted for their number.

    Args:
        runs: Finished run folders that were tested on the same rows.
        metrics: Names of metrics.
        resamples: Number of bootstrap replicates.
        censoring: ``complete`` or ``ipcw``.
        paper_t_test: Also the paper's test of replicates, which is invalid and warns.
        output: Which of several outputs.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        raise UserError(f"no metric {unknown[:1] or 'given'}; choose among {', '.join(METRICS)}")
    read = read_runs(runs, output)
    return contest(align(read, next(iter(read))), metrics, resamples, censoring, paper_t_test)


def detail_runs(
    runs: Sequence[Path],
    resamples: int = 1000,
    censoring: Censoring = "complete",
    thresholds: Sequence[float] = THRESHOLDS,
    share_safe: bool = False,
    output: str | None = None,
) -> tuple[Detail, ...]:
    """Calibration, thresholds and patterns of runs on the same rows.

    Args:
        runs: Finished run folders that were tested on the same rows.
        resamples: Number of bootstrap replicates.
        censoring: ``complete`` or ``ipcw``.
        thresholds: Predicted risks to act on.
        share_safe: Withhold small cells.
        output: Which of several outputs.
    """
    read = read_runs(runs, output)
    return details(align(read, next(iter(read))), resamples, censoring, thresholds, share_safe)


def write_card(run: Path, out: Path, resamples: int = 1000, censoring: Censoring = "complete") -> Card:
    """Write the model card of a run as Markdown; it names no row and shows no small cell.

    Args:
        run: A finished run folder.
        out: The file.
        resamples: Number of bootstrap replicates.
        censoring: ``complete`` or ``ipcw``.
    """
    read = read_runs([run])
    ((name, folder),) = read.items()
    if folder.test.outputs:
        made = _card_of_outputs(folder, read, resamples, censoring)
    else:
        cohort = align(read, name)
        (detail,) = details(cohort, resamples, censoring, share_safe=True)
        made = card(folder, cohort, contest(cohort, resamples=resamples, censoring=censoring), detail)
    write_text(out, made.text)
    return made


def _card_of_outputs(run: Run, read: Mapping[str, Run], resamples: int, censoring: Censoring) -> Card:
    found = averages(read, run.name, resamples=resamples, censoring=censoring)
    parts = {}
    for output in found.judged:
        cohort = align({run.name: of_output(run, output)}, run.name)
        (detail,) = details(cohort, resamples, censoring, share_safe=True)
        parts[output] = contest(cohort, resamples=resamples, censoring=censoring), detail
    return outputs_card(run, found, parts)


def write_text(out: Path, text: str) -> None:
    """Write a file that appears whole or not at all; its folder is made where needed."""
    if out.is_dir():
        raise UserError(f"{out} is a folder; name the file to write")
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)
