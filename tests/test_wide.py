"""One table with a row per subject: every form of every modality, in every kind of frame."""

import datetime as dt
import io

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from sklar.data.cohort import read_cohort
from sklar.data.schema import Image, Schema, Tabular, Text, TimeSeries
from sklar.data.wide import read_table, read_wide, separate, table_batches
from sklar.errors import DataError, UserError

ZERO = dt.datetime(2020, 1, 1)
VITALS = TimeSeries(variables=("hr", "bp"), steps=3, step=1.0, unit="hours")
RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (4, 5)).astype(np.uint8)


def at(hours):
    return ZERO + dt.timedelta(hours=hours)


SCHEMA = Schema(
    id="stay",
    label="died",
    group="patient",
    time_zero="admit",
    modalities={
        "vitals": VITALS,
        "cxr": Image(height=4, width=5, column="scan", time="taken", unit="hours"),
        "note": Text(documents=2, time="written", unit="hours"),
        "demo": Tabular(numeric=("age",), categorical={"sex": ("f", "m")}),
    },
)
ROWS = [
    {
        "stay": 1, "patient": "a", "died": 0, "admit": ZERO, "age": 50.0, "sex": "f",
        "vitals": [{"time": at(-1.5), "variable": "hr", "value": 80.0}],
        "scan": PICTURE.tolist(), "taken": at(-2), "note": ["early", "late"], "written": [at(-2), at(-1)],
    },
    {
        "stay": 2, "patient": "b", "died": 1, "admit": ZERO, "age": None, "sex": "m",
        "vitals": None, "scan": None, "taken": None, "note": None, "written": None,
    },
    {
        "stay": 3, "patient": "b", "died": 1, "admit": ZERO, "age": None, "sex": None,
        "vitals": [], "scan": [], "taken": None, "note": [""], "written": [at(-1)],
    },
]  # fmt: skip


def to_parquet(path):
    pq.write_table(pa.Table.from_pylist(ROWS), path / "t.parquet")
    return path / "t.parquet"


