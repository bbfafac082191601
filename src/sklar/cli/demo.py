"""`sklar demo`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sklar.cli.options import AsJson, Censoring, Seed, Settings, Weighting
from sklar.cli.output import note, show, show_patients, show_results
from sklar.errors import UserError


def demo(
    out: Annotated[
        Path | None, typer.Option(help="Where data, runs and report go (runs/demo or runs/hospital).")
    ] = None,
    hospital: Annotated[
        bool, typer.Option("--hospital", help="A simulated hospital: raw MIMIC-IV tables, images, reports.")
    ] = False,
    seed: Seed = 0,
    censoring: Weighting = Censoring.complete,
    settings: Settings = None,
    subsample: Annotated[
        int | None, typer.Option(min=200, help="Use about this many subjects, or stays of the hospital.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train CM² and what it is compared with on a real cohort, and write a report (about two minutes)."""
    note("importing torch and friends ...")
    shared: dict[str, Any] = {
        "seed": seed, "settings": settings or (), "progress": sys.stderr.isatty(), "announce": note
    }  # fmt: skip
    extra: dict[str, Any] = {}
    if hospital:
        from sklar.experiments import hospital as simulated

        if censoring is not Censoring.complete:
            raise UserError("--censoring ipcw: every simulated stay is followed to its end; leave it out")
        done, best = simulated.compare(out or Path("runs/hospital"), stays=subsample, **shared)
        extra["best_possible"] = best
    else:
        from sklar.experiments import nafld

        done = nafld.compare(
            out or Path("runs/demo"), censoring=censoring.value, subsample=subsample, **shared
        )
    show_results(done.results, as_json, report=str(done.report), seconds=round(done.seconds, 1), **extra)
    if as_json:
        return
    show_patients(done.runs["cm2"])
    if hospital:
        show(
            f"best possible AUROC on these test rows: {best['bayes']:.3f} from what each stay has "
            f"({best['skip']:.3f} without inferring the rest), {best['complete']:.3f} with nothing absent"
        )
    show(f"report: {done.report}   ({done.seconds:.0f} s)")
