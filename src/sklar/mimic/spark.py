"""Spark: files too large for one machine, or a cluster that has them already."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sklar.errors import DataError, UserError
from sklar.mimic.engines import RemoteEngine, first_line, local_duckdb
from sklar.mimic.layout import Layout, find_tables

if TYPE_CHECKING:
    import ibis.expr.types as ir


class Spark(RemoteEngine):
    """Files in a folder, read by the Spark session that is active, or by a local one.

    Times are read in UTC whatever the session's zone was.

    Args:
        raw: Folder of the raw tables.
        layout: Tables and columns.
        memory_limit: Of the embedded engine that settles the result.
        threads: Of a local session and of that engine; None uses all cores.
        temporary: Where that engine spills.

    Raises:
        UserError: The extra ``spark`` is not installed, or the folder does not exist.
        DataError: A table is missing, or no session can be started.
    """

    name = "spark"

    def __init__(
        self, raw: Path, layout: Layout, memory_limit: str | None, threads: int | None, temporary: Path
    ) -> None:
        self.layout = layout
        self.files = find_tables(raw, layout)
        try:
            import ibis
            from pyspark.sql import SparkSession
        except ImportError:
            raise UserError('Spark needs its client: pip install "sklar[spark]", and Java') from None
        try:
            active = SparkSession.getActiveSession()
            session = active or SparkSession.builder.master(f"local[{threads or '*'}]").getOrCreate()
        except Exception as error:  # pyspark raises plain RuntimeError and its own kinds
            raise DataError(f"no Spark session ({error}). Check Java, or start a session first") from None
        self._session, self._own = session, active is None
        session.conf.set("spark.sql.session.timeZone", "UTC")
        self._connection = ibis.pyspark.connect(session)
        self._workspace = local_duckdb(memory_limit, threads, temporary)

    def where(self, table: str) -> str:
        return str(self.files[table])

    def size(self, table: str) -> int | None:
        return self.files[table].stat().st_size

    def fingerprint(self) -> dict[str, Any]:
        return {
            name: [str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns]
            for name, path in self.files.items()
        }

    def _open(self, table: str) -> "ir.Table":
        path = self.files[table]
        if path.suffix == ".parquet":
            return self._connection.read_parquet(str(path))
        return self._connection.read_csv(
            str(path), header=True, inferSchema=False, quote='"', escape='"', multiLine=True, mode="FAILFAST"
        )

    def upload(self, table: pa.Table) -> "ir.Table":
        import ibis

        return ibis.memtable(table)

    def close(self) -> None:
        self._workspace.disconnect()
        if self._own:
            self._session.stop()

    def _explained(self, error: Exception, table: str) -> DataError:
        return DataError(
            f"{self.where(table)}: Spark cannot read it ({first_line(error)}). Check the file; finished "
            "tables are kept"
        )
