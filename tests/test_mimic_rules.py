"""Each rule on its own stay: what the published benchmark makes of an event, and what strict rules do."""

import csv
import gzip
import random
from pathlib import Path

import numpy as np
import pytest

from raw_mimic import Hospital, at
from sklar import PreparedData
from sklar.data.source import observed_cells
from sklar.errors import UserError
from sklar.mimic import COMPAT, STRICT, Rules, audit_mimic, prepare, resolve
from sklar.mimic.variables import variables

EYES = "Glascow coma scale eye opening"
MOTOR = "Glascow coma scale motor response"
VERBAL = "Glascow coma scale verbal response"
TOTAL = "Glascow coma scale total"

TEXT = ("labs", 51000, "NEG")
"""A laboratory value in words, of an item that is no variable: it makes a subject's values texts."""

# name of the fact: events (item, value, hour, more), the variable, bin, compat, strict; None is a gap
EVENTS = {
    "a fraction of oxygen is divided again": ([(189, "0.5")], "Fraction inspired oxygen", 0.005, 0.5),
    "a percentage of oxygen is a fraction": ([(189, "50")], "Fraction inspired oxygen", 0.5, 0.5),
    "litres of oxygen are no fraction": ([(189, "10")], "Fraction inspired oxygen", 0.1, None),
    "oxygen in torr stays": ([(189, "60", {"unit": "torr"})], "Fraction inspired oxygen", 60.0, 0.6),
    "the set fraction of oxygen": ([(190, "40")], "Fraction inspired oxygen", None, 0.4),
    "saturation below one": ([(646, "0.97")], "Oxygen saturation", 97.0, 97.0),
    "a saturation that is no number": ([(646, "ERROR")], "Oxygen saturation", None, None),
    "an outlying heart rate": ([(211, "500")], "Heart Rate", 500.0, None),
    "a value beyond the valid range": ([(52, "340")], "Mean blood pressure", 340.0, 330.0),
    "Fahrenheit": ([(678, "98.6")], "Temperature", (98.6 - 32) * 5 / 9, (98.6 - 32) * 5 / 9),
    "Celsius in a Fahrenheit item": ([(678, "37")], "Temperature", 37.0, None),
    "Fahrenheit in a Celsius item": ([(676, "98.6")], "Temperature", (98.6 - 32) * 5 / 9, None),
    "pounds by item": ([(3581, "200")], "Weight", 200 * 0.453592, 200 * 0.453592),
    "ounces of a weight in pounds": ([(3582, "8")], "Weight", 8 / 16 * 0.453592, None),
    "inches round to the even centimetre": ([(1394, "75")], "Height", 190.0, 190.5),
    "both pressures in one text": ([(51, "120/80")], "Systolic blood pressure", 120.0, 120.0),
    "the lower of both pressures": ([(8368, "120/80")], "Diastolic blood pressure", 80.0, 80.0),
    "two pressures at one time": ([(51, "100"), (455, "120")], "Systolic blood pressure", 120.0, 110.0),
    "refill in words": ([(115, "Brisk")], "Capillary refill rate", 0.0, 0.0),
    "slow refill in MetaVision's words": (
        [(223951, "Abnormal >3 Seconds")], "Capillary refill rate", None, 1.0),
    "an erroneous row": ([(52, "60", {"ERROR": 1})], "Mean blood pressure", 60.0, None),
    "a value entered after the prediction": (
        [(52, "60", {"STORETIME": at(48, 1)})], "Mean blood pressure", 60.0, None),
    "a value entered at the prediction": (
        [(52, "60", {"STORETIME": at(48)})], "Mean blood pressure", 60.0, 60.0),
    "the eyes do not open": ([(220739, "None")], EYES, None, "1 No Response"),
    "a MetaVision spelling": ([(220739, "To Speech")], EYES, "To Speech", "3 To speech"),
    "an unknown category": ([(184, "asleep")], EYES, None, None),
    "a total that is recorded": ([(198, "11")], TOTAL, "11", "11"),
    "a total from its parts": (
        [(184, "3 To speech"), (454, "5 Localizes Pain"), (723, "1.0 ET/Trach")], TOTAL, None, "9"),
    "two scores at one time": ([(454, "6 Obeys Commands"), (454, "4 Flex-withdraws")], MOTOR,
                               "6 Obeys Commands", "4 Flex-withdraws"),
    "two rates at one time, of a subject with texts": (
        [(618, "98"), (615, "102"), TEXT], "Respiratory rate", 98.0, 100.0),
    "two rates at one time, of a subject with numbers alone": (
        [(618, "98"), (615, "102")], "Respiratory rate", 102.0, 100.0),
    "two rates at one time, of a subject with categories": (
        [(618, "4.5"), (615, "24.5"), (184, "To Pain")], "Respiratory rate", 4.5, 14.5),
    "an empty value": ([(52, "")], "Mean blood pressure", None, None),
    "a gap by another name": ([(52, "N/A")], "Mean blood pressure", None, None),
    "another stay's id": ([(52, "60", {"ICUSTAY_ID": 9999})], "Mean blood pressure", None, None),
    "no stay's id": ([(52, "60", {"ICUSTAY_ID": ""})], "Mean blood pressure", 60.0, 60.0),
    "no admission's id": ([(52, "60", {"HADM_ID": ""})], "Mean blood pressure", None, None),
    "acid in blood": ([("labs", 50820, "7.3")], "pH", 7.3, 7.3),
    "acid in urine": ([("labs", 51491, "6.5")], "pH", 6.5, None),
    "sugar in urine": ([("labs", 51478, "250")], "Glucose", 250.0, None),
    "a sugar beyond the scale": ([("labs", 50931, ">500")], "Glucose", None, None),
}  # fmt: skip

