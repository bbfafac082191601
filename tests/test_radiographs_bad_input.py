"""What preparation says of broken radiographs and their table: which file, column or row, what to do."""

import csv
import gzip
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from raw_cxr import COLUMNS, Radiographs, place
from raw_mimic import START, Hospital
from sklar.errors import DataError, UserError
from sklar.mimic import STRICT, plan, prepare
from sklar.mimic.additions import Addition
from sklar.mimic.radiographs import modality
from sklar.mimic.radiographs.pairing import read_pictures
from sklar.mimic.steps import Steps

SUBJECTS = range(1, 5)
STAYS = pa.table(
    {
        "stay_id": [200 + n for n in SUBJECTS],
        "subject_id": list(SUBJECTS),
        "intime": pa.array([START] * len(SUBJECTS), pa.timestamp("s")),
    }
)
METADATA = "mimic-cxr-2.0.0-metadata.csv.gz"


def one_each() -> Radiographs:
    radiographs = Radiographs()
    for subject in SUBJECTS:
        radiographs.take(subject, 10)
    return radiographs


@pytest.fixture
def cxr(tmp_path) -> Path:
    return one_each().write(tmp_path / "cxr")


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    return Hospital(4).write_four(tmp_path_factory.mktemp("four") / "raw")


def read(cxr: Path) -> Addition:
    """The pictures of the stays, as preparation reads them."""
    paired, counts = modality.pairs(cxr, STAYS, STRICT, None)
    where = modality.Radiographs(cxr, None, 32)
    return modality.image(where, paired, counts, STAYS, STRICT, Steps(cxr.parent / "out"), lambda _: None)


def fails(cxr: Path, *words: str) -> None:
    with pytest.raises(DataError) as caught:
        read(cxr)
    for word in words:
        assert word in str(caught.value)


def first_picture(cxr: Path) -> Path:
    return cxr / place(one_each().rows[0])


def test_missing_pictures_are_listed_for_a_download_and_then_work_goes_on(raw, cxr, tmp_path):
    path, out = first_picture(cxr), tmp_path / "out"
    content, name = path.read_bytes(), str(path.relative_to(cxr))
    path.unlink()
    with pytest.raises(DataError) as caught:
        prepare("mimic-iv", raw, out, cxr=cxr)
    for word in ("1 of 4 pictures are missing", name, "missing-pictures.txt", "download"):
        assert word in str(caught.value)
    assert not out.exists()
    steps = tmp_path / ".out.steps"
    assert (steps / "missing-pictures.txt").read_text().split() == [name]
    assert {file.name.split("-")[0] for file in steps.glob("*.parquet")} >= {"stays", "chartevents", "cells"}
    path.write_bytes(content)
    assert prepare("mimic-iv", raw, out, cxr=cxr).manifest.presence["cxr"] == 1.0


def test_a_truncated_picture_is_named(cxr):
    path = first_picture(cxr)
    path.write_bytes(path.read_bytes()[:500])
    fails(cxr, str(path), "cannot be read", "Fetch it again")


def test_a_file_that_is_no_picture_is_named(cxr):
    first_picture(cxr).write_text("<html>please log in</html>")
    fails(cxr, str(first_picture(cxr)), "cannot be read")


def test_a_picture_that_would_fill_the_memory_is_refused(cxr):
    Image.fromarray(np.zeros((10_000, 9_500), dtype=np.uint8)).save(first_picture(cxr), quality=1)
    fails(cxr, str(first_picture(cxr)), "too large")


def test_broken_pictures_leave_no_array_that_looks_whole(cxr, tmp_path):
    first_picture(cxr).write_bytes(b"")
    fails(cxr, "cannot be read")
    assert not list((tmp_path / ".out.steps").glob("*.npy"))


def test_pictures_may_lie_flat(cxr):
    nested = read(cxr).rows.tolist()
    flat = cxr / "files"
    for path in sorted(flat.rglob("*.jpg")):
        shutil.move(path, flat / path.name)
    assert read(cxr).rows.tolist() == nested == [0, 1, 2, 3]


@pytest.mark.parametrize("column", COLUMNS[:4] + COLUMNS[6:])
def test_a_table_without_a_column_is_refused_before_any_other_is_read(raw, tmp_path, column):
    columns = [name for name in COLUMNS if name != column]
    cxr = one_each().write(tmp_path / "cxr", columns=columns)
    for refused in (
        lambda: prepare("mimic-iv", raw, tmp_path / "out", cxr=cxr),
        lambda: plan("mimic-iv", raw, cxr=cxr),
    ):
        with pytest.raises(DataError) as caught:
            refused()
        for word in (METADATA, f"'{column.lower()}'", "as it is"):
            assert word in str(caught.value)
    assert not (tmp_path / ".out.steps").exists()


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("StudyDate", "21500231", ("'21500231'", "no date")),
        ("StudyTime", "126100.0", ("'126100.0'", "no time")),
        ("StudyTime", "noon", ("'noon'", "no number")),
        ("study_id", "s7", ("'s7'", "no number")),
    ],
)
def test_a_value_that_cannot_be_is_named_by_row(tmp_path, column, value, words):
    radiographs = one_each()
    radiographs.rows[2][column] = value
    radiographs.reports[value] = ""
    fails(radiographs.write(tmp_path / "cxr"), METADATA, f"'{column.lower()}'", "row 3", *words)


