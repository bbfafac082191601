"""`sklar export`."""

from pathlib import Path
from typing import Annotated

import typer

from sklar.cli.options import AsJson
from sklar.cli.output import progress_bar, show, show_json


def export(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to make.")],
    to: Annotated[str, typer.Option(help="Formats with commas.")] = "safetensors,pt2,onnx",
    as_json: AsJson = False,
) -> None:
    """Write a model as files that need no sklar, compare each with the model, and describe its inputs."""
    from sklar import runs
    from sklar.export import CONTRACT
    from sklar.export import export as write

    formats = [name.strip() for name in to.split(",") if name.strip()]
    with progress_bar() as progress:
        made = write(runs.Run.open(run), out, formats, progress)
    if as_json:
        show_json(
            {
                "out": str(out),
                "rows": made.rows,
                "masks": made.masks,
                "from_model": made.from_model,
                "formats": {
                    name: {"difference": found, "bytes": made.sizes[name]}
                    for name, found in made.differences.items()
                },
            }
        )
        return
    show(f"largest difference of a probability, over {made.rows} rows x {made.masks} masks of modalities:")
    show(f"  {'the graph, to the trained model':<42} {made.from_model:.1e}")
    for name, found in made.differences.items():
        what = f"model.{name}, read back, to the graph"
        show(f"  {what:<42} {found:.1e}   {made.sizes[name] / 1e6:,.2f} MB")
    show(f"contract: {out / CONTRACT}")
