"""Options that several verbs share."""

import enum
from pathlib import Path
from typing import Annotated

import typer

from sklar.errors import UserError


class Censoring(enum.StrEnum):
    """How rows that were not followed to the horizon count."""

    complete = "complete"
    ipcw = "ipcw"


class OnLate(enum.StrEnum):
    """What becomes of records after the moment of prediction."""

    error = "error"
    drop = "drop"


class OnEmpty(enum.StrEnum):
    """What a row with nothing observed gets."""

    error = "error"
    prior = "prior"
    null = "null"


class Undated(enum.StrEnum):
    """What becomes of pictures and texts that nothing dates."""

    error = "error"
    accept = "accept"


def beside(long: list[str] | None) -> dict[str, Path]:
    """Modalities and the files of their own tables, from NAME=FILE.

    Raises:
        UserError: One is not written so.
    """
    out = {}
    for own in long or ():
        modality, separator, file = own.partition("=")
        if not separator:
            raise UserError(f"--long takes NAME=FILE, such as vitals=vitals.parquet; got {own!r}")
        out[modality] = Path(file)
    return out


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
Long = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=FILE", help="A modality's own table of records, Parquet or CSV."),
]
OnUndated = Annotated[
    Undated, typer.Option(help="Pictures and texts without a time, under a time zero: error or accept.")
]
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