FRAMES = {
    "arrow": lambda _: pa.Table.from_pylist(ROWS),
    "batch": lambda _: pa.Table.from_pylist(ROWS).to_batches()[0],
    "stream": lambda _: pa.Table.from_pylist(ROWS).to_reader(),
    "pandas": lambda _: pd.DataFrame(ROWS),
    "polars": lambda _: pl.DataFrame(ROWS, strict=False),
    "mapping": lambda _: {name: [row[name] for row in ROWS] for name in ROWS[0]},
    "parquet": to_parquet,
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_every_kind_of_frame_gives_the_same_cohort(frame, tmp_path):
    cohort = read_wide(SCHEMA, frame(tmp_path), labelled=True)
    np.testing.assert_array_equal(cohort.rows, [[0, 0, 0, 0], [-1, -1, -1, 1], [-1, -1, -1, -1]])
    assert cohort.ids.to_pylist() == ["1", "2", "3"]
    assert cohort.groups.to_pylist() == ["a", "b", "b"]
    np.testing.assert_array_equal(cohort.target, [0, 1, 1])
    np.testing.assert_array_equal(
        cohort.content["vitals"].values, [[[np.nan] * 2, [80, np.nan], [np.nan] * 2]]
    )
    np.testing.assert_array_equal(cohort.content["cxr"].values, PICTURE[None, None])
    np.testing.assert_array_equal(cohort.content["cxr"].times, [-2])
    assert cohort.content["note"].values["documents"].to_pylist() == [["early", "late"]]
    np.testing.assert_allclose(cohort.content["note"].values["times"].to_pylist(), [[-2, -1]])
    assert not {"vitals", "scan", "note"} & set(cohort.subjects.column_names)


def test_a_hugging_face_dataset_follows_its_selected_rows(tmp_path):
    datasets = pytest.importorskip("datasets", reason="Hugging Face datasets is not installed")
    data = datasets.Dataset.from_list([{**row, "taken": None, "written": None} for row in ROWS])
    plain = SCHEMA.model_copy(update={"modalities": {"vitals": VITALS, "demo": SCHEMA.modalities["demo"]}})
    assert read_wide(plain, data.select([2, 0]), labelled=True).ids.to_pylist() == ["3", "1"]


def test_one_row_and_no_row():
    assert read_wide(SCHEMA, read_table(FRAMES["arrow"](None)).slice(1, 1), labelled=True).rows.tolist() == [
        [-1, -1, -1, 0]
    ]
    with pytest.raises(DataError, match="no rows"):
        read_wide(SCHEMA, FRAMES["arrow"](None).slice(0, 0), labelled=True)


def test_new_patients_need_neither_label_nor_group():
    table = FRAMES["arrow"](None).drop_columns(["died", "patient"])
    cohort = read_wide(SCHEMA, table, labelled=False)
    assert np.isnan(cohort.target).all()
    assert cohort.groups.to_pylist() == ["1", "2", "3"]
    with pytest.raises(DataError, match="no column 'died'"):
        read_wide(SCHEMA, FRAMES["arrow"](None).drop_columns("died"), labelled=True)


def of(modality, **columns):
    """What one modality 'x' of a table without time zero becomes."""
    schema = Schema(id="id", label="y", modalities={"x": modality})
    return read_wide(schema, {"id": list(range(len(columns["x"]))), **columns}, labelled=False).content["x"]


RECORDS = [(0, -2.5, "hr", 70.0), (0, -0.5, "bp", 120.0), (1, -0.25, "hr", 90.0)]
BINNED = [[[70, None], [None, None], [None, 120]], None, [[None, None], [None, None], [90, None]]]


@pytest.mark.parametrize(
    "columns",
    {
        "records": {
            "x": [
                [{"time": t, "variable": v, "value": x} for who, t, v, x in RECORDS if who == 0], None,
                [{"time": t, "variable": v, "value": x} for who, t, v, x in RECORDS if who == 1],
            ]
        },
        "records with a column per variable": {
            "x": [
                [{"time": -2.5, "hr": 70.0, "bp": None}, {"time": -0.5, "hr": None, "bp": 120.0}], None,
                [{"time": -0.25, "hr": 90.0, "bp": None}],
            ]
        },
        "binned matrix": {"x": BINNED},
        "binned matrix with an empty bin": {"x": [[[70, None], None, [None, 120]], [], BINNED[2]]},
        "array": {"x": np.array([b or np.full((3, 2), np.nan) for b in BINNED], dtype=float)},
        "matrix with times": {
            "x": [[[70.0, None], [None, 120.0]], None, [[90.0, None]]], "when": [[-2.5, -0.5], None, [-0.25]],
        },
    }.items(),
    ids=lambda item: item[0],
)  # fmt: skip
def test_every_form_of_a_series_gives_the_same_array(columns):
    own = columns[1]
    spec = VITALS.model_copy(update={"time": "when"}) if "when" in own else VITALS
    content = of(spec, **own)
    np.testing.assert_array_equal(content.rows, [0, 2])
    np.testing.assert_array_equal(
        content.values, np.array([b for b in BINNED if b is not None], dtype=np.float32)
    )
    assert content.counts["used"] == 3


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_a_series_may_be_a_file_of_records(tmp_path, ending):
    for who in (0, 1):
        own = [(t, v, x) for owner, t, v, x in RECORDS if owner == who]
        table = pa.table({name: [r[i] for r in own] for i, name in enumerate(("time", "variable", "value"))})
        if ending == ".parquet":
            pq.write_table(table, tmp_path / f"{who}{ending}")
        else:
            with pa.output_stream(tmp_path / f"{who}{ending}") as stream:
                csv.write_csv(table, stream)
    content = of(VITALS.model_copy(update={"root": str(tmp_path)}), x=[f"0{ending}", "", f"1{ending}"])
    np.testing.assert_array_equal(content.rows, [0, 2])
    np.testing.assert_array_equal(
        content.values, np.array([b for b in BINNED if b is not None], dtype=np.float32)
    )


records = st.lists(
    st.tuples(st.integers(0, 4), st.floats(-4, 0), st.sampled_from(["hr", "bp"]), st.floats(-9, 9)),
    max_size=20,
)


@settings(deadline=None)
@given(records)
def test_nested_records_are_the_long_table_taken_apart(rows):
    nested = [
        [{"time": t, "variable": v, "value": x} for who, t, v, x in rows if who == own] for own in range(5)
    ]
    schema = Schema(id="id", label="y", modalities={"x": VITALS})
    table = pa.table(
        {"id": range(5), "x": pa.array(nested, pa.list_(pa.struct(
            [("time", pa.float64()), ("variable", pa.string()), ("value", pa.float64())])))}
    )  # fmt: skip
    long = pa.table(
        {
            name: pa.array([r[i] for r in rows], kind)
            for i, (name, kind) in enumerate(
                {
                    "id": pa.int64(),
                    "time": pa.float64(),
                    "variable": pa.string(),
                    "value": pa.float64(),
                }.items()
            )
        }
    )
    found = read_wide(schema, table, labelled=False).content["x"]
    expected = read_cohort(schema, {"id": range(5)}, {"x": long}, labelled=False).content["x"]
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.values, expected.values)
    assert (
        found.counts
        == read_wide(schema, {"id": range(5)}, labelled=False, long={"x": long}).content["x"].counts
    )


