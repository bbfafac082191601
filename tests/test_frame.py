"""Small hand-written tables in, expected arrays out."""

import datetime as dt
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklar.data import folder, frame
from sklar.data.cohort import read_cohort
from sklar.data.schema import Schema, Tabular, Text, TimeSeries
from sklar.data.store import PreparedData
from sklar.errors import DataError, UserError

NAN = np.nan


def rows(header, *lines):
    """A table written as lines of cells."""
    names = header.split()
    return pa.table({name: [line[i] for line in lines] for i, name in enumerate(names)})


SCHEMA = Schema(
    id="stay",
    label="died",
    group="patient",
    modalities={
        "labs": TimeSeries(
            variables=("hr", "crp"), steps=3, step=2.0, unit="hours", limits={"hr": (20, 300)}
        ),
        "note": Text(documents=2),
        "demo": Tabular(numeric=("age", "bmi"), categorical={"sex": ("f", "m")}),
    },
)

SUBJECTS = rows(
    "stay patient died split   age   bmi   sex",
    (11, "a", 0, "train", 60, 20.0, "f"),
    (12, "a", 1, "train", 61, None, None),
    (13, "b", 0, "valid", None, None, None),
    (14, "c", None, "test", 40, 30.0, "m"),
)

LABS = rows(
    "stay time variable value",
    (11, -0.0, "hr", 80.0),  # at time zero: last bin
    (11, -1.0, "hr", 90.0),  # same bin, so their mean
    (11, -2.0, "hr", 70.0),  # right end of the middle bin
    (11, -5.9, "crp", 3.0),  # first bin
    (11, -6.0, "crp", 9.0),  # left end of the grid: outside
    (11, 0.1, "crp", 9.0),  # after time zero: never used
    (13, -3.0, "hr", 999.0),  # implausible
    (14, -3.0, "hr", None),  # no value
    (14, -3.0, "crp", 5.0),
)

NOTES = rows(
    "stay position text",
    (12, 2, "second"),
    (12, 3, "third"),
    (12, 1, "first"),
    (13, 1, "  "),
    (14, 1, "only"),
)


def parts(**changes):
    return {
        "schema": SCHEMA,
        "subjects": SUBJECTS,
        "series": {"labs": LABS},
        "texts": {"note": NOTES},
        "split": "split",
    } | changes


def prepare(out, **changes):
    return frame.write(out, **parts(**changes))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("frame") / "data")


def test_the_index_says_who_is_where_and_has_what(data):
    expected = rows(
        "id group split label weight present_labs present_note present_demo row_labs row_note row_demo",
        ("11", "a", "train", 0, 1.0, True, False, True, 0, -1, 0),
        ("12", "a", "train", 1, 1.0, False, True, True, -1, 0, 1),
        ("13", "b", "valid", 0, 1.0, False, False, False, -1, -1, -1),
        ("14", "c", "test", None, 1.0, True, True, True, 1, 1, 2),
    )
    assert data.index.to_pylist() == expected.to_pylist()


def test_series_are_binned_in_raw_units_with_gaps(data):
    ids, values, columns = data.series("labs", normalised=False)
    assert ids.tolist() == ["11", "14"]
    assert columns == ("hr", "crp")
    expected = [
        # hr, crp in each of the three bins
        [[NAN, 3], [70, NAN], [85, NAN]],
        [[NAN, NAN], [NAN, 5], [NAN, NAN]],
    ]
    np.testing.assert_array_equal(values, np.array(expected, dtype=np.float32))


def test_documents_keep_their_order_and_the_latest_stay(data):
    assert data.documents("note") == [[], ["second", "third"], [], ["only"]]


def test_tables_keep_known_rows_only(data):
    expected = rows(
        "id age bmi sex", ("11", 60.0, 20.0, "f"), ("12", 61.0, None, None), ("14", 40.0, 30.0, "m")
    )
    assert data.table("demo").to_pylist() == expected.to_pylist()


def test_the_manifest_counts_what_was_left_out(data):
    labs = {"records": 9, "after_time_zero": 1, "before_the_grid": 1, "without_value": 1}
    assert data.manifest.records["labs"] == labs | {"implausible": {"hr": 1}, "used": 5}
    assert data.manifest.records["note"]["beyond_the_limit"] == 1
    assert data.manifest.records["note"]["blank"] == 1


