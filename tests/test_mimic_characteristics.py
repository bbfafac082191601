"""What a prepared MIMIC folder knows of patients for subgroups: read from the raw tables, and no input."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from raw_mimic import Hospital
from sklar import PreparedData, runs
from sklar.data.subgroups import SUBGROUPS, read_subgroups, subgroup_file
from sklar.mimic import plan, prepare
from sklar.mimic.characteristics import characteristics
from sklar.mimic.hospital import HospitalPlan, write_hospital
from sklar.mimic.layout import MIMIC_IV
from sklar.training.config import resolve
from test_cli import last_json, run

TABLES = {"mimic-iii": ("PATIENTS", "ADMISSIONS"), "mimic-iv": ("hosp/patients", "hosp/admissions")}


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hospital") / "raw"
    write_hospital(folder, HospitalPlan(stays=250, seed=1, image_size=64))
    return folder


@pytest.fixture(scope="module", params=TABLES)
def data(request, hospital: Path) -> PreparedData:
    return prepare(request.param, hospital / request.param, hospital.parent / request.param)


def rows_of(path: Path, key: str) -> dict[str, dict[str, str]]:
    with gzip.open(path.with_suffix(".csv.gz"), "rt", newline="") as stream:
        rows = [{name.lower(): value for name, value in row.items()} for row in csv.DictReader(stream)]
    return {row[key]: row for row in rows}


def test_patients_are_those_of_the_raw_tables(data, hospital):
    source = data.manifest.rules["source"]
    people, stays = (
        rows_of(hospital / source / name, key)
        for name, key in zip(TABLES[source], ("subject_id", "hadm_id"), strict=True)
    )
    admission = {row["subject_id"]: row for row in stays.values()}
    about = data.characteristics.to_pydict()
    assert about["id"] == data.ids.tolist()
    sexes = {"F": "female", "M": "male"}
    assert about["sex"] == [sexes[people[own]["gender"]] for own in data.groups]
    # the simulation gives a patient one of each
    assert about["insurance"] == [admission[own]["insurance"] for own in data.groups]
    entries = [admission[own].get("race", admission[own].get("ethnicity")) for own in data.groups]
    assert {"WHITE", "UNKNOWN/NOT SPECIFIED"} <= set(entries)
    wanted = {"BLACK/AFRICAN AMERICAN": "black", "HISPANIC OR LATINO": "hispanic"}
    wanted |= {"WHITE": "white", "ASIAN": "asian", "UNKNOWN/NOT SPECIFIED": None}
    assert about["race"] == [wanted[entry] for entry in entries]
    age = np.array(about["age"])
    assert age.min() >= 18
    assert age.max() <= 90


def test_they_are_no_input_and_tell_subgroups_apart(data, tmp_path):
    assert data.modalities == ("ehr",)
    test = data.rows("test")
    (tmp_path / SUBGROUPS).write_bytes(subgroup_file(data, test))
    sex, age = read_subgroups(tmp_path, data.ids[test], {"sex": (), "age": (65,)})
    assert sex.levels == ("female", "male")
    years = data.characteristics["age"].to_numpy()[test]
    assert (age.level == np.where(years < 65, "< 65", ">= 65")).all()
    assert [own.name for own in read_subgroups(tmp_path, data.ids[test])] == ["sex", "race", "insurance"]


@pytest.mark.slow
def test_a_run_on_the_folder_is_judged_by_them(hospital, tmp_path):
    data = prepare("mimic-iv", hospital / "mimic-iv", tmp_path / "data")
    made = runs.train(resolve("logistic_regression"), data, tmp_path / "run")
    call = ("evaluate", made.path, "--resamples", "50", "--by", "sex,age=65,race,insurance", "--json")
    found = last_json(run(*call))["subgroups"]["logistic_regression"]
    rows = len(made.predictions("test").ids)
    assert [part["level"] for part in found["age"]] == ["< 65", ">= 65"]
    assert {part["level"] for part in found["race"]} <= {"asian", "black", "hispanic", "white", "unknown"}
    assert {name: sum(part["rows"] for part in own) for name, own in found.items()} == dict.fromkeys(
        ("sex", "age", "race", "insurance"), rows
    )


def test_tables_without_them_are_read_all_the_same(tmp_path):
    data = prepare("mimic-iii", Hospital(40).write(tmp_path / "raw", ".csv.gz"), tmp_path / "out")
    assert data.characteristics.column_names == ["id", "age"]


@pytest.mark.parametrize(
    ("entry", "group"),
    [
        ("WHITE - RUSSIAN", "white"),
        ("White", "white"),
        ("BLACK/CAPE VERDEAN", "black"),
        ("HISPANIC/LATINO - PUERTO RICAN", "hispanic"),
        ("ASIAN - SOUTH EAST ASIAN", "asian"),
        ("NATIVE HAWAIIAN OR OTHER PACIFIC ISLANDER", "other"),
        ("MULTIPLE RACE/ETHNICITY", "other"),
        ("UNABLE TO OBTAIN", None),
        (" ", None),
        (None, None),
    ],
)
def test_entries_count_to_a_group(entry, group):
    texts = {name: pa.array([text], pa.string()) for name, text in (("race", entry), ("insurance", " "))}
    found = characteristics(pa.table({"stay_id": [1], "age": [91.0], "sex": ["f"], **texts}))
    assert found.to_pylist() == [{"id": "1", "age": 90.0, "sex": "female", "race": group, "insurance": None}]


def test_the_first_version_of_mimic_iv_calls_it_ethnicity():
    columns = MIMIC_IV.tables["admissions"]
    assert columns.present(["hadm_id", "ethnicity"])["race"] == "ethnicity"
    assert columns.present(["ethnicity", "race"])["race"] == "race"
    assert "race" not in columns.present(["hadm_id"])


@pytest.mark.parametrize("called", ["ethnicity", "race"])
def test_a_plan_names_the_column_that_is_read(tmp_path, called):
    path = Hospital(stays=1).write_four(tmp_path) / "admissions.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{header},{called.upper()}", *(f"{row},WHITE" for row in rows)]) + "\n")
    found = next(own.columns for own in plan("mimic-iv", tmp_path) if own.table == "admissions")
    assert {"ethnicity", "race"} & set(found) == {called}
