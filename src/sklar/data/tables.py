"""Reading columns of Arrow tables, with errors that name table, column, row and value."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sklar.errors import DataError, UserError, nearest


def as_table(frame: Any, name: str) -> pa.Table:
    """An Arrow table from Arrow itself, or from what exports or holds one.

    Args:
        frame: A pyarrow table or record batch; anything that exports an Arrow stream (pandas, polars,
            DuckDB); a Hugging Face dataset; or a mapping of column names to lists or arrays, of which those
            with more than one axis become nested lists.
        name: How errors call it.

    Raises:
        UserError: It is none of these.
        DataError: A column holds what Arrow has no type for.
    """
    try:
        if isinstance(frame, pa.Table):
            return frame
        if isinstance(frame, pa.RecordBatch):
            return pa.Table.from_batches([frame])
        if isinstance(frame, Mapping):
            return pa.table({str(key): _nested(values) for key, values in frame.items()})
        if hasattr(frame, "__arrow_c_stream__"):
            return _without_views(pa.table(frame))
        if hasattr(frame, "with_format"):  # a Hugging Face dataset; a slice follows its selected rows
            return as_table(frame.with_format("arrow")[:], name)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"{name}: {error}. Columns hold numbers, texts, bytes, times, or nested lists of them; of an "
            "array with several axes, array.tolist() makes such lists"
        ) from None
    raise UserError(
        f"{name}: cannot read a {type(frame).__name__}; pass a pyarrow Table, a data frame that exports "
        "Arrow (pandas >= 2.2, polars, DuckDB), a Hugging Face dataset, or a mapping of columns"
    )


def _without_views(table: pa.Table) -> pa.Table:
    """Texts and bytes as they were before Arrow had views (polars writes them), which few functions know."""
    if "_view" not in str(table.schema):
        return table
    return table.cast(pa.schema([(field.name, _viewless(field.type)) for field in table.schema]))


def _viewless(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _viewless(field.type)) for field in kind])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        own = _viewless(kind.value_type)
        return pa.list_(own) if pa.types.is_list(kind) else pa.large_list(own)
    ordinary = {"string_view": pa.large_string(), "binary_view": pa.large_binary()}
    return ordinary.get(str(kind), kind)


def _nested(values: Any) -> Any:
    """Lists in lists of an array with several axes; anything else as it is."""
    if not isinstance(values, np.ndarray) or values.ndim < 2:
        return values
    flat: pa.Array = pa.array(values.ravel())
    for size in values.shape[:0:-1]:
        flat = pa.FixedSizeListArray.from_arrays(flat, int(size))
    return flat


def column(table: pa.Table, name: str, where: str) -> pa.Array:
    """The column ``name`` as one contiguous Arrow array.

    Raises:
        DataError: There is no such column, or there are several.
    """
    found = table.column_names.count(name)
    if found == 0:
        raise DataError(
            f"{where}: no column {name!r} (found {', '.join(map(str, table.column_names))}). Rename the "
            "column, or name the right one in the schema"
        )
    if found > 1:
        raise DataError(f"{where}: {found} columns are called {name!r}; keep one")
    return table.column(name).combine_chunks()


def as_text(array: pa.Array) -> pa.Array:
    """Any column as strings, nulls kept; whole floats lose their ".0", so 7.0 and 7 are one name."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
        finite = pc.fill_null(pc.is_finite(array), True)
        if (
            pc.all(finite).as_py() is not False
            and pc.all(pc.equal(pc.floor(array), array)).as_py() is not False
        ):
            array = array.cast(pa.int64())
    return array.cast(pa.string())


def as_names(array: pa.Array, where: str, name: str) -> pa.Array:
    """A column of names as strings without gaps.

    Raises:
        DataError: A name is null.
    """
    names = as_text(array)
    if names.null_count:
        row = first(names.is_null().to_numpy(zero_copy_only=False))
        raise DataError(
            f"{where}: column {name!r} is null in row {row} (counted from 0); fill it, or drop the row"
        )
    return names


def as_numbers(array: pa.Array, where: str, name: str) -> NDArray[np.float64]:
    """A column as float64, NaN where it is null.

    Raises:
        DataError: The column cannot be read as numbers.
    """
    try:
        numbers = array.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"{where}: column {name!r} ({array.type}) is not numeric: {error}. Convert it, or declare it "
            "categorical"
        ) from None
    return np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.float64)


def as_strings(names: pa.Array) -> NDArray[np.str_]:
    """Arrow strings as a numpy array."""
    return np.asarray(names.to_numpy(zero_copy_only=False), dtype=np.str_)


def check_variables(names: Iterable[str], variables: Iterable[str], where: str) -> None:
    """Nothing if all columns of records that have one per variable are variables.

    Raises:
        DataError: One is not; passing it over would lose what is only misspelt.
    """
    known = list(variables)
    if strange := sorted(set(names) - set(known)):
        raise DataError(
            f"{where}: column {strange[0]!r} is not a variable ({listed(known, 20)})"
            f"{nearest(strange[0], known)}. Rename it, add it to the modality's variables, or leave it out "
            f"(columns that are none: {listed(strange)})"
        )


def positions(names: pa.Array, among: pa.Array) -> NDArray[np.int64]:
    """(R,) where each name stands in ``among``, -1 where it does not."""
    found = pc.fill_null(pc.index_in(names, value_set=among), -1)
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int64)


def first(flags: NDArray[np.bool_]) -> int:
    """Position of the first true flag, which must exist."""
    return int(np.argmax(flags))


def listed(names: Iterable[str], most: int = 5) -> str:
    """Names for a message: the first few, and how many more."""
    every = list(names)
    rest = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + rest
