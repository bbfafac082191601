"""Patients to train, valid and test: the published lists as files of the user, or a salted hash."""

import csv
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklar.errors import DataError, UserError
from sklar.mimic.layout import Source

THRESHOLDS: Mapping[Source, tuple[float, float]] = {"mimic-iii": (0.70, 0.85), "mimic-iv": (0.70, 0.80)}
"""Hash values below the first are train, below the second valid, the rest test."""

PUBLISHED: Mapping[Source, Mapping[str, tuple[int, int]]] = {
    "mimic-iii": {"test": (33798, 5070), "valid": (28728, 5172)},
    "mimic-iv": {"test": (47046, 9409), "valid": (37300, 3730)},
}
"""Lines and chosen patients of the lists that the benchmarks published."""

SALT = "sklar-1"


@dataclass(frozen=True)
class Lists:
    """Patients of the published form: a file per split with lines "subject,0 or 1".

    Attributes:
        test: Who is tested.
        valid: Who validates, among the rest.
        about: Per split the lines, the chosen patients, the SHA-256, and whether the counts are the
            published ones.
    """

    test: frozenset[int]
    valid: frozenset[int]
    about: Mapping[str, Any]


def read_lists(test: Path, valid: Path, source: Source) -> Lists:
    """Read both lists.

    Raises:
        UserError: A file does not exist.
        DataError: A line is malformed, or a patient is in two splits.
    """
    chosen: dict[str, frozenset[int]] = {}
    about: dict[str, Any] = {}
    for split, path in (("test", test), ("valid", valid)):
        flags = _read(path)
        chosen[split] = frozenset(subject for subject, flag in flags.items() if flag)
        counts = (len(flags), len(chosen[split]))
        about[split] = {
            "patients": counts[0],
            "chosen": counts[1],
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "published_counts": counts == PUBLISHED[source][split],
        }
    if both := sorted(chosen["test"] & chosen["valid"]):
        raise DataError(
            f"{valid}: subject {both[0]} is chosen here and in {test} ({len(both)} such patients), so it "
            "would be in two splits. Take it out of one list"
        )
    return Lists(chosen["test"], chosen["valid"], about)


def split(
    subjects: NDArray[np.int64], source: Source, lists: Lists | None, salt: str = SALT
) -> NDArray[np.str_]:
    """(N,) "train", "valid" or "test" of each stay's patient.

    Without lists it is a function of salt and patient number alone: the same in every version of the data,
    for every cohort, and for patients yet to come.
    """
    unique, inverse = np.unique(subjects, return_inverse=True)
    if lists is None:
        low, high = THRESHOLDS[source]
        share = np.array([_share(int(subject), salt) for subject in unique])
        part = np.where(share < low, "train", np.where(share < high, "valid", "test"))
    else:
        tested = np.isin(unique, list(lists.test))
        part = np.where(tested, "test", np.where(np.isin(unique, list(lists.valid)), "valid", "train"))
    return part[inverse]


def _share(subject: int, salt: str) -> float:
    """A number in [0, 1) that depends on salt and patient only."""
    digest = hashlib.blake2b(f"{salt}|{subject}".encode(), digest_size=8).digest()
    # 53 bits, so that the division is exact
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def _read(path: Path) -> dict[int, bool]:
    if not path.is_file():
        raise UserError(f"{path}: no such split list. Give a file with lines 'subject,0' or 'subject,1'")
    flags: dict[int, bool] = {}
    with path.open(newline="", encoding="utf-8") as stream:
        for number, row in enumerate(csv.reader(stream), 1):
            if number == 1 and row and not row[0].strip().isdigit():
                continue  # a header
            if len(row) != 2 or not row[0].strip().isdigit() or row[1].strip() not in ("0", "1"):
                raise DataError(
                    f"{path}: line {number} is {','.join(row)!r}; a line is 'subject,0' or 'subject,1'"
                )
            subject, flag = int(row[0]), row[1].strip() == "1"
            if flags.get(subject, flag) != flag:
                raise DataError(
                    f"{path}: subject {subject} is listed as 0 and as 1 (line {number}), so it would be in "
                    "two splits. Keep one line"
                )
            flags[subject] = flag
    return flags
