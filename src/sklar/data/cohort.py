"""Own tables to checked arrays: one row per subject, one array or table per modality.

This is what training and prediction share: `sklar.data.frame.write` splits a cohort and puts it on disk,
a fitted model reads new patients with `read_cohort` and never needs a folder.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sklar.data.gridded import read_grid
from sklar.data.manifest import Statistics
from sklar.data.outcome import read_target, unknown
from sklar.data.preprocess import Preprocessor, numbers
from sklar.data.records import (
    Clock,
    Content,
    OnLate,
    Reader,
    read_documents,
    read_images,
    read_series,
    refuse_late,
    relative_time,
)
from sklar.data.schema import GriddedSeries, Image, Schema, Tabular, Text, TimeSeries
from sklar.data.source import DataSource
from sklar.data.tables import (
    as_names,
    as_strings,
    as_table,
    as_text,
    column,
    first,
    listed,
    positions,
)
from sklar.errors import DataError, UserError

READERS: Mapping[type, tuple[str, Reader]] = {
    TimeSeries: ("series", read_series),
    GriddedSeries: ("series", read_grid),
    Image: ("image", read_images),
    Text: ("text", read_documents),
}
"""Per kind of modality what errors call it, and how its records are read."""


@dataclass(frozen=True)
class Cohort:
    """N subjects and what they have of each modality, in raw units.

    Attributes:
        schema: Names, order and units.
        subjects: The subjects' table, N rows.
        ids: (N,) row names, strings.
        groups: (N,) group names, strings; the row names when the schema has no group.
        target: (N,) 0 or 1, or the class from 0; (N, L) 0 or 1 of several labels; NaN where it is unknown.
        content: Per modality, in the order of the schema.
    """

    schema: Schema
    subjects: pa.Table
    ids: pa.Array
    groups: pa.Array
    target: NDArray[np.float64]
    content: Mapping[str, Content]

    @property
    def rows(self) -> NDArray[np.int64]:
        """(N, M) position of each subject in the modality's array, -1 where it has none."""
        table = np.full((len(self.ids), len(self.content)), -1, dtype=np.int64)
        for index, item in enumerate(self.content.values()):
            table[item.rows, index] = np.arange(len(item.rows))
        return table


@dataclass(frozen=True)
class CohortData(DataSource):
    """A cohort in memory, read with statistics that were fitted elsewhere: new patients of a trained model.

    Attributes:
        cohort: The patients.
        statistics: Per modality and variable, from the training rows of the model.
    """

    cohort: Cohort
    statistics: Statistics

    @cached_property
    def preprocessor(self) -> Preprocessor:
        """Schema and training statistics."""
        return Preprocessor(self.cohort.schema, self.statistics)

    @cached_property
    def ids(self) -> NDArray[np.str_]:
        """(N,) row names."""
        return as_strings(self.cohort.ids)

    @cached_property
    def groups(self) -> NDArray[np.str_]:
        """(N,) group names."""
        return as_strings(self.cohort.groups)

    @property
    def target(self) -> NDArray[np.float64]:
        """(N,) 0 or 1, or the class from 0; (N, L) of several labels; NaN where it is unknown."""
        return self.cohort.target

    @cached_property
    def weight(self) -> NDArray[np.float64]:
        """(N,) ones."""
        return np.ones(len(self.cohort.ids))

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """(N, M) position of each row in each modality's array, -1 where it is absent."""
        return self.cohort.rows

    def array(self, name: str) -> NDArray[Any]:
        return np.asarray(self.cohort.content[name].values)

    def ready_grid(self, name: str) -> NDArray[np.float32]:
        self._expect(name, self.schema.grids, "gridded series")
        return self._ready_grids[name]

    def picture_times(self, name: str) -> NDArray[np.float32] | None:
        self._expect(name, self.schema.images, "image")
        times = self.cohort.content[name].times
        return None if times is None else times.astype(np.float32)

    def content(self, name: str) -> pa.Table:
        """Table of N_present rows of a text or tabular modality."""
        return self.cohort.content[name].values

    @cached_property
    def _ready_grids(self) -> dict[str, NDArray[np.float32]]:
        return {name: self.preprocessor.grid(name, self.array(name)) for name in self.schema.grids}