def test_a_binned_series_keeps_to_its_limits_and_counts_what_it_leaves_out():
    spec = TimeSeries(variables=("hr",), steps=2, step=1.0, limits={"hr": (20, 300)})
    content = of(spec, x=[[[80.0], [999.0]], [[5.0], [None]]])
    np.testing.assert_array_equal(content.values, [[[80], [np.nan]]])
    assert content.counts["implausible"] == {"hr": 2}
    assert (content.counts["records"], content.counts["used"]) == (3, 1)


def png(pixels):
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


COLOUR = RNG.integers(0, 256, (4, 5, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("cell", "expected"),
    {
        "bytes": (lambda _: png(PICTURE), PICTURE[None]),
        "record of bytes": (lambda _: {"bytes": png(PICTURE), "path": "a.png"}, PICTURE[None]),
        "rows and columns": (lambda _: PICTURE.tolist(), PICTURE[None]),
        "colour last": (lambda _: COLOUR.tolist(), COLOUR.transpose(2, 0, 1)),
        "colour first": (lambda _: COLOUR.transpose(2, 0, 1).tolist(), COLOUR.transpose(2, 0, 1)),
        "twice as large": (lambda _: np.full((8, 10), 7).tolist(), np.full((1, 4, 5), 7)),
        "path": (lambda folder: str(folder / "p.png"), PICTURE[None]),
        "record of a path": (lambda folder: {"bytes": None, "path": str(folder / "p.png")}, PICTURE[None]),
        "several, the last counts": (lambda _: [png(PICTURE[::-1].copy()), png(PICTURE)], PICTURE[None]),
    }.values(),
    ids=lambda item: None,
)
def test_every_form_of_an_image(tmp_path, cell, expected):
    (tmp_path / "p.png").write_bytes(png(PICTURE))
    content = of(Image(height=4, width=5, channels=len(expected)), x=[None, cell(tmp_path)])
    assert content.rows.tolist() == [1]
    np.testing.assert_allclose(content.values[0].astype(float), expected, atol=1)  # rounding of a resize


def test_an_array_of_pictures_is_a_column():
    content = of(Image(height=4, width=5), x=np.stack([PICTURE, PICTURE[::-1]]))
    np.testing.assert_array_equal(content.values[:, 0], [PICTURE, PICTURE[::-1]])


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["one", "", None, "  "], {0: ["one"]}),
        ([["one", "two"], [], None, ["", "three"]], {0: ["one", "two"], 3: ["three"]}),
        ([[{"text": "b", "time": -1.0}, {"text": "a", "time": -2.0}], None], {0: ["a", "b"]}),
        ([None, None], {}),
        ([np.nan, np.nan], {}),
    ],
)
def test_every_form_of_a_text(cells, expected):
    content = of(Text(documents=2), x=cells)
    assert dict(zip(content.rows.tolist(), content.values["documents"].to_pylist(), strict=True)) == expected


def test_a_categorical_column_of_pandas_is_its_values():
    table = pd.DataFrame({"id": [1, 2], "x": pd.Series(["calm", None], dtype="category")})
    schema = Schema(id="id", label="y", modalities={"x": Text()})
    assert read_wide(schema, table, labelled=False).rows.tolist() == [[0], [-1]]


LATE = {
    "vitals": ("vitals", [{"time": at(61), "variable": "hr", "value": 80.0}], "series 'vitals': 1 of 1"),
    "cxr": ("taken", at(61), "image 'cxr': 1 of 1"),
    "note": ("written", [at(-2), at(61)], "text 'note': 1 of 2"),
}


@pytest.mark.parametrize(("column", "value", "message"), LATE.values(), ids=LATE)
def test_what_is_later_than_the_prediction_is_refused_or_dropped_and_counted(column, value, message):
    rows = [{**ROWS[0], column: value}, *ROWS[1:]]
    table = pa.Table.from_pylist(rows)
    with pytest.raises(
        DataError, match=rf"{message}.* \(admit\), first stay '1', \+61 hours.*on_late=\"drop\""
    ):
        read_wide(SCHEMA, table, labelled=True)
    cohort = read_wide(SCHEMA, table, labelled=True, on_late="drop")
    name = message.split("'")[1]
    assert cohort.content[name].counts["after_time_zero"] == 1
    assert cohort.content[name].counts["used"] == (1 if name == "note" else 0)