MOMENTS = {-1: None, 0: 0, 1: 0, 7200: 0, 7201: 1, 14400: 1, 172799: 23, 172800: 23, 172801: None}
"""Second of an event to its bin."""

OUTCOMES = {
    "died in hospital": (
        {"DEATHTIME": at(90), "DISCHTIME": at(90), "HOSPITAL_EXPIRE_FLAG": 1}, (1, 1), (1, None)),
    "sent home": ({"DEATHTIME": "", "HOSPITAL_EXPIRE_FLAG": 0}, (0, 0), (0, 0)),
    "died at home on the day of discharge": (
        {"DISCHTIME": "2150-03-05 00:00:00", "DEATHTIME": "", "DOD": "2150-03-05 00:00:00",
         "HOSPITAL_EXPIRE_FLAG": 0}, (1, 1), (0, 0)),
    "died at home the day after": (
        {"DISCHTIME": "2150-03-05 10:00:00", "DEATHTIME": "", "DOD": "2150-03-06 00:00:00",
         "HOSPITAL_EXPIRE_FLAG": 0}, (0, 0), (0, 0)),
}  # fmt: skip

FIRST_EVENT, FIRST_MOMENT, FIRST_OUTCOME, FIRST_RETURN = 1, 101, 201, 301
HOME = {"DEATHTIME": "", "HOSPITAL_EXPIRE_FLAG": 0}


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    hospital = Hospital(0)
    for number, (rows, *_) in enumerate(EVENTS.values(), FIRST_EVENT):
        hospital.stay(number, **HOME)
        for row in rows:
            if row[0] == "labs":
                hospital.lab(number, row[1], row[2], 5)
            else:
                hospital.chart(number, row[0], row[1], 5, **(row[2] if len(row) > 2 else {}))
    for number, second in enumerate(MOMENTS, FIRST_MOMENT):
        hospital.stay(number, **HOME)
        hospital.chart(number, 646, "97", 0, seconds=second)
    for number, (changes, *_) in enumerate(OUTCOMES.values(), FIRST_OUTCOME):
        hospital.stay(number, **changes)
    for number, hours in ((FIRST_RETURN, 30 * 24 - 1 / 3600), (FIRST_RETURN + 2, 30 * 24)):
        hospital.stay(number, **HOME)
        start = 100 + hours
        later = {"ADMITTIME": at(start), "DISCHTIME": at(start + 90)}
        later |= {"INTIME": at(start), "OUTTIME": at(start + 80)}
        hospital.stay(number + 1, subject=number, **later, **HOME)
        hospital.chart(number + 1, 211, "80", start + 1, subject=number)
    return hospital.write(tmp_path_factory.mktemp("rules") / "raw")


