"""The rows of chart and laboratory of the edge cases, written out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from sklar.mimic.hospital.measurements import Place
from sklar.mimic.hospital.spelling import Numbers, Rows
from sklar.mimic.hospital.stays import HOUR, Stays
from sklar.mimic.layout import Source

Whose = Literal["own", "none", "other"]


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        second: After admission to the ICU.
        value: VALUE.
        three: Item in MIMIC-III, None where it is not written there.
        four: Item in MIMIC-IV, likewise.
        unit: VALUEUOM.
        place: Table.
        hadm: Whose admission it names.
        stay: Whose stay it names.
        error: ERROR or warning.
        stored: Second at which it was entered; None is ten minutes later.
    """

    second: int
    value: str
    three: int | None
    four: int | None
    unit: str | None = None
    place: Place = "chart"
    hadm: Whose = "own"
    stay: Whose = "own"
    error: int = 0
    stored: int | None = None


def _rate(second: int, value: str, **more: object) -> Row:
    """A heart rate."""
    return Row(second, value, 211, 220045, "bpm", **more)  # type: ignore[arg-type]


def _lab(second: int, value: str, item: int = 50931) -> Row:
    return Row(second, value, item, item, "mg/dL", "lab")


H = HOUR
ROWS: Mapping[str, tuple[Row, ...]] = {
    "identifiers": (
        _rate(1 * H, "81"),
        _rate(3 * H, "83", hadm="none"),
        _rate(5 * H, "85", stay="none"),
        _rate(7 * H, "87", stay="other"),
        _rate(9 * H, "89", hadm="other"),
        Row(11 * H, "7.31", 50820, 50820, "units", "lab", hadm="none"),
    ),
    "pressure_pair": (
        Row(1 * H, "120/80", 455, 220179, "mmHg"),
        Row(1 * H, "120/80", 8441, 220180, "mmHg"),
        Row(3 * H, "118", 455, 220179, "mmHg"),
    ),
    "oxygen_fraction": (
        Row(1 * H, "0.5", 3420, 223835),
        Row(3 * H, "60", 3420, 223835, "%"),
        Row(5 * H, "90", 3420, None, "torr"),
        Row(7 * H, "4", 3420, 223835, "L/min"),
    ),
    "saturation": (
        Row(1 * H, "0.97", 646, 220277, "%"),
        Row(3 * H, "ERROR", 646, 220277, "%"),
        Row(5 * H, "96", 646, 220277, "%"),
    ),
    "laboratory_text": (
        _lab(1 * H, "105"),
        _lab(3 * H, "ERROR"),
        _lab(5 * H, ">500"),
        _lab(7 * H, "-5"),
        _lab(9 * H, "1e2"),
        _lab(11 * H, "110", 51478),
    ),
    "temperature_twins": (
        Row(1 * H, "98.6", 678, 223761, "?F"),
        Row(1 * H, "37", 676, 223762, "?C"),
        Row(3 * H, "100.4", 678, 223761, "?F"),
        Row(5 * H, "38.5", 676, 223762, "?C"),
    ),
    "weight_triple": (
        Row(1 * H, "80", 3580, 226512, "kg"),
        Row(1 * H, "176.37", 3581, 226531, "lb"),
        Row(1 * H, "2822", 3582, None, "oz"),
    ),
    "height_twins": (
        Row(1 * H, "75", 1394, None, "in"),
        Row(3 * H, "75", 226707, 226707, "Inch"),
        Row(3 * H, "191", 226730, 226730, "cm"),
    ),
    "capillary_refill": (
        Row(1 * H, "Normal <3 secs", 115, None),
        Row(3 * H, "Abnormal >3 secs", 115, None),
        Row(5 * H, "Brisk", 3348, None),
        Row(7 * H, "Delayed", 8377, None),
        Row(9 * H, "Other/Remarks", 115, None),
        Row(11 * H, "Normal <3 Seconds", 223951, 223951),
        _rate(13 * H, "80"),
    ),
    "coma_spellings": (
        Row(1 * H, "4 Spontaneously", 184, None),
        Row(3 * H, "To Speech", 220739, 220739),
        Row(5 * H, "None", 220739, 220739),
        Row(7 * H, "5 Localizes Pain", 454, None),
        Row(9 * H, "Obeys Commands", 223901, 223901),
        Row(11 * H, "No Response-ETT", 223900, 223900),
        Row(13 * H, "1.0 ET/Trach", 723, None),
        Row(15 * H, "15", 198, None),
    ),
    "string_tie": (
        _rate(1 * H, "98"),
        _rate(1 * H, "102"),
        Row(3 * H, "To Speech", 220739, 220739),
    ),
    "numeric_tie": (_rate(1 * H, "98"), _rate(1 * H, "102")),
    "window": (
        _rate(-1, "60"),
        _rate(0, "61"),
        _rate(2 * H, "62"),
        _rate(48 * H, "63"),
        _rate(48 * H + 1, "64"),
    ),
    "late_and_wrong": (
        _rate(1 * H, "71"),
        _rate(3 * H, "73", error=1),
        _rate(47 * H, "77", stored=49 * H),
    ),
}
"""Per case of `sklar.mimic.hospital.cases.EVENTS` what its stays have."""


def edge_rows(stays: Stays, numbers: Numbers, source: Source, place: Place) -> Rows:
    """The rows of all edge cases for one table.

    Args:
        stays: All stays.
        numbers: One entry per stay.
        source: Whose items.
        place: Table.
    """
    found = [
        (int(owner), row, item)
        for case, rows in ROWS.items()
        for owner in np.flatnonzero(stays.case == case)
        for row in rows
        if row.place == place and (item := row.three if source == "mimic-iii" else row.four) is not None
    ]
    owner = np.array([at for at, _, _ in found], dtype=np.int64)
    rows = [row for _, row, _ in found]
    # another's number is that of the first stay, which is no edge case
    second = np.array([row.second for row in rows], dtype=np.int64)
    stored = np.array([row.second + 600 if row.stored is None else row.stored for row in rows], np.int64)
    hadm = np.array([row.hadm for row in rows], dtype=np.str_)
    stay = np.array([row.stay for row in rows], dtype=np.str_)
    return Rows(
        subject=pa.array(numbers.patient[owner]),
        hadm=_whose(numbers.admission, owner, hadm),
        stay=_whose(numbers.stay, owner, stay),
        item=pa.array([item for _, _, item in found], pa.int64()),
        time=pa.array(stays.intime[owner] + second),
        stored=pa.array(stays.intime[owner] + stored),
        value=pa.array([row.value for row in rows], pa.string()),
        number=pa.array([_number(row.value) for row in rows], pa.float64()),
        unit=pa.array([row.unit for row in rows], pa.string()),
        error=pa.array([row.error for row in rows], pa.int64()),
    )


def _whose(numbers: np.ndarray, owner: np.ndarray, whose: np.ndarray) -> pa.Array:
    return pa.array(np.where(whose == "other", numbers[0], numbers[owner]), mask=whose == "none")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
