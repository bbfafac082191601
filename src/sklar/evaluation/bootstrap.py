"""Percentile bootstrap over groups, by count weights.

A replicate draws as many groups as there are, with replacement; a row counts as often as its group was
drawn. The draws know nothing of the scores, so models that are judged on the same rows share them.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklar.evaluation.metrics import Floats, Metric, check_labels, check_weight, metric_by_name
from sklar.types import Estimate

Counts = NDArray[np.uint16]
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
) -> Estimate:
    """A metric with its 95 % percentile interval.

    Args:
        metric: A metric or its name in ``METRICS``.
        y: (N,) labels, 0 or 1.
        score: (N,) scores.
        groups: (N,) names of what was sampled (patients); rows of one group are drawn together.
            Each row is its own group when not given.
        resamples: Number of replicates.
        seed: Equal seeds on equal groups give equal draws.
        weight: (N,) case weights, such as inverse probabilities of censoring; they multiply the counts.
    """
    judged = metric_by_name(metric)
    counts = resample_weights_for(judged, y, groups, resamples, seed, weight)
    return summarise(judged(y, score, weight), replicates(judged, y, score, counts, weight))


def replicates(
    metric: Metric | str, y: ArrayLike, score: ArrayLike, counts: Counts, weight: ArrayLike | None = None
) -> Floats:
    """(R,) values of the metric, one for each row of ``counts`` (R, N) as ``resample_weights`` draws them."""
    judged = metric_by_name(metric)
    judge = judged.judge(y, score)
    rows = len(np.asarray(y))
    if counts.ndim != 2 or counts.shape[1] != rows:
        raise ValueError(f"counts have shape {counts.shape} for {rows} labels; the second axis is rows")
    case = None if weight is None else check_weight(weight, rows)
    with np.errstate(invalid="ignore"):
        values = np.concatenate([judge(chunk) for chunk in _chunks(counts, case)])
    lacking = int(np.isnan(values).sum())
    if lacking:
        raise ValueError(
            f"{judged.name}: {lacking} of {len(values)} replicates hold one label only. "
            "Draw them with resample_weights(groups, ..., y=y, weight=weight), which redraws those."
        )
    return values


def summarise(value: float, values: Floats) -> Estimate:
    """An estimate whose interval runs from the 2.5th to the 97.5th percentile of (R,) replicates."""
    low, high = np.percentile(values, (2.5, 97.5))
    return Estimate(value, float(low), float(high))


def resample_weights(
    groups: ArrayLike,
    resamples: int = 1000,
    seed: int = 0,
    y: ArrayLike | None = None,
    weight: ArrayLike | None = None,
) -> Counts:
    """(R, N) how often each row occurs in each replicate.

    Args:
        groups: (N,) names of what is drawn; at least two different ones.
        resamples: Number of replicates R.
        seed: Of the generator; nothing else is random.
        y: (N,) labels. When given, a replicate in which either label carries no weight is drawn again, so
            that the metrics that need both labels are defined on every replicate.
        weight: (N,) case weights, read only to see which rows carry weight.
    """
    names, code = np.unique(np.asarray(groups), return_inverse=True)
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; at least 1 is needed, and 1000 for an interval")
    if len(names) < 2:
        raise ValueError(
            f"{len(code)} rows form {len(names)} group; resampling needs at least 2. "
            "Pass groups=None where rows are independent."
        )
    random = np.random.default_rng(seed)
    drawn = _draw(random, resamples, len(names))
    if y is not None:
        classes = _classes(code, len(names), check_labels(y), weight)
        while (lacking := ~((drawn @ classes) > 0).all(1)).any():
            drawn[lacking] = _draw(random, int(lacking.sum()), len(names))
    return drawn[:, code]


def resample_weights_for(
    metric: Metric,
    y: ArrayLike,
    groups: ArrayLike | None,
    resamples: int,
    seed: int,
    weight: ArrayLike | None,
) -> Counts:
    """(R, N) counts for one metric on labelled rows, which are checked before anything is drawn."""
    labels = check_labels(y)
    metric.check_classes(labels, check_weight(weight, len(labels)))
    names = np.arange(len(labels)) if groups is None else np.asarray(groups)
    if len(names) != len(labels):
        raise ValueError(f"{len(names)} groups for {len(labels)} labels; give one group a label")
    return resample_weights(names, resamples, seed, labels if metric.needs_both_classes else None, weight)


def _draw(random: np.random.Generator, resamples: int, size: int) -> Counts:
    """(R, G) multinomial counts of G draws from G groups."""
    picks = random.integers(size, size=(resamples, size))
    picks += np.arange(resamples)[:, None] * size
    # a count has mean 1: 65,536 or more in one cell would need a probability below 1e-200,000
    return np.bincount(picks.ravel(), minlength=resamples * size).reshape(resamples, size).astype(np.uint16)


def _classes(
    code: NDArray[np.intp], size: int, labels: NDArray[np.bool_], weight: ArrayLike | None
) -> NDArray[np.float64]:
    """(G, 2) one where a group holds a row with weight of label 0, of label 1."""
    counted = check_weight(weight, len(labels)) > 0
    if len(np.unique(labels[counted])) < 2:
        raise ValueError("only one label carries weight; no replicate can hold both. Take more rows.")
    classes = np.zeros((size, 2))
    classes[code[counted], labels[counted].astype(int)] = 1
    return classes


def _chunks(counts: Counts, case: Floats | None) -> Iterator[Floats]:
    """Consecutive (r, N) blocks of replicate weights, small enough for the cache."""
    step = max(1, _CELLS // counts.shape[1])
    for start in range(0, len(counts), step):
        block = counts[start : start + step].astype(np.float64)
        yield block if case is None else block * case
