"""Data sets in the Medical Event Data Standard (MEDS) as one row per label, and records per modality.

Shards are ``data/**/*.parquet`` with subject_id, time (null for what is static), code, numeric_value and
possibly text_value; labels have subject_id, prediction_time and a value; events up to and including the
prediction time may be used. Source: the MEDS schema, version 0.3 and later.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as datasets
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sklar.data.schema import Schema, Tabular, Text, TimeSeries
from sklar.data.tables import as_text, column, listed
from sklar.data.wide import read_table
from sklar.errors import DataError, UserError, nearest

SUBJECT, ZERO, SPLIT = "subject_id", "prediction_time", "split"
SPLITS = {"train": "train", "tuning": "valid", "held_out": "test"}
"""MEDS' names of splits, and ours."""

BIRTH = "MEDS_BIRTH"
"""As a numeric column of a table: the age at the prediction, in years of 365.25 days."""
YEAR = 365.25 * 86400e6
"""Microseconds."""


@dataclass(frozen=True)
class MedsTables:
    """What `sklar.data.wide` and `sklar.MultimodalClassifier` take.

    Attributes:
        table: One row per label: its id, subject_id, prediction_time, the label, the columns of tables, and
            ``split`` where the data set has one.
        long: Per series and text its records, none of them after the prediction time.
    """

    table: pa.Table
    long: dict[str, pa.Table]


def read_meds(
    root: str | os.PathLike[str], labels: str | os.PathLike[str] | pa.Table, schema: Schema
) -> MedsTables:
    """Gather the events before each prediction time of a MEDS data set.

    The variables of a `TimeSeries` are codes, whose numeric_value is taken. The column of a `Text` is a code,
    whose text_value is taken. Of a `Tabular`, a numeric column is a code, whose last value before the
    prediction counts ("MEDS_BIRTH" is the age in years); a categorical column ``GENDER`` with level ``M`` is
    the code ``GENDER//M``, of which the last counts.

    Args:
        root: Folder of the data set, which holds ``data``.
        labels: Table or Parquet file of labels.
        schema: Its time_zero is "prediction_time"; its id is a name for the rows that are made here; its
            group should be "subject_id".

    Raises:
        UserError: The schema does not suit, or there is no such data set.
        DataError: A column is missing, or a code is unknown to ``metadata/codes.parquet``.
    """
    folder = Path(root)
    if not any((folder / "data").rglob("*.parquet")):
        raise UserError(f"{folder}: no data/**/*.parquet, so this is no MEDS data set. Give its root folder")
    if schema.time_zero != ZERO:
        raise UserError(
            f"schema: time_zero is {schema.time_zero!r}; labels of MEDS are at {ZERO!r}, so say that"
        )
    if other := [
        name for name, own in schema.modalities.items() if not isinstance(own, TimeSeries | Text | Tabular)
    ]:
        raise UserError(f"modality {other[0]!r}: MEDS holds series, texts and tables only")
    people = _people(read_table(labels, "labels"), folder, schema)
    events = _events(folder, schema, people)
    for spec in schema.tables.values():
        people = _with_table(people, events, spec)
    long = {name: _series(events, schema.id, spec) for name, spec in schema.series.items()}
    long |= {name: _texts(events, schema.id, spec.column or name) for name, spec in schema.texts.items()}
    return MedsTables(people, long)


def _people(labels: pa.Table, folder: Path, schema: Schema) -> pa.Table:
    """The labels with an id each, booleans as numbers, and the subjects' split."""
    subject, zero = column(labels, SUBJECT, "labels"), column(labels, ZERO, "labels")
    columns = {schema.id: pc.binary_join_element_wise(as_text(subject), as_text(_rank(subject)), "/")}
    columns |= {SUBJECT: subject.cast(pa.int64()), ZERO: zero.cast(pa.timestamp("us"))}
    for name in schema.labels:
        own = column(labels, name, "labels")
        columns[name] = own.cast(pa.int8()) if pa.types.is_boolean(own.type) else own
    splits = folder / "metadata" / "subject_splits.parquet"
    if splits.is_file():
        known = pq.read_table(splits)
        place = pc.index_in(columns[SUBJECT], value_set=column(known, SUBJECT, str(splits)))
        names = column(known, "split", str(splits)).take(place).to_pylist()
        columns[SPLIT] = pa.array([SPLITS.get(own, own) for own in names], pa.string())
    return pa.table(columns)


def _rank(values: pa.Array) -> pa.Array:
    """(N,) how many equal values stand before each."""
    codes = values.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable")
    start = np.searchsorted(codes[order], codes[order])
    rank = np.empty(len(codes), dtype=np.int64)
    rank[order] = np.arange(len(codes)) - start
    return pa.array(rank)


