"""`sklar evaluate` and `sklar report`."""

from pathlib import Path
from typing import Annotated

import typer

from sklar.cli.options import AsJson, Censoring, Reference, Resamples, Runs, Weighting
from sklar.cli.output import first_name, show, show_results


def evaluate(
    runs: Runs,
    reference: Reference = "",
    resamples: Resamples = 1000,
    censoring: Weighting = Censoring.complete,
    as_json: AsJson = False,
) -> None:
    """Judge the test predictions of finished runs: intervals, and paired differences to a reference."""
    from sklar import report

    show_results(
        report.compare_runs(runs, reference or first_name(runs), resamples, censoring.value), as_json
    )


def write_report(
    runs: Runs,
    out: Annotated[Path, typer.Option("-o", "--out", help="The HTML file to write.")] = Path("report.html"),
    reference: Reference = "",
    resamples: Resamples = 1000,
    censoring: Weighting = Censoring.complete,
    as_json: AsJson = False,
) -> None:
    """Write one HTML page about finished runs."""
    from sklar import report

    results = report.write(runs, out, reference or first_name(runs), resamples, censoring.value)
    show_results(results, as_json, report=str(out))
    if not as_json:
        show(f"report: {out}")
