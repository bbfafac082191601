"""`sklar weights`: add, list and verify pretrained weights."""

from typing import Annotated

import typer

from sklar.cli.options import AsJson
from sklar.cli.output import show, show_json

app = typer.Typer(help="Pretrained weights that this machine keeps under a name.", no_args_is_help=True)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What settings will call them: ...pretrained=NAME.")],
    source: Annotated[
        str, typer.Argument(help="A folder or file; owner/name on the hub with --allow-download.")
    ],
    origin: Annotated[str, typer.Option(help="Where they came from: an address, a paper.")] = "",
    licence: Annotated[str, typer.Option(help="Their licence.")] = "",
    allow_download: Annotated[bool, typer.Option("--allow-download", help="Fetch them if need be.")] = False,
    as_json: AsJson = False,
) -> None:
    """Copy weights into the registry, with their hashes and where they came from."""
    from sklar import weights

    entry = weights.add(name, source, origin=origin, licence=licence, allow_download=allow_download)
    if as_json:
        show_json({**entry.record(), "path": str(entry.path)})
    else:
        show(f"{entry.name}: {entry.architecture}, {entry.parameters:,} numbers, from {entry.source}")
        show(f"kept in {entry.path}")


@app.command("list")
def list_them(as_json: AsJson = False) -> None:
    """Show what is there."""
    from sklar import weights

    entries = weights.installed()
    if as_json:
        show_json({"registry": str(weights.registry()), "weights": [entry.record() for entry in entries]})
        return
    for entry in entries:
        licence = entry.licence or "licence not said"
        show(f"{entry.name:<20} {entry.architecture:<12} {entry.parameters:>12,}  {entry.source} ({licence})")
    if not entries:
        show(f"no weights in {weights.registry()}; sklar weights add NAME PATH")


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Which; all by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare all files with the hashes that they had when they were added."""
    from sklar import weights
    from sklar.errors import UserError, nearest

    entries = {entry.name: entry for entry in weights.installed()}
    for name in names or ():
        if name not in entries:
            raise UserError(f"no weights {name!r} in {weights.registry()}{nearest(name, entries)}")
    found = {name: weights.damage(entries[name]) for name in names or entries}
    if as_json:
        show_json({"damage": found})
    for name, damage in () if as_json else found.items():
        show(f"!! {name}: {'; '.join(damage)}" if damage else f"ok {name}")
    if any(found.values()):
        raise typer.Exit(3)
