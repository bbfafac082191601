"""Measurements of new patients to the dense array: what `events`, `cells` and `grid` do, without an engine.

The measurements are those of the 17 variables in their own units; where they came from is not asked.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sklar.data.gridded import read_grid
from sklar.data.records import Clock, Content, owners, refuse_late, relative_time
from sklar.data.schema import GriddedSeries
from sklar.data.tables import as_names, as_numbers, column, first, positions
from sklar.errors import DataError, nearest
from sklar.mimic.grid import dense
from sklar.mimic.rules import Rules
from sklar.mimic.variables import BIN_SECONDS, STEPS, WINDOW_SECONDS, Variable, code, variables

Remark = tuple[str, NDArray[np.int64]]


def read_events(
    spec: GriddedSeries,
    table: pa.Table,
    where: str,
    id_column: str,
    ids: pa.Array,
    clock: Clock,
    rules: Rules,
) -> Content:
    """Bin records (id, time, variable, value, text) as the preparation bins measurements, or take grids.

    A bin keeps the value of its latest moment. Of several values at one moment the largest counts (of
    categories the last in the order of the alphabet), or under merged categories the midpoint and the lowest
    score. Records before the window are left out.

    Args:
        spec: The series.
        table: Times in hours relative to the prediction; numbers in the units of the variables, categories as
            the texts that the columns are called after.
        where: How errors call the table.
        id_column: Column of subjects.
        ids: (N,) the subjects.
        clock: What becomes of records after the moment of prediction.
        rules: Of the folder that the model was trained on.

    Raises:
        DataError: A subject or variable is unknown, a number is none, or a time is late and that is refused.
    """
    if "grid" in table.column_names:
        return read_grid(spec, table, where, id_column, ids, clock)
    owner = owners(table, where, id_column, ids)
    hours = relative_time(table, where, owner, clock, spec.unit)
    refuse_late(hours > 0, hours, owner, where, spec.unit, id_column, ids, clock)
    variable = _variables(table, where)
    value, remarks = _values(table, variable, owner, where, rules)
    second = np.rint(hours * 3600 + WINDOW_SECONDS).astype(np.int64)
    inside = (second >= 0) & (second <= WINDOW_SECONDS) & np.isfinite(value)
    second, variable, value = second[inside], variable[inside], value[inside]
    rows, compact = np.unique(owner[inside], return_inverse=True)
    shape = (len(rows), STEPS, len(variables()))
    step = np.maximum(second - 1, 0) // BIN_SECONDS  # the first bin is closed on the left, too
    cell = np.ravel_multi_index((compact, step, variable), shape)
    sparse = np.full(shape, np.nan)
    found, settled = _settled(cell, second, value, rules)
    sparse.ravel()[found] = settled
    counts = {"records": len(hours), "used": len(second)}
    return Content(rows, dense(sparse, rules), counts, remarks=tuple(remarks))


def _variables(table: pa.Table, where: str) -> NDArray[np.int64]:
    names = as_names(column(table, "variable", where), where, "variable")
    known = [own.name for own in variables()]
    found = positions(names, pa.array(known, pa.string()))
    if (lost := found < 0).any():
        strange = names[first(lost)].as_py()
        raise DataError(
            f"{where}: {strange!r} is not a variable{nearest(strange, known)} ({int(lost.sum())} records); "
            f"these are: {', '.join(known)}"
        )
    return found


def _values(
    table: pa.Table, variable: NDArray[np.int64], owner: NDArray[np.int64], where: str, rules: Rules
) -> tuple[NDArray[np.float64], list[Remark]]:
    """(R,) numbers and codes of categories, NaN where nothing can be used, and of whom that is to be said."""
    number, text = as_numbers(column(table, "value", where), where, "value"), column(table, "text", where)
    out, remarks = np.full(len(variable), np.nan), []
    for index, own in enumerate(variables()):
        place = np.flatnonzero(variable == index)
        if not len(place):
            continue
        spelt = text.take(pa.array(place))
        given = spelt.is_valid().to_numpy(zero_copy_only=False) | np.isfinite(number[place])
        if own.categories:
            out[place] = _codes(own, spelt, number[place], rules)
            what = "an unknown level"
        else:
            parsed = as_numbers(spelt, where, f"value of {own.name}")
            out[place] = _plausible(own, np.where(np.isnan(parsed), number[place], parsed), rules)
            what = "outside its plausible limits"
        unused = given & ~np.isfinite(out[place])
        remarks.append((f"{own.name} {what}, taken as not measured", np.unique(owner[place[unused]])))
    return out, remarks


def _codes(
    variable: Variable, spelt: pa.Array, number: NDArray[np.float64], rules: Rules
) -> NDArray[np.float64]:
    """Codes of categories by their texts, or by their numbers where texts are such: 15 is "15"."""
    known = [own for own in variable.categories if own != "None" or rules.na_none == "pandas1"]
    codes = np.array([code(variable, own, rules.merged) for own in known] + [np.nan])
    scores = np.array([float(own) if own.replace(".", "", 1).isdigit() else np.nan for own in known])
    same = number[:, None] == scores
    by_number = np.where(same.any(1), same.argmax(1), -1)
    by_text = positions(spelt, pa.array(known, pa.string()))
    return np.asarray(codes[np.where(by_text < 0, by_number, by_text)])


def _plausible(variable: Variable, value: NDArray[np.float64], rules: Rules) -> NDArray[np.float64]:
    """As the rules have it: gaps beyond the outlier bounds, and clipped to the valid ones."""
    if rules.outliers == "keep" or variable.range is None:
        return value
    lowest, low, high, highest = variable.range
    return np.where((value < lowest) | (value > highest), np.nan, np.clip(value, low, high))


def _settled(
    cell: NDArray[np.int64], second: NDArray[np.int64], value: NDArray[np.float64], rules: Rules
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The cells that have a value, and the one of their latest moment."""
    order = np.lexsort((value, second, cell))
    cell, second, value = cell[order], second[order], value[order]
    last = np.flatnonzero(np.diff(cell, append=-1))
    begins = np.concatenate([[True], (np.diff(cell) != 0) | (np.diff(second) != 0)])[: len(cell)]
    start = np.maximum.accumulate(np.where(begins, np.arange(len(cell)), 0))[last]
    low, high = value[start], value[last]
    if rules.ties == "text":
        return cell[last], high
    categorical = np.array([bool(own.categories) for own in variables()])[cell[last] % len(variables())]
    return cell[last], np.where(categorical, low, (low + high) / 2)
