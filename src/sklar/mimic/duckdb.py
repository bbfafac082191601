"""The default engine: DuckDB inside this process, on files."""

import csv
import gzip
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from sklar.errors import DataError
from sklar.mimic.engines import Engine, embedded_failure, first_line, local_duckdb
from sklar.mimic.header import read_header
from sklar.mimic.layout import Layout, find_tables

if TYPE_CHECKING:
    import ibis.expr.types as ir
    from ibis.backends.duckdb import Backend


POLL_SECONDS = 0.2
"""How often a running query is asked how far it is."""


class DuckDB(Engine):
    """Files in a folder, read by DuckDB as text; nothing is ever sniffed.

    Args:
        raw: Folder of the raw tables.
        layout: Tables and columns.
        memory_limit: Of DuckDB's buffers ("4GB"); what does not fit spills.
        threads: Threads; None uses all cores.
        temporary: Folder for what spills.

    Raises:
        UserError: The extra ``mimic`` is not installed, or the folder does not exist.
        DataError: A table is missing.
    """

    name = "duckdb"

    def __init__(
        self, raw: Path, layout: Layout, memory_limit: str | None, threads: int | None, temporary: Path
    ) -> None:
        self.layout = layout
        self.raw = raw
        self.files = find_tables(raw, layout)
        self.connection = local_duckdb(memory_limit, threads, temporary)
        for setting in ("enable_progress_bar = true", "enable_progress_bar_print = false"):
            self.connection.raw_sql(f"SET {setting}")
        self._opened: dict[str, ir.Table] = {}
        self._kept = 0
        self._temporary = temporary

    def where(self, table: str) -> str:
        return str(self.files[table])

    def size(self, table: str) -> int | None:
        path = self.files[table]
        return (
            sum(file.stat().st_size for file in path.rglob("*.parquet"))
            if path.is_dir()
            else path.stat().st_size
        )

    def fingerprint(self) -> dict[str, Any]:
        return {
            name: [str(path.resolve()), self.size(name), path.stat().st_mtime_ns]
            for name, path in self.files.items()
        }

    def _open(self, table: str) -> "ir.Table":
        if table not in self._opened:
            path = self.files[table]
            self._opened[table] = self._parquet(path) if path.suffix == ".parquet" else self._csv(path)
        return self._opened[table]

    def _parquet(self, path: Path) -> "ir.Table":
        pattern = str(path / "**" / "*.parquet") if path.is_dir() else str(path)
        try:
            return self.connection.read_parquet(pattern)
        except Exception as error:
            raise DataError(
                f"{path}: not a readable Parquet file ({first_line(error)}). Copy it again"
            ) from None

    def _csv(self, path: Path) -> "ir.Table":
        names = read_header(path)
        return self.connection.read_csv(
            str(path),
            columns=dict.fromkeys(names, "VARCHAR"),
            header=True,
            auto_detect=False,
            delim=",",
            quote='"',
            escape='"',
            compression="gzip" if path.suffix == ".gz" else "none",
        )

    def run(self, expression: "ir.Table", table: str) -> pa.Table:
        try:
            return expression.to_pyarrow()
        except Exception as error:
            place = self.files[table]
            raise embedded_failure(error, place) or self._explained(error, table) from error

    def save(self, expression: "ir.Table", path: Path, table: str, say: Callable[[float], None]) -> None:
        with ThreadPoolExecutor(max_workers=1) as pool:
            job = pool.submit(self.connection.to_parquet, expression, path, compression="zstd")
            try:
                while wait([job], timeout=POLL_SECONDS).not_done:
                    # below zero while DuckDB does not know yet
                    say(max(self.connection.con.query_progress(), 0.0) / 100)
            except BaseException:
                self.connection.con.interrupt()
                raise
        try:
            job.result()
        except Exception as error:
            raise embedded_failure(error, path) or self._explained(error, table) from error

    def upload(self, table: pa.Table) -> "ir.Table":
        self._kept += 1
        return self.connection.create_table(f"kept_{self._kept}", table, temp=True)

    @property
    def workspace(self) -> "Backend":
        return self.connection

    def close(self) -> None:
        self.connection.disconnect()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _explained(self, error: Exception, table: str) -> DataError:
        """The error to raise for what DuckDB says of a table."""
        where, text = self.where(table), str(error)
        path = self.files[table]
        if path.name.endswith(".gz") and (cut := _truncated(path)):
            return DataError(f"{where}: {cut}. Copy or download the file again; finished tables are kept")
        if line := re.search(r"CSV Error on Line: (\d+)", text):
            what = re.search(r"CSV Error on Line: \d+\n(?:Original Line:.*?\n)?(.*?)\n", text, re.DOTALL)
            reason = what.group(1) if what else "malformed"
            return DataError(
                f"{where}: line {line.group(1)} is malformed ({reason}). Mend or remove the line, or "
                "download the file again; finished tables are kept"
            )
        if (found := self._unreadable(table)) is not None:
            return found
        return DataError(
            f"{where}: cannot be read ({first_line(error)}). Check the file, or download it again"
        )

    def _unreadable(self, table: str) -> DataError | None:
        """The first cell of a text table that is not what its column holds, None if all are."""
        from sklar.mimic.tables import PATTERNS

        own = self.table(table)
        for name, kind in self.layout.tables[table].kinds.items():
            if kind == "text" or name not in own.columns or not own[name].type().is_string():
                continue
            bad = own.filter(own[name].notnull() & ~own[name].re_search(PATTERNS[kind])).limit(1).to_pyarrow()
            if bad.num_rows:
                raw = self.layout.tables[table].raw(name)
                value = bad[name][0].as_py()
                form = " (YYYY-MM-DD HH:MM:SS)" if kind == "time" else ""
                return DataError(
                    f"{self.where(table)}: column {raw!r} holds {value!r} in row "
                    f"{_row(self.files[table], raw, value)}, which is no {kind}{form}. Correct the row, "
                    "or leave it out; finished tables are kept"
                )
        return None


def _truncated(path: Path) -> str | None:
    """What is wrong with a gzip file, None if it is whole."""
    try:
        with gzip.open(path) as stream:
            while stream.read(1 << 20):
                pass
    except (EOFError, OSError) as error:
        return f"the gzip file is cut off or damaged ({error})"
    return None


def _row(path: Path, column: str, value: Any) -> str:
    """Number of the first data row with a value, counted from 1, as text."""
    if path.suffix == ".parquet":
        return str(pq.read_table(path, columns=[column])[column].to_pylist().index(value) + 1)
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open("rt") as stream:
        rows = csv.reader(stream)
        place = [name.lower() for name in next(rows)].index(column)
        return next((str(number) for number, row in enumerate(rows, 1) if row[place] == value), "unknown")
