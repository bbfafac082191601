"""New patients of a model that was trained on a prepared MIMIC folder: the bins, pictures and texts of it."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cohorts import TINY
from serve import ask, serving
from sklar import PreparedData, runs
from sklar.cli import app
from sklar.data.cohort import Cohort, read_cohort
from sklar.data.schema import Image, Schema, Text
from sklar.data.wide import separate
from sklar.errors import DataError, UserError
from sklar.mimic import COMPAT, STRICT, Rules, prepare
from sklar.mimic.hospital import HospitalPlan, write_hospital
from sklar.mimic.readers import in_rows, readers
from sklar.mimic.variables import grid, position, variables
from sklar.training.config import resolve

EYES = "Glascow coma scale eye opening"
TOTAL = "Glascow coma scale total"


def cohort(rules: Rules, *rows: dict[str, Any], on_late: Any = "error", **kinds: Any) -> Cohort:
    """Rows of new patients, read; the modalities beside the series are ``kinds``."""
    about = {"source": "mimic-iv"} | {f"rule_{name}": value for name, value in rules.as_dict().items()}
    bare = Schema(id="stay", label="died", modalities={"ehr": grid(rules.clip), **kinds})
    schema = in_rows(bare, about)
    columns = ["ehr", *(name for kind in kinds for name in (kind, f"{kind}_time"))]
    whole = [{"stay": f"s{i}"} | dict.fromkeys(columns) | row for i, row in enumerate(rows)]
    table = separate(schema, pa.Table.from_pylist(whole), labelled=False)
    return read_cohort(
        schema, table.subjects, table.series, table.texts, table.images,
        labelled=False, on_late=on_late, readers=readers(bare, about),
    )  # fmt: skip


def event(time: float, variable: str, value: Any) -> dict[str, Any]:
    return {"time": time, "variable": variable, "value": str(value)}


def values(found: Cohort, row: int, name: str) -> np.ndarray:
    """(24,) a number's column, or the (24, L) columns of a category's levels."""
    spec, own = grid(None), found.content["ehr"].values[row]
    places = [i for i, column in enumerate(spec.values) if column.split("->")[0] == name]
    return own[:, places].squeeze(-1) if len(places) == 1 else own[:, places]


def mask(found: Cohort, row: int, name: str) -> np.ndarray:
    return found.content["ehr"].values[row][:, grid(None).columns.index(f"mask->{name}")]


def test_events_are_binned_carried_and_filled_as_the_preparation_does() -> None:
    rate = "Heart Rate"
    found = cohort(
        COMPAT,
        {"ehr": [event(-48, rate, 70), event(-46, rate, 71), event(-45.9, rate, 72), event(0, rate, 99)]},
        {"ehr": [event(-50, rate, 1), event(-1, EYES, "2 To pain"), event(-0.5, EYES, "To Speech")]},
    )
    assert values(found, 0, rate)[[0, 1, 2, 22, 23]].tolist() == [71, 72, 72, 72, 99]
    assert np.flatnonzero(mask(found, 0, rate)).tolist() == [0, 1, 23]
    normal = variables()[position(rate)].normal
    assert set(values(found, 1, rate)) == {normal}  # what lies before the window is not used
    levels = list(variables()[position(EYES)].categories)
    chosen = values(found, 1, EYES).argmax(1)
    assert [levels[i] for i in chosen[[0, 22, 23]]] == ["4 Spontaneously", "4 Spontaneously", "To Speech"]


@given(
    st.lists(
        st.tuples(st.integers(0, 172800), st.integers(0, 16), st.integers(0, 3)), min_size=1, max_size=30
    ),
    st.sampled_from([COMPAT, STRICT]),
)
def test_a_bin_keeps_its_latest_moment_whatever_the_order(
    events: list[tuple[int, int, int]], rules: Rules
) -> None:
    known = variables()
    numeric = [(t, known[v], x) for t, v, x in events if known[v].range and known[v].range[3] > 30]
    records = [event(t / 3600 - 48, own.name, 20 + x) for t, own, x in numeric]
    if not records:
        return
    found = cohort(rules, {"ehr": records})
    again = cohort(rules, {"ehr": records[::-1]})
    np.testing.assert_array_equal(found.content["ehr"].values, again.content["ehr"].values)
    for _, own, _ in numeric:
        cells: dict[int, list[tuple[int, int]]] = {}
        for t, other, x in numeric:
            if other is own:
                cells.setdefault(max(t - 1, 0) // 7200, []).append((t, 20 + x))
        for place, inside in cells.items():
            last = [x for t, x in inside if t == max(inside)[0]]
            settled = max(last) if rules is COMPAT else (min(last) + max(last)) / 2
            low, high = (own.range or (0, 0, 0, 0))[1:3] if rules is STRICT else (-np.inf, np.inf)
            assert values(found, 0, own.name)[place] == np.clip(settled, low, high)
            assert mask(found, 0, own.name)[place] == 1


def test_records_may_have_a_column_per_variable() -> None:
    long = [event(-3, "Heart Rate", 88), event(-3, TOTAL, "15"), event(-2, "Heart Rate", 90)]
    wide = [{"time": -3, "Heart Rate": 88.0, TOTAL: "15"}, {"time": -2, "Heart Rate": 90.0, TOTAL: None}]
    numbers = [{"time": -3, "Heart Rate": 88.0, TOTAL: 15.0}, {"time": -2, "Heart Rate": 90.0, TOTAL: None}]
    one, other, third = (cohort(COMPAT, {"ehr": own}).content["ehr"].values for own in (long, wide, numbers))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(one, third)


def test_the_stored_matrix_is_taken_as_it_is() -> None:
    records = cohort(COMPAT, {"ehr": [event(-3, "Heart Rate", 88)]}).content["ehr"].values
    np.testing.assert_array_equal(cohort(COMPAT, {"ehr": records[0].tolist()}).content["ehr"].values, records)
    with pytest.raises(DataError, match=r"row 0 \(stay s0\): not 24 rows of 76 numbers"):
        cohort(COMPAT, {"ehr": records[0, :23].tolist()})
    records[0, 3, 5] = np.nan
    with pytest.raises(DataError, match="a gap in the matrix"):
        cohort(COMPAT, {"ehr": records[0].tolist()})


def test_what_cannot_be_used_is_said_of_its_row() -> None:
    rows = (
        {"ehr": [event(-3, EYES, "wide open"), event(-3, "Heart Rate", 80)]},
        {"ehr": [event(-3, "Heart Rate", 4000), event(-2, TOTAL, 15)]},
    )
    found = cohort(STRICT, *rows).content["ehr"]
    said = {text: own.tolist() for text, own in found.remarks if len(own)}
    assert said == {
        f"{EYES} an unknown level, taken as not measured": [0],
        "Heart Rate outside its plausible limits, taken as not measured": [1],
    }
    assert mask(cohort(COMPAT, *rows), 1, "Heart Rate").sum() == 1  # the published rules keep it


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([event(-3, "Heart rate", 80)], "'Heart rate' is not a variable; did you mean Heart Rate"),
        ([{"time": -3, "heart_rate": 80.0}], "column 'heart_rate' is not a variable"),
        ([event(-3, "Heart Rate", "fast")], "value of Heart Rate"),
        ([event(0.5, "Heart Rate", 80)], r"later than the moment of prediction.*\+0.5 hours"),
    ],
)
def test_wrong_records_are_refused_with_their_remedy(records: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(DataError, match=said):
        cohort(COMPAT, {"ehr": records})


def test_late_records_may_be_dropped() -> None:
    records = [event(0.5, "Heart Rate", 80), event(-0.5, "Heart Rate", 70)]
    assert values(cohort(COMPAT, {"ehr": records}, on_late="drop"), 0, "Heart Rate")[-1] == 70


REPORT = "FINAL REPORT\n HISTORY:  cough.\n \n FINDINGS:  Clear  lungs.\n \n IMPRESSION:  No\n pneumonia.\n"


def test_a_report_is_divided_as_in_training_and_the_latest_counts() -> None:
    kinds = {"report": Text(documents=4, unit="hours")}
    rows = (
        {"report": [REPORT.replace("No", "A"), REPORT], "report_time": [-30.0, -2.0]},
        {"report": ["Lungs are clear."], "report_time": [-1.0]},
        {},
    )
    strict = cohort(STRICT, *rows, **kinds).content["report"]
    assert strict.rows.tolist() == [0, 1]
    assert strict.values["documents"].to_pylist() == [["No pneumonia.", "Clear lungs."], ["Lungs are clear."]]
    assert strict.values["times"].to_pylist() == [[-2.0, -2.0], [-1.0]]
    assert [own.tolist() for _, own in strict.remarks] == [[1]]
    compat = cohort(COMPAT, *rows, **kinds).content["report"]
    assert compat.values["documents"].to_pylist()[0] == ["No pneumonia.", "Clear lungs.", "", ""]


def test_a_report_need_not_begin_its_lines_with_a_space() -> None:
    text = "FINDINGS: Clear lungs.\n\nIMPRESSION: No\npneumonia."
    row = {"report": text, "report_time": -1.0}
    found = cohort(STRICT, row, report=Text(documents=4, unit="hours")).content["report"]
    assert found.values["documents"].to_pylist() == [["No pneumonia.", "Clear lungs."]]


def test_notes_are_cleaned_counted_and_the_last_ones_kept() -> None:
    kinds = {"notes": Text(documents=2, unit="hours")}
    texts = ["first", "second [**Name**]", "third  note", "fourth\n\nElectronically signed on"]
    few = STRICT.as_dict() | {"note_least": 3}
    rows = (
        {"notes": texts, "notes_time": [-5.0, -9.0, -3.0, -4.0]},
        {"notes": texts[:2], "notes_time": [-2.0, -1.0]},
    )
    found = cohort(Rules(**few), *rows, **kinds).content["notes"]
    assert found.values["documents"].to_pylist() == [["fourth", "third note"]]
    assert found.remarks[0][0] == "fewer than 3 notes are none"
    assert found.remarks[0][1].tolist() == [1]


def test_pictures_and_texts_say_when_they_were_taken() -> None:
    with pytest.raises(DataError, match=r"text 'report', row 0 \(stay s0\).*'report_time'.*is null"):
        cohort(STRICT, {"report": REPORT}, report=Text(documents=4, unit="hours"))
    with pytest.raises(DataError, match="later than the moment of prediction"):
        cohort(STRICT, {"report": REPORT, "report_time": 1.0}, report=Text(documents=4, unit="hours"))


def test_folders_from_elsewhere_have_no_rules_of_their_own() -> None:
    schema = Schema(id="i", label="y", modalities={"scan": Image(height=8, width=8)})
    assert in_rows(schema, {}) is schema
    assert readers(schema, {"source": "a hospital"}) == {}
    gridded = Schema(id="i", label="y", modalities={"ehr": grid(None)})
    long = pa.table({"i": ["a"], "time": [0.0], "variable": ["Heart Rate"], "value": [1.0]})
    with pytest.raises(DataError, match="binned by the source that the training data came from"):
        read_cohort(gridded, pa.table({"i": ["a"]}), {"ehr": long}, labelled=False)
    with pytest.raises(UserError, match="comes gridded from a source of its own"):
        read_cohort(gridded, pa.table({"i": ["a"], "y": [1]}), {"ehr": long})


@pytest.fixture(scope="module", params=["compat", "strict"])
def hospital(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw files, the folder made of them and a model, in one folder."""
    base = tmp_path_factory.mktemp(request.param)
    write_hospital(base / "raw", HospitalPlan(stays=100, seed=1, sources=("mimic-iv",), image_size=64))
    images = base / "raw" / "mimic-cxr"
    prepare(
        "mimic-iv", base / "raw" / "mimic-iv", base / "data", ("ihm",), request.param,
        cxr=images, reports=images, image_size=32,
    )  # fmt: skip
    small = ["model.encoders.image.widths=[8,8,8,8]", "model.encoders.image.depths=[1,1,1,1]"]
    runs.train(resolve("cm2", [*TINY, *small]), PreparedData.open(base / "data"), base / "run")
    return base


