"""Columns with one cell per subject (nested lists, files, pictures) to the records that they stand for."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image as Pillow

from sklar.data.modalities import Image, Text, TimeSeries
from sklar.data.pictures import covering
from sklar.data.tables import as_numbers, check_variables, column, first, listed
from sklar.errors import DataError, UserError

OnMissingFile = Literal["error", "missing"]
"""What a path without a file is: a mistake, or a modality that is missing."""

READERS: dict[str, Callable[[str], pa.Table]] = {
    ".csv": csv.read_csv,
    ".csv.gz": csv.read_csv,
    ".parquet": pq.read_table,
}
"""Files of one subject's records by their ending."""


@dataclass(frozen=True)
class Cells:
    """The cells of a modality that hold something.

    Attributes:
        values: (n,) the cells.
        rows: (n,) their rows in the user's table.
        times: (n,) when each was taken, or lists of it; None when nothing says so.
        ids: (N,) names of all rows.
        id_column: What the column of names is called.
        where: How errors call the modality.
        paths: Whether texts may be paths of files to read.
        on_missing_file: What a path without a file is.
    """

    values: pa.Array
    rows: NDArray[np.int64]
    times: pa.Array | None
    ids: pa.Array
    id_column: str
    where: str
    paths: bool
    on_missing_file: OnMissingFile

    def filled(self) -> Self:
        """Without null, NaN, empty texts and bytes, and empty lists."""
        return self.keep(_filled(self.values))

    def keep(self, chosen: NDArray[np.bool_]) -> Self:
        """Some of the cells."""
        place = pa.array(np.flatnonzero(chosen))
        times = None if self.times is None else self.times.take(place)
        return replace(self, values=self.values.take(place), rows=self.rows[chosen], times=times)

    def flat(self) -> Self:
        """One cell per entry of these lists."""
        length = lengths(self.values)
        times = self.times
        if times is not None and is_list(times.type):
            self.agree(lengths(times), length, "times", "entries")
            times = pc.list_flatten(times)
        elif times is not None:
            times = times.take(pa.array(np.repeat(np.arange(len(length)), length)))
        values = plain(pc.list_flatten(self.values))
        return replace(self, values=values, rows=np.repeat(self.rows, length), times=times).filled()

    def agree(self, found: NDArray[np.int64], wanted: NDArray[np.int64], what: str, among: str) -> None:
        """Refuse cells of which two numbers differ.

        Raises:
            DataError: One does.
        """
        if (bad := found != wanted).any():
            place = first(bad)
            raise DataError(
                f"{self.called(place)}: {found[place]} {what} for {wanted[place]} {among} ({int(bad.sum())} "
                "rows). Give one for each"
            )

    def called(self, place: int) -> str:
        """How errors call a cell."""
        row = int(self.rows[place])
        return f"{self.where}, row {row} ({self.id_column} {self.ids[row].as_py()})"

    def table(self, rows: NDArray[np.int64], **columns: Any) -> pa.Table:
        """Records of the given rows of the user's table; a column that is None is left out."""
        given = {name: values for name, values in columns.items() if values is not None}
        return pa.table({self.id_column: self.ids.take(pa.array(rows)), **given})

    def unreadable(self, holds: str) -> DataError:
        """What to say of a column of another type."""
        return DataError(f"{self.where}: the column is {self.values.type}; it holds {holds}, or null")


def plain(array: pa.Array) -> pa.Array:
    """The column without dictionary or extension type."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    return array


def is_list(kind: pa.DataType) -> bool:
    """Whether a column holds lists of any sort."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def series_records(spec: TimeSeries, cells: Cells) -> pa.Table:
    """Records (id, time, variable, value), or grids (id, grid), of a column of series.

    Args:
        spec: The series.
        cells: Paths of files; lists of records {time, variable, value} or {time, <variable>, ...}; or
            matrices of V columns, with the times of their rows, or with one row per bin.

    Raises:
        DataError: The column holds something else, or what it holds does not suit the schema.
    """
    return by_form(
        cells,
        spec.root,
        partial(_long, spec),
        partial(_matrix, spec),
        "lists of records with time, variable and value, matrices (lists of rows of numbers), or paths",
    )


