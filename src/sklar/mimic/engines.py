"""Where the raw tables live: each engine gives them as Ibis tables and runs what is built on them."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from sklar.errors import DataError, SklarError, UserError
from sklar.mimic.layout import Layout, check_columns

if TYPE_CHECKING:
    import ibis.expr.types as ir
    from ibis.backends.duckdb import Backend


class Engine(ABC):
    """Raw tables of one data set, and the engine that reads them.

    Attributes:
        layout: Tables and columns.
        name: The engine's name.
    """

    layout: Layout
    name: str

    @abstractmethod
    def where(self, table: str) -> str:
        """The file or database table, for messages."""

    @abstractmethod
    def size(self, table: str) -> int | None:
        """Bytes of a table's file, None in a database."""

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """What changes when the raw tables change: sizes and times of files, or the place of a database."""

    @abstractmethod
    def _open(self, table: str) -> "ir.Table":
        """The table as it is."""

    @abstractmethod
    def run(self, expression: "ir.Table", table: str) -> pa.Table:
        """The rows of an expression that reads ``table`` among others.

        Raises:
            DataError: A table cannot be read; the message names it.
        """

    @abstractmethod
    def save(self, expression: "ir.Table", path: Path, table: str, say: Callable[[float], None]) -> None:
        """Write the rows of an expression that reads ``table`` as Parquet, never holding all of them.

        Args:
            expression: What to write.
            path: The file.
            table: For messages.
            say: Called with the fraction done, by engines that know it.

        Raises:
            DataError: A table cannot be read, or the disk is full.
        """

    @abstractmethod
    def upload(self, table: pa.Table) -> "ir.Table":
        """A small table put beside the raw ones, for the time that the engine is open."""

    @property
    @abstractmethod
    def workspace(self) -> "Backend":
        """An embedded DuckDB for what is done with the result; wherever the raw tables are."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections."""

    def table(self, name: str) -> "ir.Table":
        """A raw table with the columns of the layout under our names, types as they are.

        Raises:
            DataError: A column is missing.
        """
        table = self._open(name)
        table = table.rename({column.lower(): column for column in table.columns if column.lower() != column})
        return table.select(**{own: table[raw] for own, raw in self.columns(name).items()})

    def columns(self, name: str) -> dict[str, str]:
        """Our names of a raw table's columns to its own, in lower case.

        Raises:
            DataError: A column is missing.
        """
        found = [column.lower() for column in self._open(name).columns]
        check_columns(self.layout, name, found, self.where(name))
        return self.layout.tables[name].present(found)


class RemoteEngine(Engine):
    """An engine that hands its rows over in batches, beside an embedded DuckDB that settles the result."""

    _workspace: "Backend"

    def run(self, expression: "ir.Table", table: str) -> pa.Table:
        try:
            return expression.to_pyarrow()
        except Exception as error:
            raise self._explained(error, table) from error

    def save(self, expression: "ir.Table", path: Path, table: str, say: Callable[[float], None]) -> None:
        try:
            write_batches(expression.to_pyarrow_batches(chunk_size=100_000), path)
        except Exception as error:
            raise disk_full(error, path) or self._explained(error, table) from error

    @property
    def workspace(self) -> "Backend":
        return self._workspace

    @abstractmethod
    def _explained(self, error: Exception, table: str) -> DataError:
        """The error to raise for what the engine says of a table."""


def local_duckdb(memory_limit: str | None, threads: int | None, temporary: Path) -> "Backend":
    """An embedded DuckDB that spills to a folder.

    Raises:
        UserError: Ibis is not installed, or DuckDB refuses an option.
    """
    try:
        import ibis
    except ImportError:
        raise UserError('MIMIC tables are read with Ibis: pip install "sklar[mimic]"') from None
    options: dict[str, Any] = {"temp_directory": str(temporary), "preserve_insertion_order": False}
    options |= {"memory_limit": memory_limit} if memory_limit else {}
    options |= {"threads": threads} if threads else {}
    try:
        return ibis.duckdb.connect(**options)
    except Exception as error:  # duckdb raises several kinds for a wrong option
        raise UserError(f"DuckDB refuses {options}: {error}") from None


def write_batches(batches: pa.RecordBatchReader, path: Path) -> None:
    """Stream record batches into a Parquet file."""
    with pq.ParquetWriter(path, batches.schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


def first_line(error: Exception) -> str:
    """What an error says, without what follows its first line."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def embedded_failure(error: Exception, path: Path) -> SklarError | None:
    """The error to raise when DuckDB lacked memory or disk while it worked on ``path``, else None."""
    if "Out of Memory" in str(error):
        return UserError(
            f"{path}: the memory limit is too small even with spilling ({first_line(error)}). Give a larger "
            "--memory-limit, or fewer --threads; finished tables are kept"
        )
    return disk_full(error, path)


def disk_full(error: Exception, path: Path) -> DataError | None:
    """The error to raise when writing ``path`` failed because the disk is full, else None."""
    text = str(error).lower()
    full = getattr(error, "errno", None) == 28 or "no space left" in text or "disk is full" in text
    if not full:
        return None
    return DataError(
        f"{path}: the disk is full ({error}). Free some space, or write to (or set temporary=) another disk; "
        "finished tables are kept and not read again"
    )
