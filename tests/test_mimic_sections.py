"""Sections of radiograph reports, and the archives that reports come in."""

import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

from sklar.errors import DataError, UserError
from sklar.mimic.radiographs.reports import read_reports
from sklar.mimic.radiographs.sections import SECTIONS, picked_by_hand, sections

# name of the layout: report, what each of impression, findings, last paragraph and comparison must be
LAYOUTS = {
    "headers on lines of their own": (
        "FINAL REPORT\n COMPARISON:  ___.\n \n FINDINGS: \n \n Clear.\n \n IMPRESSION: \n \n Normal.\n",
        ("Normal.", "Clear.", "", "___."),
    ),
    "a numbered impression": (
        "FINAL REPORT\n IMPRESSION:  1. Stable.\n 2. Tube in place.\n",
        ("1. Stable.\n 2. Tube in place.", "", "", ""),
    ),
    "neither impression nor findings": (
        "FINAL REPORT\n CHEST RADIOGRAPH\n \n COMPARISON:  ___.\n \n Single view.\n \n Effusion is stable.\n",
        ("", "", "Single view.\n \n Effusion is stable.", "___."),
    ),
    "no header": ("Clear lungs.\n \n No change.\n", ("", "", "No change.", "")),
    "no header and one paragraph": ("Clear lungs, no change.\n", ("", "", "", "")),
    "an empty impression counts as none": (
        "FINAL REPORT\n IMPRESSION:  \n COMPARISON:  none\n \n Clear.\n",
        ("", "", "Clear.", "none"),
    ),
    "the last of two findings": (
        "FINAL REPORT\n FINDINGS:  One.\n \n FINDINGS:  Two.\n",
        ("", "Two.", "", ""),
    ),
    "a misspelt header": ("FINAL REPORT\n IMPRSSION:  Clear.\n", ("Clear.", "", "", "")),
    "a header that holds the name": ("FINAL REPORT\n FINAL IMPRESSION:  Clear.\n", ("Clear.", "", "", "")),
    "findings and impression are an impression": (
        "FINAL REPORT\n FINDINGS AND IMPRESSION:  Clear.\n",
        ("Clear.", "", "", ""),
    ),
    "a view for findings": ("FINAL REPORT\n PA AND LATERAL VIEWS:  Clear.\n", ("", "Clear.", "", "")),
    "no second header on one line": (
        "FINAL REPORT\n FINDINGS:  Seen. IMPRESSION: not a header\n \n IMPRESSION:  Clear.\n",
        ("Clear.", "Seen. IMPRESSION: not a header", "", ""),
    ),
    "a header on the next line": (
        "FINAL REPORT\n FINDINGS:  Seen.\n IMPRESSION:  Clear.\n",
        ("Clear.", "Seen.", "", ""),
    ),
    "small letters make no header": (
        "FINAL REPORT\n FINDINGS:  Seen.\n Impression:  Clear.\n",
        ("", "Seen.\n Impression:  Clear.", "", ""),
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_report_is_divided_as_published(layout):
    report, wanted = LAYOUTS[layout]
    assert tuple(sections(report).values()) == wanted
    assert tuple(sections(report)) == SECTIONS


def test_54_studies_were_picked_by_hand():
    assert len(picked_by_hand()) == 54


@pytest.fixture(scope="module")
def archive(test_data: Path) -> Path:
    path = test_data / "reference" / "mimic_golden" / "cxr_reports.tar.gz"
    if not path.is_file():
        pytest.skip(f"no golden reports in {path}; set SKLAR_TEST_DATA")
    return path


@pytest.fixture(scope="module")
def names(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        return [name for name in tar.getnames() if name.endswith(".txt")]


def studies_of(names: list[str]) -> dict[int, int]:
    parts = [Path(name) for name in names]
    return {int(path.stem[1:]): int(path.parent.name[1:]) for path in parts}


def test_the_golden_reports_have_five_layouts(archive, names):
    reports = read_reports(archive, studies_of(names))
    found = {tuple(sections(report).values()) for report in reports.values()}
    assert len(reports) == 60
    assert found == {
        ("No acute process.", "Lungs are clear.", "", "___."),
        ("1. Stable.\n 2. Tube in place.", "", "", ""),
        ("", "In comparison with study of ___, no change.", "", ""),
        ("", "", "Single AP view. Lines unchanged.\n \n Effusion is stable.", "___."),
        ("", "", "", ""),
    }


def test_a_folder_an_archive_and_a_zip_hold_the_same_reports(archive, names, tmp_path):
    wanted = studies_of(names)
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    with zipfile.ZipFile(tmp_path / "reports.zip", "w") as packed:
        for name in names:
            packed.write(tmp_path / name, name)
    reports = read_reports(archive, wanted)
    assert read_reports(tmp_path / "cxr", wanted) == reports
    assert read_reports(tmp_path / "reports.zip", wanted) == reports


def test_studies_without_a_file_are_left_out(archive, names):
    wanted = studies_of(names[:1]) | {99999999: 1}
    assert set(read_reports(archive, wanted)) == set(studies_of(names[:1]))


@pytest.mark.parametrize("share", [0.3, 0.95])
def test_a_cut_off_archive_is_named(archive, names, tmp_path, share):
    broken = tmp_path / "reports.tar.gz"
    broken.write_bytes(archive.read_bytes()[: int(share * archive.stat().st_size)])
    with pytest.raises(DataError, match=r"reports\.tar\.gz: the archive is cut off or damaged.*again"):
        read_reports(broken, studies_of(names))


def test_a_cut_off_zip_is_named(archive, names, tmp_path):
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    whole = Path(shutil.make_archive(str(tmp_path / "whole"), "zip", tmp_path / "cxr"))
    broken = tmp_path / "reports.zip"
    broken.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(DataError, match=r"reports\.zip: the archive is cut off or damaged"):
        read_reports(broken, studies_of(names))


def test_a_folder_of_other_reports_is_refused(tmp_path):
    (tmp_path / "reports").mkdir()
    with pytest.raises(DataError, match="no report of the 1 studies"):
        read_reports(tmp_path / "reports", {50000001: 10000001})


def test_a_report_that_is_no_text_is_named(tmp_path):
    with tarfile.open(tmp_path / "reports.tar", "w") as tar:
        member = tarfile.TarInfo("files/p10/p10000001/s50000001.txt")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"\xff\xfe\xff"))
    with pytest.raises(DataError, match=r"s50000001\.txt: not a text in UTF-8"):
        read_reports(tmp_path / "reports.tar", {50000001: 10000001})


def test_a_place_that_does_not_exist_is_the_callers_error(tmp_path):
    with pytest.raises(UserError, match="no such folder or archive"):
        read_reports(tmp_path / "nowhere", {1: 1})