def by_form(
    cells: Cells,
    root: str | None,
    long: Callable[[Cells, pa.Table], pa.Table],
    matrices: Callable[[Cells], pa.Table],
    holds: str,
) -> pa.Table:
    """A column of series, read by what it is: paths, lists of records, or lists of lists; else it ``holds``.

    Raises:
        DataError: The column is something else.
    """
    kind = cells.values.type
    if not len(cells.rows):
        return cells.table(cells.rows, grid=pa.array([], pa.list_(pa.float64())))
    if is_text(kind):
        return file_records(root, cells, long)
    if is_list(kind) and pa.types.is_struct(kind.value_type):
        flat = cells.flat()
        names = [field.name for field in flat.values.type]
        return long(flat, pa.table(dict(zip(names, flat.values.flatten(), strict=True))))
    if is_list(kind) and is_list(plain(cells.values[:0].flatten()).type):
        return matrices(cells)
    raise cells.unreadable(holds)


def documents(spec: Text, cells: Cells) -> pa.Table:
    """Records (id, text, position), and time where it is known, of a column of texts.

    Args:
        spec: The text.
        cells: Texts, lists of them, or lists of records {text} or {text, time}.

    Raises:
        DataError: The column holds something else.
    """
    if is_list(cells.values.type):
        cells = cells.flat()
    kind = cells.values.type
    if pa.types.is_struct(kind) and kind.get_field_index("text") >= 0:
        times = cells.values.field("time") if kind.get_field_index("time") >= 0 else cells.times
        cells = replace(cells, values=cells.values.field("text"), times=times).filled()
    if len(cells.rows) and not is_text(cells.values.type):
        raise cells.unreadable("texts, lists of texts, or lists of records with text and time")
    position = pa.array(np.arange(len(cells.rows)))
    text = cells.values.cast(pa.string())
    return cells.table(cells.rows, text=text, position=position, time=cells.times)


def pictures(spec: Image, cells: Cells) -> pa.Table:
    """Records (id, image), and time where it is known, of a column of pictures.

    Args:
        spec: The image.
        cells: Paths, the bytes of files, records {bytes, path} as Hugging Face writes them, lists of any of
            these, or pixels: nested lists (H, W), (H, W, S) or (S, H, W) of bytes, all of one size.

    Raises:
        DataError: The column holds something else.
    """
    kind = cells.values.type
    if is_list(kind) and (_is_file(kind.value_type) or pa.types.is_struct(kind.value_type)):
        cells = cells.flat()
    cells = _from_records(cells)
    kind = cells.values.type
    if not len(cells.rows):
        return cells.table(cells.rows, image=pa.array([], pa.string()), time=cells.times)
    if is_text(kind):
        cells, found = _existing(cells, spec.root)
        return cells.table(cells.rows, image=pa.array(found, pa.string()), time=cells.times)
    if _is_file(kind):
        return cells.table(cells.rows, image=cells.values, time=cells.times)
    if is_list(kind):
        return cells.table(cells.rows, image=_pixels(spec, cells), time=cells.times)
    raise cells.unreadable("paths, the bytes of picture files, or nested lists of bytes")


def _filled(array: pa.Array) -> NDArray[np.bool_]:
    kind, there = array.type, array.is_valid()
    if _is_file(kind):
        there = pc.greater(pc.binary_length(array), 0)
    elif is_list(kind):
        there = pc.greater(pc.list_value_length(array), 0)
    elif pa.types.is_floating(kind):
        there = pc.invert(pc.is_nan(array))
    return np.asarray(pc.fill_null(there, False).to_numpy(zero_copy_only=False), dtype=bool)


