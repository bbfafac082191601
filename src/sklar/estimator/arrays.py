"""A plain array of numbers as a table of tabular modalities."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import issparse

from sklar.data.schema import Modality, Schema, Tabular
from sklar.data.tables import as_table, listed
from sklar.errors import DataError, UserError

ID, LABEL = "row", "label"
"""What rows and their outcome are called when nobody named them."""


def array_schema(features: int, blocks: Mapping[str, Sequence[int]] | None) -> Schema:
    """The schema of an array: each column is a modality, or each block of columns.

    Args:
        features: Number of columns.
        blocks: Per modality the positions of its columns; None is one modality per column.

    Raises:
        UserError: A block names a column that is not there, or no column.
    """
    blocks = {_column(place): (place,) for place in range(features)} if blocks is None else blocks
    for name, places in blocks.items():
        if not len(places) or not all(0 <= place < features for place in places):
            raise UserError(
                f"blocks: {name!r} is {list(places)}; name columns from 0 to {features - 1} (n_features = "
                f"{features}), one at least"
            )
    modalities: dict[str, Modality] = {
        name: Tabular(numeric=tuple(_column(int(place)) for place in places))
        for name, places in blocks.items()
    }
    return Schema(id=ID, label=LABEL, modalities=modalities)


def array_table(values: NDArray[np.float64], first: int = 0) -> pa.Table:
    """(N, F) numbers, NaN where missing, as a table whose rows count from ``first``."""
    columns = {ID: pa.array(np.arange(first, first + len(values)))}
    columns |= {_column(place): pa.array(own, from_pandas=True) for place, own in enumerate(values.T)}
    return pa.table(columns)


def refuse_guessing(table: Any) -> None:
    """Nothing if all columns of a frame are numbers, so that it may pass as an array.

    Raises:
        UserError: It has other columns, about which nothing is guessed.
    """
    framed = hasattr(table, "__arrow_c_stream__") or isinstance(table, Mapping)
    if not framed or issparse(table):  # some sparse matrices are mappings
        return
    try:
        schema = as_table(table, "X").schema
    except DataError as error:
        raise UserError(f"{error}. Pass schema=, which says what the columns are") from None
    if other := [own.name for own in schema if not _is_number(own.type)]:
        raise UserError(
            f"X has columns that are no numbers ({listed(other)}) and there is no schema: nothing is "
            "guessed. Pass schema=sklar.Schema(id=..., label=..., modalities={...}), which says what they are"
        )


def _is_number(kind: pa.DataType) -> bool:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    return any(test(kind) for test in tests)


def _column(place: int) -> str:
    return f"x{place}"
