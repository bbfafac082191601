"""New patients from one Parquet file: the folder's answers, what is said of each row, constant memory."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cohorts import TINY, small_cohort
from sklar import runs
from sklar.cli import app
from sklar.data.store import PreparedData
from sklar.errors import DataError, UserError
from sklar.training.config import resolve


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return small_cohort(tmp_path_factory.mktemp("cohort") / "data")


@pytest.fixture(scope="module")
def run(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    return runs.train(resolve("cm2", TINY), data, tmp_path_factory.mktemp("runs") / "cm2")


def wide(data: PreparedData) -> pa.Table:
    """The prepared patients as one table with a row each."""
    _, values, names = data.series("labs", normalised=False)
    labs: list[object] = [None] * len(data.ids)
    for row, own in zip(np.flatnonzero(data.present[:, 0]), values, strict=True):
        labs[row] = [dict(zip(names, map(float, own[t]), strict=True)) | {"time": t - 5.5} for t in range(6)]
    notes = [texts[0] if texts else None for texts in data.documents("notes")]
    table = data.table("table")
    place = data.positions[:, 2]
    columns = {name: table[name].take(pa.array(place, mask=place < 0)) for name in ("age", "bmi", "sex")}
    return pa.table({"id": data.ids, "labs": labs, "notes": notes, **columns})


def patient(**values: object) -> dict[str, object]:
    return {"id": "n1", "labs": None, "notes": None, "age": None, "bmi": None, "sex": None, **values}


def table_of(*rows: dict[str, object]) -> pa.Table:
    labs = pa.list_(pa.struct([("time", pa.float64()), ("x", pa.float64()), ("y", pa.float64())]))
    types = {"id": pa.string(), "labs": labs, "notes": pa.list_(pa.string()), "sex": pa.string()}
    names = ("id", "labs", "notes", "age", "bmi", "sex")
    return pa.Table.from_pylist(list(rows), pa.schema([(n, types.get(n, pa.float64())) for n in names]))


def test_a_table_is_predicted_as_its_prepared_folder_is(
    run: runs.Run, data: PreparedData, tmp_path: Path
) -> None:
    pq.write_table(wide(data), tmp_path / "new.parquet")
    told = runs.predict_table(run, tmp_path / "new.parquet", tmp_path / "out.parquet", rows=100)
    written = pq.ParquetFile(tmp_path / "out.parquet")
    assert (told.rows, written.num_row_groups) == (240, 3)
    wanted = run.predict(data)
    found = written.read()
    assert found["id"].to_pylist() == wanted.ids.tolist()
    np.testing.assert_allclose(found["probability"], wanted.probability, atol=1e-6)
    np.testing.assert_allclose(found["low"], wanted.low, atol=1e-6)
    np.testing.assert_allclose(found["high"], wanted.high, atol=1e-6)
    names = np.array(wanted.modalities)
    assert found["observed"].to_pylist() == [names[own].tolist() for own in wanted.present]
    assert found["imputed"].to_pylist() == [names[~own].tolist() for own in wanted.present]


def test_pieces_of_any_size_give_the_same_answers(run: runs.Run, data: PreparedData, tmp_path: Path) -> None:
    table = wide(data).slice(0, 60)
    for rows in (7, 60):
        runs.predict_table(run, table, tmp_path / f"{rows}.parquet", rows=rows)
    one, other = (pq.read_table(tmp_path / f"{rows}.parquet") for rows in (7, 60))
    np.testing.assert_allclose(one["probability"], other["probability"], atol=1e-6)
    assert one["warnings"] == other["warnings"]


def test_each_row_says_what_was_wrong_with_it(run: runs.Run) -> None:
    long = " ".join(["sepsis"] * 80)
    piece = table_of(
        patient(id="a", age=60.0, sex="x"),
        patient(id="b", notes=[long]),
        patient(id="c", notes=["pain", "fever"]),
        patient(id="d", labs=[{"time": -1.0, "x": 0.1, "y": None}]),
    )
    told = runs.Told()
    found = runs.predicted(run, piece, told)
    assert found["warnings"].to_pylist() == [
        ["table: the level of sex was not there in training"],
        ["notes: a document was cut at 64 tokens"],
        ["notes: documents were left out"],
        [],
    ]
    assert told.patterns == {"table": 1, "notes": 2, "labs": 1}


def test_implausible_values_are_named(data: PreparedData, tmp_path: Path) -> None:
    schema = data.schema.model_dump()
    assert schema["modalities"]["labs"]["limits"] == {}
    limited = limited_run(data, tmp_path)
    piece = table_of(
        patient(id="a", age=200.0, bmi=20.0),
        patient(id="b", labs=[{"time": -1.0, "x": 99.0, "y": 0.0}, {"time": -2.0, "x": 0.0, "y": 0.0}]),
    )
    found = runs.predicted(limited, piece, runs.Told())
    assert found["warnings"].to_pylist() == [
        ["table: age outside its plausible limits, taken as not measured"],
        ["labs: x outside its plausible limits, taken as not measured"],
    ]


def limited_run(data: PreparedData, out: Path) -> runs.Run:
    """A run whose record says that values have limits."""
    run = runs.train(resolve("late", TINY), data, out / "late")
    record = json.loads((out / "late" / "data.json").read_text())
    record["schema"]["modalities"]["labs"]["limits"] = {"x": [-50, 50]}
    record["schema"]["modalities"]["table"]["limits"] = {"age": [0, 120]}
    (out / "late" / "data.json").write_text(json.dumps(record))
    return runs.Run.open(run.path)


def test_rows_with_nothing_observed_are_refused_or_get_what_was_asked_for(
    run: runs.Run, tmp_path: Path
) -> None:
    table = table_of(patient(id="a", age=60.0), patient(id="b"))
    with pytest.raises(DataError, match=r"rows 0 to 1 .*1 rows have no observed modality .*'b'"):
        runs.predict_table(run, table, tmp_path / "out.parquet")
    assert not list(tmp_path.iterdir())
    runs.predict_table(run, table, tmp_path / "prior.parquet", on_empty="prior")
    runs.predict_table(run, table, tmp_path / "null.parquet", on_empty="null")
    prior, null = (pq.read_table(tmp_path / f"{name}.parquet").to_pylist() for name in ("prior", "null"))
    counts = run.data["counts"]["train"]
    assert prior[1]["probability"] == counts["events"] / counts["labelled"]
    assert prior[1]["warnings"] == null[1]["warnings"] == ["nothing observed"]
    assert (null[1]["probability"], null[1]["imputed"]) == (None, [])
    assert null[0]["probability"] == prior[0]["probability"] > 0


def test_what_fails_half_way_leaves_the_old_file(run: runs.Run, tmp_path: Path) -> None:
    (tmp_path / "out.parquet").write_text("old")
    table = table_of(*(patient(id=f"p{min(i, 13)}", age=50.0) for i in range(20)))
    with pytest.raises(DataError, match=r"rows 10 to 19 .*'p13' is in rows"):
        runs.predict_table(run, table, tmp_path / "out.parquet", rows=10)
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]
    assert (tmp_path / "out.parquet").read_text() == "old"


def test_a_name_of_any_earlier_piece_is_refused(run: runs.Run, tmp_path: Path) -> None:
    table = table_of(*(patient(id=f"p{i % 27}", age=50.0) for i in range(28)))
    with pytest.raises(DataError, match=r"rows 20 to 27 .*id 'p0' was there in an earlier row \(1 such rows"):
        runs.predict_table(run, table, tmp_path / "out.parquet", rows=10, draws=1)
    assert not list(tmp_path.iterdir())


def test_records_may_stand_in_a_table_of_their_own(run: runs.Run, data: PreparedData, tmp_path: Path) -> None:
    table = wide(data).slice(0, 30)
    rows = table.to_pylist()
    records = [
        {"id": row["id"], "time": own["time"], "variable": name, "value": own[name]}
        for row in rows for own in row["labs"] or () for name in ("x", "y")
    ]  # fmt: skip
    with (tmp_path / "labs.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["id", "time", "variable", "value"])
        writer.writeheader()
        writer.writerows(records)
    pq.write_table(table.drop_columns(["labs"]), tmp_path / "new.parquet")
    command = ["predict", str(run.path), str(tmp_path / "new.parquet"), "-o", str(tmp_path / "out.parquet")]
    done = CliRunner().invoke(app, [*command, "--long", f"labs={tmp_path / 'labs.csv'}", "--json"])
    assert done.exit_code == 0, done.output
    runs.predict_table(run, table, tmp_path / "nested.parquet")
    one, other = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("out", "nested"))
    np.testing.assert_allclose(one["probability"], other["probability"], atol=1e-6)
    strangers = pa.table({"id": ["x"], "time": [-1.0], "variable": ["x"], "value": [1.0]})
    with pytest.raises(DataError, match="long table 'labs': none of its id is in the table"):
        runs.predict_table(run, tmp_path / "new.parquet", tmp_path / "no.parquet", long={"labs": strangers})
    assert not (tmp_path / "no.parquet").exists()


def test_an_empty_table_has_nothing_to_predict(run: runs.Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rows"):
        runs.predict_table(run, table_of(), tmp_path / "out.parquet")


def test_the_command_tells_patterns_and_warnings(run: runs.Run, tmp_path: Path) -> None:
    pq.write_table(table_of(patient(id="a", age=60.0), patient(id="b")), tmp_path / "new.parquet")
    base = ["predict", str(run.path), str(tmp_path / "new.parquet"), "-o", str(tmp_path / "out.parquet")]
    refused = CliRunner().invoke(app, base)
    assert isinstance(refused.exception, DataError)
    done = CliRunner().invoke(app, [*base, "--on-empty", "prior", "--json"])
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["rows"], told["nothing_observed"], told["with_imputation"]) == (2, 1, 1)
    assert told["patterns"] == {"nothing": 1, "table": 1}
    assert told["warnings"] == {"nothing observed": 1}
    neither = CliRunner().invoke(app, ["predict", str(run.path), "-o", "x.parquet"])
    assert isinstance(neither.exception, UserError)
    part = CliRunner().invoke(app, [*base, "--split", "test"])
    assert isinstance(part.exception, UserError)


def test_memory_does_not_grow_with_the_rows(run: runs.Run, tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        """Most bytes that Arrow held after a piece."""
        held: list[int] = []
        nothing, long = pa.nulls(rows, pa.string()), pa.array(["x" * 2000] * rows)
        columns = {"id": np.arange(rows), "labs": nothing, "notes": nothing, "sex": nothing, "comment": long}
        columns |= {name: np.linspace(20, 90, rows) for name in ("age", "bmi")}
        pq.write_table(pa.table(columns), tmp_path / "new.parquet", row_group_size=256, use_dictionary=False)
        del columns, nothing, long
        runs.predict_table(
            run, tmp_path / "new.parquet", tmp_path / "out.parquet", draws=1, rows=256,
            progress=lambda _what, _done: held.append(pa.total_allocated_bytes()),
        )  # fmt: skip
        assert len(held) == rows // 256
        return max(held)

    assert peak(4096) < peak(1024) + 1_000_000  # the further rows hold six times that
