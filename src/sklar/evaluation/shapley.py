"""What each modality contributes, to a prediction and to how good predictions are."""

import numpy as np
from numpy.typing import ArrayLike

from sklar.evaluation.bootstrap import replicates, resample_weights_for, summarise
from sklar.evaluation.catalogue import metric_by_name
from sklar.evaluation.checks import EvaluationError, Floats
from sklar.evaluation.estimate import Estimate
from sklar.evaluation.hiding import Predict, Present, answer, check_present
from sklar.evaluation.metric import Metric

_MOST = 12
"""Modalities: 4,096 predictions of every row."""


def coalitions(predict: Predict, present: ArrayLike, base: float | Floats) -> tuple[Present, Floats]:
    """What a model answers to every subset of the modalities.

    A row is asked about once for each subset of what it has; all that show the same of it have that answer.

    Args:
        predict: Of the N rows.
        present: (N, M) true where a modality was observed.
        base: Answer to a row that shows nothing, such as the prevalence, or (K,) of them; the
            model is not asked.

    Returns:
        (2^M, M) subsets, and (2^M, N) or (2^M, N, K) probabilities.
    """
    there = check_present(present)
    count = there.shape[1]
    if count > _MOST:
        raise EvaluationError(
            f"{count} modalities have 2^{count} subsets, each a prediction of every row; {_MOST} will do"
        )
    subsets = (np.arange(2**count)[:, None] >> np.arange(count)) % 2 == 1
    answers = np.full((len(subsets), len(there), *np.shape(base)), base)
    bits, place = 1 << np.arange(count), np.arange(len(there))
    for index in range(len(subsets) - 1, 0, -1):
        seen = there & subsets[index]
        fullest = index | (~there @ bits)  # the largest subset that shows the same of a row
        new = (fullest == index) & seen.any(1)
        if new.any():
            # rows that nothing new is shown of keep what they have, and their answer is not read
            answers[index, new] = answer(predict, np.where(new[:, None], seen, there))[new]
        answers[index, ~new] = answers[fullest, place][~new]
    return subsets, answers


def shapley(subsets: Present, values: Floats) -> Floats:
    """(M, ...) share of each of M modalities in the gain from nothing to everything.

    The mean gain of adding a modality, over all orders in which modalities can be added; shares sum to the
    value of all minus that of none. Source: Shapley (1953).

    Args:
        subsets: (2^M, M) all subsets, as ``coalitions`` lists them.
        values: (2^M, ...) a value of each: answers of rows, metrics, or replicates of metrics.
    """
    count = subsets.shape[1]
    size = subsets.sum(1)
    factorial = np.cumprod(np.concatenate(([1.0], np.arange(1, count + 1))))
    shares = []
    for modality in range(count):
        without = np.flatnonzero(~subsets[:, modality])
        gain = values[without + (1 << modality)] - values[without]
        order = factorial[size[without]] * factorial[count - 1 - size[without]] / factorial[count]
        shares.append(np.tensordot(order, gain, axes=1))
    return np.array(shares)


def modality_shapley(
    metric: Metric | str,
    subsets: Present,
    answers: Floats,
    y: ArrayLike,
    groups: ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
    weight: ArrayLike | None = None,
) -> tuple[Estimate, ...]:
    """M shares of a metric, with intervals over rows: what each modality adds to how good predictions are.

    Args:
        metric: A metric or its name; of a model that sees nothing it is that of constant answers.
        subsets: (2^M, M) and
        answers: (2^M, N) or (2^M, N, K), as ``coalitions`` gives them.
        y: (N,) labels, 0 or 1; (N, K) where the metric is of several outcomes.
        groups: (N,) names of what was sampled.
        resamples: Number of replicates.
        seed: Of the replicates.
        weight: (N,) case weights.
    """
    named = metric_by_name(metric)
    counts = resample_weights_for(named, y, groups, resamples, seed, weight)
    values = shapley(subsets, np.array([named(y, row, weight) for row in answers]))
    drawn = shapley(subsets, np.stack([replicates(named, y, row, counts, weight) for row in answers]))
    return tuple(summarise(float(value), row) for value, row in zip(values, drawn, strict=True))
