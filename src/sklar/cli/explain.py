"""`sklar explain`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sklar.cli.options import AsJson, Folder
from sklar.cli.output import note, show, show_json
from sklar.errors import UserError

if TYPE_CHECKING:
    from sklar.explanation import Explanation


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
        str | None, typer.Option(help="One of several outputs, a label or a class; all by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what single predictions were made from: every measurement, word and column, and each modality."""
    note("importing torch and friends ...")
    from sklar import explanation
    from sklar.data.store import PreparedData
    from sklar.runs import Run

    opened, prepared = Run.open(run), PreparedData.open(data)
    several = () if opened.schema.task == "binary" else opened.schema.outputs
    if several and output is None:
        if out is not None:
            raise UserError(
                f"{run} predicts {', '.join(several)}, each of which has a file of its own: name the one for "
                f"{out} with --output, or leave -o out"
            )
        each = {}
        for name in several:
            found = explanation.explain_run(opened, prepared, split, rows, ids, name)
            path = explanation.kept_at(opened, name)
            explanation.write_explanation(path, found, prepared.manifest.restricted)
            each[name] = _dict(found, path)
            if not as_json:
                show(f"Output: {name}")
                _say(found, path)
        if as_json:
            show_json({"outputs": each})
        return
    path = out or explanation.kept_at(opened, output)
    found = explanation.explain_run(opened, prepared, split, rows, ids, output)
    explanation.write_explanation(path, found, prepared.manifest.restricted)
    if as_json:
        show_json(_dict(found, path))
    else:
        _say(found, path)


def _dict(found: "Explanation", path: Path) -> dict[str, Any]:
    from sklar import explanation

    content = explanation.explanation_dict(found)
    top = explanation.largest(found)
    features = [{"modality": m, "feature": f, "mean_size": size} for m, f, size in top]
    about = {name: content[name] for name in ("base", "shapley", "largest_gap")}
    return {"explanation": str(path), "rows": len(found.ids), **about, "features": features}


def _say(found: "Explanation", path: Path) -> None:
    from sklar import explanation

    show(f"{len(found.ids)} rows; mean share of each modality in the predicted risk, from {found.base:.3f}:")
    for name, share in found.modality_shapley.items():
        show(f"  {name:<20} {share:+.3f}")
    show("mean size of the largest contributions:")
    for modality, feature, size in explanation.largest(found):
        show(f"  {feature:<20} {size:.3f}  {modality}")
    show(f"explanation: {path}")