def test_columns_have_a_time_too():
    dated = SCHEMA.modalities["demo"].model_copy(update={"time": "weighed"})
    schema = SCHEMA.model_copy(update={"modalities": {"demo": dated}})
    rows = [{**row, "weighed": at(48 * place - 48)} for place, row in enumerate(ROWS)]
    assert read_wide(schema, pa.Table.from_pylist(rows), labelled=True).rows.tolist() == [[0], [1], [-1]]
    rows[1]["weighed"] = at(48)
    with pytest.raises(DataError, match=r"modality 'demo'\): 1 of 3 are later .* first stay '2', \+2 days"):
        read_wide(schema, pa.Table.from_pylist(rows), labelled=True)
    cohort = read_wide(schema, pa.Table.from_pylist(rows), labelled=True, on_late="drop")
    assert cohort.rows.tolist() == [[0], [-1], [-1]]
    assert cohort.content["demo"].counts["after_time_zero"] == 1
    rows[0]["weighed"] = None
    with pytest.raises(DataError, match="time None in row 0"):
        read_wide(schema, pa.Table.from_pylist(rows), labelled=True, on_late="drop")
    numbers = schema.model_copy(update={"time_zero": None})
    table = {"stay": [1, 2], "died": [0, 1], "patient": [1, 2], "age": [1.0, None], "sex": ["f", None]}
    assert read_wide(numbers, {**table, "weighed": [-1, None]}, labelled=True).rows.tolist() == [[0], [-1]]


def test_a_time_column_may_have_another_role_as_well():
    shared = Text(column="note", time="admit")
    schema = SCHEMA.model_copy(update={"modalities": {"note": shared, "demo": SCHEMA.modalities["demo"]}})
    rows = [{**row, "note": "calm"} for row in ROWS]
    assert read_wide(schema, pa.Table.from_pylist(rows), labelled=True).rows[:, 0].tolist() == [0, 1, 2]


def test_without_a_time_zero_positive_times_are_late():
    with pytest.raises(DataError, match=r"later than the moment of prediction, first id '0', \+2 hours"):
        of(VITALS, x=[[{"time": 2.0, "variable": "hr", "value": 80.0}]])


def test_what_nothing_dates_must_be_accepted_by_name():
    undated = SCHEMA.model_copy(update={"modalities": {**SCHEMA.modalities, "note": Text()}})
    with pytest.raises(UserError, match=r"text 'note': the schema has a time zero \(admit\).*on_undated"):
        read_wide(undated, FRAMES["arrow"](None), labelled=True)
    cohort = read_wide(undated, FRAMES["arrow"](None), labelled=True, on_undated="accept")
    assert cohort.content["note"].rows.tolist() == [0]


def test_times_that_are_null_throughout_date_nothing_that_is_there():
    rows = [{**row, "scan": None, "taken": None} for row in ROWS]
    assert (read_wide(SCHEMA, pa.Table.from_pylist(rows), labelled=True).rows[:, 1] == -1).all()
    rows = [{**row, "taken": None} for row in ROWS]
    with pytest.raises(DataError, match="image 'cxr': time None in row 0"):
        read_wide(SCHEMA, pa.Table.from_pylist(rows), labelled=True)


def test_paths_that_do_not_exist(tmp_path):
    (tmp_path / "there.png").write_bytes(png(PICTURE))
    spec = Image(height=4, width=5, root=str(tmp_path))
    schema = Schema(id="id", label="y", modalities={"x": spec})
    table = {"id": ["p1", "p2", "p3"], "x": ["there.png", "gone.png", None]}
    with pytest.raises(
        DataError, match=r"image 'x': 1 of 2 paths do not exist, first .*gone.png' \(id p2\).*root="
    ):
        read_wide(schema, table, labelled=False)
    cohort = read_wide(schema, table, labelled=False, on_missing_file="missing")
    assert cohort.rows[:, 0].tolist() == [0, -1, -1]
    with pytest.raises(UserError, match="paths of files are not read here"):
        read_wide(schema, table, labelled=False, paths=False)