@pytest.fixture(scope="module")
def folders(raw: Path) -> dict[str, PreparedData]:
    return {name: prepare("mimic-iii", raw, raw.parent / name, rules=name) for name in ("compat", "strict")}


def observed(data: PreparedData, number: int, variable: str, place: int) -> float | str | None:
    """The value of a stay in a bin: a number, a category's text, or None where nothing was observed."""
    ids, values, columns = data.series("ehr", normalised=False)
    row = values[ids.tolist().index(str(200 + number)), place]
    if not row[columns.index(f"mask->{variable}")]:
        return None
    if variable in columns:
        return float(row[columns.index(variable)])
    own = [name for name in columns if name.startswith(f"{variable}->")]
    (text,) = [name.split("->")[1] for name in own if row[columns.index(name)]]
    return text if variable != "Capillary refill rate" else float(text)


@pytest.mark.parametrize("rules", ["compat", "strict"])
@pytest.mark.parametrize("fact", EVENTS)
def test_an_event(folders, rules, fact):
    _, variable, compat, strict = EVENTS[fact]
    number = FIRST_EVENT + list(EVENTS).index(fact)
    assert observed(folders[rules], number, variable, 2) == {"compat": compat, "strict": strict}[rules]


@pytest.mark.parametrize("rules", ["compat", "strict"])
@pytest.mark.parametrize("second", MOMENTS)
def test_a_moment_belongs_to_one_bin_or_none(folders, rules, second):
    number = FIRST_MOMENT + list(MOMENTS).index(second)
    seen = [t for t in range(24) if observed(folders[rules], number, "Oxygen saturation", t) is not None]
    assert seen == ([] if MOMENTS[second] is None else [MOMENTS[second]])


@pytest.mark.parametrize("rules", ["compat", "strict"])
@pytest.mark.parametrize("fact", OUTCOMES)
def test_an_outcome(folders, rules, fact):
    stay = str(200 + FIRST_OUTCOME + list(OUTCOMES).index(fact))
    data = folders[rules]
    found = (data.labels("ihm").get(stay), data.labels("readm").get(stay))
    assert found == OUTCOMES[fact][{"compat": 1, "strict": 2}[rules]]


@pytest.mark.parametrize("rules", ["compat", "strict"])
def test_thirty_days_to_the_second_are_no_readmission(folders, rules):
    labels = folders[rules].labels("readm")
    assert [labels[str(200 + FIRST_RETURN + n)] for n in range(4)] == [1, 0, 0, 0]


MEMBERS = {
    "a transfer between units": ({"LAST_CAREUNIT": "SICU"}, False, False),
    "a transfer between wards": ({"LAST_WARDID": 6}, False, False),
    "a stay just short of two days": ({"LOS": "1.9999"}, False, False),
    "a stay that rounds to two days": ({"LOS": "2.0000", "OUTTIME": at(47.9988)}, True, True),
    "a stay without an end": ({"OUTTIME": "", "LOS": "3.0"}, True, True),
    "an unknown length of stay": ({"LOS": ""}, False, False),
    "a minor": ({"DOB": "2133-01-01 00:00:00"}, False, False),
    "a diagnosis that nobody knows": ({"ICD9_CODE": "XXXX"}, False, True),
    "an admission that ends before it begins": ({"DISCHTIME": at(-6), **HOME}, True, False),
}
"""A stay that differs in one thing, and whether published and strict rules keep it."""


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """The stays that each set of rules keeps of a hospital with all of them."""
    hospital, base = Hospital(4), tmp_path_factory.mktemp("members")
    for number, (changes, _, _) in enumerate(MEMBERS.values(), start=9):
        hospital.stay(number, **changes)
    raw = hospital.write(base / "raw")
    return {rules: prepare("mimic-iii", raw, base / rules, rules=rules).ids for rules in ("compat", "strict")}