def read_cohort(
    schema: Schema,
    subjects: Any,
    series: Mapping[str, Any] | None = None,
    texts: Mapping[str, Any] | None = None,
    images: Mapping[str, Any] | None = None,
    *,
    labelled: bool = True,
    on_late: OnLate = "drop",
    readers: Mapping[str, Reader] | None = None,
) -> Cohort:
    """Check own tables against a schema and gather them per subject.

    Args:
        schema: Names and units.
        subjects: One row per subject: id, label, group and time zero as the schema names them, and the
            columns of its tables. Arrow, pandas, polars or whatever exports Arrow.
        series: Per time series a long table (id, time, variable, value), or a binned one (id, grid); the
            id column is called as in the subjects' table. Gridded ones are for new patients only.
        texts: Per text a long table (id, text), optionally with time and position.
        images: Per image a table (id, image), optionally with time; ``image`` holds paths, the bytes of
            files, or pixels.
        labelled: Whether the label column must exist; new patients have none.
        on_late: "drop" leaves out and counts what is later than the moment of prediction, "error" refuses.
        readers: Per modality how its records are read, where the data come from a source with rules of its
            own; by default by the kind of modality.

    Raises:
        UserError: A table for a modality is missing, or there is one that the schema does not name.
        DataError: A table breaks its contract; the message names table, column, row and value.
    """
    if schema.grids and labelled:
        raise UserError(
            f"modality {next(iter(schema.grids))!r} comes gridded from a source of its own; own tables hold "
            "records, which a TimeSeries bins"
        )
    tables = _per_modality("series", schema.series | schema.grids, series)
    tables |= _per_modality("texts", schema.texts, texts)
    tables |= _per_modality("images", schema.images, images)
    people = as_table(subjects, "subjects")
    if not people.num_rows:
        raise DataError("subjects: the table has no rows")
    ids = _unique_ids(people, schema)
    groups = ids
    if schema.group is not None:
        groups = as_names(column(people, schema.group, "subjects"), "subjects", schema.group)
    clock = Clock(on_late=on_late)
    if schema.time_zero is not None:
        clock = Clock(column(people, schema.time_zero, "subjects"), schema.time_zero, on_late)
    content: dict[str, Content] = {}
    for name, item in schema.modalities.items():
        if isinstance(item, Tabular):
            where = f"subjects (modality {name!r})"
            content[name] = _read_table(item, people, where, schema.id, ids, clock, strict=labelled)
            continue
        kind, read = READERS[type(item)]
        read = (readers or {}).get(name, read)
        content[name] = read(item, tables[name], f"{kind} {name!r}", schema.id, ids, clock)
    target = read_target(people, schema) if labelled else unknown(schema, len(ids))
    return Cohort(schema, people, ids, groups, target, content)


def _per_modality(
    kind: str, wanted: Mapping[str, Any], given: Mapping[str, Any] | None
) -> dict[str, pa.Table]:
    given = given or {}
    if extra := [name for name in given if name not in wanted]:
        raise UserError(
            f"{kind}: {extra[0]!r} is not one of the schema's {kind} ({listed(wanted) or 'none'}). Add the "
            "modality to the schema, or leave the table out"
        )
    if lost := [name for name in wanted if name not in given]:
        raise UserError(
            f"{kind}: the schema has {lost[0]!r} but no table was given; pass {kind}={{{lost[0]!r}: ...}}"
        )
    return {name: as_table(frame, f"{kind} {name!r}") for name, frame in given.items()}


def _unique_ids(people: pa.Table, schema: Schema) -> pa.Array:
    ids = as_names(column(people, schema.id, "subjects"), "subjects", schema.id)
    earlier = positions(ids, ids)  # index_in finds the first occurrence
    if (again := earlier != np.arange(len(ids))).any():
        row = first(again)
        raise DataError(
            f"subjects: {schema.id!r} {ids[row].as_py()!r} is in rows {int(earlier[row])} and {row} "
            f"({int(again.sum())} repeated rows). Keep one row per {schema.id}"
        )
    return ids


def _read_table(
    spec: Tabular,
    people: pa.Table,
    where: str,
    id_column: str,
    ids: pa.Array,
    clock: Clock,
    *,
    strict: bool,
) -> Content:
    """Rows with at least one known cell; values outside the limits become gaps and are counted.

    Where a column says when they were taken, rows that are late are refused, or left out and counted.
    """
    values = numbers(spec, people, where)
    low, high = spec.bounds.T
    implausible = np.isfinite(values) & ((values < low) | (values > high))
    values = np.where(np.isfinite(values) & ~implausible, values, np.nan)
    known: NDArray[np.bool_] = np.asarray(np.isfinite(values).any(axis=1))
    columns: dict[str, pa.Array] = {
        name: pa.array(values[:, index], from_pandas=True) for index, name in enumerate(spec.numeric)
    }
    for name, levels in spec.categorical.items():
        columns[name] = as_text(column(people, name, where))
        code = positions(columns[name], pa.array(levels, pa.string()))
        given = ~columns[name].is_null().to_numpy(zero_copy_only=False)
        if strict and (lost := given & (code < 0)).any():
            row = first(lost)
            raise DataError(
                f"{where}: column {name!r} is {columns[name][row].as_py()!r} in row {row} "
                f"({int(lost.sum())} rows), "
                f"which is not one of its levels ({listed(levels)}). Add the level, or recode the value"
            )
        known |= given
    late: NDArray[np.bool_] = np.zeros(len(known), dtype=np.bool_)
    if spec.time is not None:
        time = _times_of(known, column(people, spec.time, where), where, clock)
        late = np.asarray(time > 0)
        refuse_late(late, time, np.arange(len(ids)), where, "days", id_column, ids, clock)
    rows = np.flatnonzero(known & ~late)
    counts: dict[str, int | Mapping[str, int]] = {
        "records": people.num_rows,
        "implausible": {
            name: int(n) for name, n in zip(spec.numeric, implausible.sum(axis=0), strict=True) if n
        },
        "used": len(rows),
    }
    counts |= {} if spec.time is None else {"after_time_zero": int(late.sum())}
    return Content(rows, pa.table({"id": ids, **columns}).take(pa.array(rows)), counts)


def _times_of(known: NDArray[np.bool_], stamps: pa.Array, where: str, clock: Clock) -> NDArray[np.float64]:
    """(N,) days from time zero to the time of each row; zero where there is nothing that has one."""
    nothing = pa.scalar(0.0) if clock.zero is None else clock.zero
    filled = pc.if_else(pa.array(known), stamps, nothing.cast(stamps.type))
    return relative_time(pa.table({"time": filled}), where, np.arange(len(known)), clock, "days")
