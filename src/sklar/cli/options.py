"""Options that several verbs share."""

import enum
from pathlib import Path
from typing import Annotated

import typer


class Censoring(enum.StrEnum):
    """How rows that were not followed to the horizon count."""

    complete = "complete"
    ipcw = "ipcw"


class OnLate(enum.StrEnum):
    """What becomes of records after the moment of prediction."""

    error = "error"
    drop = "drop"


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
Seed = Annotated[int, typer.Option(help="Seed of the split, the initialisation and the order.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting: training.max_epochs=3.")
]
Weighting = Annotated[
    Censoring, typer.Option(help="complete: every row counts once; ipcw: inverse probability of censoring.")
]
Folder = Annotated[Path, typer.Option("--data", help="A prepared folder.")]
Runs = Annotated[list[Path], typer.Argument(help="Run folders, tested on the same rows.")]
Reference = Annotated[str, typer.Option(help="The model that the others are compared with.")]
Resamples = Annotated[int, typer.Option(min=10, help="Bootstrap resamples.")]
