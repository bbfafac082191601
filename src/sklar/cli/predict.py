"""`sklar predict`."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from sklar.cli.options import AsJson, Long, OnEmpty, OnLate, OnUndated, Undated, beside
from sklar.cli.output import note, progress_bar, show, show_json, show_rich
from sklar.errors import UserError

_OF_TABLES = ("long", "on_empty", "on_late", "on_undated")
"""Options that say how a table is read; what a prepared folder holds was settled when it was written."""


def predict(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    table: Annotated[
        Path | None,
        typer.Argument(help="A Parquet or CSV file of new patients, one row each; or give --data."),
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", help="A prepared folder.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The Parquet file to write.")] = None,
    long: Long = None,
    split: Annotated[
        str | None, typer.Option(help="Of a folder: train, valid or test; all rows by default.")
    ] = None,
    draws: Annotated[int | None, typer.Option(min=1, help="Draws of the missing latents.")] = None,
    on_empty: Annotated[
        OnEmpty,
        typer.Option(
            help="A row of a table with nothing observed: error, prior (the share of events) or null."
        ),
    ] = OnEmpty.error,
    on_late: Annotated[
        OnLate, typer.Option(help="Records of a table after the moment of prediction: error or drop.")
    ] = OnLate.error,
    on_undated: OnUndated = Undated.error,
    as_json: AsJson = False,
) -> None:
    """Predict new patients, or the rows of a prepared folder: probability, interval, what was observed."""
    if out is None:
        raise UserError("predicting needs -o, the Parquet file to write")
    if (table is None) == (data is None):
        raise UserError(
            "predict either a table (sklar predict RUN new.parquet) or a prepared folder (--data)"
        )
    if data is not None:
        _refuse_of_tables(context)
    if split is not None and data is None:
        raise UserError(f"--split {split} is of a prepared folder; all rows of a table are predicted")
    started = time.monotonic()
    told = (
        _folder(run, data, out, split, draws, quiet=as_json)
        if data is not None
        else _table(run, table, out, long, draws, on_empty, on_late, on_undated)
    )
    told |= {"seconds": round(time.monotonic() - started, 2)}
    if as_json:
        show_json(told)
        return
    show(f"{told['rows']:,} rows, {told['with_imputation']:,} of them with a modality imputed: {out}")
    if patterns := told.get("patterns"):
        show(", ".join(f"{count:,} {pattern}" for pattern, count in patterns.items()))
    for text, count in told.get("warnings", {}).items():
        note(f"warning: {count:,} rows: {text}")


def _refuse_of_tables(context: typer.Context) -> None:
    for name in _OF_TABLES:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise UserError(
                f"--{name.replace('_', '-')} is of a table; the rows of a prepared folder (--data) were read "
                "when it was prepared. Leave it out, or predict the table itself (sklar predict RUN TABLE)"
            )


def _folder(
    run: Path, data: Path, out: Path, split: str | None, draws: int | None, quiet: bool
) -> dict[str, Any]:
    """Predict a folder; of open data a few rows are shown, unless it is to be quiet."""
    from sklar import report, runs
    from sklar.data.store import PreparedData

    opened = runs.Run.open(run)
    folder = PreparedData.open(data)
    predictions = opened.predict(folder, split, draws)
    known = opened.calibration
    sets = None if known is None else known.conformal.sets(predictions.probability)
    runs.write_predictions(out, predictions, sets)
    if not (quiet or folder.manifest.restricted):
        show_rich(report.patients_table(predictions))
    imputed = int((~predictions.present.all(1)).sum())
    return {"out": str(out), "rows": len(predictions.ids), "with_imputation": imputed}


def _table(
    run: Path,
    table: Path | None,
    out: Path,
    long: list[str] | None,
    draws: int | None,
    on_empty: OnEmpty,
    on_late: OnLate,
    on_undated: Undated,
) -> dict[str, Any]:
    from sklar import runs

    with progress_bar() as progress:
        told = runs.predict_table(
            runs.Run.open(run),
            table,
            out,
            long=beside(long),
            draws=draws,
            on_empty=on_empty.value,
            on_late=on_late.value,
            on_undated=on_undated.value,
            progress=progress,
        )
    return {
        "out": str(out),
        "rows": told.rows,
        "with_imputation": told.imputed,
        "nothing_observed": told.empty,
        "patterns": dict(told.patterns.most_common()),
        "warnings": dict(told.warnings.most_common()),
    }
