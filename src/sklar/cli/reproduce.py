"""`sklar reproduce`."""

import enum
import sys
from pathlib import Path
from typing import Annotated

import typer

from sklar.cli.options import AsJson, Settings
from sklar.cli.output import note, show, show_json
from sklar.errors import TrainingError


class Size(enum.StrEnum):
    """How large the fits are."""

    full = "full"
    tiny = "tiny"


def reproduce(
    tables: Annotated[str | None, typer.Option(help="Numbers: 2,3. Without both, everything.")] = None,
    figures: Annotated[str | None, typer.Option(help="Numbers: 2,5.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="A folder with the prepared folders mimic-iii and mimic-iv.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Receives fits, tables and figures.")] = Path("runs/paper"),
    seeds: Annotated[int, typer.Option(min=1, help="Fits of each configuration.")] = 1,
    scale: Annotated[
        Size, typer.Option(help="full: as in the paper; tiny: a few minutes, simulated without --data.")
    ] = Size.full,
    settings: Settings = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how much work it is, and stop.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tables and figures of the CM² paper, beside its numbers; goes on where it was interrupted."""
    note("importing torch and friends ...")
    from sklar.experiments.paper.reproduce import chosen, foresee
    from sklar.experiments.paper.reproduce import reproduce as run

    wanted, extra = chosen(tables, figures), settings or ()
    ahead = foresee(wanted, out, data, seeds, scale.value, extra)
    if dry_run and as_json:
        show_json(vars(ahead))
        return
    (show if dry_run else note)(
        f"{', '.join(own.place for own in wanted)}: {ahead.needed} fits needed, {ahead.different} different "
        f"({ahead.needed - ahead.different} shared), {ahead.finished} finished; about "
        f"{_duration(ahead.seconds)} to go, by {ahead.basis}"
    )
    if dry_run:
        return
    done = run(
        wanted, out, data, seeds, scale.value, extra, announce=note, progress=sys.stderr.isatty()
    )  # fmt: skip
    if as_json:
        show_json(
            {
                "page": str(done.page),
                "data": done.banner,
                "fits": len(done.done),
                "fitted": done.fitted,
                "failed": {str(own.job.fit): own.why for own in done.failed},
                "cells": {own.place: [*map(dict, shown.records)] for own, shown in done.experiments},
            }
        )
    else:
        show(done.text())
        show(f"page: {done.page}   ({done.fitted} of {len(done.done)} fits made now)")
    if done.failed:
        raise TrainingError(
            f"{len(done.failed)} of {len(done.done)} fits failed, the first with {done.failed[0].why}; "
            f"{out / 'fits.csv'} has all reasons. The same command tries them again and keeps the others"
        )


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.0f} hours"
