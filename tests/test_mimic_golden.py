"""The published benchmark's tensors and labels on synthetic files with every edge case, bit for bit."""

import csv
import gzip
import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from sklar import PreparedData
from sklar.mimic import COMPAT, prepare

SOURCES = {"mimic-iii": "mimic3", "mimic-iv": "mimic4"}


@pytest.fixture(scope="session")
def golden(test_data: Path) -> Path:
    folder = test_data / "reference" / "mimic_golden"
    if not folder.is_dir():
        pytest.skip(f"no golden MIMIC files in {folder}; set SKLAR_TEST_DATA")
    return folder


@pytest.fixture(scope="module", params=SOURCES)
def case(request, golden: Path, tmp_path_factory) -> tuple[str, PreparedData, dict[str, np.ndarray]]:
    source = request.param
    data = prepare(source, golden / SOURCES[source], tmp_path_factory.mktemp("golden") / source)
    with np.load(golden / f"expected_{SOURCES[source]}.npz") as expected:
        return source, data, dict(expected)


def test_stays_are_those_of_the_benchmark(case):
    _, data, expected = case
    ids, _, columns = data.series("ehr", normalised=False)
    assert ids.tolist() == expected["stay_id"].astype(str).tolist()
    assert columns == tuple(expected["columns"])


def test_every_cell_is_that_of_the_benchmark_bit_for_bit(case):
    _, data, expected = case
    _, values, _ = data.series("ehr", normalised=False)
    assert values.dtype == np.float64
    np.testing.assert_array_equal(values, expected["x"])


def test_deaths_are_those_of_the_benchmark(case):
    _, data, expected = case
    labels = data.labels("ihm")
    assert [labels[str(stay)] for stay in expected["stay_id"]] == expected["ihm"].tolist()


def test_readmissions_are_those_of_the_benchmark_or_of_its_literal_restatement(case, golden):
    source, data, expected = case
    wanted = expected["readm"].tolist() if "readm" in expected else None
    if source == "mimic-iv":
        restated = readmissions(golden / "mimic4")
        wanted = [restated[int(stay)] for stay in expected["stay_id"]]
    labels = data.labels("readm")
    assert [labels[str(stay)] for stay in expected["stay_id"]] == wanted


def test_the_restatement_agrees_where_the_benchmark_speaks(golden):
    with np.load(golden / "expected_mimic3.npz") as expected:
        restated = readmissions(golden / "mimic3")
        assert [restated[int(stay)] for stay in expected["stay_id"]] == expected["readm"].tolist()


def test_older_pandas_changes_the_eye_opening_columns_alone(golden, tmp_path):
    rules = replace(COMPAT, na_none="pandas1")
    data = prepare("mimic-iii", golden / "mimic3", tmp_path / "old", rules=rules)
    _, old, columns = data.series("ehr", False)
    with np.load(golden / "expected_mimic3.npz") as expected:
        changed = {columns[place] for place in np.unique(np.nonzero(old != expected["x"])[2])}
    assert changed
    assert all("eye opening" in name for name in changed)


def test_a_parquet_copy_gives_the_same_bits(golden, tmp_path):
    import pyarrow.csv as pc
    import pyarrow.parquet as pq

    for path in (golden / "mimic3").glob("*.csv.gz"):
        options = pc.ParseOptions(newlines_in_values=True)
        place = tmp_path / path.name.replace(".csv.gz", ".parquet").lower()
        table = pc.read_csv(path, parse_options=options)
        if place.name.startswith("chartevents"):  # as databases export a large one
            place.mkdir()
            pq.write_table(table.slice(0, 1000), place / "part-0.parquet")
            table, place = table.slice(1000), place / "part-1.parquet"
        pq.write_table(table, place)
    _, values, _ = prepare("mimic-iii", tmp_path, tmp_path / "out").series("ehr", False)
    with np.load(golden / "expected_mimic3.npz") as expected:
        np.testing.assert_array_equal(values, expected["x"])


