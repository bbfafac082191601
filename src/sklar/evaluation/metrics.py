"""How well scores rank, and how probable they make what happened; exact under ties and under weights."""

from abc import abstractmethod
from typing import final

import numpy as np

from sklar.evaluation.checks import Floats, Index, Labels
from sklar.evaluation.metric import BinaryMetric, Judge, ProbabilisticMetric


@final
class AUROC(BinaryMetric):
    """Area under the ROC curve: P(score of an event > score of a non-event), ties count one half.

    Source: Hanley and McNeil (1982), the Mann-Whitney form.
    """

    name = "auroc"
    label = "AUROC"

    def _prepare(self, labels: Labels, score: Floats) -> Judge:
        events = np.flatnonzero(labels)
        others, ranked = _sorted(np.flatnonzero(~labels), score)
        below = np.searchsorted(ranked, score[events], "left")
        upto = np.searchsorted(ranked, score[events], "right")

        def judge(weights: Floats) -> Floats:
            by_row = weights.T
            won = _cumulated(by_row[others])
            credit = won[below] + won[upto]
            event = by_row[events]
            return np.asarray((event * credit).sum(0) / (2 * event.sum(0) * won[-1]))

        return judge


@final
class AveragePrecision(BinaryMetric):
    """Sum over thresholds of the gain in recall times the precision there (stepwise, no interpolation).

    Equal scores share one threshold. This is scikit-learn's ``average_precision_score``.
    """

    name = "average_precision"
    label = "AUPR"

    def _prepare(self, labels: Labels, score: Floats) -> Judge:
        events, ranked = _sorted(np.flatnonzero(labels), -score)
        others, others_ranked = _sorted(np.flatnonzero(~labels), -score)
        hits = np.searchsorted(ranked, ranked, "right")
        misses = np.searchsorted(others_ranked, ranked, "right")

        def judge(weights: Floats) -> Floats:
            by_row = weights.T
            event = by_row[events]
            true, false = _cumulated(event), _cumulated(by_row[others])
            reached = true[hits]
            called = reached + false[misses]
            # nothing called yet: the rows there have weight zero, so any finite precision will do
            precision = reached / np.where(called > 0, called, 1.0)
            return np.asarray((event * precision).sum(0) / true[-1])

        return judge


class _Proper(ProbabilisticMetric):
    """A proper score: the weighted mean of a loss of each row."""

    higher_is_better = False
    best = 0.0
    needs_both_classes = False

    def _prepare(self, labels: Labels, score: Floats) -> Judge:
        loss = self._loss(labels, score)
        return lambda weights: np.asarray(weights @ loss / weights.sum(1))

    @abstractmethod
    def _loss(self, labels: Labels, probability: Floats) -> Floats:
        """(N,) loss of each row."""


@final
class Brier(_Proper):
    """Mean squared distance of the probability from the outcome. Source: Brier (1950)."""

    name = "brier"
    label = "Brier"

    def _loss(self, labels: Labels, probability: Floats) -> Floats:
        return np.square(probability - labels)


@final
class LogLoss(_Proper):
    """Mean negative log likelihood, in nats."""

    name = "log_loss"
    label = "Log loss"

    def _loss(self, labels: Labels, probability: Floats) -> Floats:
        kept = inside(probability)
        return -np.log(np.where(labels, kept, 1 - kept))


auroc = AUROC()
average_precision = AveragePrecision()
brier = Brier()
log_loss = LogLoss()


def inside(probability: Floats) -> Floats:
    """Probabilities one machine epsilon or more from 0 and 1, whose logarithms are finite.

    That is scikit-learn's bound: a probability that rounding made 0 costs 36 nats, not infinitely many.
    """
    bound = float(np.finfo(np.float64).eps)
    return np.clip(probability, bound, 1 - bound)


def _sorted(index: Index, score: Floats) -> tuple[Index, Floats]:
    """Rows in ascending order of their score, and those scores."""
    order = index[np.argsort(score[index], kind="stable")]
    return order, score[order]


def _cumulated(weights: Floats) -> Floats:
    """(K + 1, R) sums of the first 0, 1, ..., K rows of (K, R)."""
    total = np.zeros((len(weights) + 1, weights.shape[1]))
    np.cumsum(weights, axis=0, out=total[1:])
    return total
