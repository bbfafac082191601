"""Paired comparison of two models on the same rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sklar.evaluation.bootstrap import replicates, resample_weights_for, summarise
from sklar.evaluation.catalogue import metric_by_name
from sklar.evaluation.checks import Floats
from sklar.evaluation.metric import Metric


@dataclass(frozen=True)
class Comparison:
    """How much the first model's metric exceeds the second's.

    Attributes:
        difference: Metric of a minus metric of b.
        low: Lower end of the 95 % interval of the difference.
        high: Its upper end.
        p_value: Two-sided, of no difference.
    """

    difference: float
    low: float
    high: float
    p_value: float


def compare(
    y: ArrayLike,
    score_a: ArrayLike,
    score_b: ArrayLike,
    metric: Metric | str = "auroc",
    groups: ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
    weight: ArrayLike | None = None,
    *,
    ids: ArrayLike | None = None,
    stratified: bool = False,
) -> Comparison:
    """Paired bootstrap of a difference: both models are judged on the same replicates.

    Testing the two sets of replicates against each other as if they were samples is invalid: that p-value
    shrinks with the number of resamples.

    Args:
        y: (N,) labels, 0 or 1.
        score_a: (N,) scores of the first model.
        score_b: (N,) scores of the second.
        metric: A metric or its name in ``METRICS``.
        groups: (N,) names of what was sampled; each row is its own group when not given.
        resamples: Number of replicates.
        seed: Equal seeds on equal groups give equal draws.
        weight: (N,) case weights.
        ids: (N,) names of the rows; a warning tells when they repeat and no groups are given.
        stratified: Draw groups with an event and groups without one apart.
    """
    judged = metric_by_name(metric)
    counts = resample_weights_for(judged, y, groups, resamples, seed, weight, ids, stratified)
    return contrast(
        judged(y, score_a, weight) - judged(y, score_b, weight),
        replicates(judged, y, score_a, counts, weight) - replicates(judged, y, score_b, counts, weight),
    )


def contrast(difference: float, differences: Floats, alpha: float = 0.05) -> Comparison:
    r"""A comparison from (R,) paired replicate differences D, with a 1 - alpha interval.

    $p = 2 \min(P(D \le 0), P(D \ge 0))$, at most 1, where one imaginary replicate on either side keeps p
    above zero: with R replicates no p-value below 2 / (R + 1) can be claimed.
    """
    interval = summarise(difference, differences, alpha)
    below, above = (1 + np.sum(differences <= 0)), (1 + np.sum(differences >= 0))
    p_value = min(1.0, 2 * float(min(below, above)) / (len(differences) + 1))
    return Comparison(interval.value, interval.low, interval.high, p_value)
