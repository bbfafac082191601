"""Which rows judge a model while it trains."""

import numpy as np
from numpy.typing import NDArray

from sklar.errors import UserError


def choose(
    strata: NDArray[np.int64], groups: NDArray[np.str_], fraction: float, seed: int
) -> NDArray[np.bool_]:
    """(N,) rows to hold out: whole groups, evenly of every stratum, one at least of those with two or more.

    Args:
        strata: (N,) what rows must be like on both sides: their class; a group is of its largest.
        groups: (N,) names of what stays together.
        fraction: Share of the groups of each stratum.
        seed: Of the draw.

    Raises:
        UserError: The fraction is no share.
    """
    if not 0 < fraction < 1:
        raise UserError(f"validation_fraction is {fraction}; it is a share between 0 and 1")
    names, code = np.unique(groups, return_inverse=True)
    stratum = np.full(len(names), -1, dtype=np.int64)
    np.maximum.at(stratum, code, strata)
    chance = np.random.default_rng(seed).random(len(names))
    out = np.zeros(len(names), dtype=bool)
    for value in np.unique(stratum):  # as many as there are classes
        own = np.flatnonzero(stratum == value)
        count = min(max(round(len(own) * fraction), 1), len(own) - 1)
        out[own[np.argsort(chance[own], kind="stable")[:count]]] = True
    return np.asarray(out[code])
