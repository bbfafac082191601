"""A folder like MIMIC-CXR: three tables, pictures, and the texts of reports."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sklar.mimic.hospital.files import Tables
from sklar.mimic.hospital.pictures import draw_pictures, jpeg
from sklar.mimic.hospital.reports import write_reports
from sklar.mimic.hospital.spelling import Numbers
from sklar.mimic.hospital.stays import Stays, Times, Whole
from sklar.mimic.hospital.studies import VIEWS, Studies

PREFIX = "mimic-cxr-2.0.0"
BLOCK = 64
"""Pictures drawn at once."""

LABELS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum", "Fracture",
    "Lung Lesion", "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other", "Pneumonia",
    "Pneumothorax", "Support Devices",
)  # fmt: skip
SHOWN = ("Consolidation", "Edema", "Lung Opacity", "Pneumonia")
"""Labels that follow severity; but for "No Finding", the others stay open."""


def write_cxr(
    folder: Path,
    stays: Stays,
    numbers: Numbers,
    studies: Studies,
    height: int,
    rng: np.random.Generator,
    say: Callable[[float], None],
) -> None:
    """Write the folder.

    Args:
        folder: Where; made here.
        stays: All stays.
        numbers: Of MIMIC-IV, one entry per stay.
        studies: The images.
        height: Of an image, in pixels.
        rng: Of names, pictures and wording.
        say: Called with the fraction done.
    """
    study = 50_000_000 + rng.permutation(int(studies.study.max(initial=-1)) + 1)[studies.study]
    subject = numbers.patient[studies.stay]
    names = _names(len(studies), rng)
    with Tables(folder, "csv.gz") as tables:
        time = stays.intime[studies.stay] + studies.second
        edge = stays.case[studies.stay] != ""
        millis = np.where(edge, 0, rng.integers(0, 1000, len(studies)))
        tables.write(f"{PREFIX}-metadata", _metadata(studies, names, subject, study, time, millis, height))
        split = pa.array(["train"] * len(studies), pa.string())
        columns = {"dicom_id": names, "study_id": study, "subject_id": subject, "split": split}
        tables.write(f"{PREFIX}-split", pa.table(columns))
        at = studies.first_of_study
        labelled = at[stays.case[studies.stay[at]] != "image_without_labels"]
        tables.write(
            f"{PREFIX}-chexpert",
            _labels(studies.severity[labelled], subject[labelled], study[labelled]),
        )
    places = [folder / "files" / f"p{who // 1_000_000}" / f"p{who}" for who in subject.tolist()]
    told = at[studies.reported[at]]
    texts = write_reports(studies.told[told], stays.case[studies.stay[told]], rng).to_pylist()
    for index, text in zip(told.tolist(), texts, strict=True):
        places[index].mkdir(parents=True, exist_ok=True)
        (places[index] / f"s{study[index]}.txt").write_text(text, encoding="utf-8")
    for start in range(0, len(studies), BLOCK):
        rows = range(start, min(start + BLOCK, len(studies)))
        for index, picture in zip(
            rows, draw_pictures(studies.severity[rows.start : rows.stop], height, rng), strict=True
        ):
            place = places[index] / f"s{study[index]}"
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{names[index]}.jpg").write_bytes(jpeg(picture))
        say(rows.stop / len(studies))


def _names(count: int, rng: np.random.Generator) -> list[str]:
    """Five groups of eight hexadecimal digits each."""
    digits = rng.bytes(20 * count).hex()
    return ["-".join(digits[i + 8 * k : i + 8 * k + 8] for k in range(5)) for i in range(0, 40 * count, 40)]


def _metadata(
    studies: Studies,
    names: list[str],
    subject: Whole,
    study: Whole,
    time: Times,
    millis: Whole,
    height: int,
) -> pa.Table:
    count = len(studies)
    step = np.array(
        ["CHEST (PORTABLE AP)", "CHEST (PA AND LAT)", "CHEST (PA AND LAT)", "CHEST (PORTABLE AP)"]
    )
    code = np.array(["antero-posterior", "postero-anterior", "lateral", ""])
    procedure = pa.array(step[studies.view])
    day = time.astype("datetime64[D]")
    month = day.astype("datetime64[M]")
    year = day.astype("datetime64[Y]").astype(np.int64) + 1970
    date = year * 10_000 + (month.astype(np.int64) % 12 + 1) * 100 + (day - month).astype(np.int64) + 1
    second = (time - day).astype("timedelta64[s]").astype(np.int64)
    clock = second // 3600 * 10_000 + second // 60 % 60 * 100 + second % 60
    return pa.table(
        {
            "dicom_id": names,
            "subject_id": subject,
            "study_id": study,
            "PerformedProcedureStepDescription": procedure,
            "ViewPosition": _words(np.array(VIEWS)[studies.view]),
            "Rows": np.full(count, height),
            "Columns": np.full(count, height * 5 // 4),
            "StudyDate": date,
            "StudyTime": clock + millis / 1000,
            "ProcedureCodeSequence_CodeMeaning": procedure,
            "ViewCodeSequence_CodeMeaning": _words(code[studies.view]),
            "PatientOrientationCodeSequence_CodeMeaning": pa.array(["Erect"] * count, pa.string()),
        }
    )


def _labels(severity: NDArray[np.float64], subject: Whole, study: Whole) -> pa.Table:
    """1 where severe, 0 where mild, -1 between; a healthy image has no finding."""
    grade = np.select([severity > 0.5, severity < -0.5], [1.0, 0.0], -1.0)
    columns: dict[str, pa.Array] = {"subject_id": pa.array(subject), "study_id": pa.array(study)}
    for name in LABELS:
        columns[name] = pa.array(grade) if name in SHOWN else pa.nulls(len(grade), pa.float64())
    healthy = severity < -1.0
    columns["No Finding"] = pa.array(np.ones(len(grade)), mask=~healthy)
    return pa.table(columns)


def _words(words: NDArray[np.str_]) -> pa.Array:
    """Texts, with the empty one as a gap."""
    return pa.array(words, mask=words == "")