@pytest.mark.parametrize("fact", MEMBERS)
def test_who_is_in_the_cohort(members, fact):
    _, compat, strict = MEMBERS[fact]
    stay = str(209 + list(MEMBERS).index(fact))
    assert (stay in members["compat"], stay in members["strict"]) == (compat, strict)


def test_an_admission_of_two_stays_counts_the_stay_that_is_left(tmp_path):
    hospital = Hospital(4)
    hospital.stay(9)
    other = {**hospital.tables["ICUSTAYS"][-1], "ICUSTAY_ID": 300, "LAST_WARDID": 7}
    hospital.tables["ICUSTAYS"].append(other)
    assert "209" in prepare("mimic-iii", hospital.write(tmp_path / "raw"), tmp_path / "out").ids.tolist()


def test_a_return_to_a_ward_alone_is_seen_by_strict_rules(tmp_path):
    hospital = Hospital(4)
    hospital.stay(9, **HOME)
    ward = {"SUBJECT_ID": 9, "HADM_ID": 999, "ADMITTIME": at(200), "DISCHTIME": at(300)}
    hospital.tables["ADMISSIONS"].append(ward)
    raw = hospital.write(tmp_path / "raw")
    folders = [prepare("mimic-iii", raw, tmp_path / rules, rules=rules) for rules in ("compat", "strict")]
    found = [data.labels("readm")["209"] for data in folders]
    assert found == [0, 1]


def test_what_stands_in_before_the_first_observation_is_the_normal_value(folders):
    _, values, columns = folders["compat"].series("ehr", normalised=False)
    first = values[0, 0]
    assert first[columns.index("Weight")] == 81.0
    assert first[columns.index(f"{EYES}->4 Spontaneously")] == 1.0


def test_the_last_value_of_a_bin_is_carried_forward(folders):
    _, values, columns = folders["strict"].series("ehr", normalised=False)
    stay = list(EVENTS).index("a value beyond the valid range")
    row = values[stay][:, columns.index("Mean blood pressure")]
    assert row.tolist() == [77.0, 77.0, *[330.0] * 22]


def test_strict_rules_keep_every_value_in_its_range(folders):
    data = folders["strict"]
    spec, array = data.schema.grids["ehr"], data.array("ehr")
    seen = observed_cells(spec, array)
    for variable in variables():
        if variable.range is not None:
            place = spec.columns.index(variable.name)
            own = array[..., place][seen[..., place]]
            assert ((own >= variable.range[1]) & (own <= variable.range[2])).all()


@pytest.mark.parametrize("rules", ["compat", "strict"])
def test_what_happens_after_the_prediction_changes_nothing(raw, folders, tmp_path, rules):
    """Every stay gets late charts, late entries and a late heart rate at a time of its own."""
    chart = (raw / "CHARTEVENTS.csv").read_text()
    copy = duplicate(raw, tmp_path / "raw")
    columns, *rows = csv.reader(chart.splitlines())
    late = []
    for row in rows:
        entry = dict(zip(columns, row, strict=True))
        late.append({**entry, "CHARTTIME": at(48, 1), "STORETIME": at(48, 1), "VALUE": "77"})
        if rules == "strict":
            late.append({**entry, "CHARTTIME": at(30), "STORETIME": at(49), "VALUE": "78"})
    with (copy / "CHARTEVENTS.csv").open("a") as stream:
        csv.DictWriter(stream, columns, lineterminator="\n").writerows(late)
    data = prepare("mimic-iii", copy, tmp_path / "out", rules=rules)
    np.testing.assert_array_equal(data.array("ehr"), folders[rules].array("ehr"))


@pytest.mark.parametrize("rules", ["compat", "strict"])
def test_the_order_of_rows_changes_nothing(raw, folders, tmp_path, rules):
    copy = duplicate(raw, tmp_path / "raw")
    for path in copy.glob("*.csv"):
        header, *rows = path.read_text().splitlines()
        random.Random(3).shuffle(rows)
        path.write_text("\n".join([header, *rows]) + "\n")
    data = prepare("mimic-iii", copy, tmp_path / "out", rules=rules)
    np.testing.assert_array_equal(data.array("ehr"), folders[rules].array("ehr"))
    assert data.labels("readm") == folders[rules].labels("readm")