def test_the_manifest_counts_rows_and_events(data):
    found = {
        name: (c.subjects, c.labelled, c.events, c.without_modality)
        for name, c in data.manifest.counts.items()
    }
    assert found == {"all": (4, 3, 1, 1), "train": (2, 2, 1, 0), "valid": (1, 1, 0, 1), "test": (1, 0, 0, 0)}
    assert data.manifest.presence == {"labs": 0.5, "note": 0.5, "demo": 0.75}
    assert data.manifest.risk == {"complete_case": 1 / 3}


def test_statistics_come_from_training_rows_alone(data):
    demo = data.manifest.statistics["demo"]
    assert demo["age"] == {"mean": 60.5, "sd": 0.5, "cells": 2}
    assert demo["bmi"] == {"mean": 20, "sd": 1, "cells": 1}
    hr = data.manifest.statistics["labs"]["hr"]
    assert (hr["mean"], hr["cells"]) == (77.5, 2)


def test_the_manifest_is_plain_json_with_the_schema_in_it(data):
    content = json.loads((data.path / "manifest.json").read_text())
    assert Schema.model_validate(content["schema"]) == SCHEMA
    assert {"labs.npy", "note.parquet", "demo.parquet", "index.parquet"} == set(content["files"])


@pytest.mark.parametrize(("statistic", "expected"), [("mean", 85), ("last", 80), ("min", 80), ("max", 90)])
def test_a_bin_keeps_the_statistic_of_the_schema(statistic, expected):
    spec = TimeSeries(variables=("hr", "crp"), steps=3, step=2.0, statistic=statistic)
    schema = Schema(id="stay", label="died", modalities={"labs": spec})
    values = read_cohort(schema, SUBJECTS, {"labs": LABS}).content["labs"].values
    assert values[0, 2, 0] == expected


records = st.lists(
    st.tuples(st.integers(0, 3), st.floats(-9, 2), st.sampled_from(["hr", "crp"]), st.floats(0, 50)),
    max_size=30,
)


@given(records)
def test_binning_equals_a_loop_over_records(lines):
    lines = [(11 + owner, *rest) for owner, *rest in lines] or [(11, -1.0, "hr", 1.0)]
    expected = {}
    for stay, time, variable, value in lines:
        for t in range(3):
            if -6 + 2 * t < time <= -4 + 2 * t:
                expected.setdefault((stay, t, variable), []).append(value)
    schema = SCHEMA.model_copy(
        update={"modalities": {"labs": TimeSeries(variables=("hr", "crp"), steps=3, step=2.0)}}
    )
    labs = rows("stay time variable value", *lines)
    content = read_cohort(schema, SUBJECTS, {"labs": labs}).content["labs"]
    found = {
        (11 + int(content.rows[n]), int(t), ("hr", "crp")[v]): content.values[n, t, v]
        for n, t, v in np.argwhere(~np.isnan(content.values))
    }
    assert found.keys() == expected.keys()
    for cell, values in expected.items():
        assert found[cell] == pytest.approx(np.mean(values), rel=1e-6)


def test_timestamps_are_read_relative_to_time_zero():
    zero = dt.datetime(2020, 1, 2)
    people = rows("id died now", (1, 0, zero), (2, 1, zero))
    labs = rows("id time variable value", (1, zero - dt.timedelta(hours=3), "hr", 1.0), (2, zero, "hr", 2.0))
    spec = TimeSeries(variables=("hr",), steps=2, step=2, unit="hours")
    schema = Schema(id="id", label="died", time_zero="now", modalities={"labs": spec})
    values = read_cohort(schema, people, {"labs": labs}).content["labs"].values
    np.testing.assert_array_equal(values[:, :, 0], [[1, NAN], [NAN, 2]])


def test_documents_after_time_zero_are_not_used():
    texts = rows("stay time text", (11, -1.0, "now"), (11, -2.0, "before"), (11, 0.5, "future"))
    schema = SCHEMA.model_copy(update={"modalities": {"note": Text(documents=5)}})
    table = read_cohort(schema, SUBJECTS, texts={"note": texts}).content["note"].values
    assert table.to_pylist() == [{"id": "11", "documents": ["before", "now"], "times": [-2.0, -1.0]}]


