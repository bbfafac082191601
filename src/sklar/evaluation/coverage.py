"""Do intervals over draws of what is missing hold what would have been said with everything?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from sklar.evaluation.bootstrap import summarise
from sklar.evaluation.checks import EvaluationError, Floats, check_groups
from sklar.evaluation.draws import resample_weights
from sklar.evaluation.estimate import Estimate
from sklar.evaluation.hiding import Present, check_present

Interval = Callable[[Present, float], tuple[ArrayLike, ArrayLike]]


@dataclass(frozen=True)
class Coverage:
    """How often the answer with everything lies in the interval given with something hidden.

    Attributes:
        hidden: Number k of modalities that were hidden; every choice of k counts alike.
        nominal: (L,) what intervals promise.
        actual: L shares of (row, choice) with an interval over groups.
        width: (L,) mean width of the intervals.
        rows: Number of rows, which are those with every modality.
    """

    hidden: int
    nominal: tuple[float, ...]
    actual: tuple[Estimate, ...]
    width: tuple[float, ...]
    rows: int


def interval_coverage(
    draw: Callable[[Present], ArrayLike],
    present: ArrayLike,
    levels: Sequence[float] = (0.5, 0.8, 0.9, 0.95),
    groups: ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
    interval: Interval | None = None,
) -> tuple[Coverage, ...]:
    """Nominal against actual coverage of intervals about what is missing, by number k of hidden modalities.

    Rows with every modality are answered once with all of them, and once for every choice of k that are
    hidden; the central interval of the draws should hold the first answer as often as its level says. With S
    draws the widest interval holds it at most (S - 1) / (S + 1) of the time even when all is well: for 95 %
    draw some hundreds.

    Args:
        draw: A function of ``present`` (N, M) that gives (S, N) probabilities, one for each of S draws of the
            missing modalities; of K outputs (S, N, K), of which a row's share and width are the mean.
        present: (N, M) true where a modality was observed; rows with gaps are left out of the count.
        levels: L nominal levels in (0, 1).
        groups: (N,) names of what was sampled.
        resamples: Number of replicates.
        seed: Of the replicates.
        interval: A function of ``present`` and one level that gives the (N,) or (N, K) ends of the interval
            that is reported; by default the ends are quantiles of the draws.
    """
    there = check_present(present)
    complete = there.all(1)
    if not complete.any():
        raise EvaluationError("no row has every modality, so there is no full answer to compare with")
    names = check_groups(groups, len(there))[complete]
    nominal = np.asarray(levels, dtype=np.float64)
    if not ((nominal > 0) & (nominal < 1)).all():
        raise EvaluationError(f"levels are {levels}; they lie between 0 and 1")
    full = np.asarray(draw(there), dtype=np.float64)[:, complete].mean(0)
    tails = np.stack((1 - nominal, 1 + nominal)) / 2
    found = []
    for k in range(1, there.shape[1]):
        inside, width = [], []
        for columns in combinations(range(there.shape[1]), k):
            seen = there.copy()
            seen[np.ix_(complete, np.array(columns))] = False
            if interval is None:
                low, high = np.quantile(np.asarray(draw(seen), np.float64)[:, complete], tails, axis=0)
            else:
                ends = np.asarray([interval(seen, level) for level in nominal.tolist()], np.float64)
                low, high = ends[:, 0, complete], ends[:, 1, complete]
            inside.append(_over_outputs((low <= full) & (full <= high)))
            width.append(_over_outputs(high - low).mean(1))
        share = np.mean(inside, axis=0)
        found.append(
            Coverage(
                hidden=k,
                nominal=tuple(nominal.tolist()),
                actual=tuple(_mean(row, names, resamples, seed) for row in share),
                width=tuple(np.mean(width, axis=0).tolist()),
                rows=int(complete.sum()),
            )
        )
    return tuple(found)


def _over_outputs(values: ArrayLike) -> Floats:
    """(L, N) of (L, N) or (L, N, K)."""
    found = np.asarray(values, dtype=np.float64)
    return found if found.ndim == 2 else np.asarray(found.mean(2))


def _mean(share: Floats, names: ArrayLike, resamples: int, seed: int) -> Estimate:
    """The mean over rows, with its interval over groups."""
    counts = resample_weights(names, resamples, seed)
    return summarise(float(share.mean()), counts @ share / counts.sum(1))