def test_pictures_without_a_time_are_left_out_and_counted(tmp_path):
    radiographs = one_each()
    radiographs.rows[0]["StudyTime"] = ""
    found = read(radiographs.write(tmp_path / "cxr"))
    assert found.records["without_time"] == 1
    assert found.rows.tolist() == [1, 2, 3]


def test_a_cut_off_table_is_named(cxr):
    path = cxr / METADATA
    path.write_bytes(path.read_bytes()[:-40])
    fails(cxr, METADATA, "cannot be read", "download the file again")


def test_an_empty_table_is_named(tmp_path):
    fails(Radiographs().write(tmp_path / "cxr"), METADATA, "no rows")


def test_a_folder_without_the_table_is_named(tmp_path):
    (tmp_path / "cxr").mkdir()
    fails(tmp_path / "cxr", "mimic-cxr-*-metadata", "MIMIC-CXR-JPG")


def test_a_folder_that_does_not_exist_is_the_callers_error(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        read(tmp_path / "nowhere")


def test_two_versions_in_one_folder_are_refused(cxr):
    shutil.copy(cxr / METADATA, cxr / METADATA.replace("2.0.0", "2.1.0"))
    fails(cxr, "several versions")


def test_a_plain_table_is_preferred_to_a_compressed_one(cxr):
    (cxr / METADATA.removesuffix(".gz")).write_bytes(gzip.decompress((cxr / METADATA).read_bytes()))
    (cxr / METADATA).write_bytes(b"broken")
    assert len(read(cxr).rows) == 4


def test_a_quoted_table_is_read_as_a_plain_one(cxr):
    wanted = read(cxr).rows.tolist()
    rows = csv.reader(gzip.decompress((cxr / METADATA).read_bytes()).decode().splitlines())
    with gzip.open(cxr / METADATA, "wt", newline="") as stream:
        csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerows(rows)
    assert read(cxr).rows.tolist() == wanted


def test_a_column_that_is_there_twice_is_named(cxr):
    text = gzip.decompress((cxr / METADATA).read_bytes()).decode()
    (cxr / METADATA).write_bytes(gzip.compress(text.replace("Rows", "study_id", 1).encode()))
    fails(cxr, METADATA, "'study_id' is in the header twice")


def test_pictures_of_other_patients_are_refused(tmp_path):
    radiographs = Radiographs()
    radiographs.take(77, 10)
    fails(radiographs.write(tmp_path / "cxr"), "no bedside picture", "4 stays")


def test_a_patient_in_two_splits_is_refused_with_pictures_too(raw, cxr, tmp_path):
    (tmp_path / "test.csv").write_text("1,1\n2,0\n")
    (tmp_path / "valid.csv").write_text("1,1\n2,0\n")
    lists = {"test_list": tmp_path / "test.csv", "valid_list": tmp_path / "valid.csv"}
    with pytest.raises(DataError, match=r"subject 1 .*two splits"):
        prepare("mimic-iv", raw, tmp_path / "out", cxr=cxr, **lists)


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("mimic-iii", {"cxr": "."}, "MIMIC-III has no chest radiographs"),
        ("mimic-iv", {"reports": "."}, "give --cxr"),
        ("mimic-iv", {"cxr": ".", "reports": "nowhere"}, "no such folder or archive"),
        ("mimic-iv", {"cxr": ".", "image_size": 8}, "image size 8: give 16 to 1024"),
        ("mimic-iv", {"notes": True}, "another data set"),
    ],
)
def test_options_that_do_not_go_together_are_the_callers_error(raw, cxr, tmp_path, source, options, words):
    given = {key: cxr / value if isinstance(value, str) else value for key, value in options.items()}
    with pytest.raises(UserError, match=words):
        prepare(source, raw, tmp_path / "out", **given)


def test_numbers_and_times_are_read_as_they_are_spelt(tmp_path):
    radiographs = Radiographs()
    radiographs.take(1, 12.5 + 0.25 / 3600)  # half past midnight: 3000.250
    assert radiographs.rows[0]["StudyTime"] == "3000.250"
    found = read_pictures(radiographs.write(tmp_path / "cxr") / METADATA)
    assert np.datetime64(int(found.taken[0]), "us") == np.datetime64("2150-03-02T00:30:00.250000")