@pytest.mark.parametrize("layout", ["core", "flat"])
def test_other_layouts_of_mimic_iv_give_the_same_bits(golden, tmp_path, layout):
    """Version 1.0 has patients and admissions in core/; the published code flattened the folders."""
    for path in (golden / "mimic4").rglob("*.csv.gz"):
        core = path.name.startswith(("patients", "admissions"))
        folder = tmp_path / {"core": "core" if core else path.parent.name, "flat": ""}[layout]
        folder.mkdir(exist_ok=True)
        shutil.copy(path, folder / path.name)
    _, values, _ = prepare("mimic-iv", tmp_path, tmp_path / "out").series("ehr", False)
    with np.load(golden / "expected_mimic4.npz") as expected:
        np.testing.assert_array_equal(values, expected["x"])


def test_the_public_demo_has_57_stays_and_17_deaths(test_data, tmp_path):
    raw = test_data / "data" / "mimic3_demo_1.4"
    if not raw.is_dir():
        pytest.skip(f"no MIMIC-III demo in {raw}; set SKLAR_TEST_DATA")
    data = prepare("mimic-iii", raw, tmp_path / "demo")
    assert (len(data.ids), sum(data.labels("ihm").values())) == (57, 17)
    assert not data.manifest.restricted


def readmissions(raw: Path) -> dict[int, int]:
    """The benchmark's labels as it computes them: stay by stay over each subject's list, in plain Python.

    Cohort stays of a subject sorted by admission; 1 if the next begins less than 30 days after this ends,
    0 for the last; 1 for who died.
    """
    admissions, patients = (table(raw, name) for name in ("admissions", "patients"))
    by_admission = {row["hadm_id"]: row for row in admissions}
    by_subject = {row["subject_id"]: row for row in patients}
    left = cohort(raw)
    labels = {}
    for subject in {row["subject_id"] for row in left}:
        own = [{**by_admission[row["hadm_id"]], **row} for row in left if row["subject_id"] == subject]
        own.sort(key=lambda row: (row["admittime"], row["dischtime"]))
        for place, row in enumerate(own):
            follows = place + 1 < len(own)
            gap = time(own[place + 1]["admittime"]) - time(row["dischtime"]) if follows else None
            label = int(gap is not None and gap.days < 30)
            died = inside(row, by_subject[subject]["dod"]) or inside(row, row["deathtime"])
            labels[int(row.get("icustay_id") or row["stay_id"])] = 1 if died else label
    return labels


def cohort(raw: Path) -> list[dict[str, str]]:
    """Stays without a transfer, alone in their admission, of adults."""
    stays, admissions, patients = (table(raw, name) for name in ("icustays", "admissions", "patients"))
    by_admission = {row["hadm_id"]: row for row in admissions}
    by_subject = {row["subject_id"]: row for row in patients}
    left = [row for row in stays if row["first_careunit"] == row["last_careunit"]]
    left = [row for row in left if row.get("first_wardid") == row.get("last_wardid")]
    left = [row for row in left if row["hadm_id"] in by_admission and row["subject_id"] in by_subject]
    often = [row["hadm_id"] for row in left]
    left = [row for row in left if often.count(row["hadm_id"]) == 1]
    return [row for row in left if age(row, by_subject[row["subject_id"]]) >= 18]


def table(raw: Path, name: str) -> list[dict[str, str]]:
    path = next(path for path in raw.rglob("*.csv.gz") if path.name.lower() == f"{name}.csv.gz")
    with gzip.open(path, "rt") as stream:
        return [{key.lower(): value for key, value in row.items()} for row in csv.DictReader(stream)]


def age(stay: dict[str, str], patient: dict[str, str]) -> float:
    if "anchor_age" in patient:
        return float(patient["anchor_age"])
    return (time(stay["intime"]) - time(patient["dob"])).total_seconds() / 3600 / 24 / 365


def inside(stay: dict[str, str], moment: str) -> bool:
    return bool(moment) and time(stay["admittime"]) <= time(moment) <= time(stay["dischtime"])


def time(text: str) -> datetime:
    return datetime.fromisoformat(text)