def _events(folder: Path, schema: Schema, people: pa.Table) -> pa.Table:
    """Events of the schema's codes, once per row whose prediction they precede; ``row`` says which."""
    codes = [code for spec in schema.series.values() for code in spec.variables]
    codes += [spec.column or name for name, spec in schema.texts.items()]
    codes += [code for spec in schema.tables.values() for code in spec.numeric]
    _check_codes(folder, codes)
    for spec in schema.tables.values():
        codes += [f"{name}//{level}" for name, levels in spec.categorical.items() for level in levels]
    data = datasets.dataset(folder / "data", format="parquet")
    wanted = [
        name for name in (SUBJECT, "time", "code", "numeric_value", "text_value") if name in data.schema.names
    ]
    if lost := {SUBJECT, "time", "code", "numeric_value"} - set(wanted):
        raise DataError(
            f"{folder / 'data'}: no column {listed(sorted(lost))} (found {listed(data.schema.names)})"
        )
    if schema.texts and "text_value" not in wanted:
        raise DataError(
            f"{folder / 'data'}: no column text_value, which text {next(iter(schema.texts))!r} needs"
        )
    subjects = pc.unique(people[SUBJECT])
    chosen = pc.field("code").isin(codes) & pc.field(SUBJECT).isin(subjects)
    found = data.to_table(columns=wanted, filter=chosen)
    found = found.append_column("event", pa.array(np.arange(found.num_rows)))
    rows = people.select([schema.id, SUBJECT, ZERO]).append_column(
        "row", pa.array(np.arange(people.num_rows))
    )
    both = found.join(rows, SUBJECT, join_type="inner").sort_by(
        [("row", "ascending"), ("event", "ascending")]
    )
    return both.filter(
        pc.fill_null(pc.less_equal(both["time"], both[ZERO]), True)
    )  # static events have no time


def _check_codes(folder: Path, codes: list[str]) -> None:
    path = folder / "metadata" / "codes.parquet"
    if not path.is_file():
        return
    known = set(column(pq.read_table(path), "code", str(path)).to_pylist())
    if lost := [code for code in codes if code not in known]:
        raise DataError(
            f"{path} knows no code {lost[0]!r}{nearest(lost[0], known)}. Name codes of this data set"
        )


def _series(events: pa.Table, id_column: str, spec: TimeSeries) -> pa.Table:
    own = events.filter(pc.is_in(events["code"], value_set=pa.array(spec.variables, pa.string())))
    own = own.filter(pc.is_valid(own["time"]))
    return pa.table(
        {
            id_column: own[id_column],
            "time": own["time"],
            "variable": own["code"],
            "value": own["numeric_value"],
        }
    )


def _texts(events: pa.Table, id_column: str, code: str) -> pa.Table:
    own = events.filter(pc.equal(events["code"], code))
    own = own.filter(pc.is_valid(own["time"]))
    return pa.table({id_column: own[id_column], "time": own["time"], "text": own["text_value"]})


def _with_table(people: pa.Table, events: pa.Table, spec: Tabular) -> pa.Table:
    for code in spec.numeric:
        own = events.filter(pc.equal(events["code"], code))
        if code == BIRTH:
            age = pc.divide(pc.subtract(own[ZERO], own["time"]).cast(pa.int64()).cast(pa.float64()), YEAR)
            own = own.append_column("last", age)
        else:
            own = own.append_column("last", own["numeric_value"].cast(pa.float64()))
        people = people.append_column(code, _last(own, people.num_rows))
    for prefix, levels in spec.categorical.items():
        codes = pa.array([f"{prefix}//{level}" for level in levels], pa.string())
        own = events.filter(pc.is_in(events["code"], value_set=codes))
        own = own.append_column("last", pc.replace_substring(own["code"], f"{prefix}//", ""))
        people = people.append_column(prefix, _last(own, people.num_rows))
    return people


def _last(own: pa.Table, rows: int) -> pa.Array:
    """(N,) the value of each row's latest event, null where it has none; static ones come first."""
    own = own.filter(pc.is_valid(own["last"]))
    stamp = pc.fill_null(own["time"].cast(pa.int64()), np.iinfo(np.int64).min).to_numpy()
    order = np.lexsort((own["event"].to_numpy(), stamp, own["row"].to_numpy()))
    place: NDArray[np.int64] = np.full(rows, -1, dtype=np.int64)
    place[own["row"].to_numpy()[order]] = order  # of repeated rows the last assignment stays
    return own["last"].combine_chunks().take(pa.array(place, mask=place < 0))
