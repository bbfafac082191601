"""Clinical notes of MIMIC-III: which belong to a stay, and what can be broken."""

import random
import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import test_mimic_golden as published
from raw_mimic import Hospital, at
from sklar import PreparedData
from sklar.errors import DataError
from sklar.mimic import COMPAT, STRICT, audit_mimic, plan, prepare
from sklar.mimic.notes.choice import episodes, sampled
from sklar.mimic.notes.text import clean
from test_cli import last_json, run

RULES = {"compat": COMPAT, "strict": STRICT}
EVERY = {"compat": replace(COMPAT, note_sample="all", note_least=1), "strict": STRICT}
"""Rules that leave no stay out for want of notes."""


def documents(data: PreparedData) -> dict[str, list[str]]:
    own = data.content("notes")
    return dict(zip(own["id"].to_pylist(), own["documents"].to_pylist(), strict=True))


@pytest.fixture(scope="module")
def golden(test_data: Path) -> Path:
    folder = test_data / "reference" / "mimic_golden" / "mimic3"
    if not folder.is_dir():
        pytest.skip(f"no golden MIMIC files in {folder}; set SKLAR_TEST_DATA")
    return folder


def restated(raw: Path, least: int) -> dict[str, list[str]]:
    """The published choice, stay by stay in plain Python: the last five of enough notes, by their texts.

    Keyed by the time of the note, so that of several at one time the later row is left; up to the 49th hour
    after the first event that is an hour or more after the admission to the ICU.
    """
    events = [
        row for name in ("chartevents", "labevents", "outputevents") for row in published.table(raw, name)
    ]
    notes = published.table(raw, "noteevents")
    chosen = {}
    for stay in published.cohort(raw):
        intime = datetime.fromisoformat(stay["intime"])
        own = [
            row
            for row in events
            if (row["subject_id"], row["hadm_id"]) == (stay["subject_id"], stay["hadm_id"])
        ]
        own = [row for row in own if row.get("icustay_id") in (None, "", stay["icustay_id"])]
        times = [datetime.fromisoformat(row["charttime"]) for row in own]
        times = [time for time in times if (time - intime) // timedelta(hours=1) >= 1]
        if not times:
            continue
        by_time = {}
        for row in notes:
            if (row["subject_id"], row["hadm_id"]) == (stay["subject_id"], stay["hadm_id"]) and row[
                "charttime"
            ]:
                by_time[datetime.fromisoformat(row["charttime"])] = row["text"]
        hours = {time: int((time - min(times)) / timedelta(hours=1)) for time in by_time}
        left = [by_time[time] for time in sorted(by_time) if hours[time] <= 48]
        if len(left) >= least:
            chosen[stay["icustay_id"]] = clean(pa.array(left[-5:]), COMPAT).to_pylist()
    return chosen


def test_notes_of_the_golden_stays_are_those_of_a_literal_restatement(golden, tmp_path):
    rules = replace(COMPAT, note_sample="all", note_least=4)
    data = prepare("mimic-iii", golden, tmp_path / "out", rules=rules, notes=True)
    wanted = {stay: texts for stay, texts in restated(golden, 4).items() if stay in data.ids}
    assert documents(data) == wanted
    assert 3 < len(wanted) < len(data.ids)


def test_published_notes_are_those_of_the_third_that_pandas_draws_from_each_split(tmp_path):
    pandas = pytest.importorskip("pandas", reason='no pandas: pip install "sklar[mimic]"')
    hospital = Hospital(14)
    for number in range(1, 15):
        for hour in range(6):
            hospital.note(number, hour)
    raw = hospital.write(tmp_path / "raw")
    data = prepare("mimic-iii", raw, tmp_path / "out", rules=replace(COMPAT, note_least=6), notes=True)
    wanted = set()
    for part in ("train", "valid", "test"):
        names = sorted(f"{subject}_episode1_timeseries.csv" for subject in data.groups[data.rows(part)])
        drawn = pandas.Series(names).sample(frac=1 / 3, random_state=42)
        wanted |= {str(200 + int(name.split("_")[0])) for name in drawn}
    assert set(documents(data)) == wanted
    assert data.manifest.records["notes"]["stays_that_may_have_notes"] == len(wanted)


def test_a_third_of_the_published_splits_has_the_published_sizes():
    sizes = {"train": 14681, "valid": 3222, "test": 3236}
    parts = np.repeat(list(sizes), list(sizes.values()))
    stays = pa.table({"subject_id": np.arange(len(parts))})
    chosen = sampled(stays, np.ones(len(parts), dtype=np.int64), parts, COMPAT)
    assert {part: int(chosen[parts == part].sum()) for part in sizes} == {
        "train": 4894,
        "valid": 1074,
        "test": 1079,
    }


def test_the_third_is_drawn_from_the_names_in_the_order_of_texts():
    """Of ten rows pandas' sample(frac=1/3, random_state=42) takes positions 8, 1 and 5."""
    stays = pa.table({"subject_id": [9, 10, 10, 100, 1000, 2, 3, 4, 5, 6]})
    episode = np.array([1, 1, 2, 1, 1, 1, 1, 1, 1, 1])
    chosen = sampled(stays, episode, np.full(10, "train"), COMPAT)
    names = [
        f"{s}_episode{n}_timeseries.csv"
        for s, n in zip(stays["subject_id"].to_pylist(), episode, strict=True)
    ]
    wanted = [sorted(names)[place] for place in (8, 1, 5)]
    assert sorted(np.array(names)[chosen]) == sorted(wanted)
    assert sampled(stays, episode, np.full(10, "train"), STRICT).all()


def test_episodes_are_counted_by_admission_to_the_icu():
    day = [datetime(2150, 1, n) for n in (5, 1, 3, 2)]
    stays = pa.table({"subject_id": [7, 7, 8, 7], "intime": day, "outtime": day})
    assert episodes(stays).tolist() == [3, 1, 1, 2]


# one fact each: notes as (hour, changes), then the hours of those that are kept
FACTS = {
    "a note before the admission to the ICU": ([(-3, {})], [-3], [-3]),
    "a note at the prediction": ([(48, {})], [48], [48]),
    "a note after the prediction": ([(48.01, {})], [48.01], []),
    "the last moment of the published window": ([(49.99, {})], [49.99], []),
    "the first moment after it": ([(1, {}), (50, {})], [1], [1]),
    "a note stored after the prediction": ([(1, {"STORETIME": at(49)})], [1], []),
    "a note that was never stored": ([(1, {"STORETIME": ""})], [1], [1]),
    "an erroneous note": ([(1, {"ISERROR": "1"})], [1], []),
    "a note without a time": ([(1, {}), (2, {"CHARTTIME": ""})], [1], [1]),
    "a note without an admission": ([(1, {}), (2, {"HADM_ID": ""})], [1], [1]),
    "a summary of the discharge": ([(1, {"CATEGORY": "Discharge summary"})], [1], []),
    "two notes of one time": ([(1, {}), (1, {})], [1], [1, 1]),
    "more than five": ([(n, {}) for n in range(1, 8)], [3, 4, 5, 6, 7], [3, 4, 5, 6, 7]),
    "notes in any order": ([(3, {}), (1, {}), (2, {})], [1, 2, 3], [1, 2, 3]),
    "a note without text": ([(1, {}), (2, {"TEXT": ""})], [1], [1]),
    "a note of placeholders": ([(1, {}), (2, {"TEXT": "[**Name**]"})], [1, 2], [1]),
}


@pytest.fixture(scope="module", params=RULES)
def facts(request, tmp_path_factory) -> tuple[str, PreparedData]:
    """One stay per fact, and one more with a plain note."""
    hospital = Hospital(len(FACTS) + 1)
    for number, (rows, *_) in enumerate(FACTS.values(), 1):
        for hour, changes in rows:
            hospital.note(number, hour, **changes)
    hospital.note(len(FACTS) + 1, 1)
    root = tmp_path_factory.mktemp("facts")
    name = request.param
    return name, prepare(
        "mimic-iii", hospital.write(root / "raw"), root / "out", rules=EVERY[name], notes=True
    )


@pytest.mark.parametrize("fact", FACTS)
def test_which_notes_count(facts, fact):
    name, data = facts
    _, compat, strict = FACTS[fact]
    stay = str(201 + list(FACTS).index(fact))
    own = data.content("notes")
    times = dict(zip(own["id"].to_pylist(), own["times"].to_pylist(), strict=True)).get(stay, [])
    assert [round(time + 48, 2) for time in times] == (compat if name == "compat" else strict)


def test_the_published_window_begins_with_the_first_event_after_an_hour(tmp_path):
    hospital = Hospital(4)  # the heart rate of a test stay is taken after one hour
    hospital.tables["CHARTEVENTS"].clear()
    for number in (1, 2, 3, 4):
        hospital.chart(number, 211, "80", 0.5)
        for hour in (1, 48, 52.99, 53.01):
            hospital.note(number, hour)
    hospital.tables["OUTPUTEVENTS"] += [
        {
            "SUBJECT_ID": n,
            "HADM_ID": 100 + n,
            "ICUSTAY_ID": 200 + n,
            "ITEMID": 1,
            "CHARTTIME": at(hour),
            "VALUE": 5,
        }
        for n, hour in ((1, 0.9), (1, 4), (2, 4))
    ]
    hospital.lab(2, 99999, "1", 6)
    hospital.tables["CHARTEVENTS"].append(
        {"SUBJECT_ID": 3, "HADM_ID": 103, "ICUSTAY_ID": 999, "ITEMID": 1, "CHARTTIME": at(4), "VALUE": "x"}
    )
    raw = hospital.write(tmp_path / "raw")
    data = prepare("mimic-iii", raw, tmp_path / "out", rules=EVERY["compat"], notes=True)
    # the third stay's event names another stay, the fourth has none
    assert {stay: len(own) for stay, own in documents(data).items()} == {"201": 3, "202": 3}


def random_hospital(seed: int) -> Hospital:
    hospital, draw = Hospital(8), random.Random(seed)
    for _ in range(120):
        number, hours = draw.randint(1, 8), draw.uniform(-10, 60)
        stored = at(hours + draw.choice([0, 0, 1, 20]))
        hospital.note(
            number, hours, f"note {draw.random()}", STORETIME=stored, ISERROR=draw.choice(["", "1"])
        )
    return hospital


@pytest.mark.parametrize("seed", [1, 2])
def test_no_strict_note_is_charted_or_stored_after_the_prediction(tmp_path, seed):
    hospital = random_hospital(seed)
    data = prepare(
        "mimic-iii", hospital.write(tmp_path / "raw"), tmp_path / "out", rules="strict", notes=True
    )
    wanted: dict[str, list[str]] = {}
    for row in sorted(hospital.tables["NOTEEVENTS"], key=lambda row: (row["CHARTTIME"], row["ROW_ID"])):
        if max(row["CHARTTIME"], row["STORETIME"]) <= at(48) and row["ISERROR"] != "1":
            wanted.setdefault(str(200 + row["SUBJECT_ID"]), []).append(row["TEXT"])
    assert documents(data) == {stay: texts[-5:] for stay, texts in wanted.items()}
    assert (data.document_times("notes") <= 0).all()


@pytest.mark.parametrize("rules", EVERY)
def test_the_order_of_rows_changes_nothing(tmp_path, rules):
    hospital = random_hospital(3)
    first = prepare(
        "mimic-iii", hospital.write(tmp_path / "raw"), tmp_path / "a", rules=EVERY[rules], notes=True
    )
    for rows in hospital.tables.values():
        random.Random(4).shuffle(rows)
    second = prepare(
        "mimic-iii", hospital.write(tmp_path / "new"), tmp_path / "b", rules=EVERY[rules], notes=True
    )
    assert second.content("notes").equals(first.content("notes"))


def test_later_notes_and_events_do_not_reach_a_strict_folder(tmp_path):
    hospital = random_hospital(5)
    first = prepare("mimic-iii", hospital.write(tmp_path / "raw"), tmp_path / "a", rules="strict", notes=True)
    for row in hospital.tables["NOTEEVENTS"]:
        if row["CHARTTIME"] > at(48):
            row.update(CHARTTIME=at(2000), TEXT="changed")
    second = prepare(
        "mimic-iii", hospital.write(tmp_path / "new"), tmp_path / "b", rules="strict", notes=True
    )
    assert second.content("notes").equals(first.content("notes"))


# the folder and its checks


def test_the_folder_says_which_stays_have_notes(facts):
    name, data = facts
    has = data.present[:, data.modalities.index("notes")]
    assert data.ids[has].tolist() == data.content("notes")["id"].to_pylist()
    assert data.rows(matched=True).tolist() == np.flatnonzero(has).tolist()
    assert has.all() == (name == "compat")
    step = data.manifest.attrition[-1]
    assert (step.step, step.subjects) == ("of these, with notes", int(has.sum()))
    assert data.manifest.records["notes"]["used"] == sum(map(len, documents(data).values()))


def test_the_audit_notes_the_published_window_and_fails_a_strict_one(facts, tmp_path):
    name, data = facts
    found = {finding.topic: finding for finding in audit_mimic(data)}["times of notes"]
    assert found.state == ("note" if name == "compat" else "ok")
    assert ("after it (the published window)" in found.detail) == (name == "compat")
    assert any("past the prediction" in note for note in data.manifest.notes) == (name == "compat")
    copy = tmp_path / "copy"
    shutil.copytree(data.path, copy)
    table = pq.read_table(copy / "notes.parquet")
    late = [[0.01] * len(own) for own in table["times"].to_pylist()]
    pq.write_table(table.set_column(2, "times", pa.array(late)), copy / "notes.parquet")
    failed = [
        f.topic for f in audit_mimic(PreparedData(copy, data.manifest, data.index)) if f.state == "failed"
    ]
    assert failed == ([] if name == "compat" else ["times of notes"])


def test_the_command_line_adds_notes(tmp_path):
    raw = random_hospital(6).write(tmp_path / "raw")
    options = ("--raw", raw, "--notes", "--rules", "strict", "--rule", "note_least=2", "--json")
    dry = last_json(run("prepare", "mimic-iii", "--out", tmp_path / "out", *options, "--dry-run"))
    tables = {table["table"]: table["columns"] for table in dry["tables"]}
    assert "text" in tables["noteevents"]
    assert "charttime" in tables["outputevents"]
    done = last_json(run("prepare", "mimic-iii", "--out", tmp_path / "out", *options))
    assert 0 < done["presence"]["notes"] <= 1
    assert PreparedData.open(tmp_path / "out").manifest.rules["rule_note_least"] == 2


def test_without_notes_their_tables_are_not_needed(tmp_path):
    raw = Hospital(4).write(tmp_path / "raw")
    (raw / "NOTEEVENTS.csv").unlink()
    (raw / "OUTPUTEVENTS.csv").unlink()
    assert prepare("mimic-iii", raw, tmp_path / "out").modalities == ("ehr",)


# bad input


def fails(hospital: Hospital, tmp_path: Path, *words: str, rules: str = "strict") -> Path:
    raw = hospital.write(tmp_path / "raw")
    with pytest.raises(DataError) as caught:
        prepare("mimic-iii", raw, tmp_path / "out", rules=rules, notes=True)
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "out").exists()
    return raw


