"""Tiny folders of chest radiographs written by hand, beside the stays of `raw_mimic.Hospital`."""

from datetime import timedelta
from pathlib import Path

import numpy as np
from PIL import Image

from raw_mimic import START, Row, write_csv

COLUMNS = ["dicom_id", "subject_id", "study_id", "ViewPosition", "Rows", "Columns", "StudyDate", "StudyTime"]

REPORT = """\
                                 FINAL REPORT
 INDICATION:  ___ with dyspnea.

 COMPARISON:  ___.

 FINDINGS:  Lungs are clear.

 IMPRESSION:  No acute process.
"""


class Radiographs:
    """Rows of the metadata table, their pictures and reports; studies are numbered from 50000001."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.reports: dict[int, str] = {}

    def take(self, subject: int, hours: float, view: str = "AP", **changes: object) -> Row:
        """A picture of a patient, ``hours`` after the admission to the ICU; changes are by column."""
        number = len(self.rows) + 1
        taken = START + timedelta(hours=hours)
        clock = float(taken.strftime("%H%M%S")) + round(taken.microsecond / 1e6, 6)
        row: Row = {"dicom_id": f"{number:08x}-0000", "subject_id": subject, "study_id": 50_000_000 + number}
        row |= {"ViewPosition": view, "Rows": 3056, "Columns": 2544}
        row |= {"StudyDate": taken.strftime("%Y%m%d"), "StudyTime": f"{clock:.3f}", **changes}
        self.rows.append(row)
        self.reports[row["study_id"]] = REPORT
        return row

    def write(self, folder: Path, shape: tuple[int, int] = (120, 100), columns: list[str] = COLUMNS) -> Path:
        """Write the table, the pictures (height, width) and the reports; all below the folder."""
        rows = [{key: value for key, value in row.items() if key in columns} for row in self.rows]
        folder.mkdir(parents=True)
        write_csv(folder / "mimic-cxr-2.0.0-metadata.csv.gz", columns, rows)
        for number, row in enumerate(self.rows):
            path = folder / place(row)
            path.parent.mkdir(parents=True, exist_ok=True)
            grey = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(grey).save(path)
            (path.parents[1] / f"s{row['study_id']}.txt").write_text(self.reports[row["study_id"]])
        return folder


def place(row: Row) -> Path:
    """Where the picture of a row lies."""
    patient = f"p{row['subject_id']}"
    return Path("files", patient[:3], patient, f"s{row['study_id']}", f"{row['dicom_id']}.jpg")
