"""`sklar tune`."""

from pathlib import Path
from typing import Annotated

import typer

from sklar.cli.options import AsJson, Censoring, Folder, Seed, Settings, Weighting
from sklar.cli.output import show, show_json


def tune(
    model: Annotated[str, typer.Argument(help="cm2, medfuse, unified, late, gradient_boosting, ...")],
    data: Folder,
    out: Annotated[Path, typer.Option(help="The folder of the search.")],
    trials: Annotated[int, typer.Option(min=1, help="Of all workers together.")] = 20,
    space: Annotated[str, typer.Option(help="default, or paper: the grid of Appendix E.1.")] = "default",
    storage: Annotated[
        str | None, typer.Option(help="An SQL address or a journal file that workers share.")
    ] = None,
    refit: Annotated[
        bool, typer.Option("--refit/--no-refit", help="Train the best once more; further workers need not.")
    ] = True,
    seed: Seed = 0,
    censoring: Weighting = Censoring.complete,
    preset: Annotated[str, typer.Option(help="Where settings start from: default, paper or released.")] = "",
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Search the settings of a model on validation rows; the same command again goes on, or helps."""
    from sklar import tuning
    from sklar.data.store import PreparedData

    start = preset or ("paper" if (space, model) == ("paper", "cm2") else "default")
    found = tuning.tune(
        model, PreparedData.open(data), out, trials=trials, named=space, storage=storage,
        settings=settings or (), seed=seed, refit=refit, preset=start,
        training={"censoring": censoring.value},
    )  # fmt: skip
    run = None if found.run is None else str(found.run.path)
    if as_json:
        show_json(
            {"valid_auroc": found.value, "settings": found.settings, "trials": found.trials, "run": run}
        )
        return
    show(f"best of {found.trials} trials: validation AUROC {found.value:.4f}")
    for key, value in found.settings.items():
        show(f"  --set {key}={value}")
    if run is not None:
        show(f"run: {run}")