def new_patients(base: Path) -> list[dict[str, Any]]:
    """The test stays as a hospital would write them: measurements, files, reports, each with its time."""
    data, raw = PreparedData.open(base / "data"), base / "raw" / "mimic-cxr"
    rules = Rules.recorded(data.manifest.rules)
    test = [str(name) for name in data.ids[data.rows("test")]]
    index = pq.read_table(base / "data" / "index.parquet").to_pydict()
    hours = dict(zip(index["id"], index["time_cxr"], strict=True))
    sources = {own["id"]: own for own in pq.read_table(base / "data" / "cxr.source.parquet").to_pylist()}
    reports = {
        own["id"]: own["times"][0] for own in pq.read_table(base / "data" / "report.parquet").to_pylist()
    }
    records: dict[str, list[dict[str, Any]]] = {name: [] for name in test}
    for own in pq.read_table(base / "data" / "cells.parquet").to_pylist():
        if (name := str(own["stay_id"])) in records:
            variable = variables()[own["variable"]]
            value = repr(own["value"])
            if variable.categories:
                alphabetical = {text: i for i, text in enumerate(variable.alphabetical)}
                codes = variable.categories if rules.merged else alphabetical
                value = next(text for text in codes if codes[text] == own["value"])
            records[name].append(event(own["second"] / 3600 - 48, variable.name, value))
    return [
        {
            "stay_id": name,
            "ehr": records[name],
            "cxr": str(next(raw.rglob(f"{sources[name]['dicom_id']}.jpg"))) if name in sources else None,
            "cxr_time": hours[name],
            "report": next(raw.rglob(f"s{sources[name]['study_id']}.txt")).read_text()
            if name in reports
            else None,
            "report_time": reports.get(name),
        }
        for name in test
    ]


