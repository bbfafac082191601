"""What a preparation would read, without reading it."""

import os
from dataclasses import dataclass
from pathlib import Path

from sklar.mimic.engines import Engine
from sklar.mimic.layout import Layout, layout_of
from sklar.mimic.open import open_engine


@dataclass(frozen=True)
class Reading:
    """One table that would be read.

    Attributes:
        table: Our name of it.
        where: Its file, or its place in the database.
        bytes: Size of the file; None in a database.
        columns: Columns that would be read, as the table calls them.
    """

    table: str
    where: str
    bytes: int | None
    columns: tuple[str, ...]


def plan(
    source: str, raw: str | os.PathLike[str], engine: str = "duckdb", memory_limit: str | None = None
) -> list[Reading]:
    """The tables that `sklar.mimic.prepare` would read; headers are checked, rows are not.

    Raises:
        UserError: An argument is wrong.
        DataError: A table or a column is missing.
    """
    layout = layout_of(source)
    reader = open_engine(engine, raw, layout, memory_limit, None, Path.cwd() / "plan")
    try:
        return [_reading(reader, layout, name) for name in layout.tables]
    finally:
        reader.close()


def _reading(reader: Engine, layout: Layout, name: str) -> Reading:
    found = reader.table(name).columns
    columns = tuple(layout.tables[name].raw(own) for own in found)
    return Reading(name, reader.where(name), reader.size(name), columns)
