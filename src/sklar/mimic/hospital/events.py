"""Rows of chart and laboratory, for a block of stays at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sklar.mimic.hospital.cases import EVENTS
from sklar.mimic.hospital.measurements import NUMBERS, SCALES, Numeric, Place, Scale
from sklar.mimic.hospital.stays import DAY, HOUR, Stays

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

NAMES = (*NUMBERS, *SCALES, "filler", "laboratory filler")
"""What an event measures, by number."""

FILLER, LAB_FILLER = len(NAMES) - 2, len(NAMES) - 1

TAKEN = 0.92
"""Share of scheduled measurements that are made."""

REACH = 3.5
"""Spreads from the mean at which numbers end."""

_SIGNS = np.array([number.sign for number in NUMBERS.values()], dtype=np.float64)
LOADINGS = _SIGNS / np.sqrt((_SIGNS**2).sum())
"""Unit vector along which severity moves the levels of the numbers."""


@dataclass(frozen=True)
class Events:
    """E events of the stays of a block.

    Attributes:
        stay: Position of the stay in the block.
        what: Position in `NAMES`.
        second: After admission to the ICU; rows of whole minutes.
        delay: Seconds until it was entered.
        value: The number, or a step of a scale from 0.
        pick: A number from which the item of a filler is taken.
    """

    stay: Whole
    what: Whole
    second: Whole
    delay: Whole
    value: Floats
    pick: Whole

    def of(self, place: Place) -> "Events":
        """The events of one table, in order of stay and time."""
        return self[np.isin(self.what, _LAB) == (place == "lab")]

    def __getitem__(self, rows: NDArray[np.bool_]) -> "Events":
        return Events(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


_LAB = [i for i, number in enumerate(NUMBERS.values()) if number.place == "lab"] + [LAB_FILLER]


def measure(stays: Stays, severity: Floats, chart_rows: int, rng: np.random.Generator) -> Events:
    r"""Draw the events of a block.

    The level of V numbers is $s\,z + (I - a a^\top)e$, where s holds the signs, z is the severity, a the unit
    vector along s, and e white noise: what distinguishes stays of equal severity is orthogonal to it. Around
    the level, values vary by a slow wave and from measurement to measurement. Scales are steps of the
    negative severity with noise.

    Args:
        stays: The block.
        severity: (N,) of chart and laboratory.
        chart_rows: Rows that the chart shall have per stay; fillers make up what is left.
        rng: Of the block.
    """
    white = rng.normal(size=(len(stays), len(LOADINGS)))
    level = severity[:, None] * _SIGNS + white - np.outer(white @ LOADINGS, LOADINGS)
    wave = rng.uniform(0, 2 * np.pi, (len(stays), len(LOADINGS)))
    shown = np.where(stays.charted & ordinary(stays), stays.length, 0)
    parts = [
        _numbers(index, number, shown, level[:, index], wave[:, index], rng)
        for index, number in enumerate(NUMBERS.values())
    ]
    scored = {
        name: _scale(len(NUMBERS) + index, scale, shown, severity, rng)
        for index, (name, scale) in enumerate(SCALES.items())
    }
    parts += [scored[name] for name in SCALES]
    parts += _fillers(shown, parts, chart_rows, rng)
    return _ordered(parts)


def ordinary(stays: Stays) -> NDArray[np.bool_]:
    """(N,) whether a stay has the measurements of any stay, not those of an edge case alone."""
    return np.asarray(~np.isin(stays.case, list(EVENTS)))


def _numbers(
    index: int, number: Numeric, shown: Whole, level: Floats, wave: Floats, rng: np.random.Generator
) -> Events:
    stay, second = _schedule(shown, number.hours, rng)
    slow = 0.4 * np.sin(wave[stay] + second * (2 * np.pi / DAY))
    shape = 0.75 * level[stay] + slow + 0.4 * rng.normal(size=len(stay))
    # nobody has a negative heart rate, and nothing saturates beyond 100 %
    value = number.mean + number.spread * np.clip(shape, -REACH, REACH)
    value = np.minimum(np.round(value, number.decimals), number.highest)
    return _events(index, stay, second, value, rng)


def _scale(index: int, scale: Scale, shown: Whole, severity: Floats, rng: np.random.Generator) -> Events:
    stay, second = _schedule(shown, scale.hours, rng)
    steps = len(scale.care_vue_texts)
    # a stay of average severity is one standard deviation below the best
    score = 1.0 - severity[stay] + 0.7 * rng.normal(size=len(stay))
    # the scale ends at both ends
    place = np.clip(np.floor(steps * (0.75 + 0.22 * score)), 0, steps - 1)
    return _events(index, stay, second, place, rng)


def _schedule(shown: Whole, hours: float, rng: np.random.Generator) -> tuple[Whole, Whole]:
    """Stay and second of measurements, one in each interval of ``hours``, some left out."""
    interval = int(hours * HOUR)
    counts = shown // interval
    stay = np.repeat(np.arange(len(shown)), counts)
    slot = np.arange(len(stay)) - np.repeat(np.cumsum(counts) - counts, counts)
    taken = rng.random(len(stay)) < TAKEN
    stay, slot = stay[taken], slot[taken]
    second = ((slot + rng.uniform(0.05, 0.95, len(slot))) * interval).astype(np.int64)
    return stay, second // 60 * 60


def _fillers(
    shown: Whole, parts: Sequence[Events], chart_rows: int, rng: np.random.Generator
) -> list[Events]:
    out = []
    measured = {"chart": np.zeros(len(shown), np.int64), "lab": np.zeros(len(shown), np.int64)}
    for part in parts:
        place = "lab" if len(part.what) and part.what[0] in _LAB else "chart"
        measured[place] += np.bincount(part.stay, minlength=len(shown))
    for index, place, wanted in ((FILLER, "chart", chart_rows), (LAB_FILLER, "lab", chart_rows // 10)):
        counts = np.where(shown > 0, np.maximum(wanted - measured[place], 0), 0)
        stay = np.repeat(np.arange(len(shown)), counts)
        second = (rng.random(len(stay)) * shown[stay]).astype(np.int64) // 60 * 60
        value = np.round(rng.exponential(40.0, len(stay)), 1)
        out.append(_events(index, stay, second, value, rng))
    return out


def _events(index: int, stay: Whole, second: Whole, value: Floats, rng: np.random.Generator) -> Events:
    delay = rng.integers(5, 50, len(stay)) * 60
    pick = rng.integers(0, 1 << 30, len(stay))
    return Events(stay, np.full(len(stay), index), second, delay, value, pick)


def _ordered(parts: Sequence[Events]) -> Events:
    columns = [np.concatenate([getattr(p, name) for p in parts]) for name in Events.__dataclass_fields__]
    order = np.argsort(columns[0] * (1 << 40) + columns[2], kind="stable")
    return Events(*(column[order] for column in columns))
