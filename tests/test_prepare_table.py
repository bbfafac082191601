"""`sklar prepare table`: from a Parquet file and a YAML schema to a trained run."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from sklar.data.schema_file import read_schema, schema_of
from sklar.data.store import PreparedData
from sklar.errors import UserError
from test_cli import run
from wide_tables import SCHEMA, SMALL, wide_table

YAML = """
id: stay
label: died
group: patient
modalities:
  vitals: {kind: series, variables: [hr, bp], steps: 4, step: 1.0, unit: hours}
  note: {kind: text}
  demo: {kind: table, numeric: [age], categorical: {sex: [f, m]}}
"""
SETTINGS = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    table = wide_table(200)
    table.to_parquet(folder / "stays.parquet")
    (folder / "schema.yaml").write_text(YAML)
    return folder


def test_a_table_and_a_schema_become_a_folder_and_a_run(place):
    data, out = place / "data", place / "run"
    done = run(
        "prepare",
        "table",
        place / "stays.parquet",
        "--schema",
        place / "schema.yaml",
        "--out",
        data,
        "--json",
    )
    said = json.loads(done.stdout.strip().splitlines()[-1])
    assert said["counts"]["all"][0] == 200
    opened = PreparedData.open(data, verify=True)
    assert opened.manifest.name == "stays"
    assert opened.manifest.restricted
    assert opened.schema == SCHEMA
    run("train", "cm2", "--data", data, "--out", out, "--set", "training.max_epochs=1", *SETTINGS)
    assert (out / "metrics.json").is_file()


def test_a_modality_may_have_a_table_of_its_own(place, tmp_path):
    table = wide_table(50)
    rows = [{"stay": own.stay, **record} for own in table.itertuples() for record in own.vitals or ()]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "long.parquet")
    table.drop(columns="vitals").to_parquet(tmp_path / "t.parquet")
    arguments = [
        "prepare",
        "table",
        tmp_path / "t.parquet",
        "--schema",
        place / "schema.yaml",
        "--out",
        tmp_path / "d",
    ]
    assert "vitals is present in" in run(*arguments, "--long", f"vitals={tmp_path / 'long.parquet'}").stdout
    assert "no column 'vitals'" in run(*arguments, code=3).stderr
    assert "--long takes NAME=FILE" in run(*arguments, "--long", "vitals", code=2).stderr


def test_what_the_schema_says_in_yaml_is_what_it_says_in_python(place):
    assert read_schema(place / "schema.yaml") == SCHEMA
    assert schema_of(json.loads(SCHEMA.model_dump_json())) == SCHEMA


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("kind: text", "modalities.note.colour is unknown; did you mean column"),
        ("kind: series", r"modalities.vitals.steps: Input should be greater than or equal to 1 \(got 0\)"),
        ("kind: film", "modalities.note: set kind to one of series, grid, image, text, table"),
        ("label", "label is required"),
        ("list", "a schema is a mapping with id, label and modalities, not \\['id'\\]"),
    ],
)
def test_a_wrong_schema_file_names_the_key(change, message):
    content = yaml.safe_load(YAML)
    match change:
        case "kind: text":
            content["modalities"]["note"]["colour"] = 1
        case "kind: series":
            content["modalities"]["vitals"]["steps"] = 0
        case "kind: film":
            content["modalities"]["note"]["kind"] = "film"
        case "label":
            del content["label"]
        case "list":
            content = ["id"]
    with pytest.raises(UserError, match=f"file: {message}"):
        schema_of(content, "file")


def test_files_that_are_no_schema(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_schema(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("id: [")
    with pytest.raises(UserError, match="is not YAML"):
        read_schema(tmp_path / "bad.yaml")
