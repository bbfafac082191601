"""Tables in files: Parquet, and CSV whose columns are read as the schema means them."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from sklar.data.modalities import Image, Tabular, Text, TimeSeries
from sklar.data.schema import Schema
from sklar.errors import DataError, UserError

CSV = (".csv", ".csv.gz")
"""Endings of files that are no Parquet."""


def read_file(path: str | os.PathLike[str], schema: Schema | None = None) -> pa.Table:
    """A whole file.

    Args:
        path: A CSV file (.csv, .csv.gz; comma, UTF-8, a header; nothing, "NA", "NaN" and "null" are gaps), or
            a Parquet file.
        schema: What the columns of a CSV file are; names stay as they are written then, 007.

    Raises:
        UserError: There is no such file.
        DataError: It is neither.
    """
    batches = list(_batches(path, None, schema))
    return pa.Table.from_batches(batches) if batches else pa.table({})


def file_batches(path: str | os.PathLike[str], rows: int, schema: Schema | None = None) -> Iterator[pa.Table]:
    """Pieces of at most ``rows`` rows, of which one is held at a time; arguments are those of `read_file`."""
    for batch in _batches(path, rows, schema):
        for start in range(0, batch.num_rows, rows):
            yield pa.Table.from_batches([batch.slice(start, rows)])


def count_rows(path: str | os.PathLike[str]) -> int:
    """Rows of a Parquet file; 0 where nobody knows before the end."""
    if not Path(path).is_file() or str(path).endswith(CSV):
        return 0
    try:
        return int(pq.read_metadata(path).num_rows)
    except pa.ArrowInvalid:
        return 0  # whoever reads it says what is wrong


def _batches(
    path: str | os.PathLike[str], rows: int | None, schema: Schema | None
) -> Iterator[pa.RecordBatch]:
    if not Path(path).is_file():
        raise UserError(f"{path}: there is no such file. Give the path of a Parquet or CSV file, or a table")
    if not str(path).endswith(CSV):
        try:
            file = pq.ParquetFile(path)
        except pa.ArrowInvalid as error:
            raise DataError(
                f"{path} is not a Parquet file ({error}). CSV files are known by their ending, .csv, .csv.gz"
            ) from None
        yield from file.iter_batches(rows or max(file.metadata.num_rows, 1))
        return
    convert = csv.ConvertOptions(strings_can_be_null=True, column_types=_types(schema))
    try:
        with csv.open_csv(path, convert_options=convert) as reader:
            yield from reader
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{path}: {error}. A CSV file has commas, a header, UTF-8, and one kind of value per column"
        ) from None


def _types(schema: Schema | None) -> Mapping[str, pa.DataType]:
    """Types of the columns that a schema knows, of one table or of a modality's own records."""
    if schema is None:
        return {}
    types = dict.fromkeys((schema.id, "variable", "text", "image"), pa.string())
    if schema.group is not None:
        types[schema.group] = pa.string()
    if schema.classes is not None:
        types |= dict.fromkeys(schema.labels, pa.string())
    for name, item in schema.modalities.items():
        if isinstance(item, Tabular):
            types |= dict.fromkeys(item.numeric, pa.float64()) | dict.fromkeys(item.categorical, pa.string())
        elif isinstance(item, TimeSeries | Image | Text):
            types[item.column or name] = pa.string()
        else:
            types[name] = pa.string()
    return types