def test_an_empty_table_of_notes_is_named(tmp_path):
    fails(Hospital(4), tmp_path, "NOTEEVENTS.csv", "no note", "4 stays", "without --notes")


def test_the_public_demo_has_no_notes(test_data, tmp_path):
    raw = test_data / "data" / "mimic3_demo_1.4"
    if not raw.is_dir():
        pytest.skip(f"no MIMIC-III demo in {raw}; set SKLAR_TEST_DATA")
    with pytest.raises(DataError, match=r"NOTEEVENTS.*no column 'row_id'"):  # its header is malformed too
        prepare("mimic-iii", raw, tmp_path / "out", notes=True)


def test_too_few_notes_are_said_with_the_number_that_was_asked_for(tmp_path):
    hospital = Hospital(30)
    for number in range(1, 31):
        hospital.note(number, 1)
    fails(hospital, tmp_path, "no stay has 6 notes", "note_least=1", rules="compat")


def test_a_repeated_number_of_notes_is_named(tmp_path):
    hospital = Hospital(4)
    for number in (1, 2, 3, 4):
        hospital.note(number, 1, ROW_ID=7)
    fails(hospital, tmp_path, "NOTEEVENTS.csv", "'row_id'", "7 is there 4 times")


def test_a_missing_table_of_notes_is_named_before_anything_is_read(tmp_path):
    raw = Hospital(4).write(tmp_path / "raw")
    (raw / "NOTEEVENTS.csv").unlink()
    with pytest.raises(DataError, match="'noteevents' is missing"):
        prepare("mimic-iii", raw, tmp_path / "out", notes=True)
    with pytest.raises(DataError, match="'noteevents' is missing"):
        plan("mimic-iii", raw, notes=True)
    assert not (tmp_path / ".out.steps").exists()


def test_a_time_of_a_note_that_is_none_is_named(tmp_path):
    hospital = Hospital(4)
    hospital.note(1, 1, CHARTTIME="at noon")
    fails(hospital, tmp_path, "NOTEEVENTS.csv", "'charttime'", "'at noon'", "row 1")
