"""Events as rows of raw tables: items, texts and units of a system, numbers of patient and stay."""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sklar.mimic.hospital.events import FILLER, LAB_FILLER, NAMES, Events
from sklar.mimic.hospital.measurements import (
    CARE_VUE_FILLERS,
    LAB_FILLERS,
    METAVISION_FILLERS,
    NUMBERS,
    SCALES,
)
from sklar.mimic.hospital.stays import Stays, Times, Whole
from sklar.mimic.layout import Source

System = Literal["care_vue", "metavision"]

WORDY = 7
"""One filler in so many is a text."""

FINDING = "within normal limits"


@dataclass(frozen=True)
class Numbers:
    """The numbers by which the tables of one source call things, one entry per stay each."""

    patient: Whole
    admission: Whole
    stay: Whole

    def __getitem__(self, rows: slice) -> "Numbers":
        return Numbers(self.patient[rows], self.admission[rows], self.stay[rows])


@dataclass(frozen=True)
class Rows:
    """E rows of an event table under names that both sources share; ``stay`` is null in the laboratory."""

    subject: pa.Array
    hadm: pa.Array
    stay: pa.Array
    item: pa.Array
    time: pa.Array
    stored: pa.Array
    value: pa.Array
    number: pa.Array
    unit: pa.Array
    error: pa.Array

    def __len__(self) -> int:
        return len(self.item)


def spell(stays: Stays, numbers: Numbers, events: Events, system: NDArray[np.bool_]) -> Rows:
    """The rows of events; what a system has no item for is left out.

    Args:
        stays: The block.
        numbers: One entry per stay of the block.
        events: Of one table.
        system: (N,) whether a stay's rows come from MetaVision.
    """
    modern = system[events.stay]
    item = np.where(modern, _items("metavision")[events.what], _items("care_vue")[events.what])
    fillers = {FILLER: (CARE_VUE_FILLERS, METAVISION_FILLERS), LAB_FILLER: (LAB_FILLERS, LAB_FILLERS)}
    for what, ((old, old_count), (new, new_count)) in fillers.items():
        own = np.where(modern, new + events.pick % new_count, old + events.pick % old_count)
        item = np.where(events.what == what, own, item)
    written = item >= 0
    events, item, modern = events[written], item[written], modern[written]
    owner = events.stay
    time = stays.intime[owner] + events.second
    texts, start_old, start_new = _texts()
    start = np.where(modern, start_new[events.what], start_old[events.what])
    step = np.where(start >= 0, start + events.value.astype(np.int64), -1)
    step = np.where((events.what >= FILLER) & (events.pick % WORDY == 0), len(texts) - 1, step)
    worded = step >= 0
    text = pc.take(texts, pa.array(np.maximum(step, 0), mask=~worded))
    number = pa.array(events.value, mask=worded)
    return Rows(
        subject=pa.array(numbers.patient[owner]),
        hadm=pa.array(numbers.admission[owner]),
        stay=pa.array(numbers.stay[owner]),
        item=pa.array(item),
        time=pa.array(time),
        stored=pa.array(time + events.delay),
        value=pc.coalesce(text, pc.cast(number, pa.string())),
        number=number,
        unit=pc.take(_units(), pa.array(events.what)),
        error=pa.array(np.zeros(len(owner), np.int64)),
    )


def numbers_of(source: Source, stays: Stays, rng: np.random.Generator) -> Numbers:
    """Numbers in the ranges of a source, in an order that says nothing."""
    patients, admissions = int(stays.patient.max()) + 1, int(stays.admission.max()) + 1
    patient, admission = rng.permutation(patients), rng.permutation(admissions)
    stay = rng.permutation(len(stays))
    if source == "mimic-iii":
        return Numbers(10_000 + patient[stays.patient], 100_000 + admission[stays.admission], 200_000 + stay)
    # over all folders p10 to p19 of the images
    apart = 9_999_999 // patients
    return Numbers(
        10_000_000 + apart * patient[stays.patient],
        20_000_000 + admission[stays.admission],
        30_000_000 + stay,
    )


def stamps(times: Times) -> pa.Array:
    """Times, null where there is none."""
    return pa.array(times.astype("datetime64[s]"))


@cache
def _items(system: System) -> Whole:
    items = [getattr(entry, system) for entry in (*NUMBERS.values(), *SCALES.values())]
    return np.array([-1 if item is None else item for item in items] + [-1, -1])


@cache
def _texts() -> tuple[pa.Array, Whole, Whole]:
    """Texts of all scales, and where those of each measurement begin in the old and the new system."""
    texts: list[str] = []
    starts = {system: np.full(len(NAMES), -1) for system in ("care_vue", "metavision")}
    for index, scale in enumerate(SCALES.values(), len(NUMBERS)):
        for system, start in starts.items():
            own = getattr(scale, f"{system}_texts")
            if own:
                start[index] = len(texts)
                texts += own
    return pa.array([*texts, FINDING]), starts["care_vue"], starts["metavision"]


@cache
def _units() -> pa.Array:
    return pa.array([number.unit for number in NUMBERS.values()] + [None] * (len(SCALES) + 2), pa.string())
