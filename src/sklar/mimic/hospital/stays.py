"""Who lies in the simulated intensive care unit, from when to when: patients, admissions, stays."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from sklar.mimic.hospital.severity import HISTORY, Severity, stream

Times = NDArray[np.datetime64]
Whole = NDArray[np.int64]
Flags = NDArray[np.bool_]

HOUR, DAY = 3600, 86400
READMITTED = 30 * DAY

LONGEST_HOURS = 240
"""Stays are 48.5 hours and longer; the few beyond ten days would only make tables larger."""

UNITS = ("MICU", "SICU", "CCU", "CSRU", "TSICU")


@dataclass(frozen=True)
class Stays:
    """N ICU stays, each with its admission and patient; arrays of one length.

    Attributes:
        case: Name of the edge case, empty for ordinary stays.
        patient: Number of the patient, from 0 without gaps.
        admission: Number of the hospital admission.
        metavision: Whether MIMIC-III's rows come from that system, else from CareVue.
        unit: Position in `UNITS` at admission to the ICU.
        last_unit: The same at discharge from it.
        ward: Number of the ward at admission.
        last_ward: The same at discharge.
        female: Sex.
        age: Years at the first admission.
        first_admit: Time of the patient's first admission.
        admit, intime, outtime, discharge, death, dod: Times, NaT where there is none; dod is a date.
        dated: Whether outtime and length of stay are recorded.
        diagnosed: Whether a diagnosis of the admission is in the dictionary.
        charted: Whether anything was measured.
        old: Whether the patient is older than 89, and so the age is hidden.
    """

    case: NDArray[np.str_]
    patient: Whole
    admission: Whole
    metavision: Flags
    unit: Whole
    last_unit: Whole
    ward: Whole
    last_ward: Whole
    female: Flags
    age: NDArray[np.float64]
    first_admit: Times
    admit: Times
    intime: Times
    outtime: Times
    discharge: Times
    death: Times
    dod: Times
    dated: Flags
    diagnosed: Flags
    charted: Flags
    old: Flags

    def __len__(self) -> int:
        return len(self.patient)

    def __getitem__(self, rows: slice | NDArray[Any]) -> "Stays":
        return replace(self, **{entry.name: getattr(self, entry.name)[rows] for entry in fields(self)})

    @property
    def died(self) -> Flags:
        """(N,) death in hospital."""
        return np.asarray(~np.isnat(self.death))

    @property
    def length(self) -> Whole:
        """(N,) seconds in the ICU."""
        return (self.outtime - self.intime).astype(np.int64)

    @property
    def los(self) -> NDArray[np.float64]:
        """(N,) days in the ICU with four decimals, NaN where not recorded."""
        return np.where(self.dated, np.round(self.length / DAY, 4), np.nan)

    @property
    def first_of_admission(self) -> Whole:
        """Positions of the first stay of every admission."""
        return np.unique(self.admission, return_index=True)[1]

    @property
    def first_of_patient(self) -> Whole:
        """Positions of the first stay of every patient."""
        return np.unique(self.patient, return_index=True)[1]


def admit(severity: Severity, cases: NDArray[np.str_], begins: Flags) -> Stays:
    """Patients and times around given severities and deaths.

    A stay that is survived may be followed by another of the same patient, sooner when it was severe.

    Args:
        severity: Who is how ill.
        cases: (N,) edge case of each stay.
        begins: (N,) whether a stay of an edge case is its patient's first; ordinary stays must be first
            where the stay before ended in death, and otherwise are by chance.
    """
    rng = stream(severity.plan, HISTORY)
    count, died = len(cases), severity.died
    after_death = np.concatenate([[True], died[:-1]])
    first = np.where(cases == "", after_death | (rng.random(count) < 0.8), begins)
    patient = np.cumsum(first) - 1
    # everything in seconds after the patient's first admission
    lead = rng.integers(HOUR // 2, DAY, count)
    hours = np.minimum(48.5 + rng.exponential(30.0, count), LONGEST_HOURS)
    length = (hours * HOUR).astype(np.int64)
    ward = np.where(died & (rng.random(count) < 0.5), 0, rng.integers(HOUR, 6 * DAY, count))
    soon = rng.random(count) < ndtr(severity.latents.mean(1))
    gap = np.where(soon, rng.integers(DAY, 27 * DAY, count), rng.integers(40 * DAY, 400 * DAY, count))
    span = lead + length + ward + gap
    begin = np.cumsum(span) - span
    begin -= begin[first][patient]
    start = np.datetime64("2110-01-01", "s") + rng.integers(0, 60 * 365 * DAY, count)[first][patient]
    admitted = start + begin
    intime = admitted + lead
    outtime = intime + length
    discharge = outtime + ward
    last = np.append(first[1:], True)
    later = np.where(last & (rng.random(count) < 0.15), rng.integers(2 * DAY, 700 * DAY, count), -1)
    dod = np.where(died, discharge, np.where(later > 0, discharge + later, np.datetime64("NaT", "s")))
    unit = rng.integers(0, len(UNITS), count)
    floor = rng.integers(10, 50, count)
    yes = np.ones(count, dtype=bool)
    return Stays(
        case=cases,
        patient=patient,
        admission=np.arange(count),
        metavision=rng.random(count) < 0.5,
        unit=unit,
        last_unit=unit.copy(),
        ward=floor,
        last_ward=floor.copy(),
        female=(rng.random(count) < 0.45)[first][patient],
        age=(18.5 + 62 * rng.beta(3, 1.5, count))[first][patient],
        first_admit=start,
        admit=admitted,
        intime=intime,
        outtime=outtime,
        discharge=discharge,
        death=np.where(died, discharge, np.datetime64("NaT", "s")),
        # a patient has one date of death
        dod=_of_last(_midnight(dod), patient),
        dated=yes,
        diagnosed=yes.copy(),
        charted=yes.copy(),
        old=np.zeros(count, dtype=bool),
    )


def readmitted(stays: Stays, counts: Flags) -> Flags:
    """(N,) whether the same patient's next stay that counts begins within 30 days after discharge.

    Args:
        stays: Ordered by patient and time.
        counts: (N,) which stays can be a readmission.
    """
    rows = np.flatnonzero(counts)
    own, following = rows[:-1], rows[1:]
    seconds = (stays.admit[following] - stays.discharge[own]).astype(np.int64)
    out = np.zeros(len(stays), dtype=bool)
    out[own] = (stays.patient[following] == stays.patient[own]) & (seconds < READMITTED)
    return out


def _midnight(times: Times) -> Times:
    return times.astype("datetime64[D]").astype("datetime64[s]")


def _of_last(values: Times, patient: Whole) -> Times:
    """Every patient's last value, for all of the patient's stays."""
    last = np.flatnonzero(np.append(patient[1:] != patient[:-1], True))
    return values[last][patient]
