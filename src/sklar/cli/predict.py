"""`sklar predict`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from sklar.cli.options import AsJson, Folder
from sklar.cli.output import show, show_json


def predict(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    data: Folder,
    out: Annotated[Path, typer.Option("-o", "--out", help="The Parquet file to write.")],
    split: Annotated[str | None, typer.Option(help="train, valid or test; all rows by default.")] = None,
    draws: Annotated[int | None, typer.Option(min=1, help="Draws of the missing latents.")] = None,
    as_json: AsJson = False,
) -> None:
    """Predict the rows of a prepared folder: probability, imputation interval, set, what was observed."""
    from sklar import runs
    from sklar.data.store import PreparedData

    started = time.monotonic()
    opened = runs.Run.open(run)
    predictions = opened.predict(PreparedData.open(data), split, draws)
    known = opened.calibration
    sets = None if known is None else known.conformal.sets(predictions.probability)
    runs.write_predictions(out, predictions, sets)
    rows, imputed = len(predictions.ids), int((~predictions.present.all(1)).sum())
    if as_json:
        show_json(
            {
                "out": str(out),
                "rows": rows,
                "with_imputation": imputed,
                "seconds": round(time.monotonic() - started, 2),
            }
        )
    else:
        show(f"{rows:,} rows, {imputed:,} of them with a modality imputed: {out}")
