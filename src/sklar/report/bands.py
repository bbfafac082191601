"""Pointwise bootstrap bands around the curves of a model."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sklar.evaluation import resample_weights

_POINTS = 101
CELLS = 5_000_000
"""Replicates times rows that are held at once; more rows get fewer replicates."""
_SEED = 0


@dataclass(frozen=True)
class Band:
    """Where 95 % of the replicates run, point by point.

    Attributes:
        at: (P,) false positive rate, or recall.
        low: (P,) lower end of the true positive rate, or of the precision.
        high: (P,) its upper end.
    """

    at: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def curve_bands(
    y: NDArray[np.int64],
    score: NDArray[np.float64],
    groups: NDArray[np.str_],
    weight: NDArray[np.float64] | None,
    resamples: int,
) -> tuple[Band, Band]:
    """Bands of the ROC curve and of the precision-recall curve.

    They hold at each point apart, not for the whole curve at once.

    Args:
        y: (N,) labels, 0 or 1.
        score: (N,) scores.
        groups: (N,) names of what was sampled.
        weight: (N,) case weights, or None.
        resamples: Most replicates wanted.
    """
    replicates = max(2, min(resamples, CELLS // len(y)))
    counts = resample_weights(groups, replicates, _SEED, y, weight)
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    mass = counts[:, order] * (1.0 if weight is None else weight[order])
    start = np.zeros((replicates, 1))
    true = np.hstack((start, np.cumsum(mass * y[order], axis=1)[:, ends]))
    false = np.hstack((start, np.cumsum(mass * (1 - y[order]), axis=1)[:, ends]))
    recall, fall_out = true / true[:, -1:], false / false[:, -1:]
    called = true + false
    # nothing is called in the first columns of a replicate that drew none of the highest scores
    precision = np.divide(true, called, out=np.ones_like(true), where=called > 0)
    at = np.linspace(0, 1, _POINTS)
    # one replicate after the other on one axis, where a step to the right of 2 keeps them apart
    apart = 2.0 * np.arange(replicates)[:, None]
    rate = np.interp((at + apart).ravel(), (fall_out + apart).ravel(), recall.ravel())
    reached = np.searchsorted((recall[:, 1:] + apart).ravel(), (at[1:] + apart).ravel() - 1e-9)
    step = precision[:, 1:].ravel()[reached]
    return _band(at, rate.reshape(replicates, -1)), _band(at[1:], step.reshape(replicates, -1))


def _band(at: NDArray[np.float64], values: NDArray[np.float64]) -> Band:
    low, high = np.percentile(values, (2.5, 97.5), axis=0)
    return Band(at, low, high)