def test_pandas_gives_the_same_arrays_as_arrow(tmp_path, data):
    other = prepare(
        tmp_path / "data",
        subjects=SUBJECTS.to_pandas(),  # gaps turn whole numbers into floats
        series={"labs": LABS.to_pandas()},
        texts={"note": NOTES.to_pandas()},
    )
    assert other.index.equals(data.index)
    assert other.hash == data.hash


@pytest.mark.parametrize("ids", [[11, 14], [30_000_000, 30_000_001], [10**15, 10**15 + 1]])
def test_whole_floats_and_integers_are_the_same_id(ids):
    labs = pd.DataFrame({"stay": np.array(ids, dtype=float), "time": -1.0, "variable": "hr", "value": 70.0})
    schema = Schema(id="stay", label="died", modalities={"labs": SCHEMA.series["labs"]})
    people = pa.table({"stay": pa.array(ids, pa.int64()), "died": [0, 1]})
    assert read_cohort(schema, people, {"labs": labs}).content["labs"].rows.tolist() == [0, 1]


def test_ids_that_are_not_whole_numbers_stay_what_they_are():
    schema = Schema(id="stay", label="died", modalities={"demo": Tabular(numeric=("age",))})
    people = pa.table({"stay": [1.5, 2.0], "died": [0, 1], "age": [1, 2]})
    assert read_cohort(schema, people).ids.to_pylist() == ["1.5", "2"]


def with_column(table, name, values):
    return table.set_column(table.column_names.index(name), name, pa.array(values))


