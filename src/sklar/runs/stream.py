"""Predictions of a table of new patients, piece by piece: memory does not grow with the number of rows."""

import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sklar.data.cohort import read_cohort
from sklar.data.files import count_rows
from sklar.data.predictions import prediction_table
from sklar.data.records import OnLate
from sklar.data.tables import first
from sklar.data.wide import OnUndated, read_table, records_of, separate, table_batches
from sklar.errors import DataError, TrainingError
from sklar.runs.patients import answer, refuse_empty
from sklar.runs.remarks import listed_column, remark
from sklar.runs.run import Run
from sklar.runs.seen import Seen

ROWS = 512
"""Rows that are read, predicted and written together; each such piece is a row group of the file."""

Empty = Literal["error", "prior", "null"]
"""Of a row with nothing observed: refused, the share of events in training, or no probability."""


@dataclass
class Told:
    """What was predicted so far.

    Attributes:
        rows: Rows.
        empty: Rows with nothing observed.
        imputed: Rows with some modality imputed.
        patterns: Rows per set of observed modalities, joined by "+".
        warnings: Rows per warning.
    """

    rows: int = 0
    empty: int = 0
    imputed: int = 0
    patterns: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)


def predict_table(
    run: Run,
    table: Any,
    out: Path,
    *,
    long: Mapping[str, Any] | None = None,
    draws: int | None = None,
    on_empty: Empty = "error",
    on_late: OnLate = "error",
    on_undated: OnUndated = "error",
    rows: int = ROWS,
    progress: Callable[[str, float], None] | None = None,
) -> Told:
    """Predict a table with one row per patient into a Parquet file, which appears when it is complete.

    The columns are those of `predicted`.

    Args:
        run: A finished run of a model.
        table: See `sklar.data.wide.separate`; of a file one piece is held at a time. Names must not repeat.
        out: The file.
        long: Per modality that stands in a table of its own: that table, which is held as a whole.
        draws: Draws of the missing latents, by default those of the configuration.
        on_empty: What rows with nothing observed get.
        on_late: What is done with records after the moment of prediction, see `read_cohort`.
        on_undated: See `sklar.data.wide.separate`.
        rows: Rows of a piece.
        progress: Called with a stage and the fraction done.

    Raises:
        UserError: The run is a reference model, or the table cannot be read as one.
        DataError: A row breaks the contract, or has nothing observed and that is refused; the message says
            in which rows. Nothing is written then.
        TrainingError: The file cannot be written.
    """
    told, total, seen = Told(), _count(table), Seen()
    schema = run.row_schema
    beside = {name: read_table(own, f"long table {name!r}", schema) for name, own in (long or {}).items()}
    owned = dict.fromkeys(beside, False)
    with _whole(out) as write:
        for piece in table_batches(table, rows, schema):
            if not piece.num_rows:
                continue
            try:
                own = {n: records_of(records, piece, schema.id, n) for n, records in beside.items()}
                owned |= {name: True for name, records in own.items() if records.num_rows}
                found = predicted(
                    run, piece, told, draws,
                    long=own, on_empty=on_empty, on_late=on_late, on_undated=on_undated,
                )  # fmt: skip
                _refuse_again(seen, found["id"].combine_chunks(), schema.id)
            except DataError as error:
                last = told.rows + piece.num_rows - 1
                raise DataError(f"rows {told.rows} to {last} (counted there from 0): {error}") from error
            write(found)
            told.rows += piece.num_rows
            if progress is not None:
                progress(f"{told.rows:,} rows", told.rows / total if total else 0.0)
        if not told.rows:
            raise DataError("the table has no rows: nothing to predict")
        if strange := [name for name in beside if not owned[name] and beside[name].num_rows]:
            raise DataError(
                f"long table {strange[0]!r}: none of its {schema.id} is in the table; both must write "
                "them alike"
            )
    return told


