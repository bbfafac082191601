"""Tables in CSV files: gaps, names as they are written, pieces, and what is wrong with one."""

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sklar import MultimodalClassifier
from sklar.data.files import count_rows, file_batches, read_file
from sklar.data.schema import Schema, Tabular, Text, TimeSeries
from sklar.data.wide import read_wide, table_batches
from sklar.errors import DataError, UserError

SCHEMA = Schema(
    id="stay",
    label="died",
    modalities={
        "vitals": TimeSeries(variables=("hr", "bp"), steps=4, step=1.0, unit="hours"),
        "note": Text(),
        "demo": Tabular(numeric=("age",), categorical={"ward": ("1", "2")}),
    },
)
STAYS = 'stay,died,age,ward,note\n007,1,61,1,"cough, ""worse"""\n008,0,,2,\n009,0,NA,,12\n'
VITALS = "stay,time,variable,value\n007,-0.5,hr,88\n009,-3,bp,\n009,-2,bp,70.5\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "stays.csv").write_text(STAYS)
    with gzip.open(tmp_path / "vitals.csv.gz", "wt") as stream:
        stream.write(VITALS)
    return tmp_path


def test_a_csv_file_is_read_as_its_schema_means_it(files: Path) -> None:
    long = {"vitals": files / "vitals.csv.gz"}
    found = read_wide(SCHEMA, files / "stays.csv", labelled=True, long=long)
    assert found.ids.to_pylist() == ["007", "008", "009"]
    assert found.rows.tolist() == [[0, 0, 0], [-1, -1, 1], [1, 1, -1]]
    assert found.content["note"].values["documents"].to_pylist() == [['cough, "worse"'], ["12"]]
    assert found.content["demo"].values["age"].to_pylist() == [61.0, None]
    assert found.content["vitals"].values[1, 1].tolist() == pytest.approx([np.nan, 70.5], nan_ok=True)


def test_pieces_of_a_file_are_the_file(files: Path) -> None:
    whole = read_file(files / "stays.csv", SCHEMA)
    pieces = list(table_batches(files / "stays.csv", 2, SCHEMA))
    assert [own.num_rows for own in pieces] == [2, 1]
    assert pa.concat_tables(pieces) == whole
    pq.write_table(whole, files / "stays.parquet")
    assert (
        pa.concat_tables(file_batches(files / "stays.parquet", 2))
        == whole
        == read_file(files / "stays.parquet")
    )
    assert (count_rows(files / "stays.parquet"), count_rows(files / "stays.csv")) == (3, 0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"stay,age\n1,sixty\n", "conversion error to double"),
        (b"stay,age\n1,60,2\n", "Expected 2 columns, got 3"),
        (b"stay,age\nm\xfcller,1\n", "invalid UTF8"),
        (b"", "Empty CSV file"),
    ],
)
def test_what_is_no_table_says_so(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "own.csv").write_bytes(content)
    with pytest.raises(DataError, match=f"own.csv.*{said}.*one kind of value per column"):
        read_file(tmp_path / "own.csv", SCHEMA)


def test_other_files_say_which_are_read(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text(STAYS)
    with pytest.raises(DataError, match=r"not a Parquet file .*by their ending, \.csv"):
        read_file(tmp_path / "own.txt")
    with pytest.raises(UserError, match="no such file"):
        read_file(tmp_path / "other.csv")


def test_a_modality_without_a_column_says_where_it_may_stand(files: Path) -> None:
    with pytest.raises(DataError, match=r"series 'vitals': no column 'vitals'.*--long vitals=FILE.*nulls"):
        read_wide(SCHEMA, files / "stays.csv", labelled=True)


def test_an_estimator_reads_csv_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    age = rng.normal(60, 10, 120)
    lines = [f"{i:03d},{int(a > 60)},{a:.1f},1,{'old' if a > 60 else 'young'}" for i, a in enumerate(age)]
    (tmp_path / "own.csv").write_text("\n".join(["stay,died,age,ward,note", *lines]))
    modalities = {name: SCHEMA.modalities[name] for name in ("note", "demo")}
    schema = SCHEMA.model_copy(update={"modalities": modalities})
    small = {"model.encoders.dim": 4, "model.encoders.text.hidden": 8, "model.encoders.text.heads": 1,
             "model.encoders.text.layers": 1, "training.draws": 2}  # fmt: skip
    fitted = MultimodalClassifier(schema, fusion="late", max_epochs=1, settings=small).fit(
        tmp_path / "own.csv"
    )
    assert fitted.predict_proba(tmp_path / "own.csv").shape == (120, 2)
