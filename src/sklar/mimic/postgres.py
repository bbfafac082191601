"""PostgreSQL: the tables stay where they are, in the schemas that mimic-code's build scripts make."""

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

import pyarrow as pa

from sklar.errors import DataError, UserError
from sklar.mimic.engines import RemoteEngine, first_line, local_duckdb
from sklar.mimic.layout import Layout

if TYPE_CHECKING:
    import ibis.expr.types as ir


class Postgres(RemoteEngine):
    """Tables in a PostgreSQL database; the cohort is put beside them as a temporary table.

    Args:
        address: ``postgresql://user@host:port/database``, optionally with ``?schema=a,b`` to look in these
            schemas alone. A password is better left to ~/.pgpass or PGPASSWORD.
        layout: Tables and columns.
        memory_limit: Of the embedded engine that settles the result.
        threads: Of the same.
        temporary: Where that engine spills.

    Raises:
        UserError: The address is none, or the extra ``postgres`` is not installed.
        DataError: The database cannot be reached, or a table is missing or in several schemas.
    """

    name = "postgres"

    def __init__(
        self, address: str, layout: Layout, memory_limit: str | None, threads: int | None, temporary: Path
    ) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("postgres", "postgresql") or not parts.path.strip("/"):
            raise UserError(f"engine postgres needs postgresql://user@host:port/database, got {address!r}")
        self.layout = layout
        self._place = f"{parts.hostname or 'localhost'}{parts.path}"
        schemas = [name for value in parse_qs(parts.query).get("schema", []) for name in value.split(",")]
        try:
            import ibis
            import psycopg
        except ImportError:
            raise UserError('PostgreSQL needs its client: pip install "sklar[postgres]"') from None
        try:
            self._connection = ibis.connect(urlunsplit((*parts[:3], "", "")))
        except psycopg.OperationalError as error:
            raise DataError(
                f"{self._place}: the database cannot be reached ({first_line(error)}). Check that it runs, "
                "and host, port, user and password"
            ) from None
        try:
            self._tables = self._find(schemas)
        except DataError:
            self._connection.disconnect()
            raise
        self._workspace = local_duckdb(memory_limit, threads, temporary)
        self._uploads = 0

    def _find(self, schemas: list[str]) -> dict[str, str]:
        """The schema of every table."""
        every = [name for name in self._connection.list_databases() if not name.startswith("pg_")]
        if unknown := [name for name in schemas if name not in every]:
            raise DataError(f"{self._place}: no schema {unknown[0]!r} (there are {', '.join(sorted(every))})")
        found: dict[str, list[str]] = {name: [] for name in self.layout.tables}
        for schema in schemas or [name for name in every if name != "information_schema"]:
            for table in self._connection.list_tables(database=schema):
                if table in found:
                    found[table].append(schema)
        for table, places in found.items():
            if not places:
                raise DataError(
                    f"{self._place}: {self.layout.title} table {table!r} is missing (looked in schemas "
                    f"{', '.join(sorted(schemas or every))}). Load it, or name its schema with ?schema=NAME"
                )
            if len(places) > 1:
                raise DataError(
                    f"{self._place}: table {table!r} is in schemas {', '.join(sorted(places))}. Name one "
                    "data set's schemas with ?schema=NAME, and never mix two"
                )
        return {table: places[0] for table, places in found.items()}

    def where(self, table: str) -> str:
        return f"{self._place}: {self._tables[table]}.{table}"

    def size(self, table: str) -> int | None:
        return None

    def fingerprint(self) -> dict[str, Any]:
        return {table: self.where(table) for table in self._tables}

    def _open(self, table: str) -> "ir.Table":
        return self._connection.table(table, database=self._tables[table])

    def upload(self, table: pa.Table) -> "ir.Table":
        self._uploads += 1
        return self._connection.create_table(f"sklar_upload_{self._uploads}", table, temp=True)

    def close(self) -> None:
        self._connection.disconnect()
        self._workspace.disconnect()

    def _explained(self, error: Exception, table: str) -> DataError:
        return DataError(
            f"{self.where(table)}: the query failed ({first_line(error)}). Check the table's rows and its "
            "column types; finished tables are kept"
        )
