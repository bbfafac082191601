"""Several outcomes at once: multilabel and multiclass, averaged over outcomes or pooled."""

from abc import abstractmethod
from typing import final

import numpy as np
from numpy.typing import ArrayLike

from sklar.evaluation.checks import EvaluationError, Floats, check_probability
from sklar.evaluation.metric import BinaryMetric, ColumnMetric, Judge
from sklar.evaluation.metrics import inside


def one_vs_rest(y: ArrayLike, classes: int) -> Floats:
    """(N, K) columns of 0 and 1, one for each class, from (N,) classes 0 to K - 1; NaN stays unknown.

    Args:
        y: (N,) class numbers.
        classes: K, which may exceed the classes that occur.
    """
    labels = np.asarray(y, dtype=np.float64)
    known = ~np.isnan(labels)
    odd = known & ~np.isin(labels, np.arange(classes))
    if labels.ndim != 1 or labels.size == 0 or odd.any():
        value = labels[odd][0] if odd.any() else f"an array of shape {labels.shape}"
        raise EvaluationError(
            f"classes must be whole numbers from 0 to {classes - 1}, one a row; got {value}"
        )
    return np.where(known[:, None], labels[:, None] == np.arange(classes), np.nan)


@final
class Macro(ColumnMetric):
    """The mean of a binary metric over the outcomes, each judged on the rows where it is known.

    Of classes one against the rest, this is scikit-learn's ``multi_class="ovr", average="macro"``.
    """

    def __init__(self, metric: BinaryMetric) -> None:
        self._metric = metric
        _inherit(self, metric, "macro")

    def _prepare(self, labels: Floats, score: Floats) -> Judge:
        _same(labels, score)
        known = ~np.isnan(labels)
        judges = [self._metric.judge(labels[rows, k], score[rows, k]) for k, rows in enumerate(known.T)]

        def judge(weights: Floats) -> Floats:
            columns = zip(judges, known.T, strict=True)
            return np.asarray(np.mean([judge(weights[:, rows]) for judge, rows in columns], axis=0))

        return judge


@final
class Micro(ColumnMetric):
    """A binary metric of all known (row, outcome) pairs pooled; rows, not pairs, are resampled."""

    def __init__(self, metric: BinaryMetric) -> None:
        self._metric = metric
        _inherit(self, metric, "micro")
        self.needs_both_classes = False  # an outcome may lack a side, as long as the pool has both

    def _prepare(self, labels: Floats, score: Floats) -> Judge:
        _same(labels, score)
        rows, columns = np.nonzero(~np.isnan(labels))
        judge = self._metric.judge(labels[rows, columns], score[rows, columns])
        return lambda weights: judge(weights[:, rows])


class _OneHot(ColumnMetric):
    """A proper score of class probabilities (N, K) that sum to one."""

    higher_is_better = False
    best = 0.0
    needs_both_classes = False

    def _prepare(self, labels: Floats, score: Floats) -> Judge:
        probability = check_probability(score, labels.shape)
        if np.isnan(labels).any() or (labels.sum(1) != 1).any():
            raise EvaluationError(
                f"{self.name} needs one class a row: pass one_vs_rest(y, classes) without unknown classes"
            )
        far = np.abs(probability.sum(1) - 1) > 1e-6  # float32 probabilities of many classes sum to 1 +- 1e-6
        if far.any():
            at = int(far.argmax())
            raise EvaluationError(
                f"probabilities of row {at} sum to {probability[at].sum():g} ({far.sum()} such rows); "
                "they must sum to 1. Pass logits through softmax first."
            )
        loss = self._loss(labels, probability)
        return lambda weights: np.asarray(weights @ loss / weights.sum(1))

    @abstractmethod
    def _loss(self, labels: Floats, probability: Floats) -> Floats:
        """(N,) loss of each row."""


@final
class MulticlassBrier(_OneHot):
    """Squared distance of the K probabilities from the class that happened, 0 to 2. Brier (1950)."""

    name, label = "multiclass_brier", "Brier"

    def _loss(self, labels: Floats, probability: Floats) -> Floats:
        return np.asarray(np.square(probability - labels).sum(1))


@final
class MulticlassLogLoss(_OneHot):
    """Mean negative log probability of the class that happened, in nats."""

    name, label = "multiclass_log_loss", "Log loss"

    def _loss(self, labels: Floats, probability: Floats) -> Floats:
        return -np.log(inside((probability * labels).sum(1)))


multiclass_brier = MulticlassBrier()
multiclass_log_loss = MulticlassLogLoss()


def _inherit(average: ColumnMetric, metric: BinaryMetric, how: str) -> None:
    average.name, average.label = f"{how}_{metric.name}", f"{metric.label} ({how})"
    average.higher_is_better, average.best = metric.higher_is_better, metric.best
    average.needs_both_classes, average.undefined = metric.needs_both_classes, metric.undefined


def _same(labels: Floats, score: Floats) -> None:
    if labels.shape != score.shape:
        raise EvaluationError(
            f"scores have shape {score.shape} for labels {labels.shape}; they must be alike"
        )
