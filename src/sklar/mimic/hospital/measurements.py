"""What is measured at the bedside and in the laboratory, and how severity shows in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Place = Literal["chart", "lab"]


@dataclass(frozen=True)
class Numeric:
    """A number measured every so often.

    Attributes:
        care_vue: Item in MIMIC-III's rows of CareVue, None where it is not written there.
        metavision: Item in MIMIC-III's rows of MetaVision and in MIMIC-IV.
        unit: Of the value.
        mean: Of a stay of average severity.
        spread: Standard deviation of the level over stays.
        sign: Whether severity raises (1) or lowers (-1) it.
        hours: Between two measurements.
        decimals: Of the value.
        place: Table.
        highest: Largest possible value.
    """

    care_vue: int | None
    metavision: int | None
    unit: str
    mean: float
    spread: float
    sign: int
    hours: float
    decimals: int = 0
    place: Place = "chart"
    highest: float = float("inf")


@dataclass(frozen=True)
class Scale:
    """An ordered finding, in the words of each system, worst first.

    Attributes:
        care_vue: Item, as for a number.
        metavision: Item, as for a number.
        worst: Score of the first text.
        care_vue_texts: Texts of CareVue.
        metavision_texts: Texts of MetaVision, as many; empty where it has no such item.
        hours: Between two measurements.
    """

    care_vue: int | None
    metavision: int | None
    worst: int
    care_vue_texts: tuple[str, ...]
    metavision_texts: tuple[str, ...]
    hours: float = 4.0


# means and spreads follow the published state of the benchmark's normaliser, without its outliers
NUMBERS: Mapping[str, Numeric] = {
    "heart rate": Numeric(211, 220045, "bpm", 88, 17, 1, 1),
    "systolic pressure": Numeric(455, 220179, "mmHg", 119, 18, -1, 1),
    "diastolic pressure": Numeric(8441, 220180, "mmHg", 61, 12, -1, 1),
    "mean pressure": Numeric(456, 220181, "mmHg", 79, 13, -1, 1),
    "respiratory rate": Numeric(618, 220210, "insp/min", 20, 4.5, 1, 1),
    "oxygen saturation": Numeric(646, 220277, "%", 95, 2, -1, 1, highest=100),
    "inspired oxygen": Numeric(3420, 223835, "%", 48, 7.5, 1, 4, highest=100),
    "temperature": Numeric(678, 223761, "?F", 98.8, 1.1, 1, 4, decimals=1),
    "glucose": Numeric(807, 220621, "mg/dL", 142, 35, 1, 6),
    "weight": Numeric(763, 226512, "kg", 82, 14, 0, 24, decimals=1),
    "laboratory glucose": Numeric(50931, 50931, "mg/dL", 142, 35, 1, 8, place="lab"),
    "ph": Numeric(50820, 50820, "units", 7.37, 0.05, -1, 6, decimals=2, place="lab"),
}

SCALES: Mapping[str, Scale] = {
    "eye opening": Scale(
        184,
        220739,
        1,
        ("1 No Response", "2 To pain", "3 To speech", "4 Spontaneously"),
        ("None", "To Pain", "To Speech", "Spontaneously"),
    ),
    "motor response": Scale(
        454,
        223901,
        1,
        ("1 No Response", "2 Abnorm extensn", "3 Abnorm flexion", "4 Flex-withdraws", "5 Localizes Pain",
         "6 Obeys Commands"),
        ("No response", "Abnormal extension", "Abnormal Flexion", "Flex-withdraws", "Localizes Pain",
         "Obeys Commands"),
    ),
    "verbal response": Scale(
        723,
        223900,
        1,
        ("1 No Response", "2 Incomp sounds", "3 Inapprop words", "4 Confused", "5 Oriented"),
        ("No Response", "Incomprehensible sounds", "Inappropriate Words", "Confused", "Oriented"),
    ),
    "coma total": Scale(198, None, 3, tuple(str(score) for score in range(3, 16)), ()),
    "capillary refill": Scale(115, None, 0, ("Abnormal >3 secs", "Normal <3 secs"), ()),
}  # fmt: skip

CARE_VUE_FILLERS = (5100, 400)
METAVISION_FILLERS = (228000, 400)
LAB_FILLERS = (51200, 90)
"""First and number of items of which no variable is made."""
