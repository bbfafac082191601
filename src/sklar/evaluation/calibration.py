"""Does a predicted 20 % happen in 20 % of the rows?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklar.evaluation.metrics import Floats, check_labels, check_probability, check_weight


@dataclass(frozen=True)
class Reliability:
    """Rows binned by their prediction, from low to high risk.

    Attributes:
        predicted: (K,) weighted mean probability of each bin.
        observed: (K,) weighted frequency of the event.
        rows: (K,) number of rows.
    """

    predicted: Floats
    observed: Floats
    rows: NDArray[np.int64]


def reliability(
    y: ArrayLike, probability: ArrayLike, weight: ArrayLike | None = None, bins: int = 10
) -> Reliability:
    """A reliability curve over bins that hold equal weight.

    Equal probabilities share a bin, so fewer than ``bins`` remain where probabilities are tied.

    Args:
        y: (N,) labels, 0 or 1.
        probability: (N,) predicted probability of label 1.
        weight: (N,) case weights; rows of weight 0 do not count.
        bins: Most bins wanted.
    """
    labels = check_labels(y)
    predicted = check_probability(probability, len(labels))
    weights = check_weight(weight, len(labels))
    if bins < 1:
        raise ValueError(f"bins is {bins}; at least 1 is needed")
    counted = weights > 0
    labels, predicted, weights = labels[counted], predicted[counted], weights[counted]
    _, value = np.unique(predicted, return_inverse=True)
    mass = np.bincount(value, weights)
    middle = (np.cumsum(mass) - mass / 2) / mass.sum()
    _, code = np.unique(np.floor(bins * middle)[value], return_inverse=True)
    total = np.bincount(code, weights)
    return Reliability(
        predicted=np.bincount(code, weights * predicted) / total,
        observed=np.bincount(code, weights * labels) / total,
        rows=np.bincount(code),
    )
