"""What a metric is: a judge that sorts its rows once and then weighs them as often as needed."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from sklar.evaluation.checks import (
    EvaluationError,
    Floats,
    Labels,
    check_label_columns,
    check_labels,
    check_probability,
    check_score,
    check_weight,
)

Judge = Callable[[Floats], Floats]
"""Maps (R, N) weights to (R,) values of a metric, NaN where it is undefined."""


class Metric(ABC):
    """A number that says how well scores agree with labels.

    A bootstrap replicate is nothing but a row of count weights, so every metric judges many weightings of the
    same rows at once.

    Attributes:
        name: Key in ``METRICS``, for those that have one.
        label: What a table prints.
        higher_is_better: Which end of the scale is the good one.
        best: Value of a perfect prediction; the nearer, the better.
        needs_both_classes: Whether the metric is undefined when one class carries no weight.
        undefined: What rows do on which the metric has no value.
    """

    name: str
    label: str
    higher_is_better: bool = True
    best: float = 1.0
    needs_both_classes: bool = True
    undefined: str = "hold one label only"

    def __call__(self, y: ArrayLike, score: ArrayLike, weight: ArrayLike | None = None) -> float:
        """The metric of one weighting.

        Args:
            y: (N,) labels, 0 or 1.
            score: (N,) scores, or probabilities of label 1.
            weight: (N,) non-negative weights, one each when not given.

        Raises:
            EvaluationError: The metric is undefined on these rows, or the arrays do not fit each other.
        """
        weights = check_weight(weight, len(np.asarray(y)))
        self.check_classes(y, weights)
        with np.errstate(invalid="ignore", divide="ignore"):
            value = float(self._judge(y, score)(weights[None])[0])
        if np.isnan(value):
            raise EvaluationError(f"{self.name} is undefined here: these rows {self.undefined}")
        return value

    def judge(self, y: ArrayLike, score: ArrayLike) -> Judge:
        """Sort once, then map (R, N) weights to (R,) values as often as needed.

        The weights are trusted; values are NaN where the metric is undefined.
        """
        self.check_classes(y, np.ones(len(np.asarray(y))))
        return self._judge(y, score)

    @abstractmethod
    def check_classes(self, y: ArrayLike, weight: Floats) -> None:
        """Refuse rows on which the metric is undefined, because one label carries no weight."""

    @abstractmethod
    def _judge(self, y: ArrayLike, score: ArrayLike) -> Judge:
        """The map from (R, N) weights to (R,) values; the arrays are checked here."""


class BinaryMetric(Metric):
    """A metric of (N,) scores of one outcome."""

    def check_classes(self, y: ArrayLike, weight: Floats) -> None:
        if not self.needs_both_classes:
            return
        counted = check_labels(y)[weight > 0]
        if counted.all() or not counted.any():
            only = int(bool(counted.any()))
            raise EvaluationError(
                f"{self.name}: all {len(counted)} rows with weight have label {only}; "
                "both labels must occur. Take more rows, or use 'brier', which is defined for one class."
            )

    def _judge(self, y: ArrayLike, score: ArrayLike) -> Judge:
        labels = check_labels(y)
        return self._prepare(labels, self._check_score(score, len(labels)))

    def _check_score(self, score: ArrayLike, rows: int) -> Floats:
        return check_score(score, rows)

    @abstractmethod
    def _prepare(self, labels: Labels, score: Floats) -> Judge:
        """The map from (R, N) weights to (R,) values."""


class ProbabilisticMetric(BinaryMetric):
    """A metric that reads scores as probabilities."""

    def _check_score(self, score: ArrayLike, rows: int) -> Floats:
        return check_probability(score, rows)


class ColumnMetric(Metric):
    """A metric of (N, K) scores of K outcomes, of which a label may be unknown (NaN).

    ``y`` and ``score`` are (N, K); ``one_vs_rest`` makes such labels of N classes.
    """

    def check_classes(self, y: ArrayLike, weight: Floats) -> None:
        labels = check_label_columns(y)
        if not self.needs_both_classes:
            return
        counted = labels[weight > 0]
        lacking = [k for k, column in enumerate(counted.T) if len(np.unique(column[~np.isnan(column)])) < 2]
        if lacking:
            raise EvaluationError(
                f"{self.name}: outcome {lacking[0]} ({len(lacking)} such outcomes) has one label only in "
                f"{len(counted)} rows with weight. Leave it out of y and score, or take more rows."
            )

    def _judge(self, y: ArrayLike, score: ArrayLike) -> Judge:
        labels = check_label_columns(y)
        scores = np.asarray(score, dtype=np.float64)
        return self._prepare(labels, scores.reshape(-1, 1) if scores.ndim == 1 else scores)

    @abstractmethod
    def _prepare(self, labels: Floats, score: Floats) -> Judge:
        """The map from (R, N) weights to (R,) values."""
