"""`sklar demo`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sklar.cli.options import AsJson, Censoring, Seed, Settings, Weighting
from sklar.cli.output import note, show, show_patients, show_results


def demo(
    out: Annotated[Path, typer.Option(help="Where data, runs and report go.")] = Path("runs/demo"),
    seed: Seed = 0,
    censoring: Weighting = Censoring.complete,
    settings: Settings = None,
    subsample: Annotated[int | None, typer.Option(min=200, help="Use about this many subjects.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train CM² and what it is compared with on a real cohort, and write a report (about two minutes)."""
    note("importing torch and friends ...")
    from sklar.experiments import nafld

    done = nafld.compare(
        out,
        seed,
        settings=settings or (),
        censoring=censoring.value,
        subsample=subsample,
        progress=sys.stderr.isatty(),
        announce=note,
    )
    show_results(done.results, as_json, report=str(done.report), seconds=round(done.seconds, 1))
    if not as_json:
        show_patients(done.runs["cm2"])
        show(f"report: {done.report}   ({done.seconds:.0f} s)")
