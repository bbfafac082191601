"""What preparation says of broken raw folders: which file, column or row, and what to do; exit code 3."""

import gzip
import shutil
import stat
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from raw_mimic import THREE, Hospital, at, write_csv
from sklar.errors import DataError, UserError
from sklar.mimic import plan, prepare
from sklar.mimic.splits import read_lists


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return Hospital().write(tmp_path / "raw")


def fails(raw: Path, *words: str, source: str = "mimic-iii", **options) -> str:
    with pytest.raises(DataError) as caught:
        prepare(source, raw, raw.parent / "out", **options)
    for word in words:
        assert word in str(caught.value)
    assert not (raw.parent / "out").exists()
    return str(caught.value)


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_missing_table_is_named_with_what_was_found(raw):
    (raw / "LABEVENTS.csv").unlink()
    fails(raw, "labevents", "missing", "found admissions", "Put the file there")


def test_a_missing_column_is_named_with_those_that_exist(raw):
    rewrite(raw / "ICUSTAYS.csv", "OUTTIME", "LEFT_AT")
    fails(raw, "ICUSTAYS.csv", "'outtime'", "left_at", "Export the table")


def test_mimic_iv_asked_for_on_mimic_iii_names_the_right_source(raw):
    fails(raw, "looks like MIMIC-III", "use mimic-iii", source="mimic-iv")


def test_tables_of_both_data_sets_in_one_folder_are_refused(raw):
    (raw / "icu").mkdir()
    shutil.copy(raw / "ICUSTAYS.csv", raw / "icu" / "icustays.csv")
    fails(raw, "mixed", "MIMIC-III alone")


def test_a_table_of_the_other_data_set_is_recognised(raw):
    columns = [
        "subject_id",
        "hadm_id",
        "stay_id",
        "first_careunit",
        "last_careunit",
        "intime",
        "outtime",
        "los",
    ]
    write_csv(raw / "ICUSTAYS.csv", columns, [])
    fails(raw, "ICUSTAYS.csv", "looks like MIMIC-IV", "never mix")


def test_a_folder_without_tables_says_so(tmp_path):
    (tmp_path / "raw").mkdir()
    fails(tmp_path / "raw", "no table at all")


