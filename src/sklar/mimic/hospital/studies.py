"""Chest images of the stays: which view was taken when, what it shows, and whether it has a report."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from sklar.mimic.hospital.cases import UNREADABLE
from sklar.mimic.hospital.stays import HOUR, Stays, Whole

Flags = NDArray[np.bool_]

VIEWS = ("AP", "PA", "LATERAL", "")
"""Of an image; only the first counts, and the last is written as a gap."""

WINDOW = 48 * HOUR

LATEST = 41 * HOUR
"""Images are taken early enough for their reports to be final within 48 hours."""


@dataclass(frozen=True)
class Studies:
    """K images.

    Attributes:
        stay: Position of the stay.
        study: Number of the study, from 0; images of one study share it, and its time.
        second: After admission to the ICU; negative before it.
        view: Position in `VIEWS`.
        severity: What the picture shows.
        told: What the report tells, if there is one.
        reported: Whether the study has a report.
    """

    stay: Whole
    study: Whole
    second: Whole
    view: Whole
    severity: NDArray[np.float64]
    told: NDArray[np.float64]
    reported: Flags

    def __len__(self) -> int:
        return len(self.stay)

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> "Studies":
        return Studies(*(getattr(self, entry.name)[rows] for entry in fields(self)))

    @property
    def first_of_study(self) -> Whole:
        """Position of one image of every study, in order of the studies."""
        return np.unique(self.study, return_index=True)[1]


def draw_studies(
    stays: Stays, present: Flags, severities: NDArray[np.float64], rng: np.random.Generator
) -> Studies:
    """The images of all stays.

    A stay that has the modality has an AP image within 41 hours, sometimes with a lateral one, sometimes
    with an earlier one of the same severity. Others must not be read: PA images before the admission, of any
    severity, and AP images after hour 48, which show how the stay ends.

    Args:
        stays: All stays.
        present: (N, 3) who has images, and who a report of them.
        severities: (N, 3) severities in the order of the modalities.
        rng: Of all of this.
    """
    count = len(stays)
    image, text = present[:, 1], present[:, 2]
    at = rng.integers(4 * HOUR, LATEST, count)
    at[stays.case == "image_at_48_hours"] = WINDOW
    early = (at * rng.uniform(0.2, 0.8, count)).astype(np.int64)
    before = -(stays.intime - stays.admit).astype(np.int64) - rng.integers(HOUR, 20 * HOUR, count)
    after = np.where(
        stays.case == "image_at_48_hours", WINDOW + 1, WINDOW + rng.integers(HOUR, 6 * HOUR, count)
    )
    late = (stays.length > WINDOW + 6 * HOUR) & (rng.random(count) < 0.2)
    other = rng.normal(size=count)
    ending = np.where(stays.died, 2.0, -2.0)
    shown, told = severities[:, 1], severities[:, 2]
    no, yes = np.zeros(count, dtype=bool), np.ones(count, dtype=bool)
    tied, views = stays.case == "image_tie", stays.case == UNREADABLE
    kinds: Sequence[tuple[Flags, int, Whole, int, NDArray[np.float64], NDArray[np.float64], Flags]] = (
        # who, study of the stay, when, view, what it shows, what is told, whether it is told
        (image, 0, at, 0, shown, told, text),
        (image & (rng.random(count) < 0.3), 0, at, 2, other, told, text),
        (image & (rng.random(count) < 0.2) & ~tied, 1, early, 0, shown, told, no),
        (rng.random(count) < 0.15, 2, before, 1, other, other, yes),
        (late | (stays.case == "image_at_48_hours"), 3, after, 0, ending, ending, yes),
        (tied & image, 0, at, 0, shown, told, text),
        (views, 4, at, 1, other, other, yes),
        (views, 4, at, 2, other, other, yes),
        (views, 4, at, 3, other, other, yes),
    )
    parts = []
    for who, study, second, view, severity, tells, reported in kinds:
        stay = np.flatnonzero(who)
        views_of = np.full(len(stay), view)
        parts.append(
            (stay, stay * 5 + study, second[stay], views_of, severity[stay], tells[stay], reported[stay])
        )
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = rng.permutation(len(columns[0]))
    owner, place, *rest = (column[order] for column in columns)
    return Studies(owner, np.unique(place, return_inverse=True)[1], *rest)
