"""`sklar train`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sklar.cli.options import AsJson, Censoring, Seed, Settings, Weighting
from sklar.cli.output import show, show_alignment, show_json
from sklar.errors import UserError


def train(
    model: Annotated[str, typer.Argument(help="cm2, medfuse, unified, late, single, gradient_boosting, ...")],
    data: Annotated[Path | None, typer.Option("--data", help="A prepared folder.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder to make.")] = None,
    seed: Seed = 0,
    censoring: Weighting = Censoring.complete,
    task: Annotated[str | None, typer.Option(help="Outcomes, where there are several: died,back.")] = None,
    modalities: Annotated[str | None, typer.Option(help="Some of them: ehr,cxr. By default all.")] = None,
    matched: Annotated[bool, typer.Option("--matched", help="Only rows that have all modalities.")] = False,
    preset: Annotated[
        str, typer.Option(help="Where settings start from: default, paper or released (cm2).")
    ] = "default",
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from an interrupted run.")] = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the resolved settings and stop.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train one model on a prepared folder; --print-config needs neither --data nor --out."""
    from sklar.training.config import resolve

    tasks = task and task.split(",")
    outcome = tasks[0] if tasks and len(tasks) == 1 else tasks
    view = {"task": outcome, "modalities": modalities and modalities.split(","), "matched": matched}
    weighting = {"censoring": censoring.value}
    config = resolve(model, settings or (), seed=seed, preset=preset, training=weighting, data=view)
    if print_config:
        show(config.to_yaml().rstrip())
        return
    if data is None or out is None:
        raise UserError("training needs --data, a prepared folder, and --out, the run folder to make")
    from sklar import processes, runs
    from sklar.data.store import PreparedData

    done = runs.train(config, PreparedData.open(data), out, resume=resume, progress=sys.stderr.isatty())
    if not processes.leads():
        return
    if as_json:
        show_json({"run": str(out), **done.metrics})
    else:
        what = "mean validation AUROC" if "validation_outputs" in done.metrics else "validation AUROC"
        show(f"{what} {done.metrics['validation']['valid_auroc']:.4f}   run: {out}")
        show_alignment(done.metrics)
