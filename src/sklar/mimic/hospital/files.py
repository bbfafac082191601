"""Tables written in blocks: csv.gz with quoted texts as the originals have them, or Parquet."""

import gzip
from pathlib import Path
from types import TracebackType
from typing import Any, final

import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq

from sklar.mimic.hospital.plan import Form

LEVEL = 1
"""Of compression: the largest tables cost as much time as everything else together at the usual 6."""

_VALUES = pv.WriteOptions(include_header=False)


@final
class Tables:
    """Raw tables of one folder, each written block after block.

    Equal blocks give equal bytes: no time and no name goes into the files.

    Args:
        folder: Where they go.
        form: "csv.gz" or "parquet".
    """

    def __init__(self, folder: Path, form: Form) -> None:
        self.folder, self.form = folder, form
        self._open: dict[str, tuple[Any, list[Any]]] = {}
        self.rows: dict[str, int] = {}

    def write(self, name: str, block: pa.Table) -> None:
        """Add rows to a table, whose name may have a folder before it."""
        if self.form == "parquet":
            block = _spelt(block)
        if name not in self._open:
            self._open[name] = self._start(name, block.schema)
            self.rows[name] = 0
        self._open[name][0].write_table(block)
        self.rows[name] += block.num_rows

    def _start(self, name: str, schema: pa.Schema) -> tuple[Any, list[Any]]:
        path = self.folder / f"{name}.{self.form}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.form == "parquet":
            return pq.ParquetWriter(path, schema, compression="zstd"), []
        raw = path.open("wb")
        packed = gzip.GzipFile(filename="", mode="wb", compresslevel=LEVEL, fileobj=raw, mtime=0)
        # names are written bare, as in the originals; Arrow would quote them
        packed.write((",".join(schema.names) + "\n").encode())
        return pv.CSVWriter(packed, schema, write_options=_VALUES), [packed, raw]

    def __enter__(self) -> "Tables":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer, below in self._open.values():
            writer.close()
            for stream in below:
                stream.close()


def _spelt(block: pa.Table) -> pa.Table:
    """Times as the csv files spell them: whoever converts those reads every column as text."""
    for place, field in enumerate(block.schema):
        if pa.types.is_timestamp(field.type) or pa.types.is_date(field.type):
            block = block.set_column(place, field.name, block[place].cast(pa.string()))
    return block