LATE = pa.table(
    {"stay": [11], "time": pa.array([dt.datetime(2020, 1, 1)]), "variable": ["hr"], "value": [1.0]}
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subjects": SUBJECTS.drop_columns(["age"])}, r"no column 'age' \(found stay, patient.*Rename"),
        ({"series": {"labs": LABS.drop_columns(["value"])}}, "series 'labs': no column 'value'"),
        (
            {"subjects": with_column(SUBJECTS, "stay", [11, 12, 11, 14])},
            "'11' is in rows 0 and 2.*Keep one row",
        ),
        ({"subjects": with_column(SUBJECTS, "stay", [11, None, 13, 14])}, "'stay' is null in row 1"),
        ({"subjects": with_column(SUBJECTS, "patient", ["a", "a", None, "c"])}, "'patient' is null in row 2"),
        ({"subjects": with_column(SUBJECTS, "died", [0, 1, 2, None])}, "'died' is 2 in row 2.*0, 1 or null"),
        ({"subjects": with_column(SUBJECTS, "died", [None, None, 1, 0])}, "null in all 2 training rows"),
        ({"subjects": with_column(SUBJECTS, "sex", ["f", "x", None, "m"])}, "'sex' is 'x' in row 1.*f, m"),
        ({"subjects": with_column(SUBJECTS, "age", ["old", "1", "2", "3"])}, "'age'.*not numeric.*'old'"),
        (
            {"subjects": with_column(SUBJECTS, "split", ["train", "test", "valid", "test"])},
            "'a' is in 2 splits",
        ),
        (
            {"subjects": with_column(SUBJECTS, "split", ["train", "train", "dev", "test"])},
            "is 'dev' in row 2",
        ),
        ({"subjects": with_column(SUBJECTS, "split", ["test"] * 4)}, "no row has 'split' = 'train'"),
        ({"subjects": SUBJECTS.slice(0, 0)}, "no rows"),
        (
            {"series": {"labs": with_column(LABS, "stay", [11] * 8 + [99])}},
            "'99' in row 8 is not in the subjects",
        ),
        (
            {"series": {"labs": with_column(LABS, "variable", ["hr"] * 8 + ["lactate"])}},
            "'lactate' in row 8.*hr, crp",
        ),
        ({"series": {"labs": with_column(LABS, "time", [-1.0] * 8 + [NAN])}}, "time nan in row 8.*finite"),
        ({"series": {"labs": LATE}}, "no time_zero"),
        (
            {"series": {"labs": with_column(LABS, "time", [5.0] * 9)}},
            "'labs' is absent in all 2 training rows",
        ),
        ({"weight": "bmi"}, "weight 'bmi' is nan in row 1"),
        ({"subjects": SUBJECTS.append_column("age", SUBJECTS["age"])}, "2 columns are called 'age'"),
    ],
)
def test_broken_data_are_refused_by_name_row_and_remedy(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        prepare(tmp_path / "data", **changes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"series": {}}, "schema has 'labs' but no table"),
        ({"texts": {"note": NOTES, "letter": NOTES}}, "'letter' is not one of the schema's texts"),
        ({"subjects": [1, 2]}, "cannot read a list"),
        ({"split": None, "fractions": (0.5, 0.5, 0.5)}, "sum 1"),
    ],
)
def test_a_wrong_call_is_refused(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        prepare(tmp_path / "data", **changes)
    assert list(tmp_path.iterdir()) == []


def test_mixed_clocks_are_refused():
    people = rows("id died now", (1, 0, 5.0))
    schema = Schema(id="id", label="died", time_zero="now", modalities={"note": Text()})
    texts = pa.table({"id": [1], "text": ["a"], "time": pa.array([dt.datetime(2020, 1, 1)])})
    with pytest.raises(DataError, match="both must be timestamps, or both numbers"):
        read_cohort(schema, people, texts={"note": texts})


@pytest.mark.parametrize("stage", ["save", "write_table", "manifest", "rename"])
def test_a_crash_leaves_nothing_behind(tmp_path, monkeypatch, stage):
    def crash(*_args, **_kwargs):
        raise KeyboardInterrupt

    place = {
        "save": (folder.np, "save"),
        "write_table": (folder.pq, "write_table"),
        "manifest": (folder.Manifest, "write"),
        "rename": (type(tmp_path), "rename"),
    }[stage]
    monkeypatch.setattr(*place, crash)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_the_manifest_is_written_last(tmp_path, monkeypatch):
    seen = []
    original = folder.Manifest.write
    monkeypatch.setattr(
        folder.Manifest,
        "write",
        lambda self, folder: (seen.extend(p.name for p in folder.iterdir()), original(self, folder)),
    )
    prepare(tmp_path / "data")
    assert sorted(seen) == ["demo.parquet", "index.parquet", "labs.npy", "note.parquet"]


def test_the_same_inputs_reuse_the_folder(tmp_path):
    before = prepare(tmp_path / "data")
    stamp = (before.path / "manifest.json").stat().st_mtime_ns
    assert prepare(tmp_path / "data").hash == before.hash
    assert (before.path / "manifest.json").stat().st_mtime_ns == stamp


def test_a_folder_that_left_out_late_records_is_not_reused_by_who_refuses_them(tmp_path):
    prepare(tmp_path / "data")
    with pytest.raises(DataError, match="later than the moment of prediction"):
        prepare(tmp_path / "data", on_late="error")
    early = {"labs": LABS.filter(pa.array([time <= 0 for time in LABS["time"].to_pylist()]))}
    kept = {prepare(tmp_path / "early", series=early, on_late=how).hash for how in ("drop", "error")}
    assert len(kept) == 1


def test_chunks_do_not_make_other_inputs(tmp_path):
    chunked = pa.concat_tables([LABS.slice(0, 4), LABS.slice(4)])
    prepare(tmp_path / "data")
    prepare(tmp_path / "data", series={"labs": chunked})


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"series": {"labs": with_column(LABS, "value", [1.0] * 9)}},
        {"split": None, "fractions": (1, 0, 0)},
    ],
)
def test_other_inputs_do_not_overwrite(tmp_path, changes):
    before = prepare(tmp_path / "data")
    with pytest.raises(
        UserError, match=r"prepared from other tables or with other options. Give another --out"
    ):
        prepare(tmp_path / "data", **changes)
    assert PreparedData.open(before.path, verify=True).hash == before.hash


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not a usable prepared folder"):
        prepare(tmp_path / "data")
    assert (tmp_path / "data" / "thesis.txt").read_text() == "years of work"


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "data").mkdir()
    assert prepare(tmp_path / "data").index.num_rows == 4


def test_progress_ends_at_one(tmp_path):
    seen = []
    prepare(tmp_path / "data", progress=lambda what, done: seen.append(done))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
