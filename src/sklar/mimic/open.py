"""Engines by name."""

import os
from pathlib import Path

from sklar.errors import UserError
from sklar.mimic.engines import Engine
from sklar.mimic.layout import Layout
from sklar.mimic.steps import steps_folder

ENGINES = ("duckdb", "postgres", "spark")
"""Names of the engines."""


def open_engine(
    name: str,
    raw: str | os.PathLike[str],
    layout: Layout,
    memory_limit: str | None,
    threads: int | None,
    out: Path,
) -> Engine:
    """The engine of a name, with the raw tables open.

    Raises:
        UserError: There is no such engine, or its extra is not installed.
        DataError: A table is missing.
    """
    if name not in ENGINES:
        raise UserError(
            f"engine {name!r}: choose one of {', '.join(ENGINES)}; tables of other databases are exported as "
            "Parquet and read by duckdb"
        )
    # inside the folder of steps, which is its owner's alone: what spills is raw data
    spill = steps_folder(out) / "spill"
    # each brings its own client, which only its users have
    if name == "postgres":
        from sklar.mimic.postgres import Postgres

        return Postgres(str(raw), layout, memory_limit, threads, spill)
    if name == "spark":
        from sklar.mimic.spark import Spark

        return Spark(Path(raw), layout, memory_limit, threads, spill)
    from sklar.mimic.duckdb import DuckDB

    return DuckDB(Path(raw), layout, memory_limit, threads, spill)
