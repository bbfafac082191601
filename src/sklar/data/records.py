"""Long tables of records (one measurement or document per row) to one array or list per subject."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sklar.data.pictures import read_picture
from sklar.data.schema import UNIT_SECONDS, Image, Text, TimeSeries
from sklar.data.tables import as_names, as_numbers, column, first, listed, positions
from sklar.errors import DataError, nearest

FILES = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
"""Columns of paths, and of the bytes of files."""


OnLate = Literal["drop", "error"]
"""What becomes of records after the moment of prediction: left out and counted, or refused."""


@dataclass(frozen=True)
class Clock:
    """Moment of prediction of each subject, or none when record times are already relative to it.

    Attributes:
        zero: (N,) numbers or timestamps, or None.
        name: Column that it came from.
        on_late: What becomes of records after it.
    """

    zero: pa.Array | None = None
    name: str = ""
    on_late: OnLate = "drop"


@dataclass(frozen=True)
class Content:
    """What the subjects have of one modality.

    Attributes:
        rows: (N_present,) positions of the subjects that have it, ascending.
        values: (N_present, T, V) float32 of a series with NaN where nothing was measured, (N_present, S,
            H, W) bytes of pictures, or an Arrow table of N_present rows.
        counts: How many records were read, used, and left out for which reason.
        times: (N_present,) time of each picture relative to time zero, where it is known.
        remarks: What a reader of a prediction should know, and of which subjects, where it does not show in
            the records.
    """

    rows: NDArray[np.int64]
    values: NDArray[np.float32] | NDArray[np.uint8] | pa.Table
    counts: Mapping[str, int | Mapping[str, int]]
    times: NDArray[np.float64] | None = None
    remarks: tuple[tuple[str, NDArray[np.int64]], ...] = ()


Reader = Callable[[Any, pa.Table, str, str, pa.Array, Clock], Content]
"""From records to what the subjects have of a modality; arguments are those of `read_series`."""

Decode = Callable[[str | Path | bytes, Image, str], NDArray[np.uint8]]
"""A file or its bytes to a picture of the stored size; arguments are those of `read_picture`."""


def read_series(
    spec: TimeSeries, table: pa.Table, where: str, id_column: str, ids: pa.Array, clock: Clock
) -> Content:
    """Bin a long table (id, time, variable, value) on the grid of ``spec``, or take one that is binned.

    A binned table is (id, grid): lists of T * V numbers, all variables of the first bin first. Records
    after time zero, before the grid, without a finite value or outside the plausible limits are left out
    and counted.

    Raises:
        DataError: A column is missing, an id or variable is unknown, a time is not finite, or is late and
            the clock refuses that.
    """
    if "grid" in table.column_names:
        return _read_grid(spec, table, where, id_column, ids)
    owner = owners(table, where, id_column, ids)
    time = relative_time(table, where, owner, clock, spec.unit)
    refuse_late(time > 0, time, owner, where, spec.unit, id_column, ids, clock)
    variable = _variables(table, where, spec)
    value = as_numbers(column(table, "value", where), where, "value")

    low, high = spec.bounds[variable, 0], spec.bounds[variable, 1]
    after = time > 0
    before = ~after & (time <= -spec.steps * spec.step)
    inside = ~after & ~before
    unknown = inside & ~np.isfinite(value)
    implausible = inside & ~unknown & ((value < low) | (value > high))
    used = inside & ~unknown & ~implausible
    out = np.bincount(variable[implausible], minlength=len(spec.variables))
    counts: dict[str, int | Mapping[str, int]] = {
        "records": len(time),
        "after_time_zero": int(after.sum()),
        "before_the_grid": int(before.sum()),
        "without_value": int(unknown.sum()),
        "implausible": {name: int(n) for name, n in zip(spec.variables, out, strict=True) if n},
        "used": int(used.sum()),
    }
    rows, compact = np.unique(owner[used], return_inverse=True)
    time = time[used]
    last = spec.steps - 1  # the quotient of a time just inside the grid may round to its left end
    step = np.clip(last - np.floor(-time / spec.step).astype(np.int64), 0, last)
    cell = (compact * spec.steps + step) * len(spec.variables) + variable[used]
    shape = (len(rows), spec.steps, len(spec.variables))
    grid = _reduce(spec.statistic, cell, time, value[used], int(np.prod(shape)))
    return Content(rows, grid.reshape(shape).astype(np.float32), counts)


def read_documents(
    spec: Text, table: pa.Table, where: str, id_column: str, ids: pa.Array, clock: Clock
) -> Content:
    """Gather a long table (id, text, optionally time and position) as lists of documents.

    Documents follow ``time``, then ``position``, then the order of the table; blank ones, and those after
    time zero, are left out and counted.

    Raises:
        DataError: A column is missing, an id is unknown, or a time is not finite.
    """
    owner = owners(table, where, id_column, ids)
    text = column(table, "text", where).cast(pa.string())
    blank = ~_true(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(text)), 0))
    timed = "time" in table.column_names
    time = relative_time(table, where, owner, clock, spec.unit) if timed else np.zeros(len(owner))
    placed = "position" in table.column_names
    place = (
        as_numbers(column(table, "position", where), where, "position") if placed else np.zeros(len(owner))
    )

    after = ~blank & (time > 0)
    refuse_late(after, time, owner, where, spec.unit, id_column, ids, clock)
    candidates = np.flatnonzero(~blank & ~after)
    order = candidates[np.lexsort((place[candidates], time[candidates], owner[candidates]))]
    rows, start, count = np.unique(owner[order], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(start, count)
    kept = rank >= np.repeat(count, count) - spec.documents if spec.keep == "last" else rank < spec.documents
    order = order[kept]
    offsets = pa.array(np.concatenate([[0], np.cumsum(np.minimum(count, spec.documents))]).astype(np.int32))
    values = {
        "id": ids.take(pa.array(rows)),
        "documents": pa.ListArray.from_arrays(offsets, text.take(pa.array(order))),
    }
    if timed:
        values["times"] = pa.ListArray.from_arrays(offsets, pa.array(time[order]))
    counts: dict[str, int | Mapping[str, int]] = {
        "records": len(owner),
        "after_time_zero": int(after.sum()),
        "blank": int(blank.sum()),
        "beyond_the_limit": int((~kept).sum()),
        "used": len(order),
    }
    return Content(rows, pa.table(values), counts)


def read_images(
    spec: Image,
    table: pa.Table,
    where: str,
    id_column: str,
    ids: pa.Array,
    clock: Clock,
    decode: Decode = read_picture,
) -> Content:
    """Take or decode the picture of each subject from a table (id, image, optionally time).

    ``image`` holds paths, the bytes of picture files, or pixels: lists of S * height * width bytes. Of
    several pictures of a subject the last one in time counts, without times the last of the table; nulls,
    and pictures after time zero, are left out and counted.

    Raises:
        DataError: A column is missing, an id is unknown, a time is not finite, or a picture unreadable.
    """
    owner = owners(table, where, id_column, ids)
    image = column(table, "image", where)
    timed = "time" in table.column_names
    time = relative_time(table, where, owner, clock, spec.unit) if timed else np.zeros(len(owner))
    known = image.is_valid().to_numpy(zero_copy_only=False)
    refuse_late(known & (time > 0), time, owner, where, spec.unit, id_column, ids, clock)
    candidates = np.flatnonzero(known & (time <= 0))
    order = candidates[np.lexsort((candidates, time[candidates], owner[candidates]))]
    rows, later = np.unique(owner[order][::-1], return_index=True)
    chosen = order[len(order) - 1 - later]
    names = ids.take(pa.array(owner[chosen])).to_pylist()
    called = [f"{where}, row {row} ({id_column} {own})" for row, own in zip(chosen, names, strict=True)]
    stored = _pictures(image.take(pa.array(chosen)), spec, called, decode)
    counts: dict[str, int | Mapping[str, int]] = {
        "records": len(owner),
        "after_time_zero": int((known & (time > 0)).sum()),
        "blank": int((~known).sum()),
        "beyond_the_limit": len(order) - len(chosen),
        "used": len(rows),
    }
    return Content(rows, stored, counts, time[chosen] if timed else None)


def _pictures(images: pa.Array, spec: Image, where: list[str], decode: Decode) -> NDArray[np.uint8]:
    """(n, S, height, width) pictures of a column of paths, files or pixels."""
    if pa.types.is_list(images.type) or pa.types.is_fixed_size_list(images.type):
        return _given_pixels(images, spec, where)
    if not any(is_kind(images.type) for is_kind in FILES):
        raise DataError(
            f"{where[0] if where else 'images'}: 'image' is {images.type}; it holds paths, the bytes of "
            "files, or lists of pixels"
        )
    stored = np.zeros((len(images), spec.channels, spec.height, spec.width), dtype=np.uint8)
    for place, source in enumerate(images.to_pylist()):  # decoding is one file at a time
        stored[place] = decode(source, spec, where[place])
    return stored


def _given_pixels(images: pa.Array, spec: Image, where: list[str]) -> NDArray[np.uint8]:
    size = spec.height * spec.width
    length = pc.list_value_length(images).to_numpy(zero_copy_only=False)
    grey = bool(len(length)) and length[0] == size
    if (bad := length != (size if grey else size * spec.channels)).any():
        place = first(bad)
        raise DataError(
            f"{where[place]}: {length[place]} pixels, where {spec.height} x {spec.width} needs {size} for "
            "grey" + (f" or {3 * size} for colour" if spec.channels == 3 else "")
        )
    values = images.flatten()
    if values.type != pa.uint8():
        raise DataError(f"{where[0]}: pixels are {values.type}; give bytes, 0 to 255")
    shape = (len(images), 1 if grey else spec.channels, spec.height, spec.width)
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.uint8).reshape(shape)


def owners(table: pa.Table, where: str, id_column: str, ids: pa.Array) -> NDArray[np.int64]:
    """(R,) positions of the subjects that records belong to.

    Raises:
        DataError: The column is missing, or names somebody who is no subject.
    """
    names = as_names(column(table, id_column, where), where, id_column)
    owner = positions(names, ids)
    if (lost := owner < 0).any():
        row = first(lost)
        raise DataError(
            f"{where}: {id_column!r} {names[row].as_py()!r} in row {row} is not in the subjects' table "
            f"({int(lost.sum())} of {len(owner)} rows). Add the subject, or drop those rows"
        )
    return owner


def _variables(table: pa.Table, where: str, spec: TimeSeries) -> NDArray[np.int64]:
    names = as_names(column(table, "variable", where), where, "variable")
    code = positions(names, pa.array(spec.variables, pa.string()))
    if (lost := code < 0).any():
        row = first(lost)
        strange = names[row].as_py()
        raise DataError(
            f"{where}: variable {strange!r} in row {row} ({int(lost.sum())} rows) is not in the schema "
            f"({listed(spec.variables)}){nearest(strange, spec.variables)}. Rename it, add it to the "
            "modality's variables, or drop those rows"
        )
    return code


def relative_time(
    table: pa.Table, where: str, owner: NDArray[np.int64], clock: Clock, unit: str
) -> NDArray[np.float64]:
    """(R,) record times minus the owner's time zero, in ``unit``.

    Raises:
        DataError: A time is not finite, or not of the kind of time zero.
    """
    stamps = column(table, "time", where)
    temporal = pa.types.is_temporal(stamps.type)
    if clock.zero is None:
        if temporal:
            raise DataError(
                f"{where}: 'time' holds timestamps ({stamps.type}) but the schema has no time_zero; name "
                "the column with the moment of prediction, or give times relative to it as numbers"
            )
        time = as_numbers(stamps, where, "time")
    elif temporal != pa.types.is_temporal(clock.zero.type):
        raise DataError(
            f"{where}: 'time' is {stamps.type} but time_zero {clock.name!r} is {clock.zero.type}; "
            "both must be timestamps, or both numbers"
        )
    elif temporal and _zoned(stamps) != _zoned(clock.zero):
        raise DataError(
            f"{where}: 'time' is {stamps.type} but time_zero {clock.name!r} is {clock.zero.type}; "
            "give both a time zone, or neither"
        )
    elif temporal:
        time = (_seconds(stamps) - _seconds(clock.zero)[owner]) / UNIT_SECONDS[unit]
    else:
        time = as_numbers(stamps, where, "time") - as_numbers(clock.zero, "subjects", clock.name)[owner]
    if (bad := ~np.isfinite(time)).any():
        row = first(bad)
        raise DataError(
            f"{where}: time {stamps[row].as_py()!r} in row {row} ({int(bad.sum())} rows) is not a finite "
            "number relative to time zero. Fill the time (and time zero), or drop those rows"
        )
    return time


def refuse_late(
    late: NDArray[np.bool_],
    time: NDArray[np.float64],
    owner: NDArray[np.int64],
    where: str,
    unit: str,
    id_column: str,
    ids: pa.Array,
    clock: Clock,
) -> None:
    """Nothing if no record is ``late`` (R,) or late ones are dropped.

    Raises:
        DataError: The clock refuses records after the moment of prediction, and there are some.
    """
    if clock.on_late == "drop" or not late.any():
        return
    row = first(late)
    raise DataError(
        f"{where}: {int(late.sum())} of {len(late)} are later than the moment of prediction"
        f"{f' ({clock.name})' if clock.name else ''}, first {id_column} {ids[int(owner[row])].as_py()!r}, "
        f'+{time[row]:.6g} {unit}: they would leak the future. Mend the times, or pass on_late="drop" to '
        "leave them out, and have them counted"
    )


def _read_grid(spec: TimeSeries, table: pa.Table, where: str, id_column: str, ids: pa.Array) -> Content:
    """A binned table (id, grid); implausible cells are left out and counted."""
    owner = owners(table, where, id_column, ids)
    grid, shape = column(table, "grid", where), (spec.steps, len(spec.variables))
    length = pc.fill_null(pc.list_value_length(grid), 0).to_numpy(zero_copy_only=False)
    if (bad := length != np.prod(shape)).any():
        row = first(bad)
        raise DataError(
            f"{where}: the grid in row {row} has {length[row]} numbers ({int(bad.sum())} rows); the schema "
            f"has {shape[0]} bins of {shape[1]} variables. Bin with the same schema"
        )
    values = as_numbers(pc.list_flatten(grid), where, "grid").reshape(-1, *shape)
    low, high = spec.bounds.T
    finite = np.isfinite(values)
    implausible = finite & ((values < low) | (values > high))
    used = finite & ~implausible
    order = np.argsort(owner, kind="stable")
    order = order[used.any((1, 2))[order]]
    out = implausible.sum((0, 1))
    counts: dict[str, int | Mapping[str, int]] = {
        "records": int(finite.sum()),
        "after_time_zero": 0,  # by construction
        "before_the_grid": 0,
        "without_value": 0,
        "implausible": {name: int(n) for name, n in zip(spec.variables, out, strict=True) if n},
        "used": int(used.sum()),
    }
    rows = owner[order]
    if (again := rows[1:] == rows[:-1]).any():
        raise DataError(
            f"{where}: {id_column} {ids[int(rows[first(again)])].as_py()!r} has two grids; keep one"
        )
    return Content(rows, np.where(used, values, np.nan)[order].astype(np.float32), counts)


def _zoned(stamps: pa.Array) -> bool:
    return getattr(stamps.type, "tz", None) is not None


def _seconds(stamps: pa.Array) -> NDArray[np.float64]:
    micro = stamps.cast(pa.timestamp("us", tz=getattr(stamps.type, "tz", None)), safe=False).cast(pa.int64())
    return np.asarray(micro.to_numpy(zero_copy_only=False), dtype=np.float64) / 1e6


def _reduce(
    statistic: str, cell: NDArray[np.int64], time: NDArray[np.float64], value: NDArray[np.float64], cells: int
) -> NDArray[np.float64]:
    """(cells,) one number per cell, NaN where a cell got no value."""
    out = np.full(cells, np.nan)
    if statistic == "mean":
        count = np.bincount(cell, minlength=cells)
        total = np.bincount(cell, weights=value, minlength=cells)
        np.divide(total, count, out=out, where=count > 0)
    elif statistic == "last":
        order = np.argsort(time, kind="stable")
        out[cell[order]] = value[order]  # of repeated positions numpy keeps the last assignment
    else:
        (np.fmin if statistic == "min" else np.fmax).at(out, cell, value)
    return out


def _true(flags: pa.Array) -> NDArray[np.bool_]:
    return np.asarray(pc.fill_null(flags, False).to_numpy(zero_copy_only=False), dtype=bool)
