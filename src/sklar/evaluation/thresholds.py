"""What acting on a predicted risk above a threshold would do: errors, and net benefit."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike

from sklar.evaluation.checks import (
    EvaluationError,
    Floats,
    Labels,
    check_labels,
    check_probability,
    check_weight,
)
from sklar.evaluation.metric import Judge, ProbabilisticMetric


@dataclass(frozen=True)
class Thresholds:
    """What happens at each of T thresholds when rows at or above it are called positive.

    Attributes:
        threshold: (T,) predicted risks.
        called: (T,) share of rows that are called; times 100, alerts per 100 patients.
        sensitivity: (T,) share of events that are called; NaN without events.
        specificity: (T,) share of non-events that are not; NaN without non-events.
        ppv: (T,) share of events among those called; NaN where none is.
        npv: (T,) share of non-events among those not called; NaN where all are called.
        net_benefit: (T,) see ``NetBenefit``.
        treat_all: (T,) net benefit of calling every row; that of calling none is 0.
    """

    threshold: Floats
    called: Floats
    sensitivity: Floats
    specificity: Floats
    ppv: Floats
    npv: Floats
    net_benefit: Floats
    treat_all: Floats


def at_thresholds(
    y: ArrayLike, probability: ArrayLike, thresholds: ArrayLike, weight: ArrayLike | None = None
) -> Thresholds:
    """Every measure at every threshold; a decision curve is ``net_benefit`` beside ``treat_all``.

    Args:
        y: (N,) labels, 0 or 1.
        probability: (N,) predicted probability of label 1.
        thresholds: (T,) in (0, 1).
        weight: (N,) case weights.
    """
    labels = check_labels(y)
    predicted = check_probability(probability, len(labels))
    weights = check_weight(weight, len(labels))
    cuts = np.array([_checked(float(cut)) for cut in np.atleast_1d(np.asarray(thresholds, np.float64))])
    order = np.argsort(predicted, kind="stable")
    start = np.searchsorted(predicted[order], cuts, "left")

    def from_start(mass: Floats) -> Floats:
        """(T,) weight at or above each threshold."""
        return np.asarray(np.concatenate((np.cumsum(mass[order][::-1])[::-1], [0.0]))[start])

    total, events = weights.sum(), (weights * labels).sum()
    true, called = from_start(weights * labels), from_start(weights)
    false, odds = called - true, cuts / (1 - cuts)
    missed = events - true
    with np.errstate(invalid="ignore", divide="ignore"):
        return Thresholds(
            threshold=cuts,
            called=called / total,
            sensitivity=true / events,
            specificity=1 - false / (total - events),
            ppv=true / called,
            npv=1 - missed / (total - called),
            net_benefit=(true - odds * false) / total,
            treat_all=(events - odds * (total - events)) / total,
        )


class _Decision(ProbabilisticMetric):
    """A measure of calling the rows at or above a threshold.

    Args:
        threshold: Predicted risk in (0, 1).
    """

    needs_both_classes = False
    _stem: str

    def __init__(self, threshold: float) -> None:
        self.threshold = _checked(threshold)
        self.name = f"{type(self)._stem}@{threshold:g}"
        self.label = f"{type(self).label} at {threshold:g}"

    def _prepare(self, labels: Labels, score: Floats) -> Judge:
        called = score >= self.threshold
        cells = np.stack([labels & called, ~labels & called, labels & ~called, ~labels & ~called], axis=1)

        def judge(weights: Floats) -> Floats:
            true, false, missed, spared = (weights @ cells.astype(np.float64)).T
            return self._measure(true, false, missed, spared)

        return judge

    @abstractmethod
    def _measure(self, true: Floats, false: Floats, missed: Floats, spared: Floats) -> Floats:
        """(R,) values from the weights of called events, called others, uncalled events, uncalled others."""


@final
class Sensitivity(_Decision):
    """Share of events at or above the threshold."""

    _stem, label, undefined = "sensitivity", "Sensitivity", "hold no event"

    def _measure(self, true: Floats, false: Floats, missed: Floats, spared: Floats) -> Floats:
        return true / (true + missed)


@final
class Specificity(_Decision):
    """Share of non-events below the threshold."""

    _stem, label, undefined = "specificity", "Specificity", "hold events only"

    def _measure(self, true: Floats, false: Floats, missed: Floats, spared: Floats) -> Floats:
        return spared / (spared + false)


@final
class PPV(_Decision):
    """Positive predictive value: share of events among rows at or above the threshold."""

    _stem, label, undefined = "ppv", "PPV", "all lie below the threshold"

    def _measure(self, true: Floats, false: Floats, missed: Floats, spared: Floats) -> Floats:
        return true / (true + false)


@final
class NPV(_Decision):
    """Negative predictive value: share of non-events among rows below the threshold."""

    _stem, label, undefined = "npv", "NPV", "all lie at or above the threshold"

    def _measure(self, true: Floats, false: Floats, missed: Floats, spared: Floats) -> Floats:
        return spared / (spared + missed)


@final
class NetBenefit(_Decision):
    """True positives less false positives at the odds of the threshold, per row.

    A threshold of 10 % says that nine false alarms are worth one event found; calling no row is worth 0.
    Source: Vickers and Elkin (2006).
    """

    _stem, label = "net_benefit", "Net benefit"

    def _measure(self, true: Floats, false: Floats, missed: Floats, spared: Floats) -> Floats:
        odds = self.threshold / (1 - self.threshold)
        return (true - odds * false) / (true + false + missed + spared)


def _checked(threshold: float) -> float:
    if not 0 < threshold < 1:
        raise EvaluationError(
            f"threshold {threshold:g}; thresholds are predicted risks between 0 and 1, both excluded"
        )
    return threshold
