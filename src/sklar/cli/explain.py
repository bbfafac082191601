"""`sklar explain`."""

from pathlib import Path
from typing import Annotated

import typer

from sklar.cli.options import AsJson, Folder
from sklar.cli.output import note, show, show_json
from sklar.errors import UserError


def explain(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    data: Folder,
    split: Annotated[str, typer.Option(help="Where to choose rows from.")] = "test",
    rows: Annotated[
        int, typer.Option(min=1, help="So many rows, spread over the predicted risk; the report shows six.")
    ] = 6,
    ids: Annotated[list[str] | None, typer.Option("--id", help="These rows instead.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="A Parquet file; by default the one in RUN that its report shows."),
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="One of several outputs, which needs an --out of its own.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what single predictions were made from: every measurement, word and column, and each modality."""
    note("importing torch and friends ...")
    from sklar import explanation
    from sklar.data.store import PreparedData
    from sklar.runs import Run

    opened, prepared = Run.open(run), PreparedData.open(data)
    path = out or run / explanation.EXPLANATION
    if output is not None and path.resolve() == (run / explanation.EXPLANATION).resolve():
        raise UserError(f"the report shows explanations of one event: give {output!r} an --out of its own")
    found = explanation.explain_run(opened, prepared, split, rows, ids, output)
    explanation.write_explanation(path, found, prepared.manifest.restricted)
    content = explanation.explanation_dict(found)
    top = explanation.largest(found)
    if as_json:
        features = [{"modality": m, "feature": f, "mean_size": size} for m, f, size in top]
        about = {name: content[name] for name in ("base", "shapley", "largest_gap")}
        show_json({"explanation": str(path), "rows": len(found.ids), **about, "features": features})
        return
    show(f"{len(found.ids)} rows; mean share of each modality in the predicted risk, from {found.base:.3f}:")
    for name, share in found.modality_shapley.items():
        show(f"  {name:<20} {share:+.3f}")
    show("mean size of the largest contributions:")
    for modality, feature, size in top:
        show(f"  {feature:<20} {size:.3f}  {modality}")
    show(f"explanation: {path}")