def test_a_folder_that_does_not_exist_is_the_callers_error(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        prepare("mimic-iii", tmp_path / "nowhere", tmp_path / "out")


def test_a_cut_off_gzip_file_is_named(tmp_path):
    hospital = Hospital()
    for second in range(20_000):
        hospital.chart(1, 211, str(60 + second % 50), 0, seconds=second)
    raw = hospital.write(tmp_path / "raw", ".csv.gz")
    whole = (raw / "CHARTEVENTS.csv.gz").read_bytes()
    (raw / "CHARTEVENTS.csv.gz").write_bytes(whole[: len(whole) // 2])
    fails(raw, "CHARTEVENTS.csv.gz", "cut off", "download the file again")


def test_a_malformed_row_is_named_by_its_line(raw):
    path = raw / "LABEVENTS.csv"
    with path.open("a") as stream:
        stream.write("1,101,50931,2150-03-01 13:00:00,5,mg/dL\n2,102,50931\n")
    fails(raw, "LABEVENTS.csv", "line 3", "malformed", "Mend or remove")


def test_an_unparsable_time_is_named_by_column_row_and_value(raw):
    rewrite(raw / "CHARTEVENTS.csv", at(1), "yesterday noon")
    fails(raw, "CHARTEVENTS.csv", "'charttime'", "'yesterday noon'", "row 1", "Correct the row")


def test_an_id_that_is_no_number_is_named(raw):
    rewrite(raw / "ICUSTAYS.csv", "\n1,101,201", "\n1,101,x201")
    fails(raw, "ICUSTAYS.csv", "'icustay_id'", "'x201'", "row 1")


def test_a_repeated_stay_is_named(tmp_path):
    hospital = Hospital()
    hospital.tables["ICUSTAYS"].append(dict(hospital.tables["ICUSTAYS"][2]))
    fails(hospital.write(tmp_path / "raw"), "ICUSTAYS.csv", "203", "2 times", "Keep one row")


def test_a_repeated_patient_is_named(tmp_path):
    hospital = Hospital()
    hospital.tables["PATIENTS"].append(dict(hospital.tables["PATIENTS"][0]))
    fails(hospital.write(tmp_path / "raw"), "PATIENTS.csv", "201", "Keep one row")


def test_no_measurement_at_all_is_said(tmp_path):
    hospital = Hospital()
    hospital.tables["CHARTEVENTS"].clear()
    fails(hospital.write(tmp_path / "raw"), "no stay qualifies", "one release")


def test_a_patient_in_two_splits_is_named(raw, tmp_path):
    (tmp_path / "test.csv").write_text("1,1\n2,0\n")
    (tmp_path / "valid.csv").write_text("1,1\n2,0\n")
    fails(raw, "subject 1", "two splits", test_list=tmp_path / "test.csv", valid_list=tmp_path / "valid.csv")


def test_a_patient_listed_both_ways_is_named(tmp_path):
    (tmp_path / "test.csv").write_text("1,1\n1,0\n")
    (tmp_path / "valid.csv").write_text("2,1\n")
    with pytest.raises(DataError, match=r"subject 1 is listed as 0 and as 1 \(line 2\)"):
        read_lists(tmp_path / "test.csv", tmp_path / "valid.csv", "mimic-iii")


def test_a_malformed_list_is_named_by_its_line(tmp_path):
    (tmp_path / "test.csv").write_text("1,1\ntwo,1\n")
    (tmp_path / "valid.csv").write_text("2,1\n")
    with pytest.raises(DataError, match=r"test.csv: line 2 is 'two,1'"):
        read_lists(tmp_path / "test.csv", tmp_path / "valid.csv", "mimic-iii")


def test_a_full_disk_is_said_before_anything_is_filled(raw, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 10, 0))
    fails(raw, "MB free", "Free some space", "finished tables are kept")


def test_a_disk_that_fills_up_while_writing_is_named(raw, monkeypatch):
    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys.modules[prepare.__module__], "write_grid", full)
    fails(raw, "the disk is full", "finished tables are kept")


def test_finished_tables_are_kept_and_not_read_again(tmp_path):
    raw = Hospital().write(tmp_path / "raw")
    lab = raw / "LABEVENTS.csv"
    good = lab.read_text()
    lab.write_text(good + "1,101\n")
    fails(raw, "LABEVENTS.csv")
    (kept,) = (tmp_path / ".out.steps").glob("chartevents-*.parquet")
    before = kept.stat().st_mtime_ns
    lab.write_text(good)
    seen = []

    def look(what: str, _done: float) -> None:
        if what == "settling ties":
            seen.append(kept.stat().st_mtime_ns)

    assert len(prepare("mimic-iii", raw, tmp_path / "out", progress=look).ids) == 5
    assert seen == [before]
    assert not kept.parent.exists()


def test_a_killed_preparation_leaves_nothing_complete_looking_and_goes_on(tmp_path):
    raw = Hospital().write(tmp_path / "raw")
    script = (
        "import os, signal, sys\n"
        "from sklar.mimic import prepare\n"
        "def stop(what, done):\n"
        "    if what == 'settling ties': os.kill(os.getpid(), signal.SIGKILL)\n"
        f"prepare('mimic-iii', {str(raw)!r}, {str(tmp_path / 'out')!r}, progress=stop)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert not (tmp_path / "out").exists()
    assert list((tmp_path / ".out.steps").glob("labevents-*.parquet"))
    assert len(prepare("mimic-iii", raw, tmp_path / "out").ids) == 5


def test_restricted_data_are_for_their_owner_alone(raw, tmp_path):
    data = prepare("mimic-iii", raw, tmp_path / "out")
    assert data.manifest.restricted
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700


def test_the_folder_of_steps_is_for_its_owner_alone(raw, tmp_path):
    modes = []
    folder = tmp_path / ".out.steps"

    def look(*_progress) -> None:
        if folder.exists():
            modes.append(stat.S_IMODE(folder.stat().st_mode))

    prepare("mimic-iii", raw, tmp_path / "out", progress=look)
    assert set(modes) == {0o700}


def test_the_same_inputs_give_the_folder_that_is_there(raw, tmp_path):
    first = prepare("mimic-iii", raw, tmp_path / "out")
    assert prepare("mimic-iii", raw, tmp_path / "out").hash == first.hash


def test_another_preparation_in_the_same_place_is_refused(raw, tmp_path):
    prepare("mimic-iii", raw, tmp_path / "out")
    with pytest.raises(UserError, match="with other options"):
        prepare("mimic-iii", raw, tmp_path / "out", rules="strict")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rules": "loose"}, "choose compat or strict"),
        ({"tasks": ("ihm", "los")}, "choose one or more of ihm, readm"),
        ({"engine": "bigquery"}, "choose one of duckdb.*exported as Parquet"),
        ({"test_list": "test.csv"}, "give both"),
        ({"memory_limit": "plenty"}, "DuckDB refuses"),
    ],
)
def test_wrong_arguments_are_the_callers_error(raw, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        prepare("mimic-iii", raw, tmp_path / "out", **options)


def test_an_unknown_source_is_the_callers_error(raw, tmp_path):
    with pytest.raises(UserError, match="choose mimic-iii or mimic-iv"):
        prepare("mimic-v", raw, tmp_path / "out")


def test_a_plan_names_files_and_columns_and_writes_nothing(raw, tmp_path):
    readings = {reading.table: reading for reading in plan("mimic-iii", raw)}
    assert set(readings) == {name.lower() for name in THREE} - {"noteevents", "outputevents"}
    assert {reading.table for reading in plan("mimic-iii", raw, notes=True)} - set(readings) == {
        "noteevents",
        "outputevents",
    }
    assert "icustay_id" in readings["chartevents"].columns
    assert readings["chartevents"].bytes == (raw / "CHARTEVENTS.csv").stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_quoted_newlines_and_quotes_are_read_as_one_row(raw, tmp_path):
    with (raw / "CHARTEVENTS.csv").open("a") as stream:
        stream.write(f'1,101,201,184,{at(2)},{at(2)},"a ""quoted""\ntext",,0\n')
    assert len(prepare("mimic-iii", raw, tmp_path / "out").ids) == 5


def test_a_gzip_file_that_is_none_is_named(raw):
    (raw / "PATIENTS.csv").unlink()
    (raw / "PATIENTS.csv.gz").write_bytes(b"not gzip")
    fails(raw, "PATIENTS.csv.gz", "again")


def test_an_empty_file_is_named(raw):
    (raw / "PATIENTS.csv").unlink()
    with gzip.open(raw / "PATIENTS.csv.gz", "wt"):
        pass
    fails(raw, "PATIENTS.csv.gz", "empty")


def test_values_that_mean_nothing_are_counted(tmp_path):
    hospital = Hospital()
    hospital.chart(1, 184, "asleep", 2)
    hospital.chart(1, 211, "high", 2)
    data = prepare("mimic-iii", hospital.write(tmp_path / "raw"), tmp_path / "out")
    assert data.manifest.records["ehr"]["chartevents_without_value"] == 2


def test_too_little_memory_is_said_with_what_to_change(tmp_path):
    hospital = Hospital()
    for second in range(40_000):
        hospital.chart(1 + second % 5, 211, str(60 + second % 50), 0, seconds=second)
    raw = hospital.write(tmp_path / "raw")
    with pytest.raises(
        UserError, match=r"memory limit is too small.*larger --memory-limit, or fewer --threads"
    ):
        prepare("mimic-iii", raw, tmp_path / "out", memory_limit="6MB")
