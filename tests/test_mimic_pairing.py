"""Which radiograph belongs to a stay: the last bedside one between admission to the ICU and prediction."""

import csv
import gzip
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raw_cxr import Radiographs
from raw_mimic import START
from sklar.mimic import COMPAT, STRICT
from sklar.mimic.radiographs.pairing import Pictures, pair, read_pictures

RULES = {"compat": COMPAT, "strict": STRICT}


def test_the_last_bedside_picture_of_each_golden_stay_is_that_of_a_literal_restatement(test_data, tmp_path):
    golden = test_data / "reference" / "mimic_golden"
    if not (golden / "cxr").is_dir():
        pytest.skip(f"no golden radiographs in {golden}; set SKLAR_TEST_DATA")
    with gzip.open(golden / "mimic4" / "icu" / "icustays.csv.gz", "rt") as stream:
        stays = list(csv.DictReader(stream))
    metadata = golden / "cxr" / "mimic-cxr-2.0.0-metadata.csv.gz"
    table = pa.table(
        {
            "subject_id": [int(row["subject_id"]) for row in stays],
            "intime": [datetime.fromisoformat(row["intime"]) for row in stays],
        }
    )
    found = pair(read_pictures(metadata), table, COMPAT)
    with gzip.open(metadata, "rt") as stream:
        wanted = restated(stays, list(csv.DictReader(stream)))
    assert dict(zip(found["row"].to_pylist(), found["dicom_id"].to_pylist(), strict=True)) == wanted
    assert len(wanted) > 3


def restated(stays: list[dict[str, str]], pictures: list[dict[str, str]]) -> dict[int, str]:
    """The published pairing, stay by stay: last bedside picture with INTIME <= time <= INTIME + 48 h."""
    chosen: dict[int, str] = {}
    for number, stay in enumerate(stays):
        intime = datetime.fromisoformat(stay["intime"])
        latest = intime
        for picture in pictures:
            clock = f"{int(float(picture['StudyTime'])):06}"
            time = datetime.strptime(f"{picture['StudyDate']} {clock}", "%Y%m%d %H%M%S")
            if picture["subject_id"] != stay["subject_id"] or picture["ViewPosition"] != "AP":
                continue
            if latest <= time <= intime + timedelta(hours=48):
                latest, chosen[number] = time, picture["dicom_id"]
    return chosen


pictures_strategy = st.lists(
    st.tuples(st.integers(1, 3), st.integers(-40, 220), st.booleans(), st.integers(0, 999_999)), max_size=12
)


def pictures_at(rows: list[tuple[int, int, bool, int]]) -> Pictures:
    """Pictures of patients at quarters of hours and microseconds from `START`."""
    begin = int((START - datetime(1970, 1, 1)).total_seconds()) * 1_000_000
    return Pictures(
        dicom=np.array([f"{number:04}" for number in range(len(rows))], dtype=np.str_),
        subject=np.array([row[0] for row in rows], dtype=np.int64),
        study=np.arange(len(rows)),
        bedside=np.array([row[2] for row in rows], dtype=bool),
        taken=np.array([begin + row[1] * 900_000_000 + row[3] for row in rows], dtype=np.int64),
        untimed=0,
    )


TABLE = pa.table({"subject_id": [1, 2, 2], "intime": [START, START, START + timedelta(hours=5)]})


@given(rows=pictures_strategy, order=st.randoms(use_true_random=False))
def test_strict_pairs_never_postdate_the_prediction_and_do_not_depend_on_the_order_of_rows(rows, order):
    pictures = pictures_at(rows)
    found = pair(pictures, TABLE, STRICT)
    assert all(0 <= second <= 48 * 3600 for second in found["second"].to_pylist())
    shuffled = list(range(len(rows)))
    order.shuffle(shuffled)
    places = np.array(shuffled, dtype=np.int64)
    again = Pictures(
        pictures.dicom[places], pictures.subject[places], pictures.study[places], pictures.bedside[places],
        pictures.taken[places], 0,
    )  # fmt: skip
    assert pair(again, TABLE, STRICT).equals(found)


@given(rows=pictures_strategy, shift=st.integers(1, 10**8))
def test_pictures_shifted_beyond_the_prediction_change_no_strict_pair(rows, shift):
    pictures = pictures_at(rows)
    found = pair(pictures, TABLE, STRICT)
    last = int((START - datetime(1970, 1, 1)).total_seconds() + (5 + 48) * 3600) * 1_000_000
    late = pictures.taken > last
    later = Pictures(
        pictures.dicom, pictures.subject, pictures.study, pictures.bedside,
        np.where(late, pictures.taken + shift, pictures.taken), 0,
    )  # fmt: skip
    assert pair(later, TABLE, STRICT).equals(found)


@pytest.mark.parametrize(
    ("rules", "hours", "paired"),
    [
        ("compat", 0, True),
        ("strict", 0, True),
        ("compat", -0.001, False),
        ("compat", 48, True),
        ("strict", 48, True),
        # half a second after the prediction: the benchmark cuts times to whole seconds
        ("compat", 48 + 0.5 / 3600, True),
        ("strict", 48 + 0.5 / 3600, False),
        ("compat", 48 + 1 / 3600, False),
    ],
)
def test_the_window_is_closed_at_both_ends(tmp_path, rules, hours, paired):
    radiographs = Radiographs()
    radiographs.take(2, hours)
    radiographs.take(1, 10, view="PA")
    path = radiographs.write(tmp_path / "cxr") / "mimic-cxr-2.0.0-metadata.csv.gz"
    stays = pa.table({"subject_id": [2], "intime": [START]})
    assert pair(read_pictures(path), stays, RULES[rules]).num_rows == paired


def test_of_pictures_of_one_second_the_later_row_counts_or_the_greater_fraction(tmp_path):
    radiographs = Radiographs()
    first = radiographs.take(1, 10 + 0.9 / 3600)
    second = radiographs.take(1, 10 + 0.1 / 3600)
    path = radiographs.write(tmp_path / "cxr") / "mimic-cxr-2.0.0-metadata.csv.gz"
    stays = pa.table({"subject_id": [1], "intime": [START]})
    chosen = {
        name: pair(read_pictures(path), stays, rules)["dicom_id"][0].as_py() for name, rules in RULES.items()
    }
    assert chosen == {"compat": second["dicom_id"], "strict": first["dicom_id"]}
