"""One table with one row per subject to a cohort: each modality stands in columns of that table."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sklar.data.cohort import Cohort, read_cohort
from sklar.data.files import file_batches, read_file
from sklar.data.frame import write
from sklar.data.gridded import grid_records, with_texts
from sklar.data.modalities import GriddedSeries, Image, Text, TimeSeries
from sklar.data.nested import Cells, OnMissingFile, documents, pictures, plain, series_records
from sklar.data.records import OnLate
from sklar.data.schema import Schema
from sklar.data.store import PreparedData
from sklar.data.tables import as_names, as_table, column, first, listed
from sklar.errors import DataError, UserError

OnUndated = Literal["error", "accept"]
"""What a picture or text is that nothing dates, where the schema has a time zero."""

WHERE = "table"


@dataclass(frozen=True)
class Tables:
    """The arguments of `read_cohort` and of `sklar.data.frame.write`.

    Attributes:
        subjects: One row per subject, without the columns of nested modalities.
        series: Per time series, gridded ones too, its records.
        texts: Per text its documents.
        images: Per image its pictures.
    """

    subjects: pa.Table
    series: Mapping[str, pa.Table]
    texts: Mapping[str, pa.Table]
    images: Mapping[str, pa.Table]


def read_wide(
    schema: Schema,
    table: Any,
    *,
    labelled: bool,
    long: Mapping[str, Any] | None = None,
    on_late: OnLate = "error",
    on_undated: OnUndated = "error",
    on_missing_file: OnMissingFile = "error",
    paths: bool = True,
) -> Cohort:
    """Check one table against a schema and gather it per subject; arguments are those of `separate`.

    Args:
        schema: Names, units, and in which columns the modalities stand.
        table: One row per subject.
        labelled: Whether the label (and the group) must be there; new patients have none.
        long: Per modality that stands in a table of its own: that table.
        on_late: "error" refuses what is later than the moment of prediction, "drop" leaves it out; the
            cohort counts it.
        on_undated: See `separate`.
        on_missing_file: See `separate`.
        paths: See `separate`.

    Raises:
        UserError: The table cannot be read as one, or schema and arguments contradict each other.
        DataError: The table breaks its contract; the message names column, row and value.
    """
    parts = separate(
        schema, table, labelled=labelled, long=long, on_undated=on_undated,
        on_missing_file=on_missing_file, paths=paths,
    )  # fmt: skip
    return read_cohort(
        schema, parts.subjects, parts.series, parts.texts, parts.images, labelled=labelled, on_late=on_late
    )


def write_wide(
    out: str | os.PathLike[str],
    schema: Schema,
    table: Any,
    *,
    long: Mapping[str, Any] | None = None,
    on_late: OnLate = "error",
    on_undated: OnUndated = "error",
    on_missing_file: OnMissingFile = "error",
    **options: Any,
) -> PreparedData:
    """Check one table against a schema, split it by group, and write a prepared folder.

    Args:
        out: Folder to make.
        schema: Names, units, and in which columns the modalities stand.
        table: One row per subject, see `separate`.
        long: See `separate`.
        on_late: See `read_wide`.
        on_undated: See `separate`.
        on_missing_file: See `separate`.
        options: Of `sklar.data.frame.write`: split, fractions, seed, weight, name, restricted, progress ...

    Raises:
        UserError: ``out`` holds something else, or the table cannot be read as one.
        DataError: The table breaks its contract.
    """
    parts = separate(
        schema, table, labelled=True, long=long, on_undated=on_undated, on_missing_file=on_missing_file
    )
    return write(
        out, schema, parts.subjects, parts.series, parts.texts, parts.images, on_late=on_late, **options
    )


def separate(
    schema: Schema,
    table: Any,
    *,
    labelled: bool,
    long: Mapping[str, Any] | None = None,
    on_undated: OnUndated = "error",
    on_missing_file: OnMissingFile = "error",
    paths: bool = True,
) -> Tables:
    """One table to a table of subjects and one of records per modality.

    Null, NaN, an empty text and an empty list are a modality that is missing. A series is a list of records
    {time, variable, value} or {time, <variable>, ...}, a matrix with one row per bin or with the times of its
    rows in the column ``time``, or the path of a CSV or Parquet file of records; a gridded one see
    `sklar.data.gridded.grid_records`. A text is a text or a list
    of them. An image is a path, the bytes of a file, or nested lists of pixels. A table is columns.

    Args:
        schema: Names, units, and in which columns the modalities stand.
        table: The path of a Parquet or CSV file; a pyarrow table or batch; a pandas or polars frame or
            anything else that exports Arrow; a Hugging Face dataset; or a mapping of columns.
        labelled: Whether the group must be there; without it each row is its own.
        long: Per series, text or image that is not in ``table``: its records, see `read_cohort`.
        on_undated: "accept" takes pictures and texts that nothing dates although the schema has a time zero,
            so that nobody can tell whether they leak the future.
        on_missing_file: "missing" takes a path without a file for a modality that is missing.
        paths: False refuses paths: for tables that come from strangers.

    Raises:
        UserError: The table cannot be read as one, or schema and arguments contradict each other.
        DataError: A column is missing or holds something that its modality cannot be.
    """
    people = read_table(table, schema=schema)
    if not people.num_rows:
        raise DataError(f"{WHERE}: no rows")
    beside = _beside(schema, long or {})
    if not labelled and schema.group is not None and schema.group not in people.column_names:
        people = people.append_column(schema.group, column(people, schema.id, WHERE))
    ids = as_names(column(people, schema.id, WHERE), WHERE, schema.id)
    nested: dict[str, pa.Table] = {}
    taken: set[str | None] = set()
    for name, item in schema.modalities.items():
        if isinstance(item, GriddedSeries):
            taken.add(name)
            where = f"series {name!r}"
            if name in beside:
                nested[name] = with_texts(beside[name], where)
                continue
            _refuse_absent(people, name, name, where)
            values = plain(column(people, name, where))
            cells = Cells(values, np.arange(len(ids)), None, ids, schema.id, where, paths, on_missing_file)
            nested[name] = grid_records(item, cells.filled())
        elif isinstance(item, TimeSeries | Image | Text):
            where = f"{_kind(item)} {name!r}"
            if name in beside:
                nested[name] = beside[name]
            else:
                own = [item.column or name, *([item.time] if item.time else [])]
                _refuse_absent(people, name, own[0], where)
                _refuse_roles(schema, name, own)
                taken |= set(own)
                values, times = plain(column(people, own[0], where)), _times(schema, people, item, where)
                rows = np.arange(len(ids))
                cells = Cells(values, rows, times, ids, schema.id, where, paths, on_missing_file).filled()
                _refuse_untimed(item, cells)
                nested[name] = _records(item, cells)
            if schema.time_zero and on_undated == "error":
                _refuse_undated(schema.time_zero, nested[name], item, where)
    taken -= {schema.id, schema.group, schema.time_zero}
    taken -= {own for spec in schema.tables.values() for own in (*spec.columns, spec.time)}
    return Tables(
        people.drop_columns([name for name in people.column_names if name in taken]),
        {name: nested[name] for name in (*schema.series, *schema.grids)},
        {name: nested[name] for name in schema.texts},
        {name: nested[name] for name in schema.images},
    )


def read_table(table: Any, where: str = WHERE, schema: Schema | None = None) -> pa.Table:
    """The Arrow table of whatever `separate` takes.

    Args:
        table: It, or the path of its file.
        where: How errors call it.
        schema: What the columns of a CSV file are, see `sklar.data.files.read_file`.

    Raises:
        UserError: It is no such thing, or there is no such file.
        DataError: The file is neither Parquet nor CSV.
    """
    if not isinstance(table, str | os.PathLike):
        return as_table(table, where)
    return read_file(table, schema)


def table_batches(table: Any, rows: int, schema: Schema | None = None) -> Iterator[pa.Table]:
    """Pieces of at most ``rows`` rows; of a file or an Arrow stream one is held at a time.

    Raises:
        UserError: It is no table, or there is no such file.
        DataError: The file is neither Parquet nor CSV.
    """
    if isinstance(table, str | os.PathLike):
        yield from file_batches(table, rows, schema)
    elif isinstance(table, pa.RecordBatchReader):
        for batch in table:
            yield from table_batches(pa.Table.from_batches([batch]), rows)
    else:
        whole = read_table(table)
        for start in range(0, whole.num_rows, rows):
            yield whole.slice(start, rows)


def records_of(records: pa.Table, table: pa.Table, id_column: str, where: str) -> pa.Table:
    """Of a long table the records of the subjects of ``table``.

    Raises:
        DataError: One of the two has no names.
    """
    ids = as_names(column(table, id_column, WHERE), WHERE, id_column)
    return records.filter(
        pc.is_in(as_names(column(records, id_column, where), where, id_column), value_set=ids)
    )


def _beside(schema: Schema, long: Mapping[str, Any]) -> dict[str, pa.Table]:
    nested = [name for name in schema.modalities if name not in schema.tables]
    if extra := [name for name in long if name not in nested]:
        raise UserError(
            f"long: {extra[0]!r} is not a series, text or image of the schema "
            f"({listed(nested) or 'it has none'})"
        )
    return {name: read_table(frame, f"long table {name!r}", schema) for name, frame in long.items()}


def _kind(item: TimeSeries | Image | Text) -> str:
    return "series" if isinstance(item, TimeSeries) else item.kind


def _times(schema: Schema, people: pa.Table, item: TimeSeries | Image | Text, where: str) -> pa.Array | None:
    if item.time is None:
        return None
    times = plain(column(people, item.time, where))
    if not pa.types.is_null(times.type):
        return times
    # a column that is null throughout has no type of its own
    return times.cast(column(people, schema.time_zero, WHERE).type if schema.time_zero else pa.float64())


def _records(item: TimeSeries | Image | Text, cells: Cells) -> pa.Table:
    if isinstance(item, TimeSeries):
        return series_records(item, cells)
    return documents(item, cells) if isinstance(item, Text) else pictures(item, cells)


def _refuse_absent(people: pa.Table, name: str, own: str, where: str) -> None:
    if own not in people.column_names:
        raise DataError(
            f"{where}: no column {own!r} (found {', '.join(people.column_names)}). Name its column in the "
            f"schema (column=); give its own table of records (long=, --long {name}=FILE); or, where nobody "
            "has any, a column of nulls"
        )


def _refuse_roles(schema: Schema, name: str, columns: list[str]) -> None:
    if clash := [own for own in columns if own in (schema.id, *schema.labels)]:
        raise UserError(
            f"modality {name!r} reads column {clash[0]!r}, which is the id or the label; a model must not "
            "read it. Set its column="
        )


def _refuse_untimed(item: TimeSeries | Image | Text, cells: Cells) -> None:
    if cells.times is None or not cells.times.null_count:
        return
    place = first(cells.times.is_null().to_numpy(zero_copy_only=False))
    raise DataError(
        f"{cells.called(place)}: there is one, but {item.time!r}, which says when it was taken, is null "
        f"({cells.times.null_count} rows). Fill it, or leave both out"
    )


def _refuse_undated(time_zero: str, records: pa.Table, item: TimeSeries | Image | Text, where: str) -> None:
    if isinstance(item, TimeSeries) or not records.num_rows or "time" in records.column_names:
        return
    raise UserError(
        f"{where}: the schema has a time zero ({time_zero}), but nothing says when its {records.num_rows} "
        "entries were taken, so they may leak the future. Name the column with their times: time=; or pass "
        'on_undated="accept"'
    )


__all__ = [
    "OnLate",
    "OnMissingFile",
    "OnUndated",
    "Tables",
    "read_table",
    "read_wide",
    "records_of",
    "separate",
    "table_batches",
    "write_wide",
]