@pytest.mark.parametrize("rules", ["compat", "strict"])
def test_a_mask_is_one_exactly_where_a_heart_rate_was_taken(tmp_path, rules):
    hospital, draw, taken = Hospital(6), random.Random(5), set()
    hospital.tables["CHARTEVENTS"].clear()
    for number in range(1, 7):
        for second in draw.sample(range(-4000, 180_000), 20):
            hospital.chart(number, 220045, str(draw.randint(50, 150)), 0, seconds=second)
            if 0 <= second <= 172_800:
                taken.add((number - 1, max(second - 1, 0) // 7200))
    data = prepare("mimic-iii", hospital.write(tmp_path / "raw"), tmp_path / "out", rules=rules)
    _, values, columns = data.series("ehr", normalised=False)
    stays, bins = np.nonzero(values[..., columns.index("mask->Heart Rate")])
    assert set(zip(stays.tolist(), bins.tolist(), strict=True)) == taken


@pytest.mark.parametrize("source", ["mimic3", "mimic4"])
def test_strict_rules_on_the_golden_files_are_in_range_and_keep_their_order(test_data, tmp_path, source):
    raw = test_data / "reference" / "mimic_golden" / source
    if not raw.is_dir():
        pytest.skip(f"no golden MIMIC files in {raw}; set SKLAR_TEST_DATA")
    name = {"mimic3": "mimic-iii", "mimic4": "mimic-iv"}[source]
    data = prepare(name, raw, tmp_path / "out", rules="strict")
    assert [finding for finding in audit_mimic(data) if finding.state == "failed"] == []
    copy = tmp_path / "raw"
    for path in raw.rglob("*.csv.gz"):
        if path.name.lower() not in ("noteevents.csv.gz", "outputevents.csv.gz"):
            header, *rows = gzip.decompress(path.read_bytes()).decode().splitlines()
            random.Random(3).shuffle(rows)
            copy.mkdir(exist_ok=True)
            (copy / path.name.replace(".gz", "")).write_text("\n".join([header, *rows]) + "\n")
    again = prepare(name, copy, tmp_path / "again", rules="strict")
    np.testing.assert_array_equal(again.array("ehr"), data.array("ehr"))


def test_strict_ages_of_mimic_iv_advance_with_the_admission(test_data, tmp_path):
    import pyarrow.parquet as pq

    raw = test_data / "reference" / "mimic_golden" / "mimic4"
    if not raw.is_dir():
        pytest.skip(f"no golden MIMIC files in {raw}; set SKLAR_TEST_DATA")
    ages = {}
    for rules in ("compat", "strict"):
        stays = pq.read_table(prepare("mimic-iv", raw, tmp_path / rules, rules=rules).path / "stays.parquet")
        ages[rules] = dict(zip(stays["stay_id"].to_pylist(), stays["age"].to_pylist(), strict=True))
    both = ages["compat"].keys() & ages["strict"].keys()
    assert all(ages["strict"][stay] >= ages["compat"][stay] for stay in both)


def test_every_switch_differs_between_the_two_sets():
    same = [name for name, value in COMPAT.as_dict().items() if value == STRICT.as_dict()[name]]
    assert same == []


def test_a_switch_can_be_changed_by_name():
    assert resolve("compat", ["errors=drop"]).errors == "drop"
    assert resolve("compat", ["errors=drop"]).name == "compat with changes"


@pytest.mark.parametrize("change", ["errors=maybe", "error=drop", "clip=3", "ties=middle"])
def test_a_switch_or_value_that_does_not_exist_is_refused(change):
    with pytest.raises(UserError):
        resolve("compat", [change])


def test_the_manifest_names_every_switch(folders):
    rules = folders["strict"].manifest.rules
    assert {f"rule_{name}" for name in Rules.__dataclass_fields__} <= set(rules)


def duplicate(raw: Path, to: Path) -> Path:
    to.mkdir()
    for path in raw.glob("*.csv"):
        (to / path.name).write_bytes(path.read_bytes())
    return to
