"""MEDS shards, written by hand, to rows per label and records per modality."""

import datetime as dt
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sklar.data.meds import read_meds
from sklar.data.schema import Image, Schema, Tabular, Text, TimeSeries
from sklar.data.wide import read_wide
from sklar.errors import DataError, UserError
from test_cli import run
from wide_rows import at

SCHEMA = Schema(
    id="sample",
    label="boolean_value",
    group="subject_id",
    time_zero="prediction_time",
    modalities={
        "vitals": TimeSeries(variables=("HR", "BP//SYS"), steps=4, step=6.0, unit="hours"),
        "note": Text(column="NOTE", documents=2),
        "demo": Tabular(numeric=("MEDS_BIRTH", "WEIGHT"), categorical={"GENDER": ("F", "M")}),
    },
)
EVENTS = {
    "data/train/0.parquet": [
        (1, None, "GENDER//F", None, None),
        (1, dt.datetime(1970, 1, 1), "MEDS_BIRTH", None, None),
        (1, at(-30), "WEIGHT", 70.0, None),
        (1, at(-5), "HR", 80.0, None),
        (1, at(-5), "UNUSED", 1.0, None),
        (1, at(-1), "NOTE", None, "calm"),
        (1, at(0), "BP//SYS", 120.0, None),  # at the prediction time: may be used
        (1, at(1), "HR", 150.0, None),  # later than the first prediction
        (1, at(2), "WEIGHT", 60.0, None),
        (1, at(3), "GENDER//M", None, None),
    ],
    "data/held_out/0.parquet": [(2, at(-5), "HR", 90.0, None)],
}
LABELS = [(1, at(0), False), (2, at(0), True), (1, at(4), True), (3, at(0), False)]


@pytest.fixture
def root(tmp_path):
    names = ("subject_id", "time", "code", "numeric_value", "text_value")
    kinds = (pa.int64(), pa.timestamp("us"), pa.string(), pa.float32(), pa.string())
    for path, rows in EVENTS.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        columns = zip(names, kinds, zip(*rows, strict=True), strict=True)
        pq.write_table(pa.table({name: pa.array(own, kind) for name, kind, own in columns}), tmp_path / path)
    (tmp_path / "metadata").mkdir()
    splits = {"subject_id": [1, 2, 3], "split": ["train", "held_out", "tuning"]}
    pq.write_table(pa.table(splits), tmp_path / "metadata/subject_splits.parquet")
    codes = sorted({row[2] for rows in EVENTS.values() for row in rows})
    pq.write_table(pa.table({"code": codes}), tmp_path / "metadata/codes.parquet")
    pq.write_table(labels(), tmp_path / "labels.parquet")
    return tmp_path


def labels():
    return pa.Table.from_pylist(
        [dict(zip(("subject_id", "prediction_time", "boolean_value"), row, strict=True)) for row in LABELS]
    )


def test_each_prediction_sees_what_came_before_it(root):
    found = read_meds(root, labels(), SCHEMA)
    table = found.table.to_pydict()
    assert table["sample"] == ["1/0", "2/0", "1/1", "3/0"]
    assert table["split"] == ["train", "test", "train", "valid"]
    assert table["boolean_value"] == [0, 1, 1, 0]
    assert table["WEIGHT"] == [70, None, 60, None]
    assert table["GENDER"] == ["F", None, "M", None]
    assert table["MEDS_BIRTH"][0] == pytest.approx(50, abs=0.01)
    assert found.long["vitals"].select(["sample", "variable", "value"]).to_pylist() == [
        {"sample": "1/0", "variable": "HR", "value": 80},
        {"sample": "1/0", "variable": "BP//SYS", "value": 120},
        {"sample": "2/0", "variable": "HR", "value": 90},
        {"sample": "1/1", "variable": "HR", "value": 80},
        {"sample": "1/1", "variable": "BP//SYS", "value": 120},
        {"sample": "1/1", "variable": "HR", "value": 150},
    ]
    assert found.long["note"]["sample"].to_pylist() == ["1/0", "1/1"]


def test_the_leak_guard_finds_nothing_and_presence_is_what_was_recorded(root):
    found = read_meds(root, root / "labels.parquet", SCHEMA)
    cohort = read_wide(SCHEMA, found.table, labelled=True, long=found.long)
    np.testing.assert_array_equal(cohort.rows >= 0, [[1, 1, 1], [1, 0, 0], [1, 1, 1], [0, 0, 0]])
    assert cohort.groups.to_pylist() == ["1", "2", "1", "3"]
    np.testing.assert_array_equal(cohort.content["vitals"].values[0, -1], [80, 120])


def test_by_the_command_line(root, tmp_path):
    (tmp_path / "schema.yaml").write_text(SCHEMA.model_dump_json())
    more = pa.concat_tables([labels()] * 3)
    pq.write_table(more, tmp_path / "more.parquet")
    arguments = [
        "--labels",
        tmp_path / "more.parquet",
        "--schema",
        tmp_path / "schema.yaml",
        "--out",
        tmp_path / "d",
    ]
    done = run("prepare", "meds", root, *arguments, "--json")
    assert json.loads(done.stdout.strip().splitlines()[-1])["counts"]["all"] == [12, 6]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"time_zero": "admit"}, UserError, "time_zero is 'admit'; labels of MEDS are at 'prediction_time'"),
        (
            {"modalities": {"x": Image(height=1, width=1)}},
            UserError,
            "modality 'x': MEDS holds series, texts",
        ),
        (
            {"modalities": {"x": TimeSeries(variables=("HRR",), steps=1, step=1.0)}},
            DataError,
            "knows no code 'HRR'; did you mean HR",
        ),
        ({"label": "integer_value"}, DataError, "labels: no column 'integer_value'"),
    ],
)
def test_what_does_not_suit_says_so(root, change, error, message):
    with pytest.raises(error, match=message):
        read_meds(root, labels(), SCHEMA.model_copy(update=change))


def test_a_folder_that_holds_no_shards(tmp_path):
    with pytest.raises(UserError, match="this is no MEDS data set"):
        read_meds(tmp_path, labels(), SCHEMA)


def test_shards_without_a_column(root):
    for path in EVENTS:
        pq.write_table(pq.read_table(root / path).drop_columns("text_value"), root / path)
    with pytest.raises(DataError, match="no column text_value, which text 'note' needs"):
        read_meds(root, labels(), SCHEMA)
    for path in EVENTS:
        pq.write_table(pq.read_table(root / path).drop_columns("code"), root / path)
    with pytest.raises(DataError, match="no column code"):
        read_meds(root, labels(), SCHEMA)
