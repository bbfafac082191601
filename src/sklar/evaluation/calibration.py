"""Does a predicted 20 % happen in 20 % of the rows?"""

from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklar.evaluation.checks import (
    EvaluationError,
    Floats,
    Labels,
    check_groups,
    check_labels,
    check_probability,
    check_weight,
)
from sklar.evaluation.draws import resample_weights
from sklar.evaluation.logistic import fit_intercept, fit_line, logit
from sklar.evaluation.metric import Judge, ProbabilisticMetric
from sklar.evaluation.smoother import smoother


@dataclass(frozen=True)
class Reliability:
    """Rows binned by their prediction, from low to high risk.

    Attributes:
        predicted: (K,) weighted mean probability of each bin.
        observed: (K,) weighted frequency of the event.
        rows: (K,) number of rows.
        low: (K,) lower end of the 95 % interval of ``observed``; None where none was asked for.
        high: (K,) its upper end.
    """

    predicted: Floats
    observed: Floats
    rows: NDArray[np.int64]
    low: Floats | None = None
    high: Floats | None = None


def reliability(
    y: ArrayLike,
    probability: ArrayLike,
    weight: ArrayLike | None = None,
    bins: int = 10,
    *,
    groups: ArrayLike | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> Reliability:
    """A reliability curve over bins that hold equal weight.

    Equal probabilities share a bin, so fewer than ``bins`` remain where probabilities are tied.

    Args:
        y: (N,) labels, 0 or 1.
        probability: (N,) predicted probability of label 1.
        weight: (N,) case weights; rows of weight 0 do not count.
        bins: Most bins wanted.
        groups: (N,) names of what was sampled; each row is its own group when not given.
        resamples: Replicates of groups for the intervals, with the bins as they are; 0 gives none. One that
            has no weight in a bin says nothing of it.
        seed: Of the replicates.
    """
    labels = check_labels(y)
    predicted = check_probability(probability, len(labels))
    weights = check_weight(weight, len(labels))
    if bins < 1:
        raise EvaluationError(f"bins is {bins}; at least 1 is needed")
    counted = weights > 0
    labels, predicted, weights = labels[counted], predicted[counted], weights[counted]
    _, value = np.unique(predicted, return_inverse=True)
    mass = np.bincount(value, weights)
    middle = (np.cumsum(mass) - mass / 2) / mass.sum()
    _, code = np.unique(np.floor(bins * middle)[value], return_inverse=True)
    total = np.bincount(code, weights)
    found = Reliability(
        predicted=np.bincount(code, weights * predicted) / total,
        observed=np.bincount(code, weights * labels) / total,
        rows=np.bincount(code),
    )
    if not resamples:
        return found
    drawn = resample_weights(check_groups(groups, len(counted))[counted], resamples, seed)
    drawn_mass = drawn * weights
    member = (code[:, None] == np.arange(len(total))).astype(np.float64)
    share = np.ma.masked_invalid(_share((drawn_mass * labels) @ member, drawn_mass @ member))
    ends = [np.percentile(own.compressed(), (2.5, 97.5)) for own in share.T]
    low, high = np.array(ends).T
    return replace(found, low=low, high=high)


def _share(part: Floats, total: Floats) -> Floats:
    """Their ratio, NaN where the total is 0."""
    return np.divide(part, total, out=np.full_like(total, np.nan), where=total > 0)


@final
class CalibrationIntercept(ProbabilisticMetric):
    """Calibration in the large: a of logit P(y = 1) = a + logit(p).

    0 is right on average; above 0, risks are predicted too low. Source: Cox (1958), Van Calster et al.
    (2019).
    """

    name = "calibration_intercept"
    label = "Calibration intercept"
    best = 0.0

    def _prepare(self, labels: Labels, score: Floats) -> Judge:
        x = logit(score)
        return lambda weights: fit_intercept(labels, x, weights)


@final
class CalibrationSlope(ProbabilisticMetric):
    """b of logit P(y = 1) = a + b logit(p).

    1 is right; below 1, predictions are too extreme, the mark of overfitting. Undefined where the
    probabilities separate the labels. Source: Cox (1958); Van Calster et al. (2019).
    """

    name = "calibration_slope"
    label = "Calibration slope"
    undefined = "are separated by the score, or have one score only, so that no slope fits"

    def _prepare(self, labels: Labels, score: Floats) -> Judge:
        x = logit(score)
        return lambda weights: fit_line(labels, x, weights)[1]


@final
class ECE(ProbabilisticMetric):
    """Expected calibration error: mean distance of observed from predicted risk over bins of equal width.

    It grows with the number of bins where there are few rows, and grows again in resamples: a percentile
    interval lies too high. Source: Naeini, Cooper and Hauskrecht (2015).

    Args:
        bins: K; bin k holds probabilities in (k / K, (k + 1) / K], the first one 0 too.
    """

    name = "ece"
    label = "ECE"
    higher_is_better = False
    best = 0.0
    needs_both_classes = False

    def __init__(self, bins: int = 10) -> None:
        if bins < 1:
            raise EvaluationError(f"bins is {bins}; at least 1 is needed")
        self.bins = bins

    def _prepare(self, labels: Labels, score: Floats) -> Judge:
        code = np.clip(np.ceil(score * self.bins).astype(int) - 1, 0, None)  # 0 joins the first bin
        gap = np.zeros((len(score), self.bins))
        gap[np.arange(len(score)), code] = labels - score
        return lambda weights: np.asarray(np.abs(weights @ gap).sum(1) / weights.sum(1))


@final
class ICI(ProbabilisticMetric):
    """Integrated calibration index: mean distance of a smooth calibration curve from the predicted risk.

    The curve is a local line (tricube kernel over the nearest three quarters of the rows), which adapts to
    what few bins hide. A percentile interval lies too high, as of any mean distance. Source: Austin and
    Steyerberg (2019), whose curve is a loess.
    """

    name = "ici"
    label = "ICI"
    higher_is_better = False
    best = 0.0
    needs_both_classes = False
    undefined = "leave no weight near some predicted risk"

    def _prepare(self, labels: Labels, score: Floats) -> Judge:
        smooth = smoother(labels, score)

        def judge(weights: Floats) -> Floats:
            return np.asarray((weights * np.abs(smooth(weights) - score)).sum(1) / weights.sum(1))

        return judge


calibration_intercept = CalibrationIntercept()
calibration_slope = CalibrationSlope()
ece = ECE()
ici = ICI()
