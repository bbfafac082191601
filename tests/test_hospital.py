"""The simulated hospital: true to its truth, and read by preparation as it should be."""

import csv
import gzip
import json
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.csv as pv
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sklar import PreparedData
from sklar.errors import UserError
from sklar.mimic import prepare
from sklar.mimic.hospital import CASES, HospitalPlan, write_hospital
from sklar.mimic.hospital.cases import EVENTS
from sklar.mimic.hospital.edge_rows import ROWS
from sklar.mimic.hospital.reports import LAYOUTS

PLAN = HospitalPlan(stays=80, seed=3, edge_cases=True, image_size=64)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hospital") / "raw"
    write_hospital(folder, PLAN)
    return folder


@pytest.fixture(scope="module")
def prepared(hospital, tmp_path_factory):
    @cache
    def get(name: str, rules: str = "compat") -> PreparedData:
        out = tmp_path_factory.mktemp("prepared") / name
        return prepare(name[:9].rstrip("-"), hospital / name, out, rules=rules)

    return get


@pytest.fixture(scope="module")
def truth(hospital) -> dict:
    return json.loads((hospital / "truth.json").read_text())


@pytest.fixture(scope="module")
def rows(hospital):
    return pq.read_table(hospital / "truth.parquet")


def read(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", newline="") as stream:
        return list(csv.DictReader(stream))


CHECKED = [
    ("mimic-iii", "compat"),
    ("mimic-iv", "compat"),
    *(
        pytest.param(name, rules, marks=pytest.mark.slow)
        for name, rules in [
            ("mimic-iii", "strict"),
            ("mimic-iv", "strict"),
            ("mimic-iv-1.0", "compat"),
            ("mimic-iv-1.0", "strict"),
        ]
    ),
]


@pytest.mark.parametrize(("name", "rules"), CHECKED)
def test_preparation_finds_the_stays_and_outcomes_that_are_true(prepared, truth, rows, name, rules):
    data, source = prepared(name, rules), name.removesuffix("-1.0")
    wanted = truth["sources"][source][rules]
    found = {task: sum(value == 1 for value in data.labels(task).values()) for task in ("ihm", "readm")}
    assert data.manifest.counts["all"].subjects == wanted["stays"]
    assert found == {"ihm": wanted["deaths"], "readm": wanted["readm"]}
    labels = data.labels("ihm")
    ordinary = rows.filter(np.array(rows["case"]) == "")
    stays = np.array(ordinary[f"{source} stay_id"]).astype(str)
    assert [labels[stay] for stay in stays] == np.array(ordinary["died"]).tolist()


@pytest.mark.parametrize(("name", "rules"), CHECKED)
def test_every_edge_case_leaves_at_its_step(prepared, truth, name, rules):
    left = [step.subjects for step in prepared(name, rules).manifest.attrition]
    wanted = truth["sources"][name.removesuffix("-1.0")][rules]["attrition"]
    if rules == "strict":  # has no step for diagnoses
        wanted = {step: count for step, count in wanted.items() if step != "diagnosed"}
    assert left == list(wanted.values())
    assert len(set(left)) >= (5 if rules == "compat" else 4)


CELLS = [
    # case, column, bin, value (None: not observed), and the source where it differs
    ("identifiers", "Heart Rate", [(0, 81), (1, None), (2, 85), (3, None), (4, None)], None),
    ("identifiers", "pH", [(5, None)], None),
    ("pressure_pair", "Systolic blood pressure", [(0, 120), (1, 118)], None),
    ("pressure_pair", "Diastolic blood pressure", [(0, 80)], None),
    ("oxygen_fraction", "Fraction inspired oxygen", [(0, 0.005), (1, 0.6), (3, 0.04)], None),
    ("oxygen_fraction", "Fraction inspired oxygen", [(2, 90)], "mimic-iii"),
    ("saturation", "Oxygen saturation", [(0, 97), (1, None), (2, 96)], None),
    ("laboratory_text", "Glucose", [(0, 105), (1, None), (2, None), (3, None), (4, None), (5, 110)], None),
    ("temperature_twins", "Temperature", [(0, 37), (1, 38), (2, 38.5)], None),
    ("weight_triple", "Weight", [(0, 2822 / 16 * 0.453592)], "mimic-iii"),
    ("weight_triple", "Weight", [(0, 176.37 * 0.453592)], "mimic-iv"),
    ("height_twins", "Height", [(0, 190)], "mimic-iii"),
    ("height_twins", "Height", [(1, 191)], None),
    ("capillary_refill", "Capillary refill rate->1.0", [(0, 0), (1, 1), (2, 0), (3, 1)], "mimic-iii"),
    ("capillary_refill", "Capillary refill rate->1.0", [(4, None), (5, None)], None),
    ("string_tie", "Heart Rate", [(0, 98)], None),
    ("numeric_tie", "Heart Rate", [(0, 102)], None),
    ("window", "Heart Rate", [(0, 62), (1, None), (22, None), (23, 63)], None),
    ("late_and_wrong", "Heart Rate", [(0, 71), (1, 73), (23, 77)], None),
]  # fmt: skip


@pytest.mark.parametrize("source", ["mimic-iii", "mimic-iv"])
def test_cells_of_edge_cases_are_those_of_the_published_rules(prepared, rows, source):
    ids, values, columns = prepared(source).series("ehr", normalised=False)
    place = {stay: at for at, stay in enumerate(ids.tolist())}
    stays = np.array(rows[f"{source} stay_id"]).astype(str)
    checked = set()
    for case, column, wanted, only in CELLS:
        if only not in (None, source):
            continue
        mask = columns.index(f"mask->{column.split('->')[0]}")
        for stay in stays[np.array(rows["case"]) == case]:
            cells = values[place[stay]]
            for step, value in wanted:
                assert cells[step, mask] == (value is not None), (case, step)
                if value is not None:
                    assert cells[step, columns.index(column)] == pytest.approx(value, abs=1e-9), (case, step)
        checked.add(case)
    assert checked >= set(EVENTS) - {"coma_spellings"}


@pytest.mark.slow
def test_strict_rules_read_no_error_and_nothing_late(prepared, rows):
    ids, values, columns = prepared("mimic-iv", "strict").series("ehr", normalised=False)
    mask = columns.index("mask->Heart Rate")
    stays = np.array(rows["mimic-iv stay_id"]).astype(str)
    for stay in stays[np.array(rows["case"]) == "late_and_wrong"]:
        assert np.flatnonzero(values[ids.tolist().index(stay)][:, mask]).tolist() == [0]


@pytest.mark.slow
@pytest.mark.parametrize("source", ["mimic-iii", "mimic-iv"])
def test_permuted_rows_change_nothing(prepared, hospital, tmp_path, source):
    rng = np.random.default_rng(0)
    options = pv.ParseOptions(newlines_in_values=True)
    for path in (hospital / source).rglob("*.csv.gz"):
        table = pv.read_csv(
            path, parse_options=options, convert_options=pv.ConvertOptions(strings_can_be_null=True)
        )
        shuffled = table.take(rng.permutation(table.num_rows))
        pq.write_table(shuffled, tmp_path / path.name.replace(".csv.gz", ".parquet"))
    again, once = prepare(source, tmp_path, tmp_path / "out"), prepared(source)
    np.testing.assert_array_equal(again.series("ehr", False)[1], once.series("ehr", False)[1])
    assert again.labels("readm") == once.labels("readm")
    assert again.manifest.restricted  # nobody marked this folder


def test_what_is_prepared_from_it_is_synthetic_and_open(prepared):
    manifest = prepared("mimic-iii").manifest
    assert manifest.rules["synthetic"] is True
    assert not manifest.restricted
    assert "simulated" in manifest.name


def test_chart_and_laboratory_show_the_severity(prepared, rows):
    ids, values, columns = prepared("mimic-iii").series("ehr", normalised=False)
    names = ["Heart Rate", "Respiratory rate", "Systolic blood pressure", "Oxygen saturation", "pH"]
    signs = np.array([1, 1, -1, -1, -1])
    ordinary = np.array(rows["case"]) == ""
    place = {stay: at for at, stay in enumerate(ids.tolist())}
    own = [place[str(stay)] for stay in np.array(rows["mimic-iii stay_id"])[ordinary]]
    means = values[own][:, :, [columns.index(name) for name in names]].mean(1)
    score = ((means - means.mean(0)) / means.std(0)) @ signs
    assert np.corrcoef(score, np.array(rows["severity_ehr"])[ordinary])[0, 1] > 0.85


def test_numbers_are_those_of_living_people(prepared):
    _, values, columns = prepared("mimic-iii").series("ehr", normalised=False)
    limits = {"Heart Rate": (25, 150), "Respiratory rate": (3, 40), "pH": (7.1, 7.6)}
    for name, (low, high) in limits.items():
        seen = values[..., columns.index(f"mask->{name}")] == 1
        own = values[..., columns.index(name)][seen]
        assert low <= own.min() <= own.max() <= high


def paired(hospital: Path) -> dict[str, str]:
    """Stay to image: the last AP image within 48 hours, as the published rules pair them."""
    metadata = read(hospital / "mimic-cxr/mimic-cxr-2.0.0-metadata.csv.gz")
    images: dict[str, list[tuple[datetime, dict[str, str]]]] = {}
    for row in metadata:
        clock = f"{int(float(row['StudyTime'])):06d}"
        moment = datetime.strptime(row["StudyDate"] + clock, "%Y%m%d%H%M%S")
        if row["ViewPosition"] == "AP":
            images.setdefault(row["subject_id"], []).append((moment, row))
    out = {}
    for stay in read(hospital / "mimic-iv/icu/icustays.csv.gz"):
        begin = datetime.fromisoformat(stay["intime"])
        found = [
            (moment, row)
            for moment, row in images.get(stay["subject_id"], [])
            if begin <= moment <= begin + timedelta(hours=48)
        ]
        if found:
            out[stay["stay_id"]] = max(found, key=lambda pair: pair[0])[1]
    return out


def picture(hospital: Path, row: dict[str, str]) -> Path:
    who = row["subject_id"]
    return hospital / f"mimic-cxr/files/p{who[:2]}/p{who}/s{row['study_id']}/{row['dicom_id']}.jpg"


def test_images_are_where_the_truth_says_and_show_the_severity(hospital, rows):
    found = paired(hospital)
    stays = np.array(rows["mimic-iv stay_id"]).astype(str)
    assert [stay in found for stay in stays] == np.array(rows["mimic-iv cxr"]).tolist()
    z = dict(zip(stays, np.array(rows["severity_cxr"]), strict=True))
    height = PLAN.image_size
    grey = {}
    for stay, row in found.items():
        pixels = np.asarray(Image.open(picture(hospital, row)))
        assert pixels.shape == (height, height * 5 // 4) == (int(row["Rows"]), int(row["Columns"]))
        across, down = slice(height // 4, height // 2), slice(height // 2, height * 2 // 3)
        grey[stay] = pixels[down, across].mean() - pixels[:, :4].mean()
    assert np.corrcoef([grey[stay] for stay in grey], [z[stay] for stay in grey])[0, 1] > 0.8


def test_a_report_goes_with_an_image_where_the_truth_says(hospital, rows):
    found = paired(hospital)
    stays = np.array(rows["mimic-iv stay_id"]).astype(str)
    told = dict(zip(stays, np.array(rows["mimic-iv text"]), strict=True))
    case = dict(zip(stays, rows["case"].to_pylist(), strict=True))
    for stay, row in found.items():
        path = picture(hospital, row).parent.with_suffix(".txt")
        assert path.exists() == told[stay]
        if told[stay]:
            text = path.read_text()
            assert "FINAL REPORT" in text
            usual = case[stay] not in LAYOUTS or case[stay] == ""
            assert ("\n FINDINGS: \n" in text) == usual
    assert set(LAYOUTS) - {""} <= set(case.values())


def test_notes_are_where_the_truth_says(hospital, rows):
    notes = read(hospital / "mimic-iii/NOTEEVENTS.csv.gz")
    stays: dict[str, list[str]] = {}
    for row in read(hospital / "mimic-iii/ICUSTAYS.csv.gz"):
        stays.setdefault(row["HADM_ID"], []).append(row["ICUSTAY_ID"])
    counts: dict[str, int] = {}
    for note in notes:
        assert (note["CHARTTIME"] == "") == (note["CATEGORY"] == "Discharge summary")
        if len(own := stays[note["HADM_ID"]]) == 1:
            counts[own[0]] = counts.get(own[0], 0) + note["TEXT"].startswith("Nursing")
    present = dict(zip(np.array(rows["mimic-iii stay_id"]).astype(str), rows["mimic-iii text"], strict=True))
    case = dict(zip(present, rows["case"].to_pylist(), strict=True))
    for stay, number in counts.items():
        wanted = 5 if case[stay] == "five_notes" else 7
        assert number == (wanted if present[stay].as_py() else 0)
    late = [note for note in notes if "Disposition" in note["TEXT"] and note["CHARTTIME"]]
    assert len(late) > 5
    assert any("[**" in note["TEXT"] and "\n" in note["TEXT"] for note in notes)


WITH = {
    "mimic-iii": {"notes": True},
    "mimic-iv": {"cxr": "mimic-cxr", "reports": "mimic-cxr", "image_size": 32},
}
NAMES = {"mimic-iii": {"notes": "text"}, "mimic-iv": {"cxr": "cxr", "report": "text"}}


@pytest.mark.parametrize("source", ["mimic-iii", pytest.param("mimic-iv", marks=pytest.mark.slow)])
def test_preparation_finds_images_and_texts_where_they_are_and_none_that_tells_the_end(
    hospital, rows, tmp_path, source
):
    given = {
        key: hospital / value if isinstance(value, str) else value for key, value in WITH[source].items()
    }
    data = prepare(source, hospital / source, tmp_path / "out", rules="strict", **given)
    assert data.manifest.rules["synthetic"]
    present = {name: data.index[f"present_{name}"].to_pylist() for name in NAMES[source]}
    place = {stay: at for at, stay in enumerate(data.ids.tolist())}
    ordinary = rows.filter(np.array(rows["case"]) == "")
    own = [place[str(stay)] for stay in np.array(ordinary[f"{source} stay_id"])]
    for name, ours in NAMES[source].items():
        assert [present[name][at] for at in own] == ordinary[f"{source} {ours}"].to_pylist()
        if name == "cxr":
            continue
        known = set(np.array(ordinary[f"{source} stay_id"]).astype(str))
        content = data.content(name)
        rows_of = zip(content["id"].to_pylist(), content["documents"].to_pylist(), strict=True)
        texts = [text for stay, documents in rows_of if stay in known for text in documents]
        assert len(texts) > 20
        assert not any("isposition" in text for text in texts)


def test_every_case_is_written_and_every_case_of_events_has_rows(truth):
    assert set(truth["edge_cases"]) == set(CASES)
    assert set(ROWS) == set(EVENTS)


def test_the_same_hospital_is_left_as_it_is_and_another_is_refused(hospital):
    before = {path: path.stat().st_mtime_ns for path in hospital.rglob("*")}
    again = write_hospital(hospital, PLAN)
    assert {path: path.stat().st_mtime_ns for path in hospital.rglob("*")} == before
    assert again.summary() == json.loads((hospital / "truth.json").read_text())
    with pytest.raises(UserError, match="holds something else"):
        write_hospital(hospital, HospitalPlan(stays=20))
