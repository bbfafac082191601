"""Every form in which a cell of a table may hold a series, an image or a text, and what it may not hold."""

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklar.data.cohort import read_cohort
from sklar.data.schema import Image, Schema, Text, TimeSeries
from sklar.data.wide import read_wide
from sklar.errors import DataError
from wide_rows import PICTURE, VITALS, of, png

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


def test_a_file_may_name_its_subject_but_no_stranger(tmp_path):
    path = tmp_path / "0.csv"
    path.write_text("id,time,hr\n0,-1,70\n")
    assert of(VITALS, x=[str(path)]).counts["used"] == 1
    path.write_text("id,time,hr,bpp\n0,-1,70,120\n")
    with pytest.raises(DataError, match=r"0\.csv': column 'bpp' is not a variable"):
        of(VITALS, x=[str(path)])


records = st.lists(
    st.tuples(st.integers(0, 4), st.floats(-4, 0), st.sampled_from(["hr", "bp"]), st.floats(-9, 9)),
    max_size=20,
)


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


COLOUR = np.random.default_rng(1).integers(0, 256, (4, 5, 3)).astype(np.uint8)


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


IMAGE = Image(height=4, width=5)
BROKEN = {
    "series of numbers": (VITALS, {"x": [1.0]}, "the column is double; it holds lists of records"),
    "records without time": (VITALS, {"x": [[{"variable": "hr", "value": 1.0}]]}, "no column 'time'"),
    "records without values": (VITALS, {"x": [[{"time": -1.0, "spo2": 1.0}]]}, "they need time, variable"),
    "column of no variable": (
        VITALS.model_copy(update={"variables": ("heart_rate", "bp")}),
        {"x": [[{"time": -1.0, "hart_rate": 70.0, "bp": 120.0}]]},
        r"column 'hart_rate' is not a variable \(heart_rate, bp\); did you mean heart_rate\?. Rename it",
    ),
    "unknown variable": (
        VITALS, {"x": [[{"time": -1.0, "variable": "hr2", "value": 1.0}]]},
        r"variable 'hr2' in row 0 \(1 rows\) is not in the schema \(hr, bp\); did you mean hr",
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
