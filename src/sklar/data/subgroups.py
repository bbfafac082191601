"""Which test rows are alike: by the categories of tables and of characteristics, and by numbers in bands."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from sklar.data.store import CHARACTERISTICS, PreparedData
from sklar.data.tables import positions
from sklar.errors import DataError, UserError, nearest

SUBGROUPS = "subgroups.parquet"
UNKNOWN = "unknown"
"""The subgroup of rows whose value is not known."""
_ABOUT = b"sklar"
_QUARTERS = (0.25, 0.5, 0.75)
_FEW = 5
"""Different values up to which a number is a category."""

By = Sequence[str] | Mapping[str, Sequence[float]]
"""Columns that tell rows apart; of a mapping each with the cuts between its bands, empty for the usual."""


@dataclass(frozen=True)
class Partition:
    """Rows told apart by one column.

    Attributes:
        name: Of the column.
        levels: In their order; the last is that of unknown values, where there are any.
        level: (N,) of each row, one of ``levels``.
    """

    name: str
    levels: tuple[str, ...]
    level: NDArray[np.str_]


@dataclass(frozen=True)
class _Column:
    """A column of N rows, and how it is usually divided.

    Attributes:
        name: Its name.
        values: (N,) numbers, NaN where unknown, or texts, None where unknown.
        levels: The categories in their order; empty of a number of many values.
        cuts: Between the bands of a number of many values, else empty.
    """

    name: str
    values: NDArray[Any]
    levels: tuple[str, ...]
    cuts: tuple[float, ...]

    def divided(self, cuts: Sequence[float] = ()) -> Partition:
        """Into its categories or bands, or into bands between other cuts."""
        if len(own := cuts or self.cuts):
            levels, level = bands(self.values, own)
        else:
            levels, texts = self.levels, _texts(self.values)
            level = np.where(np.isin(texts, levels), texts, UNKNOWN)
        if UNKNOWN not in levels and (level == UNKNOWN).any():
            levels = (*levels, UNKNOWN)
        return Partition(self.name, levels, level)


def subgroup_file(data: PreparedData, test: NDArray[np.int64]) -> bytes | None:
    """What subgroups test rows belong to, as a run folder keeps it; None where the data say nothing of rows.

    Numbers are kept as they are, so that an evaluation may choose its own bands. Like the predictions beside
    them they are of single rows: of restricted data a run folder is its owner's alone.

    Args:
        data: All of the prepared folder, whatever a run reads of it.
        test: Positions of the run's test rows.
    """
    found = _all(data, test)
    if not found or not len(test):
        return None
    columns = {"id": pa.array(data.ids[test])} | {own.name: pa.array(own.values) for own in found}
    about = {own.name: {"levels": own.levels, "cuts": own.cuts} for own in found}
    table = pa.table(columns).replace_schema_metadata({_ABOUT: json.dumps(about).encode()})
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    return bytes(buffer.getvalue().to_pybytes())


def read_subgroups(folder: Path, ids: NDArray[np.str_], by: By | None = None) -> tuple[Partition, ...]:
    """The partitions of rows that a run folder knows.

    Args:
        folder: The run folder.
        ids: (N,) names of test rows.
        by: Columns, perhaps with cuts; None takes those that are categories, and none where the folder keeps
            no subgroups.

    Raises:
        UserError: A column is not there, or cannot be cut so.
        DataError: The file is damaged, or of other rows.
    """
    path = folder / SUBGROUPS
    if not path.is_file():
        if by:
            raise UserError(
                f"{folder} keeps no {SUBGROUPS}: its data have no table and no characteristics, or an older "
                "sklar trained it; train again, or leave --by out"
            )
        return ()
    try:
        table = pq.read_table(path)
        about = json.loads((table.schema.metadata or {})[_ABOUT])
        row = positions(pa.array(ids.tolist(), pa.string()), table["id"].combine_chunks())
        known = [
            _Column(
                name,
                table[name].to_numpy(),
                tuple(own["levels"]),
                tuple(own.get("cuts", ())),  # older files keep the names of bands
            )
            for name, own in about.items()
        ]
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}): train the model again") from error
    if lost := int((row < 0).sum()):
        raise DataError(f"{path} lacks {lost} of {len(ids)} test rows: train the model again")
    return _divided([replace(own, values=own.values[row]) for own in known], by, path)


def subgroups_of(data: PreparedData, ids: NDArray[np.str_], by: By | None = None) -> tuple[Partition, ...]:
    """The same from the prepared folder itself, whatever rows a run was tested on.

    Args:
        data: All of the prepared folder.
        ids: (N,) names of rows in it.
        by: Columns of its tables and characteristics, perhaps with cuts; None takes the categories.

    Raises:
        UserError: A column is not there, or cannot be cut so.
    """
    place = {name: index for index, name in enumerate(data.ids.tolist())}
    rows = np.array([place[name] for name in ids.tolist()], dtype=np.int64)
    return _divided(_all(data, rows), by, data.path)


def asked(by: By | None) -> Mapping[str, tuple[float, ...]] | None:
    """Columns with their cuts, empty for the usual ones.

    Raises:
        UserError: Cuts are not ascending numbers.
    """
    if by is None:
        return None
    if not isinstance(by, Mapping):
        return dict.fromkeys(by, ())
    for name, cuts in by.items():
        if not np.isfinite(cuts).all() or (np.diff(cuts) <= 0).any():
            raise UserError(
                f"cuts of {name!r}: {', '.join(f'{cut:g}' for cut in cuts)} are not ascending numbers; "
                f"{name}=40,65 makes the bands < 40, 40 to < 65 and >= 65"
            )
    return {name: tuple(map(float, cuts)) for name, cuts in by.items()}


def bands(values: ArrayLike, cuts: Sequence[float]) -> tuple[tuple[str, ...], NDArray[np.str_]]:
    """Names of the bands between ascending cuts, and (N,) the band of each value.

    A value that equals a cut is in the band above it. A band without values keeps its name.
    """
    number = np.asarray(values, dtype=np.float64)
    text = [f"{cut:g}" for cut in cuts]
    names = (f"< {text[0]}", *(f"{low} to < {high}" for low, high in pairwise(text)), f">= {text[-1]}")
    chosen = np.array(names)[np.searchsorted(cuts, number, side="right")]
    return names, np.where(np.isnan(number), UNKNOWN, chosen)


def _divided(found: Sequence[_Column], by: By | None, where: Path) -> tuple[Partition, ...]:
    columns = {own.name: own for own in found}
    wanted = asked(by)
    if wanted is None:
        return tuple(own.divided() for own in found if not own.cuts)
    for name, cuts in wanted.items():
        if name not in columns:
            among = ", ".join(columns) or "none"
            raise UserError(f"no column {name!r} in {where}; it has {among}{nearest(name, columns)}")
        if cuts and columns[name].values.dtype.kind != "f":
            levels = ", ".join(columns[name].levels)
            raise UserError(
                f"cuts of {name!r}: in {where} it is a category ({levels}), which has no bands; name it "
                "without cuts"
            )
    return tuple(columns[name].divided(cuts) for name, cuts in wanted.items())


def _all(data: PreparedData, rows: NDArray[np.int64]) -> list[_Column]:
    """Every column of tables and characteristics on the rows, in the order of the schema."""
    tables, about = data.schema.tables, data.characteristics
    own = {name: spec.columns for name, spec in tables.items()}
    own |= {} if about is None else {CHARACTERISTICS: tuple(about.column_names[1:])}
    every = [column for columns in own.values() for column in columns]
    found = []
    for name, columns in own.items():
        for column in columns:
            label = f"{name}.{column}" if every.count(column) > 1 else column
            if about is not None and name == CHARACTERISTICS:
                values, levels = _known(about[column]), None
            else:
                levels = tables[name].categorical.get(column)
                values = _column(data, name, column)
            if (one := _described(label, values, levels, rows, data.rows("train"))) is not None:
                found.append(one)
    return found


def _described(
    name: str,
    values: NDArray[Any],
    levels: Sequence[str] | None,
    rows: NDArray[np.int64],
    training: NDArray[np.int64],
) -> _Column | None:
    """A column on some rows; None of a number that tells none apart."""
    if values.dtype.kind != "f":
        known = levels if levels is not None else sorted({text for text in values if text is not None})
        return _Column(name, values[rows], tuple(known), ())
    if len(few := np.unique(values[~np.isnan(values)])) <= _FEW:
        return _Column(name, values[rows], tuple(f"{value:g}" for value in few), ())
    fitted = values[training]
    cuts = _cuts(fitted[~np.isnan(fitted)])
    return _Column(name, values[rows], (), tuple(cuts)) if cuts else None


def _cuts(known: NDArray[np.float64]) -> list[float]:
    """Quartiles, to three digits, that tell values apart; none where there is one value for all."""
    if not len(known):
        return []
    quartiles = {float(f"{cut:.3g}") for cut in np.quantile(known, _QUARTERS)}
    return sorted(cut for cut in quartiles if known.min() < cut <= known.max())


def _texts(values: NDArray[Any]) -> NDArray[np.str_]:
    """(N,) names of categories; of a number as few digits as tell it."""
    if values.dtype.kind == "f":
        return np.array([f"{value:g}" for value in values], dtype=np.str_)
    return np.array([UNKNOWN if text is None else text for text in values], dtype=np.str_)


def _column(data: PreparedData, name: str, column: str) -> NDArray[Any]:
    """(N,) a column of a table: numbers with NaN, or texts with None, where they are not known."""
    place = data.positions[:, data.modalities.index(name)]
    kind = pa.float64() if column in data.schema.tables[name].numeric else pa.string()
    return _known(data.table(name)[column].cast(kind).take(pa.array(place, mask=place < 0)))


def _known(column: pa.ChunkedArray) -> NDArray[Any]:
    """(N,) numbers as float64 with NaN, texts as objects with None, where they are not known."""
    number = not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type))
    values = column.to_numpy(zero_copy_only=False)
    return np.asarray(values, dtype=np.float64 if number else np.object_)
