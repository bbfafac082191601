"""Train, validation and test rows that share no group."""

import numpy as np
from numpy.typing import NDArray

from sklar.errors import DataError, UserError

SPLITS = ("train", "valid", "test")


def split_by_group(
    groups: NDArray[np.str_], fractions: tuple[float, float, float], seed: int
) -> NDArray[np.str_]:
    """(N,) "train", "valid" or "test", the same for all rows of a group.

    Groups are shuffled, laid end to end, and cut where the row count reaches the fractions; a group that
    straddles a cut goes where its middle lies. The result depends on the names of the groups, their sizes
    and the seed, and not on the order of the rows.

    Args:
        groups: (N,) group names.
        fractions: Shares of the rows for training, validation and test; they add up to 1.
        seed: Seed of the shuffle.

    Raises:
        UserError: The fractions are not shares.
        DataError: A split with a positive fraction got no group.
    """
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9 or fractions[0] == 0:
        raise UserError(
            f"split fractions {fractions}: need three (train, valid, test), none negative, train positive, "
            "sum 1"
        )
    _, code, size = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(size))
    middle = (np.cumsum(size[order]) - size[order] / 2) / len(groups)
    part = np.empty(len(size), dtype=np.int64)
    part[order] = np.searchsorted(np.cumsum(fractions)[:2], middle, side="right")
    for index, name in enumerate(SPLITS):
        if fractions[index] and not (part == index).any():
            raise DataError(
                f"split {name!r} (fraction {fractions[index]}) got none of {len(size)} groups. Use more "
                "groups, other fractions or another seed, or give a split column"
            )
    return np.array(SPLITS)[part[code]]


def check_split(split: NDArray[np.str_], groups: NDArray[np.str_], column: str) -> None:
    """Check a split that came with the data.

    Raises:
        DataError: A value is not a split, there is no training row, or a group is in two splits.
    """
    unknown = ~np.isin(split, SPLITS)
    if unknown.any():
        row = int(np.argmax(unknown))
        raise DataError(
            f"subjects: {column!r} is {str(split[row])!r} in row {row}; a split is one of {', '.join(SPLITS)}"
        )
    if not (split == SPLITS[0]).any():
        raise DataError(f"subjects: no row has {column!r} = 'train'; a model needs training rows")
    pairs = np.unique(np.stack([groups.astype(object), split.astype(object)]).astype(str), axis=1)[0]
    names, count = np.unique(pairs, return_counts=True)
    if (count > 1).any():
        raise DataError(
            f"subjects: group {str(names[count > 1][0])!r} is in {int(count.max())} splits of {column!r} "
            f"({int((count > 1).sum())} such groups): the test would see training groups. Give each group "
            "one split"
        )
