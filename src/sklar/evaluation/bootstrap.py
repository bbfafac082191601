"""Percentile bootstrap over groups, by count weights on rows that are sorted once."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from sklar.evaluation.catalogue import metric_by_name
from sklar.evaluation.checks import EvaluationError, Floats, check_groups, check_weight
from sklar.evaluation.draws import Counts, by_outcome, resample_weights, too_few
from sklar.evaluation.estimate import Estimate
from sklar.evaluation.metric import Metric

_CELLS = 1 << 17
"""Weights judged at once: 1 MiB of float64, which stays in the cache whatever the number of rows."""


def bootstrap(
    metric: Metric | str,
    y: ArrayLike,
    score: ArrayLike,
    groups: ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
    weight: ArrayLike | None = None,
    *,
    ids: ArrayLike | None = None,
    stratified: bool = False,
) -> Estimate:
    """A metric with its 95 % percentile interval.

    Args:
        metric: A metric or its name in ``METRICS``.
        y: (N,) labels, 0 or 1; (N, K) for metrics of several outcomes.
        score: (N,) scores, or (N, K).
        groups: (N,) names of what was sampled (patients); rows of one group are drawn together.
            Each row is its own group when not given.
        resamples: Number of replicates.
        seed: Equal seeds on equal groups give equal draws.
        weight: (N,) case weights, such as inverse probabilities of censoring; they multiply the counts.
        ids: (N,) names of the rows; a warning tells when they repeat and no groups are given.
        stratified: Draw groups with an event and groups without one apart, so that their numbers stay.

    Raises:
        EvaluationError: Fewer than five events or non-events, or a replicate without a value.
    """
    judged = metric_by_name(metric)
    counts = resample_weights_for(judged, y, groups, resamples, seed, weight, ids, stratified)
    return summarise(judged(y, score, weight), replicates(judged, y, score, counts, weight))


def replicates(
    metric: Metric | str, y: ArrayLike, score: ArrayLike, counts: Counts, weight: ArrayLike | None = None
) -> Floats:
    """(R,) values of the metric, one for each row of ``counts`` (R, N) as ``resample_weights`` draws them."""
    judged = metric_by_name(metric)
    judge = judged.judge(y, score)
    rows = len(np.asarray(y))
    if counts.ndim != 2 or counts.shape[1] != rows:
        raise EvaluationError(f"counts have shape {counts.shape} for {rows} labels; the second axis is rows")
    case = None if weight is None else check_weight(weight, rows)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.concatenate([judge(chunk) for chunk in _chunks(counts, case)])
    lacking = int(np.isnan(values).sum())
    if lacking:
        raise EvaluationError(
            f"{judged.name}: {lacking} of {len(values)} replicates {judged.undefined}. Take more rows; "
            "replicates with one label are avoided by resample_weights(groups, ..., y=y, weight=weight)."
        )
    return values


def summarise(value: float, values: Floats, alpha: float = 0.05) -> Estimate:
    """An estimate whose interval runs between the alpha / 2 percentiles at either end of (R,) replicates."""
    low, high = np.percentile(values, (50 * alpha, 100 - 50 * alpha))
    return Estimate(value, float(low), float(high))


def resample_weights_for(
    metric: Metric,
    y: ArrayLike,
    groups: ArrayLike | None,
    resamples: int,
    seed: int,
    weight: ArrayLike | None,
    ids: ArrayLike | None = None,
    stratified: bool = False,
) -> Counts:
    """(R, N) counts for one metric on labelled rows, which are checked before anything is drawn."""
    rows = len(np.asarray(y))
    metric.check_classes(y, check_weight(weight, rows))
    names = check_groups(groups, rows, ids)
    reason = too_few(y, names, weight) if metric.needs_both_classes else ""
    if reason:
        raise EvaluationError(
            f"{metric.name}: {reason}; that is too few for an interval. Take more rows, or report the value "
            "without one."
        )
    strata = by_outcome(y, names) if stratified else None
    return resample_weights(names, resamples, seed, y if metric.needs_both_classes else None, weight, strata)


def _chunks(counts: Counts, case: Floats | None) -> Iterator[Floats]:
    """Consecutive (r, N) blocks of replicate weights, small enough for the cache."""
    step = max(1, _CELLS // counts.shape[1])
    for start in range(0, len(counts), step):
        block = counts[start : start + step].astype(np.float64)
        yield block if case is None else block * case