def lengths(lists: pa.Array) -> NDArray[np.int64]:
    """(n,) entries of every list; of a null none."""
    length = pc.fill_null(pc.list_value_length(lists), 0)
    return np.asarray(length.to_numpy(zero_copy_only=False), dtype=np.int64)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_file(kind: pa.DataType) -> bool:
    return is_text(kind) or bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _long(spec: TimeSeries, cells: Cells, records: pa.Table) -> pa.Table:
    """Records with a variable each, from such ones or from those with a column per variable.

    ``records`` holds one row per cell.
    """
    time = column(records, "time", cells.where)
    if {"variable", "value"} <= set(records.column_names):
        own = {name: column(records, name, cells.where) for name in ("variable", "value")}
        return cells.table(cells.rows, time=time, **own)
    measured = [name for name in spec.variables if name in records.column_names]
    if not measured:
        raise DataError(
            f"{cells.where}: records have {listed(records.column_names)}; they need time, variable and "
            f"value, or time and a column per variable ({listed(spec.variables)})"
        )
    check_variables(set(records.column_names) - {"time", cells.id_column}, spec.variables, cells.where)
    value = [as_numbers(column(records, name, cells.where), cells.where, name) for name in measured]
    return _melt(cells, np.arange(len(time)), time, np.stack(value, 1), measured)


def _melt(
    cells: Cells, place: NDArray[np.int64], time: pa.Array, value: NDArray[np.float64], names: list[str]
) -> pa.Table:
    """Long records of a (R, V) table of values, whose rows belong to the cells at ``place`` (R,)."""
    row, variable = np.nonzero(~np.isnan(value))
    return cells.table(
        cells.rows[place[row]],
        time=time.take(pa.array(row)),
        variable=pa.array(names, pa.string()).take(pa.array(variable)),
        value=pa.array(value[row, variable]),
    )


def _matrix(spec: TimeSeries, cells: Cells) -> pa.Table:
    bins, wide = lengths(cells.values), len(spec.variables)
    lines = plain(pc.list_flatten(cells.values))
    owner = np.repeat(np.arange(len(bins)), bins)
    given = lines.is_valid().to_numpy(zero_copy_only=False)  # a bin may be null as a whole
    if (bad := given & (lengths(lines) != wide)).any():
        line = first(bad)
        raise DataError(
            f"{cells.called(int(owner[line]))}: a row of {lengths(lines)[line]} numbers ({int(bad.sum())} "
            f"such rows); the schema has {wide} variables ({listed(spec.variables)})"
        )
    value = np.full((len(lines), wide), np.nan)
    own = plain(pc.list_flatten(lines.take(pa.array(np.flatnonzero(given)))))
    value[given] = as_numbers(own, cells.where, "the matrix").reshape(-1, wide)
    if cells.times is not None:
        if not is_list(cells.times.type):
            raise DataError(
                f"{cells.where}: the times are {cells.times.type}; a matrix needs a list, one time per row"
            )
        cells.agree(lengths(cells.times), bins, "times", "rows")
        return _melt(cells, owner, pc.list_flatten(cells.times), value, list(spec.variables))
    if (bad := bins != spec.steps).any():
        place = first(bad)
        raise DataError(
            f"{cells.called(place)}: {bins[place]} rows of numbers ({int(bad.sum())} such cells), where the "
            f"schema has {spec.steps} bins. Bin alike, or name the column with the times of the rows: time="
        )
    grid = pa.FixedSizeListArray.from_arrays(pa.array(value.ravel()), spec.steps * wide)
    return cells.table(cells.rows, grid=grid)


def file_records(root: str | None, cells: Cells, long: Callable[[Cells, pa.Table], pa.Table]) -> pa.Table:
    """The records in the files that cells name.

    Args:
        root: Folder that the paths start from.
        cells: Paths.
        long: From the rows of one file, given cells of the same length, to records.

    Raises:
        UserError: Paths are not read.
        DataError: A file is missing, or is no table.
    """
    cells, paths = _existing(cells, root)
    parts = []
    for place, path in enumerate(paths):  # one file at a time
        reader = next((read for ending, read in READERS.items() if path.endswith(ending)), None)
        if reader is None:
            raise DataError(f"{cells.called(place)}: {path!r} is not one of {', '.join(READERS)}")
        try:
            records = reader(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"{cells.called(place)}: {path!r} cannot be read ({error})") from None
        rows = np.repeat(cells.rows[place], records.num_rows)
        only = replace(cells, rows=rows, where=f"{cells.where}, {path!r}")
        parts.append(long(only, records))
    if not parts:
        return cells.table(cells.rows, grid=pa.array([], pa.list_(pa.float64())))
    return pa.concat_tables(parts, promote_options="permissive")


