"""What a preparation would read, without reading it."""

import os
from dataclasses import dataclass
from pathlib import Path

from sklar.mimic.engines import Engine
from sklar.mimic.layout import layout_of
from sklar.mimic.open import open_engine
from sklar.mimic.radiographs.files import find_metadata
from sklar.mimic.radiographs.modality import Radiographs, radiographs_of
from sklar.mimic.radiographs.pairing import COLUMNS


@dataclass(frozen=True)
class Reading:
    """One table that would be read.

    Attributes:
        table: Our name of it.
        where: Its file, or its place in the database.
        bytes: Size of the file; None in a database and of folders.
        columns: Columns that would be read, as the table calls them, in lower case.
    """

    table: str
    where: str
    bytes: int | None
    columns: tuple[str, ...]


def plan(
    source: str,
    raw: str | os.PathLike[str],
    engine: str = "duckdb",
    memory_limit: str | None = None,
    *,
    cxr: str | os.PathLike[str] | None = None,
    reports: str | os.PathLike[str] | None = None,
    notes: bool = False,
) -> list[Reading]:
    """The tables that `sklar.mimic.prepare` would read; headers are checked, rows are not.

    Of pictures and reports the place is named; which of them are read depends on the stays.

    Raises:
        UserError: An argument is wrong.
        DataError: A table or a column is missing.
    """
    layout = layout_of(source)
    place = radiographs_of(layout, cxr, reports)
    layout = layout.with_notes() if notes else layout
    reader = open_engine(engine, raw, layout, memory_limit, None, Path.cwd() / "plan")
    try:
        readings = [_reading(reader, name) for name in layout.tables]
    finally:
        reader.close()
    return readings if place is None else [*readings, *_pictures(place)]


def _pictures(place: Radiographs) -> list[Reading]:
    metadata, reports = find_metadata(place.folder), place.reports
    readings = [
        Reading("metadata", str(metadata), metadata.stat().st_size, COLUMNS),
        Reading("cxr", str(place.folder), None, ("the last bedside picture of a stay",)),
    ]
    if reports is not None:
        size = None if reports.is_dir() else reports.stat().st_size
        readings.append(Reading("reports", str(reports), size, ("the report of that picture",)))
    return readings


def _reading(reader: Engine, name: str) -> Reading:
    columns = tuple(reader.columns(name).values())
    return Reading(name, reader.where(name), reader.size(name), columns)
