"""Chest radiographs: which picture belongs to which stay."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from sklar.errors import DataError
from sklar.mimic.header import read_header
from sklar.mimic.rules import Rules
from sklar.mimic.tables import PATTERNS
from sklar.mimic.variables import WINDOW_SECONDS

COLUMNS = ("dicom_id", "subject_id", "study_id", "viewposition", "studydate", "studytime")
"""What is read of the table of pictures, in lower case."""

VIEW = "AP"
"""Anterior-posterior: taken at the bedside, as nearly all of intensive care are."""

MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class Pictures:
    """P pictures of the table, in its order, that have a date and a time.

    Attributes:
        dicom: (P,) names.
        subject: (P,) patients.
        study: (P,) studies.
        bedside: (P,) whether the view is `VIEW`.
        taken: (P,) microseconds since 1970.
        untimed: How many more have no date or time.
    """

    dicom: NDArray[np.str_]
    subject: NDArray[np.int64]
    study: NDArray[np.int64]
    bedside: NDArray[np.bool_]
    taken: NDArray[np.int64]
    untimed: int


def read_pictures(path: Path) -> Pictures:
    """Read the table of all pictures.

    Raises:
        DataError: A column is missing, a number or time is none, or the file is damaged.
    """
    table = _read(path)
    timed = pc.and_(pc.is_valid(table["studydate"]), pc.is_valid(table["studytime"]))
    rows = np.flatnonzero(timed.to_numpy())
    known = table.take(pa.array(rows))
    return Pictures(
        dicom=np.asarray(known["dicom_id"].to_numpy(), dtype=np.str_),
        subject=_numbers(known, "subject_id", "id", rows, path).astype(np.int64),
        study=_numbers(known, "study_id", "id", rows, path).astype(np.int64),
        bedside=np.asarray(pc.fill_null(pc.equal(known["viewposition"], VIEW), False).to_numpy()),
        taken=_moments(known, rows, path),
        untimed=table.num_rows - len(rows),
    )


def read_studies(path: Path) -> NDArray[np.int64]:
    """Studies of the table of labels.

    Raises:
        DataError: A column is missing, a number is none, or the file is damaged.
    """
    table = _read(path, ("study_id",))
    return _numbers(table, "study_id", "id", np.arange(table.num_rows), path).astype(np.int64)


def pair(pictures: Pictures, stays: pa.Table, rules: Rules) -> pa.Table:
    """The last bedside picture of each stay, from the admission to the ICU to the prediction.

    Args:
        pictures: All of them.
        stays: (stay_id, subject_id, intime), N rows.
        rules: Whether times are cut to the second, and how ties are settled.

    Returns:
        (row, subject_id, dicom_id, study_id, second): ``row`` counts the stays from 0 and ascends, ``second``
        is the time of the picture from the admission to the ICU, a float.
    """
    own = np.flatnonzero(pictures.bedside)
    order = own[np.argsort(pictures.subject[own], kind="stable")]
    subject = stays["subject_id"].to_numpy()
    first = np.searchsorted(pictures.subject[order], subject)
    count = np.searchsorted(pictures.subject[order], subject, side="right") - first
    # every picture of the patient beside every stay of the patient
    row = np.repeat(np.arange(len(subject)), count)
    picture = order[
        np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
    ]

    intime = stays["intime"].cast(pa.timestamp("us")).to_numpy().astype(np.int64)
    taken = pictures.taken[picture]
    if rules.image_order == "row":
        taken = taken - taken % MICROSECONDS
    second = (taken - intime[row]) / MICROSECONDS
    inside = (second >= 0) & (second <= WINDOW_SECONDS)
    row, picture, second = row[inside], picture[inside], second[inside]
    tie = (
        picture if rules.image_order == "row" else np.unique(pictures.dicom, return_inverse=True)[1][picture]
    )
    by_time = np.lexsort((tie, second, row))
    last = by_time[np.flatnonzero(np.diff(row[by_time], append=-1))]
    chosen = picture[last]
    return pa.table(
        {
            "row": row[last],
            "subject_id": pictures.subject[chosen],
            "dicom_id": pa.array(pictures.dicom[chosen].astype(object), pa.string()),
            "study_id": pictures.study[chosen],
            "second": second[last],
        }
    )


def check_header(path: Path, columns: Sequence[str] = COLUMNS) -> list[str]:
    """The table's own names of the columns.

    Raises:
        DataError: A column is missing, or the file is damaged.
    """
    names = read_header(path)
    lower = [name.lower() for name in names]
    if missing := [name for name in columns if name not in lower]:
        raise DataError(
            f"{path}: no column {missing[0]!r} (found {', '.join(lower)}). Take the table of "
            "MIMIC-CXR-JPG as it is"
        )
    return [names[lower.index(name)] for name in columns]


def _read(path: Path, columns: Sequence[str] = COLUMNS) -> pa.Table:
    """The columns as texts, empty ones null."""
    raw = check_header(path, columns)
    options = pyarrow.csv.ConvertOptions(
        include_columns=raw, column_types=dict.fromkeys(raw, pa.string()), strings_can_be_null=True,
        null_values=[""],
    )  # fmt: skip
    try:
        table = pyarrow.csv.read_csv(path, convert_options=options)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: cannot be read ({error}). Copy or download the file again") from None
    if not table.num_rows:
        raise DataError(f"{path}: the table has no rows. Copy or download the file again")
    return table.rename_columns(list(columns)).combine_chunks()


def _numbers(
    table: pa.Table, name: str, kind: Any, rows: NDArray[np.int64], path: Path
) -> NDArray[np.float64]:
    """A column as numbers.

    Raises:
        DataError: A text is none; the message names row and value.
    """
    good = pc.fill_null(pc.match_substring_regex(table[name], PATTERNS[kind]), False)
    _refuse(~np.asarray(good.to_numpy()), table, name, rows, path, "no number")
    return np.asarray(table[name].cast(pa.float64()).to_numpy())


def _moments(table: pa.Table, rows: NDArray[np.int64], path: Path) -> NDArray[np.int64]:
    """Microseconds since 1970 of dates YYYYMMDD and times HHMMSS.fraction without leading zeros."""
    date = _numbers(table, "studydate", "id", rows, path).astype(np.int64)
    clock = _numbers(table, "studytime", "number", rows, path)
    year, month, day = date // 10000, date // 100 % 100, date % 100
    months = (year - 1970) * 12 + month - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]") + (day - 1)
    wrong = (month < 1) | (month > 12) | (day < 1) | (days.astype("datetime64[M]").astype(np.int64) != months)
    _refuse(wrong, table, "studydate", rows, path, "no date (YYYYMMDD)")
    whole = np.floor(clock).astype(np.int64)
    hour, minute, second = whole // 10000, whole // 100 % 100, whole % 100
    wrong = (clock < 0) | (hour > 23) | (minute > 59) | (second > 59)
    _refuse(wrong, table, "studytime", rows, path, "no time (HHMMSS.fff)")
    fraction = np.round((clock - whole) * MICROSECONDS).astype(np.int64)
    seconds = days.astype(np.int64) * 86400 + hour * 3600 + minute * 60 + second
    return seconds * MICROSECONDS + fraction


def _refuse(
    wrong: NDArray[np.bool_], table: pa.Table, name: str, rows: NDArray[np.int64], path: Path, what: str
) -> None:
    if wrong.any():
        place = int(np.argmax(wrong))
        raise DataError(
            f"{path}: column {name!r} holds {table[name][place].as_py()!r} in row {rows[place] + 1}, "
            f"which is {what} ({int(wrong.sum())} such rows). Correct the row, or leave it out"
        )