def _existing(cells: Cells, root: str | None) -> tuple[Cells, list[str]]:
    """The cells whose files exist, and their paths."""
    if not cells.paths:
        raise UserError(f"{cells.where}: paths of files are not read here; give what the files hold")
    paths = [os.path.join(root or "", path) for path in cells.values.to_pylist()]  # noqa: PTH118 many
    there = np.array([os.path.isfile(path) for path in paths], dtype=bool)  # noqa: PTH113
    if not there.all() and cells.on_missing_file == "error":
        place = first(~there)
        raise DataError(
            f"{cells.where}: {int((~there).sum())} of {len(paths)} paths do not exist, first "
            f"{paths[place]!r} ({cells.id_column} {cells.ids[int(cells.rows[place])].as_py()}). Set root=, "
            "the folder that paths start from. What is missing is null, not a bad path; "
            'on_missing_file="missing" accepts those'
        )
    return cells.keep(there), [path for path, exists in zip(paths, there, strict=True) if exists]


def _from_records(cells: Cells) -> Cells:
    """Cells of records {bytes, path} as cells of bytes, or of paths where no record has bytes."""
    kind = cells.values.type
    if not pa.types.is_struct(kind) or min(kind.get_field_index("bytes"), kind.get_field_index("path")) < 0:
        return cells
    content, path = (replace(cells, values=plain(cells.values.field(part))) for part in ("bytes", "path"))
    if not len(content.filled().rows):
        return path.filled()
    if (lost := ~_filled(content.values) & _filled(path.values)).any():
        raise DataError(f"{cells.called(first(lost))}: a path among pictures that come as bytes; give bytes")
    return content.filled()


def _pixels(spec: Image, cells: Cells) -> pa.Array:
    """(n,) flat pixels (S, H, W) of the stored size, from nested lists."""
    sizes: list[int] = []
    values = cells.values
    while is_list(values.type):
        length = lengths(values)
        if (bad := length != length[0]).any():
            what = cells.called(first(bad)) if not sizes else cells.where
            raise DataError(f"{what}: pictures of several sizes; nested lists have one, files may have many")
        sizes.append(int(length[0]))
        values = plain(pc.list_flatten(values))
    bytes_ = as_numbers(values, cells.where, "the pixels") if pa.types.is_integer(values.type) else None
    if bytes_ is None or not ((bytes_ >= 0) & (bytes_ <= 255)).all():
        raise DataError(f"{cells.where}: pixels are {values.type}; they are whole numbers from 0 to 255")
    if len(sizes) == 1:  # flat already
        return pa.FixedSizeListArray.from_arrays(pa.array(bytes_.astype(np.uint8)), sizes[0])
    stack = bytes_.astype(np.uint8).reshape(-1, *sizes)
    if stack.ndim == 3:
        stack = stack[..., None]
    elif stack.shape[-1] not in (1, 3) and stack.shape[1] in (1, 3):
        stack = stack.transpose(0, 2, 3, 1)
    if stack.ndim != 4 or stack.shape[-1] not in (1, 3):
        raise DataError(
            f"{cells.where}: pictures of shape {tuple(sizes)}; give (H, W), (H, W, S) or (S, H, W)"
        )
    mode = "L" if spec.channels == 1 else "RGB"
    out = [
        covering(Pillow.fromarray(own[..., 0] if own.shape[-1] == 1 else own).convert(mode), spec)
        for own in stack
    ]
    flat = np.stack(out).ravel()
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), spec.channels * spec.height * spec.width)