IMAGE = Image(height=4, width=5)
BROKEN = {
    "series of numbers": (VITALS, {"x": [1.0]}, "the column is double; it holds lists of records"),
    "records without time": (VITALS, {"x": [[{"variable": "hr", "value": 1.0}]]}, "no column 'time'"),
    "records without values": (VITALS, {"x": [[{"time": -1.0, "spo2": 1.0}]]}, "they need time, variable"),
    "unknown variable": (
        VITALS, {"x": [[{"time": -1.0, "variable": "spo2", "value": 1.0}]]}, "variable 'spo2' in row 0",
    ),
    "too few bins": (VITALS, {"x": [None, [[1.0, 2.0]]]}, r"row 1 \(id 1\): 1 rows of numbers.*has 3 bins"),
    "too many variables": (VITALS, {"x": [[[1.0, 2.0, 3.0]] * 3]}, r"row 0 \(id 0\): a row of 3 numbers"),
    "numbers that are words": (VITALS, {"x": [[["a", "b"]] * 3]}, "not numeric"),
    "times of another length": (
        VITALS.model_copy(update={"time": "when"}), {"x": [[[1.0, 2.0]]], "when": [[-1.0, -2.0]]},
        "2 times for 1 rows",
    ),
    "one time for a matrix": (
        VITALS.model_copy(update={"time": "when"}), {"x": [[[1.0, 2.0]]], "when": [-1.0]}, "needs a list",
    ),
    "file of another kind": (VITALS, {"x": [__file__]}, "is not one of .csv"),
    "no column": (VITALS.model_copy(update={"column": "z"}), {"x": [None]}, "series 'x': no column 'z'"),
    "image of numbers": (IMAGE, {"x": [1.0]}, "the column is double; it holds paths"),
    "broken picture": (IMAGE, {"x": [b"no picture"]}, r"row 0 \(id 0\): the picture cannot be read"),
    "pixels beyond bytes": (IMAGE, {"x": [[[256] * 5] * 4]}, "whole numbers from 0 to 255"),
    "pixels as shares": (IMAGE, {"x": [[[0.5] * 5] * 4]}, "pixels are double"),
    "pictures of two sizes": (IMAGE, {"x": [[[1, 2]], [[1], [2]]]}, "pictures of several sizes"),
    "pictures of two channels": (IMAGE, {"x": [np.zeros((4, 5, 2), int).tolist()]}, r"shape \(4, 5, 2\)"),
    "a path among bytes": (
        IMAGE, {"x": [{"bytes": b"1", "path": None}, {"bytes": None, "path": "p"}]}, "give bytes",
    ),
    "text of numbers": (Text(), {"x": [1.0]}, "the column is double; it holds texts"),
    "times of other texts": (
        Text(time="when"), {"x": [["a", "b"]], "when": [[-1.0]]}, r"row 0 \(id 0\): 1 times for 2 entries",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("modality", "columns", "message"), BROKEN.values(), ids=BROKEN)
def test_a_column_that_its_modality_cannot_be_says_so(modality, columns, message):
    with pytest.raises(DataError, match=message):
        of(modality, **columns)


def test_what_is_no_table_says_what_is(tmp_path):
    with pytest.raises(UserError, match="cannot read a int"):
        read_table(3)
    with pytest.raises(UserError, match="there is no such file"):
        read_table(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(DataError, match="is not a Parquet file"):
        read_table(tmp_path / "bad.parquet")
    with pytest.raises(DataError, match=r"array.tolist\(\)"):
        read_table(pd.DataFrame({"id": [1], "x": [np.zeros((2, 2))]}))


def test_a_modality_never_reads_the_label_or_the_id():
    schema = Schema(id="id", label="y", modalities={"x": Text(column="y")})
    with pytest.raises(UserError, match="'x' reads column 'y', which is the id or the label"):
        separate(schema, {"id": [1], "y": ["dead"]}, labelled=True)
    with pytest.raises(UserError, match="long: 'z' is not a series"):
        separate(schema, {"id": [1]}, labelled=True, long={"z": pa.table({})})


@pytest.mark.parametrize("source", ["path", "stream", "table"])
def test_pieces_of_a_table_add_up_to_it(tmp_path, source):
    table = pa.table({"id": range(10)})
    pq.write_table(table, tmp_path / "t.parquet")
    given = {"path": tmp_path / "t.parquet", "stream": table.to_reader(), "table": table}[source]
    pieces = list(table_batches(given, 4))
    assert [piece.num_rows for piece in pieces] == [4, 4, 2]
    assert pa.concat_tables(pieces).equals(table)


def test_a_schema_that_names_no_columns_is_written_as_it_always_was():
    plain = Schema(id="id", label="y", modalities={"x": VITALS, "i": Image(height=1, width=1), "t": Text()})
    assert not {"column", "time", "root"} & {k for m in plain.model_dump()["modalities"].values() for k in m}
    placed = Schema(id="id", label="y", modalities={"x": Text(column="a", time="b")})
    assert Schema.model_validate_json(placed.model_dump_json()) == placed
