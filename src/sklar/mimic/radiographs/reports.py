"""Files of chest radiograph reports: a folder, or the archive as it is distributed."""

import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from sklar.errors import DataError, UserError
from sklar.mimic.radiographs.files import locate, patient_folder

NAME = re.compile(r"(?:^|/)s(\d+)\.txt$")

BROKEN = (EOFError, OSError, zlib.error, tarfile.TarError, zipfile.BadZipFile)
"""What reading a damaged archive raises."""


def read_reports(place: Path, studies: Mapping[int, int]) -> dict[int, str]:
    """The report of each study that has a file.

    Args:
        place: The folder with the reports, laid out as `locate` looks for them, or a .tar, .tar.gz or .zip
            that holds files ``s<study>.txt``.
        studies: Study to patient.

    Returns:
        Study to text; studies without a file are left out.

    Raises:
        UserError: There is no such folder or archive.
        DataError: An archive is damaged, a report is no text, or none of the reports is there.
    """
    if not place.exists():
        raise UserError(f"{place}: no such folder or archive. Give what MIMIC-CXR calls mimic-cxr-reports")
    found: dict[int, str] = {}
    try:
        for study, name, content in _files(place, studies):
            found[study] = _text(content, f"{place}: {name}")
    except BROKEN as error:
        raise DataError(
            f"{place}: the archive is cut off or damaged ({error}). Copy or download it again; finished "
            "tables are kept"
        ) from None
    if studies and not found:
        raise DataError(
            f"{place}: no report of the {len(studies):,} studies that are paired (looked for "
            f"s{min(studies)}.txt and the others). Give the folder or archive of MIMIC-CXR's reports"
        )
    return found


def _files(place: Path, wanted: Mapping[int, int]) -> Iterator[tuple[int, str, bytes]]:
    if place.is_dir():
        yield from _in_folder(place, wanted)
    elif zipfile.is_zipfile(place):
        yield from _in_zip(place, wanted)
    else:
        yield from _in_tar(place, wanted)


def _in_folder(folder: Path, wanted: Mapping[int, int]) -> Iterator[tuple[int, str, bytes]]:
    for study, subject in wanted.items():
        if (path := locate(folder, patient_folder(subject) / f"s{study}.txt")) is not None:
            yield study, path.name, path.read_bytes()


def _in_zip(place: Path, wanted: Mapping[int, int]) -> Iterator[tuple[int, str, bytes]]:
    with zipfile.ZipFile(place) as archive:
        for name in archive.namelist():
            if (study := _study(name)) in wanted:
                yield study, name, archive.read(name)


def _in_tar(place: Path, wanted: Mapping[int, int]) -> Iterator[tuple[int, str, bytes]]:
    with tarfile.open(place) as archive:
        for member in archive:
            if (study := _study(member.name)) in wanted and (stream := archive.extractfile(member)):
                yield study, member.name, stream.read()
        # to its end, where a compressed archive tells whether it is whole
        while archive.fileobj is not None and archive.fileobj.read(1 << 20):
            pass


def _study(name: str) -> int:
    """Number of the study that a file name tells, -1 for another file."""
    match = NAME.search(name)
    return int(match.group(1)) if match else -1


def _text(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not a text in UTF-8 ({error}). Copy or download it again") from None
