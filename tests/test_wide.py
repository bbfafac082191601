"""One table with a row per subject, in every kind of frame: subjects, roles of columns, files, pieces."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sklar.data.schema import Image, Schema, Text
from sklar.data.wide import read_table, read_wide, separate, table_batches
from sklar.errors import DataError, UserError
from wide_rows import PICTURE, ROWS, SCHEMA, VITALS, arrow, png


def to_parquet(path):
    pq.write_table(pa.Table.from_pylist(ROWS), path / "t.parquet")
    return path / "t.parquet"


FRAMES = {
    "arrow": lambda _: arrow(),
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
    assert read_wide(SCHEMA, read_table(arrow()).slice(1, 1), labelled=True).rows.tolist() == [
        [-1, -1, -1, 0]
    ]
    with pytest.raises(DataError, match="no rows"):
        read_wide(SCHEMA, arrow().slice(0, 0), labelled=True)


def test_new_patients_need_neither_label_nor_group():
    table = arrow().drop_columns(["died", "patient"])
    cohort = read_wide(SCHEMA, table, labelled=False)
    assert np.isnan(cohort.target).all()
    assert cohort.groups.to_pylist() == ["1", "2", "3"]
    with pytest.raises(DataError, match="no column 'died'"):
        read_wide(SCHEMA, arrow().drop_columns("died"), labelled=True)


def test_a_categorical_column_of_pandas_is_its_values():
    table = pd.DataFrame({"id": [1, 2], "x": pd.Series(["calm", None], dtype="category")})
    schema = Schema(id="id", label="y", modalities={"x": Text()})
    assert read_wide(schema, table, labelled=False).rows.tolist() == [[0], [-1]]


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