def predicted(
    run: Run,
    piece: pa.Table,
    told: Told,
    draws: int | None = None,
    *,
    long: Mapping[str, pa.Table] | None = None,
    on_empty: Empty = "error",
    on_late: OnLate = "error",
    on_undated: OnUndated = "error",
    paths: bool = True,
) -> pa.Table:
    """Predictions of some rows, and what is to be said of them.

    The columns are ``id``, ``probability``, ``low`` and ``high`` (of several outputs one of each per output),
    prediction sets where the run is calibrated, and the lists ``observed``, ``imputed`` and ``warnings``.

    Args:
        run: A finished run of a model.
        piece: One row per patient.
        told: Is told of these rows.
        draws: As in `predict_table`, like the rest.
        long: Per modality that stands in a table of its own: the records of these rows.
        on_empty: What rows with nothing observed get.
        on_late: Of records after the moment of prediction.
        on_undated: Of pictures and texts without a time.
        paths: Whether files that the table names are read.
    """
    schema = run.row_schema
    tables = separate(schema, piece, labelled=False, long=long, on_undated=on_undated, paths=paths)
    cohort = read_cohort(
        schema, tables.subjects, tables.series, tables.texts, tables.images,
        labelled=False, on_late=on_late, readers=run.readers,
    )  # fmt: skip
    empty = np.asarray((cohort.rows < 0).all(axis=1))
    if on_empty == "error":
        refuse_empty(cohort)
    found = answer(run, cohort, draws, on_empty="prior")
    known = run.calibration
    sets = None if known is None else known.conformal.sets(found.probability)
    columns = _columns(prediction_table(found, sets))
    if on_empty == "null" and empty.any():
        nothing = pa.array(empty)
        columns = {name: pc.if_else(nothing, None, own) for name, own in columns.items()}
    _, documents = run.patients(cohort)
    remarks = remark(cohort, tables, documents, run.tokenizers)
    names = found.modalities
    listed = {"observed": found.present, "imputed": ~found.present & ~empty[:, None]}
    lists = {name: _names(mask, names) for name, mask in listed.items()}
    told.empty += int(empty.sum())
    told.imputed += int(listed["imputed"].any(1).sum())
    told.warnings.update(remarks.counts)
    told.patterns.update(_patterns(found.present, names))
    return pa.table({"id": pa.array(found.ids), **columns, **lists, "warnings": remarks.column()})


def _columns(whole: pa.Table) -> Mapping[str, pa.Array]:
    """Those of a prediction that say something of new patients."""
    kept = ("probability", "low", "high", "set")
    names = [n for n in whole.column_names if n in kept or n.startswith(tuple(f"{own}_" for own in kept))]
    return {name: whole[name].combine_chunks() for name in names}


def _names(mask: NDArray[np.bool_], names: tuple[str, ...]) -> pa.ListArray:
    row, code = np.nonzero(mask)
    return listed_column(row, code, names, len(mask))


def _patterns(present: NDArray[np.bool_], names: tuple[str, ...]) -> dict[str, int]:
    masks, counts = np.unique(present, axis=0, return_counts=True)
    said = ["+".join(n for n, there in zip(names, mask, strict=True) if there) or "nothing" for mask in masks]
    return dict(zip(said, counts.tolist(), strict=True))


def _refuse_again(seen: Seen, names: pa.Array, id_column: str) -> None:
    if (again := seen.again(names)).any():
        raise DataError(
            f"{id_column} {names[first(again)].as_py()!r} was there in an earlier row ({int(again.sum())} "
            f"such rows here). Keep one row per {id_column}"
        )


def _count(table: Any) -> int:
    """Rows of a Parquet file or of a table; 0 where nobody knows before the end."""
    if isinstance(table, str | Path):
        return count_rows(table)
    return len(table) if hasattr(table, "__len__") and not isinstance(table, str | Mapping) else 0


@contextmanager
def _whole(out: Path) -> Iterator[Callable[[pa.Table], None]]:
    """Writes row groups into a hidden sibling that takes the name at the end, or goes."""
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    writer: pq.ParquetWriter | None = None

    def write(piece: pa.Table) -> None:
        nonlocal writer
        writer = writer or pq.ParquetWriter(temporary, piece.schema)
        writer.write_table(piece)

    try:
        yield write
        if writer is not None:
            writer.close()
        temporary.replace(out)
    except OSError as error:
        raise TrainingError(
            f"{out} cannot be written ({error.strerror or error}); what was there before is kept"
        ) from error
    finally:
        if writer is not None:
            writer.close()
        temporary.unlink(missing_ok=True)
