"""NOTEEVENTS of MIMIC-III: notes during the stay that carry severity, and some that must not be read."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sklar.mimic.hospital.spelling import Numbers
from sklar.mimic.hospital.stays import DAY, HOUR, Stays, Times, Whole
from sklar.mimic.hospital.words import ASIDES, NARRATIVE, grades, joined, said, sentences

ENOUGH = 7
"""Notes of a stay that has notes; the published rules ask for six."""

LATEST = 47 * HOUR
"""Notes are written and entered before hour 48."""

BEYOND = 52 * HOUR
"""The published rules read up to 49 hours after an event in the second hour or shortly later."""

NURSING, DISCHARGE = "Nursing/other", "Discharge summary"

TAGGED = (
    "[**2150-3-1**] 4:05 AM\n CHEST (PORTABLE AP)   Clip # [**Clip Number 12345**]\n"
    " Reason: eval for pneumonia\n"
    " ______________________________________________________________________________\n"
    " [**Hospital 1**] MEDICAL CONDITION:\n  [**Age over 90 **] year old with dyspnea\n"
    " REASON FOR THIS EXAMINATION:\n  infiltrate\n"
    "                                 FINAL REPORT\n"
    ' FINDINGS:  Pt doesn\'t have "new" opacities, and cannot lie flat.\n\n'
    " IMPRESSION:  Unchanged.\n"
)
SIGNED = (
    TAGGED + "   DR. [**First Name8 (NamePattern2) **] [**Last Name (NamePattern1) **]\n not to be read\n"
)
ELECTRONIC = TAGGED + "Electronically signed on [**2150-3-2**]\n not to be read\n"


@dataclass(frozen=True)
class _Notes:
    """K notes: position of the stay, time of writing (NaT for a date alone) and of entry, error, text."""

    stay: Whole
    time: Times
    stored: Times
    error: NDArray[np.bool_]
    category: pa.Array
    text: pa.Array


def notes_table(
    stays: Stays,
    numbers: Numbers,
    present: NDArray[np.bool_],
    severity: NDArray[np.float64],
    rng: np.random.Generator,
) -> pa.Table:
    """NOTEEVENTS in random order.

    Two kinds must not be read: the summary of every admission, with a date and no time, and notes after hour
    52. Both say how the stay ends.

    Args:
        stays: All stays.
        numbers: One entry per stay.
        present: (N,) who has notes.
        severity: (N,) what they carry.
        rng: Of all of this.
    """
    parts = [_nursing(stays, present, severity, rng), _late(stays, rng), _summaries(stays), _special(stays)]
    stay = np.concatenate([part.stay for part in parts])
    order = rng.permutation(len(stay))
    time = np.concatenate([part.time for part in parts])
    stored = np.concatenate([part.stored for part in parts])
    error = np.concatenate([part.error for part in parts])
    category = pa.concat_arrays([part.category for part in parts])
    date = np.where(np.isnat(time), stays.discharge[stay], time).astype("datetime64[D]")
    table = pa.table(
        {
            "SUBJECT_ID": numbers.patient[stay],
            "HADM_ID": numbers.admission[stay],
            "CHARTDATE": pa.array(date),
            "CHARTTIME": pa.array(time),
            "STORETIME": pa.array(stored),
            "CATEGORY": category,
            "DESCRIPTION": pa.array(["Report"] * len(stay)),
            "CGID": pa.nulls(len(stay), pa.int64()),
            "ISERROR": pa.array(np.ones(len(stay), np.int64), mask=~error),
            "TEXT": pa.concat_arrays([part.text for part in parts]),
        }
    ).take(pa.array(order))
    return table.add_column(0, "ROW_ID", pa.array(np.arange(1, len(stay) + 1)))


def _nursing(
    stays: Stays, present: NDArray[np.bool_], severity: NDArray[np.float64], rng: np.random.Generator
) -> _Notes:
    """Notes within 47 hours at different minutes, each graded anew."""
    counts = np.where(present, ENOUGH, 0)
    counts[stays.case == "five_notes"] = 5
    stay = np.repeat(np.arange(len(stays)), counts)
    slot = np.arange(len(stay)) - np.repeat(np.cumsum(counts) - counts, counts)
    second = ((slot + rng.uniform(0.1, 0.8, len(stay))) / ENOUGH * LATEST).astype(np.int64) // 60 * 60
    # the same time as the note before it
    tied = (stays.case[stay] == "same_time_notes") & (slot == ENOUGH - 1)
    second = np.where(tied, np.roll(second, 1), second)
    grade = grades(severity[stay], len(NARRATIVE), rng)
    aside = [said(ASIDES, rng.integers(0, len(ASIDES), len(stay))) for _ in range(3)]
    text = joined("Nursing Progress Note\n", sentences(NARRATIVE, grade, "\n"), *aside, between="\n")
    time = stays.intime[stay] + second
    return _Notes(stay, time, time + 600, np.zeros(len(stay), bool), _repeated(NURSING, len(stay)), text)


def _summaries(stays: Stays) -> _Notes:
    """One summary per admission, with a date and no time."""
    stay = stays.first_of_admission
    nothing = np.full(len(stay), np.datetime64("NaT", "s"))
    error = np.zeros(len(stay), bool)
    return _Notes(stay, nothing, nothing, error, _repeated(DISCHARGE, len(stay)), _ending(stays, stay))


def _late(stays: Stays, rng: np.random.Generator) -> _Notes:
    """Notes after the hour that the published rules reach at most, where the stay goes on."""
    stay = np.flatnonzero((stays.length > BEYOND + HOUR) & (rng.random(len(stays)) < 0.3))
    time = stays.intime[stay] + BEYOND
    error = np.zeros(len(stay), bool)
    return _Notes(stay, time, time + 600, error, _repeated(NURSING, len(stay)), _ending(stays, stay))


def _ending(stays: Stays, stay: Whole) -> pa.Array:
    """How the stay ends, in two words."""
    return pc.if_else(
        pa.array(stays.died[stay]), "Discharge Disposition:\nExpired", "Discharge Disposition:\nHome"
    )


def _special(stays: Stays) -> _Notes:
    """Single notes of edge cases."""
    written = {
        "late_notes": [(48 * HOUR + HOUR // 2, False, "written after the prediction")],
        "wrong_notes": [(20 * HOUR, True, "entered on the wrong patient")],
        "tagged_notes": [(30 * HOUR, False, SIGNED), (31 * HOUR, False, ELECTRONIC), (DAY, False, TAGGED)],
    }
    found = [
        (int(stay), *note)
        for case, own in written.items()
        for stay in np.flatnonzero(stays.case == case)
        for note in own
    ]
    stay = np.array([at for at, *_ in found], dtype=np.int64)
    time = stays.intime[stay] + np.array([second for _, second, *_ in found], dtype=np.int64)
    error = np.array([wrong for *_, wrong, _ in found], dtype=bool)
    text = pa.array([text for *_, text in found], pa.string())
    return _Notes(stay, time, time + 600, error, _repeated("Radiology", len(stay)), text)


def _repeated(word: str, count: int) -> pa.Array:
    return pa.array([word] * count, pa.string())
