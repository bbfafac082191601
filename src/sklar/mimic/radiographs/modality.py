"""Chest radiographs and their reports as modalities of MIMIC-IV stays."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sklar._version import __version__
from sklar.data.schema import Text
from sklar.data.split import SPLITS
from sklar.errors import DataError, UserError
from sklar.mimic.additions import Addition, documents
from sklar.mimic.layout import Layout
from sklar.mimic.notes.text import single_spaced
from sklar.mimic.radiographs.decode import SEEN, decode_all, image_spec
from sklar.mimic.radiographs.files import find_labels, find_metadata, locate, patient_folder
from sklar.mimic.radiographs.pairing import check_header, pair, read_pictures, read_studies
from sklar.mimic.radiographs.reports import read_reports
from sklar.mimic.radiographs.sections import SECTIONS, picked_by_hand, sections
from sklar.mimic.rules import Rules
from sklar.mimic.splits import Lists, split
from sklar.mimic.steps import Steps, fingerprint
from sklar.mimic.variables import WINDOW_SECONDS

Say = Callable[[float], None]


@dataclass(frozen=True)
class Radiographs:
    """Where pictures and reports lie.

    Attributes:
        folder: Of the pictures and their table.
        reports: Folder or archive of reports, or None.
        size: Side of the square that a model sees, in pixels.
    """

    folder: Path
    reports: Path | None
    size: int

    def as_list(self) -> list[Any]:
        """For a fingerprint; pictures, and reports in folders, are taken to be as they were."""
        files = [find_metadata(self.folder), *([] if self.reports is None else [self.reports])]
        stamps = [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
        return [self.size, *stamps]


def radiographs_of(
    layout: Layout,
    cxr: str | os.PathLike[str] | None,
    reports: str | os.PathLike[str] | None,
    size: int = SEEN,
) -> Radiographs | None:
    """The places of pictures and reports, checked as far as it goes without reading.

    Raises:
        UserError: They do not go with the data set, reports come without pictures, a place does not exist, or
            the size is none.
        DataError: The table of pictures is missing, or lacks a column.
    """
    if cxr is None and reports is None:
        return None
    if layout.source != "mimic-iv":
        raise UserError(
            f"{layout.title} has no chest radiographs: MIMIC-CXR goes with MIMIC-IV. Use mimic-iv, or --notes"
        )
    if cxr is None:
        raise UserError("reports belong to pictures: give --cxr, the folder of MIMIC-CXR-JPG, too")
    if not 16 <= size <= 1024:
        raise UserError(f"image size {size}: give 16 to 1024 pixels; the published one is {SEEN}")
    folder = Path(cxr)
    check_header(find_metadata(folder))
    if reports is not None and not Path(reports).exists():
        raise UserError(f"{reports}: no such folder or archive. Give MIMIC-CXR's reports")
    return Radiographs(folder, None if reports is None else Path(reports), size)


def pairs(
    folder: Path, stays: pa.Table, rules: Rules, lists: Lists | None
) -> tuple[pa.Table, dict[str, Any]]:
    """The picture of each stay (see `pair`), and how many were read and left out.

    Pictures whose study has labels are counted per split of their patients, as the paper's Table 1 does.

    Raises:
        DataError: The table of pictures is missing or broken, or no stay has a picture.
    """
    metadata = find_metadata(folder)
    pictures = read_pictures(metadata)
    found = pair(pictures, stays, rules)
    if not found.num_rows:
        raise DataError(
            f"{metadata}: no bedside picture falls into the 48 hours of any of {stays.num_rows:,} stays. "
            "Check that the pictures are those of the same release's patients"
        )
    records: dict[str, Any] = {
        "pictures": len(pictures.dicom) + pictures.untimed,
        "without_time": pictures.untimed,
        "bedside": int(pictures.bedside.sum()),
        "used": found.num_rows,
    }
    if (labels := find_labels(folder)) is not None:
        labelled = pictures.subject[np.isin(pictures.study, read_studies(labels))]
        parts = split(labelled, "mimic-iv", lists)
        records["with_labels"] = {part: int((parts == part).sum()) for part in SPLITS}
    return found, records


def image(
    place: Radiographs,
    paired: pa.Table,
    records: dict[str, Any],
    stays: pa.Table,
    rules: Rules,
    steps: Steps,
    say: Say,
) -> Addition:
    """The pictures of the pairs, decoded once, and a table of which they are.

    Raises:
        DataError: A file is missing or unreadable.
    """
    paths = _located(place.folder, paired, steps)
    spec = image_spec(rules, place.size)
    stamps = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    steps.need(len(paths) * spec.height * spec.width, f"{len(paths):,} pictures")
    inputs = fingerprint(__version__, spec.model_dump(), rules.image_pixels, stamps)
    pixels = steps.file("cxr", inputs, lambda target: decode_all(paths, spec, rules, target, say), ".npy")
    rows = paired["row"].to_numpy()
    about = paired.drop_columns(["row"])
    about = about.add_column(0, "id", stays["stay_id"].cast(pa.string()).take(pa.array(rows)))
    hours = (paired["second"].to_numpy() - WINDOW_SECONDS) / 3600
    contents = {"cxr": pixels, "cxr.source": about}
    return Addition("cxr", spec, rows, contents, records, times=hours)


def report(place: Path, paired: pa.Table, stays: pa.Table, rules: Rules) -> Addition:
    """The report of each pair's study, one document per section of `SECTIONS`.

    Raises:
        DataError: The archive is damaged, or no report is found.
    """
    study, second = paired["study_id"].to_numpy(), paired["second"].to_numpy()
    final = second + 3600 * rules.report_hours
    odd = (
        np.isin(study, list(picked_by_hand())) if rules.reports == "sectioned" else np.zeros(len(study), bool)
    )
    late = final > WINDOW_SECONDS
    asked = np.flatnonzero(~odd & ~late)
    subjects = dict(
        zip(study[asked].tolist(), paired["subject_id"].take(pa.array(asked)).to_pylist(), strict=True)
    )
    found = read_reports(place, subjects)
    there = asked[np.isin(study[asked], list(found))]
    texts = [text for own in study[there].tolist() for text in sections(found[own]).values()]
    owner = np.repeat(there, len(SECTIONS))
    cleaned = single_spaced(pa.array(texts, pa.string()))
    if rules.blank_text == "drop":
        filled = np.asarray(pc.greater(pc.utf8_length(cleaned), 0))
        cleaned, owner = cleaned.filter(pa.array(filled)), owner[filled]
    row = paired["row"].to_numpy()
    rows, columns = documents(
        stays["stay_id"].cast(pa.string()).to_pylist(),
        row[owner],
        cleaned,
        (final[owner] - WINDOW_SECONDS) / 3600,
    )
    records: dict[str, int | dict[str, int]] = {
        "studies": len(study),
        "picked_by_hand": int(odd.sum()),
        "after_the_prediction": int((late & ~odd).sum()),
        "without_file": len(asked) - len(there),
        "used": len(rows),
    }
    spec = Text(documents=len(SECTIONS), unit="hours")
    return Addition("report", spec, rows, {"report": pa.table(columns)}, records)


def _located(folder: Path, paired: pa.Table, steps: Steps) -> list[Path]:
    """The file of every pair.

    Raises:
        DataError: Some are missing; all of their names are left in a list.
    """
    columns = (paired[name].to_pylist() for name in ("subject_id", "study_id", "dicom_id"))
    wanted = [
        patient_folder(s) / f"s{study}" / f"{dicom}.jpg" for s, study, dicom in zip(*columns, strict=True)
    ]
    found = [locate(folder, nested) for nested in wanted]
    missing = [nested for nested, path in zip(wanted, found, strict=True) if path is None]
    if missing:
        listing = steps.folder / "missing-pictures.txt"
        listing.write_text("".join(f"files/{nested}\n" for nested in missing))
        raise DataError(
            f"{folder}: {len(missing):,} of {len(wanted):,} pictures are missing, the first is "
            f"files/{missing[0]}. All are listed in {listing}; download them (no other pictures are needed), "
            "and run the same again"
        )
    return [path for path in found if path is not None]
