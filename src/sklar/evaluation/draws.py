"""Which rows a bootstrap replicate holds, and how often.

A replicate draws as many groups as there are, with replacement; a row counts as often as its group was
drawn. The draws know nothing of the scores, so models that are judged on the same rows share them.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklar.evaluation.checks import EvaluationError, Floats, Index, check_label_columns, check_weight

Counts = NDArray[np.uint16]
FEWEST = 5
"""Events, and non-events, below which rows get no interval: its ends would be those of single rows."""


def resample_weights(
    groups: ArrayLike,
    resamples: int = 1000,
    seed: int = 0,
    y: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    strata: ArrayLike | None = None,
) -> Counts:
    """(R, N) how often each row occurs in each replicate.

    Args:
        groups: (N,) names of what is drawn; at least two different ones.
        resamples: Number of replicates R.
        seed: Of the generator; nothing else is random.
        y: (N,) labels, or (N, K) of several outcomes. When given, a replicate in which a label that occurs
            carries no weight is drawn again, so that metrics that need both labels are defined on all.
        weight: (N,) case weights, read only to see which rows carry weight.
        strata: (N,) names; as many groups of each stratum are drawn as it has. Groups lie within strata.
    """
    names, code = np.unique(np.asarray(groups), return_inverse=True)
    if resamples < 1:
        raise EvaluationError(f"resamples is {resamples}; at least 1 is needed, and 1000 for an interval")
    if len(names) < 2:
        raise EvaluationError(
            f"{len(code)} rows form {len(names)} group; resampling needs at least 2. "
            "Pass groups=None where rows are independent."
        )
    blocks = [np.arange(len(names))] if strata is None else _blocks(names, code, strata)
    random = np.random.default_rng(seed)
    drawn = _draw(random, resamples, blocks)
    if y is not None:
        sides = _sides(code, len(names), check_label_columns(y), weight)
        while (lacking := ~((drawn @ sides) > 0).all(1)).any():
            drawn[lacking] = _draw(random, int(lacking.sum()), blocks)
    return drawn[:, code]


def too_few(y: ArrayLike, groups: ArrayLike, weight: ArrayLike | None = None, fewest: int = FEWEST) -> str:
    """Why these labels support no interval of a metric that needs both; empty where they do.

    Args:
        y: (N,) labels, or (N, K) of several outcomes.
        groups: (N,) names of what was sampled; twenty events of one patient are one event.
        weight: (N,) case weights; rows of weight 0 do not count.
        fewest: Rows, and groups, that each label needs.
    """
    labels = check_label_columns(y)
    counted = check_weight(weight, len(labels)) > 0
    names = np.asarray(groups)
    for column in labels.T:
        for label, what in ((1, "events"), (0, "non-events")):
            rows = counted & (column == label)
            own = len(np.unique(names[rows]))
            if rows.sum() < fewest:
                return f"{rows.sum()} {what}, fewer than {fewest}"
            if own < fewest:
                return f"{what} in {own} groups, fewer than {fewest}"
    return ""


def judgeable(
    y: ArrayLike, groups: ArrayLike, weight: ArrayLike | None = None, fewest: int = FEWEST
) -> NDArray[np.bool_]:
    """(K,) which of several outcomes have enough events and non-events for an interval; see ``too_few``."""
    return np.array([not too_few(own[:, None], groups, weight, fewest) for own in check_label_columns(y).T])


def by_outcome(y: ArrayLike, groups: ArrayLike) -> NDArray[np.int64]:
    """(N,) strata for a bootstrap that keeps the number of events: whether a row's group has one.

    Of several outcomes, whether it has any.
    """
    _, code = np.unique(np.asarray(groups), return_inverse=True)
    events = np.bincount(code, (np.nan_to_num(check_label_columns(y)) > 0).any(1))
    return np.asarray(events[code] > 0, dtype=np.int64)


def _draw(random: np.random.Generator, resamples: int, blocks: list[Index]) -> Counts:
    """(R, G) multinomial counts: of each block of groups as many draws as it has groups."""
    drawn = np.empty((resamples, sum(len(block) for block in blocks)), dtype=np.uint16)
    for block in blocks:
        size = len(block)
        picks = random.integers(size, size=(resamples, size))
        picks += np.arange(resamples)[:, None] * size
        # a count has mean 1: 65,536 or more in one cell would need a probability below 1e-200,000
        drawn[:, block] = np.bincount(picks.ravel(), minlength=resamples * size).reshape(resamples, size)
    return drawn


def _blocks(names: NDArray[np.generic], code: Index, strata: ArrayLike) -> list[Index]:
    """The groups of each stratum."""
    kinds, stratum = np.unique(np.asarray(strata), return_inverse=True)
    if len(stratum) != len(code):
        raise EvaluationError(f"{len(stratum)} strata for {len(code)} rows; give one stratum a row")
    own = np.zeros(len(names), dtype=np.intp)
    own[code] = stratum
    crossing = own[code] != stratum
    if crossing.any():
        raise EvaluationError(
            f"group {names[code[crossing][0]]} has rows in more than one stratum; groups are drawn whole, so "
            "give all rows of a group one stratum"
        )
    return [np.flatnonzero(own == index) for index in range(len(kinds))]


def _sides(code: Index, size: int, labels: Floats, weight: ArrayLike | None) -> Floats:
    """(G, S) one where a group holds a row with weight of a label that occurs."""
    counted = check_weight(weight, len(labels)) > 0
    if not any(len(np.unique(c[~np.isnan(c)])) == 2 for c in labels[counted].T):
        raise EvaluationError("only one label carries weight; no replicate can hold both. Take more rows.")
    holds = np.concatenate((labels == 0, labels == 1), axis=1) & counted[:, None]
    holds = holds[:, holds.any(0)]
    sides = np.zeros((size, holds.shape[1]))
    np.maximum.at(sides, code, holds.astype(np.float64))
    return sides
