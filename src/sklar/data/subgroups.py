"""Which test rows are alike: by the categories of tables, and by numbers in bands."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from sklar.data.store import PreparedData
from sklar.errors import DataError, UserError, nearest

SUBGROUPS = "subgroups.parquet"
UNKNOWN = "unknown"
"""The subgroup of rows whose value is not known."""
_ABOUT = b"sklar"
_QUARTERS = (0.25, 0.5, 0.75)
_FEW = 5
"""Different values up to which a number is a category."""


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


def subgroup_file(data: PreparedData, test: NDArray[np.int64]) -> bytes | None:
    """What subgroups test rows belong to, as a run folder keeps it; None where the data have no tables.

    A number of many values is kept as its band, a quarter of the training rows each, and not as it is.

    Args:
        data: All of the prepared folder, whatever a run reads of it.
        test: Positions of the run's test rows.
    """
    found = _all(data, test)
    if not found or not len(test):
        return None
    columns = {"id": pa.array(data.ids[test])} | {own.name: pa.array(own.level) for own, _ in found}
    about = {own.name: {"levels": list(own.levels), "band": band} for own, band in found}
    table = pa.table(columns).replace_schema_metadata({_ABOUT: json.dumps(about).encode()})
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    return bytes(buffer.getvalue().to_pybytes())


def read_subgroups(
    folder: Path, ids: NDArray[np.str_], by: Sequence[str] | None = None
) -> tuple[Partition, ...]:
    """The partitions of rows that a run folder knows.

    Args:
        folder: The run folder.
        ids: (N,) names of test rows.
        by: Columns; None takes those that are categories, and none where the folder keeps no subgroups.

    Raises:
        UserError: A column is not there.
        DataError: The file is damaged, or of other rows.
    """
    path = folder / SUBGROUPS
    if not path.is_file():
        if by:
            raise UserError(
                f"{folder} keeps no {SUBGROUPS}: its data have no table, or an older sklar trained it; train "
                "again, or leave --by out"
            )
        return ()
    try:
        table = pq.read_table(path)
        about = json.loads((table.schema.metadata or {})[_ABOUT])
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}): train the model again") from error
    chosen = _chosen({name: own["band"] for name, own in about.items()}, by, path)
    place = {name: index for index, name in enumerate(table["id"].to_pylist())}
    if lost := [name for name in ids.tolist() if name not in place]:
        raise DataError(f"{path} lacks {len(lost)} of {len(ids)} test rows: train the model again")
    rows = np.array([place[name] for name in ids.tolist()], dtype=np.int64)
    return tuple(
        Partition(name, tuple(about[name]["levels"]), np.asarray(table[name].to_pylist(), np.str_)[rows])
        for name in chosen
    )


def subgroups_of(
    data: PreparedData, ids: NDArray[np.str_], by: Sequence[str] | None = None
) -> tuple[Partition, ...]:
    """The same from the prepared folder itself, whatever rows a run was tested on.

    Args:
        data: All of the prepared folder.
        ids: (N,) names of rows in it.
        by: Columns of its tables; None takes those that are categories.

    Raises:
        UserError: A column is not there.
    """
    place = {name: index for index, name in enumerate(data.ids.tolist())}
    rows = np.array([place[name] for name in ids.tolist()], dtype=np.int64)
    found = {own.name: (own, band) for own, band in _all(data, rows)}
    chosen = _chosen({name: band for name, (_, band) in found.items()}, by, data.path)
    return tuple(found[name][0] for name in chosen)


def bands(values: ArrayLike, cuts: Sequence[float]) -> tuple[tuple[str, ...], NDArray[np.str_]]:
    """Names of the bands between ascending cuts, and (N,) the band of each value.

    A value that equals a cut is in the band above it. A band without values keeps its name.
    """
    number = np.asarray(values, dtype=np.float64)
    text = [f"{cut:g}" for cut in cuts]
    names = (
        f"below {text[0]}",
        *(f"{low} to {high}" for low, high in pairwise(text)),
        f"{text[-1]} and above",
    )
    chosen = np.array(names)[np.searchsorted(cuts, number, side="right")]
    return names, np.where(np.isnan(number), UNKNOWN, chosen)


def _chosen(is_band: Mapping[str, bool], by: Sequence[str] | None, where: Path) -> Sequence[str]:
    for name in by or ():
        if name not in is_band:
            among = ", ".join(is_band) or "none"
            raise UserError(f"no column {name!r} in {where}; it has {among}{nearest(name, is_band)}")
    return by if by is not None else [name for name, band in is_band.items() if not band]


def _all(data: PreparedData, rows: NDArray[np.int64]) -> list[tuple[Partition, bool]]:
    return [own for name in data.schema.tables for own in _partitions(data, name, rows)]


def _partitions(data: PreparedData, name: str, test: NDArray[np.int64]) -> list[tuple[Partition, bool]]:
    """Of every column of a table, and whether it is in bands."""
    spec, others = data.schema.tables[name], data.schema.tables
    found = []
    for column in spec.columns:
        shared = sum(column in other.columns for other in others.values()) > 1
        values = _column(data, name, column)
        band = False
        if column in spec.categorical:
            levels = tuple(spec.categorical[column])
            texts = values[test].astype(np.str_)
            level = np.where(np.isin(texts, levels), texts, UNKNOWN)
        elif len(few := np.unique(values[~np.isnan(values)])) <= _FEW:
            levels = tuple(f"{value:g}" for value in few)
            level = np.where(np.isnan(values[test]), UNKNOWN, [f"{value:g}" for value in values[test]])
        else:
            band = True
            training = values[data.rows("train")].astype(np.float64)
            cuts = _cuts(training[~np.isnan(training)])
            if not cuts:
                continue
            levels, level = bands(values[test], cuts)
        if (level == UNKNOWN).any():
            levels = (*levels, UNKNOWN)
        label = f"{name}.{column}" if shared else column
        found.append((Partition(label, levels, level), band))
    return found


def _cuts(known: NDArray[np.float64]) -> list[float]:
    """Quartiles, to three digits, that tell values apart; none where there is one value for all."""
    if not len(known):
        return []
    quartiles = {float(f"{cut:.3g}") for cut in np.quantile(known, _QUARTERS)}
    return sorted(cut for cut in quartiles if known.min() < cut <= known.max())


def _column(data: PreparedData, name: str, column: str) -> NDArray[Any]:
    """(N,) a column of a table: texts, or numbers with NaN where they are not known."""
    table, place = data.table(name), data.positions[:, data.modalities.index(name)]
    number = column in data.schema.tables[name].numeric
    values = table[column].cast(pa.float64() if number else pa.string())
    own = values.take(pa.array(place, mask=place < 0))
    return np.asarray(own.to_numpy(zero_copy_only=False), dtype=np.float64 if number else np.object_)
