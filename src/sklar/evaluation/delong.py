"""AUROCs and their difference by the theory of U statistics, for independent and for clustered rows.

Each event's *placement* is the share of non-events that it beats, each non-event's the share of events that
beat it; the variance of an AUROC is that of its placements. They come from one sort (Sun and Xu 2014), not
from all pairs.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from sklar.evaluation.checks import (
    EvaluationError,
    Floats,
    Index,
    Labels,
    check_groups,
    check_labels,
    check_score,
    check_weight,
)
from sklar.evaluation.comparison import Comparison
from sklar.evaluation.estimate import Estimate
from sklar.evaluation.metrics import auroc

_WIDTH = 1.959963984540054
"""Standard errors on either side of a 95 % interval."""


def delong(
    y: ArrayLike,
    score_a: ArrayLike,
    score_b: ArrayLike,
    groups: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    *,
    ids: ArrayLike | None = None,
) -> Comparison:
    r"""Test of equal AUROCs of two models on the same rows, with a normal interval of the difference.

    Without groups this is the test of DeLong, DeLong and Clarke-Pearson (1988); with them the one of
    Obuchowski (1997), in which the placements of a cluster's rows are summed before they are squared. Case
    weights turn means into weighted means and keep the same linearisation.

    Args:
        y: (N,) labels, 0 or 1.
        score_a: (N,) scores of the first model.
        score_b: (N,) scores of the second.
        groups: (N,) clusters (patients), which may hold events and non-events; each row is its own when not
            given.
        weight: (N,) case weights.
        ids: (N,) names of the rows; a warning tells when they repeat and no groups are given.

    Raises:
        EvaluationError: One label only, or events or non-events in a single cluster, or a difference whose
            estimated variance is zero.
    """
    value, covariance = auroc_covariance(y, (score_a, score_b), groups, weight, ids=ids)
    difference = float(value[0] - value[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    # equal rankings cancel up to rounding
    error = float(np.sqrt(variance)) if variance > 1e-15 * float(np.trace(covariance)) else 0.0
    if error == 0 and abs(difference) > 1e-12:
        raise EvaluationError(
            f"the AUROCs {value[0]:.4g} and {value[1]:.4g} differ and their variance is estimated as zero: "
            "every event ranks alike. Take more rows, or use compare(), which resamples."
        )
    p_value = 1.0 if error == 0 else float(2 * ndtr(-abs(difference) / error))
    return Comparison(difference, difference - _WIDTH * error, difference + _WIDTH * error, p_value)


def delong_interval(
    y: ArrayLike,
    score: ArrayLike,
    groups: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    *,
    ids: ArrayLike | None = None,
) -> Estimate:
    """An AUROC with its normal 95 % interval on the logit scale, which keeps it within 0 and 1.

    An AUROC of exactly 0 or 1 has no logit and is refused. Arguments are those of ``delong``.
    """
    values, covariance = auroc_covariance(y, (score,), groups, weight, ids=ids)
    value, error = float(values[0]), float(np.sqrt(covariance[0, 0]))
    if not 0 < value < 1:
        raise EvaluationError(
            f"AUROC is {value:g}: the scores separate the labels, and no interval can be put around it by "
            "this method. Take more rows."
        )
    middle, half = np.log(value) - np.log1p(-value), _WIDTH * error / (value * (1 - value))
    low, high = (float(1 / (1 + np.exp(-end))) for end in (middle - half, middle + half))
    return Estimate(value, low, high)


def auroc_covariance(
    y: ArrayLike,
    scores: tuple[ArrayLike, ...],
    groups: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    *,
    ids: ArrayLike | None = None,
) -> tuple[Floats, Floats]:
    """(K,) AUROCs of K models on the same rows, and their (K, K) covariance."""
    labels = check_labels(y)
    weights = check_weight(weight, len(labels))
    auroc.check_classes(labels, weights)
    _, cluster = np.unique(check_groups(groups, len(labels), ids), return_inverse=True)
    parts = [_influence(labels, check_score(s, len(labels)), weights, cluster) for s in scores]
    values = np.array([value for value, _ in parts])
    cells = np.stack([sums for _, sums in parts], axis=-1)  # (2, G, K): non-events, events
    factors = [_correction(cluster[(labels == side) & (weights > 0)], side) for side in (False, True)]
    # a cluster with rows of both labels ties the two sides together
    both = len(np.unique(cluster[weights > 0]))
    covariance = sum(factor * side.T @ side for factor, side in zip(factors, cells, strict=True))
    cross = cells[0].T @ cells[1]
    return values, np.asarray(covariance + both / max(both - 1, 1) * (cross + cross.T))


def _influence(labels: Labels, score: Floats, weights: Floats, cluster: Index) -> tuple[float, Floats]:
    """AUROC, and (2, G) each cluster's sum of weighted, centred placements of non-events and of events."""
    events, others = np.flatnonzero(labels), np.flatnonzero(~labels)
    size = int(cluster.max()) + 1
    beaten = _placements(score[others], weights[others], score[events])
    lost = 1 - _placements(score[events], weights[events], score[others])
    share = weights / np.where(labels, weights[events].sum(), weights[others].sum())
    value = float(share[events] @ beaten)
    sums = [
        np.bincount(cluster[rows], share[rows] * (placement - value), minlength=size)
        for rows, placement in ((others, lost), (events, beaten))
    ]
    return value, np.stack(sums)


def _placements(score: Floats, weights: Floats, against: Floats) -> Floats:
    """Share of the weighted scores below each of ``against``, ties counted one half."""
    order = np.argsort(score, kind="stable")
    ranked, mass = score[order], np.concatenate(([0.0], np.cumsum(weights[order])))
    below, upto = (np.searchsorted(ranked, against, side) for side in ("left", "right"))
    return np.asarray((mass[below] + mass[upto]) / (2 * mass[-1]))


def _correction(clusters: Index, side: bool) -> float:
    """N / (n - 1) of the clusters that hold rows of one label."""
    count = len(np.unique(clusters))
    if count < 2:
        what = "events" if side else "non-events"
        raise EvaluationError(
            f"all {what} with weight lie in one group; a variance needs at least two groups. Take more rows."
        )
    return count / (count - 1)
