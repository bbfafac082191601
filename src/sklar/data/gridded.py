"""Gridded series of new patients: grids as a prepared folder stores them, or records to be binned."""

from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sklar.data.modalities import GriddedSeries
from sklar.data.nested import Cells, by_form, is_text, lengths, plain
from sklar.data.records import Clock, Content, owners
from sklar.data.tables import as_numbers, check_variables, column, first, listed
from sklar.errors import DataError


def grid_records(spec: GriddedSeries, cells: Cells) -> pa.Table:
    """Grids (id, grid), or records (id, time, variable, value, text), of a column of gridded series.

    Of a record either ``value`` or ``text`` is null: what came as a number, or what came as a text.

    Args:
        spec: The series.
        cells: Matrices of T rows and C columns, as `sklar.PreparedData.series` returns them in raw units;
            lists of records {time, variable, value} or {time, <variable>: value, ...}; or paths of CSV or
            Parquet files of such records.

    Raises:
        DataError: The column holds something else, or what it holds does not suit the schema.
    """
    return by_form(
        cells,
        None,
        partial(_long, spec),
        partial(_matrices, spec),
        "lists of records with time, variable and value, matrices of the stored columns, or paths",
    )


def with_texts(records: pa.Table, where: str) -> pa.Table:
    """A long table (id, time, variable, value) with what came as texts under ``text``, as `grid_records`.

    Raises:
        DataError: It has no values.
    """
    spelt = _spelt(column(records, "value", where), where)
    return (
        records.drop_columns(["value"])
        .append_column("value", spelt["value"])
        .append_column("text", spelt["text"])
    )


def read_grid(
    spec: GriddedSeries, table: pa.Table, where: str, id_column: str, ids: pa.Array, clock: Clock
) -> Content:
    """Take grids (id, grid): lists of T * C numbers, all columns of the first bin first.

    Raises:
        DataError: A subject is unknown or has two grids, or there are records, which only the source of the
            training data can bin.
    """
    if "grid" not in table.column_names:
        raise DataError(
            f"{where}: records of a gridded series are binned by the source that the training data came "
            f"from, which is not known here. Give matrices of {spec.steps} rows, {len(spec.columns)} columns"
        )
    owner = owners(table, where, id_column, ids)
    values = as_numbers(pc.list_flatten(column(table, "grid", where)), where, "grid")
    order = np.argsort(owner, kind="stable")
    rows = owner[order]
    if (again := rows[1:] == rows[:-1]).any():
        raise DataError(
            f"{where}: {id_column} {ids[int(rows[first(again)])].as_py()!r} has two grids; keep one"
        )
    grids = values.reshape(-1, spec.steps, len(spec.columns))[order]
    return Content(rows, grids, {"records": len(rows), "used": len(rows)})


def _matrices(spec: GriddedSeries, cells: Cells) -> pa.Table:
    bins, wide = lengths(cells.values), len(spec.columns)
    lines = plain(pc.list_flatten(cells.values))
    owner = np.repeat(np.arange(len(bins)), bins)
    bad = bins != spec.steps
    bad[owner[lengths(lines) != wide]] = True
    if bad.any():
        place = first(bad)
        raise DataError(
            f"{cells.called(place)}: not {spec.steps} rows of {wide} numbers. The columns are "
            f"{listed(spec.columns)}, as in the prepared folder; or give records of time, variable, value"
        )
    value = as_numbers(plain(pc.list_flatten(lines)), cells.where, "the matrix")
    if (lost := ~np.isfinite(value)).any():
        place = first(lost) // (spec.steps * wide)
        raise DataError(
            f"{cells.called(place)}: a gap in the matrix ({int(lost.sum())} in all). Stored grids are "
            "filled, and say by their mask columns what was observed; records need no filling"
        )
    return cells.table(cells.rows, grid=pa.FixedSizeListArray.from_arrays(pa.array(value), spec.steps * wide))


def _long(spec: GriddedSeries, cells: Cells, records: pa.Table) -> pa.Table:
    """Records of one measurement each, from such ones or from those with a column per variable."""
    time = column(records, "time", cells.where)
    if {"variable", "value"} <= set(records.column_names):
        value = column(records, "value", cells.where)
        return cells.table(
            cells.rows, time=time, variable=records["variable"].combine_chunks(), **_spelt(value, cells.where)
        )
    names = [name for name in records.column_names if name not in ("time", cells.id_column)]
    check_variables(names, spec.variables, cells.where)
    parts = []
    for name in names:
        own = column(records, name, cells.where)
        place = np.flatnonzero(own.is_valid().to_numpy(zero_copy_only=False))
        own, when = own.take(pa.array(place)), time.take(pa.array(place))
        variable = pa.array([name] * len(place), pa.string())
        parts.append(cells.table(cells.rows[place], time=when, variable=variable, **_spelt(own, cells.where)))
    if not parts:
        raise DataError(f"{cells.where}: records have time alone; they need variable and value, or variables")
    return pa.concat_tables(parts, promote_options="permissive")


def _spelt(given: pa.Array, where: str) -> dict[str, pa.Array]:
    """Numbers under ``value``, texts under ``text``."""
    given = plain(given)
    if is_text(given.type):
        return {"value": pa.nulls(len(given), pa.float64()), "text": given.cast(pa.string())}
    numbers = pa.array(as_numbers(given, where, "value"), from_pandas=True)
    return {"value": numbers, "text": pa.nulls(len(given), pa.string())}