@pytest.mark.slow
def test_rows_of_a_hospital_are_predicted_as_its_prepared_folder_was(hospital: Path, tmp_path: Path) -> None:
    run, rows = runs.Run.open(hospital / "run"), new_patients(hospital)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "new.parquet")
    done = CliRunner().invoke(
        app,
        [
            "predict",
            str(run.path),
            str(tmp_path / "new.parquet"),
            "-o",
            str(tmp_path / "out.parquet"),
            "--json",
        ],
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["warnings"] == {}
    found, wanted = pq.read_table(tmp_path / "out.parquet"), run.predictions("test")
    assert found["id"].to_pylist() == wanted.ids.tolist()
    for name in ("probability", "low", "high"):
        np.testing.assert_allclose(found[name], getattr(wanted, name), atol=1e-6)

    def sent(row: dict[str, Any]) -> dict[str, Any]:
        levels = grid(None).variables
        series = [
            {
                "time": own["time"],
                own["variable"]: own["value"] if levels[own["variable"]] else float(own["value"]),
            }
            for own in row["ehr"]
        ]
        picture = row["cxr"] and base64.b64encode(Path(row["cxr"]).read_bytes()).decode()
        return row | {"ehr": series, "cxr": picture}

    with serving(run) as port:
        status, answer = ask(port, "/predict/batch", {"rows": [sent(row) for row in rows]})
        assert status == 200, answer
        given = [own["probability"] for own in answer["predictions"]]
        np.testing.assert_allclose(given, wanted.probability, atol=1e-6)
        number = {"ehr": [{"time": -1, TOTAL: 15}, {"time": -2, "Capillary refill rate": 0}]}
        status, answer = ask(port, "/predict", number)
        assert (status, answer["observed"], answer["warnings"]) == (200, ["ehr"], [])
        status, answer = ask(port, "/predict", {"ehr": [{"time": -1, "Heart rate": 80}]})
        assert (status, answer["detail"][0]["where"]) == (422, "ehr.0.Heart rate")
