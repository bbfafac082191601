"""The edge cases: what real tables hold now and then, and what becomes of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sklar.mimic.hospital.stays import DAY, HOUR, READMITTED, Stays

COPIES = 2
"""How often each case is written."""

Change = Callable[[Stays, NDArray[np.int64]], None]


@dataclass(frozen=True)
class Case:
    """One edge case.

    Attributes:
        what: What is unusual.
        stays: Stays of one patient that it takes.
        three: Which of them the published rules drop from MIMIC-III, and at which step of the attrition;
            one entry per stay, empty where it is kept.
        four: The same for MIMIC-IV; None as in MIMIC-III.
        strict: Steps at which strict rules keep what the published rules drop.
        alive: Whether the stay must not end in death.
        change: Writes it into the stays, at positions (copies, stays) of its own; None where it is in
            events, images or texts.
    """

    what: str
    stays: int = 1
    three: tuple[str, ...] = ("",)
    four: tuple[str, ...] | None = None
    strict: tuple[str, ...] = ()
    alive: bool = True
    change: Change | None = None

    def leaves(self, source: str, rules: str) -> tuple[str, ...]:
        """The attrition step at which each stay is dropped, empty where it is kept."""
        steps = self.three if source == "mimic-iii" or self.four is None else self.four
        return tuple("" if rules == "strict" and step in self.strict else step for step in steps)


def _ward_transfer(stays: Stays, at: NDArray[np.int64]) -> None:
    stays.last_ward[at] = stays.ward[at] + 1


def _unit_transfer(stays: Stays, at: NDArray[np.int64]) -> None:
    stays.last_unit[at] = (stays.unit[at] + 1) % 5


def _second_stay(stays: Stays, at: NDArray[np.int64]) -> None:
    one, two = at[:, 0], at[:, 1]
    length = stays.length[two]
    stays.intime[two] = stays.outtime[one] + 6 * HOUR
    stays.outtime[two] = stays.intime[two] + length
    stays.discharge[one] = stays.discharge[two] = stays.outtime[two] + DAY
    stays.admit[two] = stays.admit[one]
    stays.admission[two] = stays.admission[one]
    stays.dod[at] = np.datetime64("NaT")


def _second_stay_after_transfer(stays: Stays, at: NDArray[np.int64]) -> None:
    _second_stay(stays, at)
    _unit_transfer(stays, at[:, :1])


def _age(years: float) -> Change:
    def change(stays: Stays, at: NDArray[np.int64]) -> None:
        stays.age[at] = years

    return change


def _over_89(stays: Stays, at: NDArray[np.int64]) -> None:
    stays.old[at] = True


def _length(seconds: int) -> Change:
    def change(stays: Stays, at: NDArray[np.int64]) -> None:
        stays.discharge[at] += np.int64(seconds) - stays.length[at]
        stays.outtime[at] = stays.intime[at] + seconds

    return change


def _no_outtime(stays: Stays, at: NDArray[np.int64]) -> None:
    stays.dated[at] = False


def _no_diagnosis(stays: Stays, at: NDArray[np.int64]) -> None:
    stays.diagnosed[at] = False


def _nothing_measured(stays: Stays, at: NDArray[np.int64]) -> None:
    stays.charted[at] = False


def _same_day_death(stays: Stays, at: NDArray[np.int64]) -> None:
    stays.dod[at] = stays.discharge[at].astype("datetime64[D]").astype("datetime64[s]")


def _readmitted(after: int) -> Change:
    def change(stays: Stays, at: NDArray[np.int64]) -> None:
        one, two = at[:, 0], at[:, 1]
        moved = stays.discharge[one] + after - stays.admit[two]
        for times in (stays.admit, stays.intime, stays.outtime, stays.discharge):
            times[two] += moved
        stays.dod[at] = np.datetime64("NaT")

    return change


STAYS: Mapping[str, Case] = {
    "ward_transfer": Case("another ward at the end", three=("same_unit",), four=("",), change=_ward_transfer),
    "unit_transfer": Case("another unit at the end", three=("same_unit",), change=_unit_transfer),
    "second_stay": Case("two stays in one admission", stays=2, three=("alone", "alone"), change=_second_stay),
    "second_stay_after_transfer": Case(
        "two stays in one admission, the first a transfer",
        stays=2,
        three=("same_unit", ""),
        change=_second_stay_after_transfer,
    ),
    "minor": Case("a child; MIMIC-IV has none", three=("adult",), four=("",), change=_age(10.0)),
    "over_89": Case("born 300 years ago, or of age 91", change=_over_89),
    "two_days": Case("exactly 2 days in the ICU", change=_length(48 * HOUR)),
    "under_two_days": Case("1.9999 days", three=("long_enough",), change=_length(48 * HOUR - 9)),
    "no_outtime": Case("end and length not recorded", three=("long_enough",), change=_no_outtime),
    "no_diagnosis": Case(
        "no diagnosis that the dictionary knows",
        three=("diagnosed",),
        strict=("diagnosed",),
        change=_no_diagnosis,
    ),
    "nothing_measured": Case("no event at all", three=("measured",), change=_nothing_measured),
    "same_day_death": Case("discharged alive, dead on that day", change=_same_day_death),
    "readmitted_within_30_days": Case(
        "back after 29 days 23:59:59", stays=2, three=("", ""), change=_readmitted(READMITTED - 1)
    ),
    "readmitted_after_30_days": Case(
        "back after exactly 30 days", stays=2, three=("", ""), change=_readmitted(READMITTED)
    ),
}
"""Cases in the tables of patients, admissions and stays."""

EVENTS: Mapping[str, Case] = {
    name: Case(what, alive=False)
    for name, what in {
        "identifiers": "rows without admission or stay, or with another's",
        "pressure_pair": "systolic/diastolic in one text",
        "oxygen_fraction": "as a fraction, in percent, in torr",
        "saturation": "as a fraction, and the text ERROR",
        "laboratory_text": "results that are no number",
        "temperature_twins": "Fahrenheit and Celsius at one time",
        "weight_triple": "kilograms, pounds and ounces at one time",
        "height_twins": "inches and centimetres",
        "capillary_refill": "every text of it",
        "coma_spellings": "CareVue's and MetaVision's words, None among them",
        "string_tie": "98 and 102 at one time, beside texts",
        "numeric_tie": "98 and 102 at one time, no text in any row of the patient",
        "window": "1 s before, at 0, 2 and 48 hours, and 1 s after",
        "late_and_wrong": "rows marked as errors, or entered after 48 hours",
    }.items()
}
"""Cases in chart and laboratory; their stays have the rows of the case and no others."""

TEXTS: Mapping[str, Case] = {
    name: Case(what, alive=False)
    for name, what in {
        "five_notes": "one note too few for the published rules",
        "same_time_notes": "seven notes, two of them at one time",
        "late_notes": "a note between hour 48 and hour 49",
        "wrong_notes": "a note marked as an error",
        "tagged_notes": "tags of de-identification, underscores, signatures, titles",
        "report_without_header": "a report without any section",
        "report_in_one_section": "findings and impression under one header",
        "report_without_findings": "neither findings nor impression, a last paragraph instead",
        "report_by_view": "findings under the name of the view",
        "report_with_preamble": "a wet read before the sections, and an addendum",
        "image_at_48_hours": "an image at hour 48, another one second later",
        "image_tie": "two images at one time",
        "image_of_another_view": "PA, lateral and unnamed views alone",
        "image_without_labels": "a study that the table of labels lacks",
    }.items()
}
"""Cases in notes, reports and images; their stays have every modality, but for one case."""

UNREADABLE = "image_of_another_view"
"""Images of no use, so that none is present."""

CASES: Mapping[str, Case] = {**STAYS, **EVENTS, **TEXTS}


def rows_of_cases() -> tuple[NDArray[np.str_], NDArray[np.bool_], NDArray[np.bool_]]:
    """(E,) case, whether the row is its patient's first, and whether it must be survived."""
    case, first, alive = [], [], []
    for name, entry in CASES.items():
        case += [name] * (COPIES * entry.stays)
        first += [True, *[False] * (entry.stays - 1)] * COPIES
        alive += [entry.alive] * (COPIES * entry.stays)
    return np.array(case, dtype=np.str_), np.array(first), np.array(alive)


def apply(stays: Stays) -> None:
    """Write every case of `STAYS` into its rows."""
    for name, entry in STAYS.items():
        at = np.flatnonzero(stays.case == name).reshape(-1, entry.stays)
        if entry.change is not None and len(at):
            entry.change(stays, at)


def leaves(stays: Stays, source: str, rules: str) -> NDArray[np.str_]:
    """(N,) the attrition step at which each stay is dropped, empty where it is kept."""
    out = np.full(len(stays), "", dtype="<U16")
    for name, entry in CASES.items():
        at = np.flatnonzero(stays.case == name).reshape(-1, entry.stays)
        out[at] = entry.leaves(source, rules)
    return out
