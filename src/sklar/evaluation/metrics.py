"""Metrics of a binary prediction, exact under ties and under weights.

Every metric sorts the scores once and then judges any number of weightings of the same rows, because
a bootstrap replicate is nothing but a row of count weights.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Judge = Callable[[Floats], Floats]
"""Maps (R, N) weights to (R,) values of a metric."""


class Metric(ABC):
    """A number that says how well scores agree with labels.

    Attributes:
        name: Key in ``METRICS``.
        label: What a table prints.
        higher_is_better: Which end of the scale is the good one.
        needs_both_classes: Whether the metric is undefined when one class carries no weight.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    higher_is_better: ClassVar[bool] = True
    needs_both_classes: ClassVar[bool] = True

    def __call__(self, y: ArrayLike, score: ArrayLike, weight: ArrayLike | None = None) -> float:
        """The metric of one weighting.

        Args:
            y: (N,) labels, 0 or 1.
            score: (N,) scores, or probabilities of label 1.
            weight: (N,) non-negative weights, one each when not given.
        """
        labels = check_labels(y)
        weights = check_weight(weight, len(labels))
        self.check_classes(labels, weights)
        return float(self._judge(labels, score)(weights[None])[0])

    def judge(self, y: ArrayLike, score: ArrayLike) -> Judge:
        """Sort once, then map (R, N) weights to (R,) values as often as needed.

        The weights are trusted: no row may leave a class without weight.
        """
        labels = check_labels(y)
        self.check_classes(labels, np.ones(len(labels)))
        return self._judge(labels, score)

    def _judge(self, labels: NDArray[np.bool_], score: ArrayLike) -> Judge:
        return self._prepare(labels, self._check_score(score, len(labels)))

    def check_classes(self, labels: NDArray[np.bool_], weight: Floats) -> None:
        """Refuse rows on which the metric is undefined, because one label carries no weight."""
        if not self.needs_both_classes:
            return
        counted = labels[weight > 0]
        if counted.all() or not counted.any():
            only = int(bool(counted.any()))
            raise ValueError(
                f"{self.name}: all {len(counted)} rows with weight have label {only}; "
                "both labels must occur. Take more rows, or use 'brier', which is defined for one class."
            )

    def _check_score(self, score: ArrayLike, rows: int) -> Floats:
        return check_score(score, rows)

    @abstractmethod
    def _prepare(self, labels: NDArray[np.bool_], score: Floats) -> Judge:
        """The map from (R, N) weights to (R,) values."""


class _Probabilistic(Metric):
    """A proper score: the weighted mean of a loss of each row."""

    higher_is_better = False
    needs_both_classes = False

    def _check_score(self, score: ArrayLike, rows: int) -> Floats:
        return check_probability(score, rows)

    def _prepare(self, labels: NDArray[np.bool_], score: Floats) -> Judge:
        loss = self._loss(labels, score)
        return lambda weights: np.asarray(weights @ loss / weights.sum(1))

    @abstractmethod
    def _loss(self, labels: NDArray[np.bool_], probability: Floats) -> Floats:
        """(N,) loss of each row."""


@final
class AUROC(Metric):
    """Area under the ROC curve: P(score of an event > score of a non-event), ties count one half.

    Source: Hanley and McNeil (1982), the Mann-Whitney form.
    """

    name = "auroc"
    label = "AUROC"

    def _prepare(self, labels: NDArray[np.bool_], score: Floats) -> Judge:
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
class AveragePrecision(Metric):
    """Sum over thresholds of the gain in recall times the precision there (stepwise, no interpolation).

    Equal scores share one threshold. This is scikit-learn's ``average_precision_score``.
    """

    name = "average_precision"
    label = "AUPR"

    def _prepare(self, labels: NDArray[np.bool_], score: Floats) -> Judge:
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


@final
class Brier(_Probabilistic):
    """Mean squared distance of the probability from the outcome. Source: Brier (1950)."""

    name = "brier"
    label = "Brier"

    def _loss(self, labels: NDArray[np.bool_], probability: Floats) -> Floats:
        return np.square(probability - labels)


@final
class LogLoss(_Probabilistic):
    """Mean negative log likelihood, in nats."""

    name = "log_loss"
    label = "Log loss"

    def _loss(self, labels: NDArray[np.bool_], probability: Floats) -> Floats:
        # one machine epsilon from 0 and 1 (scikit-learn's bound), so that a rounded 0 costs 36 nats, not inf
        bound = float(np.finfo(np.float64).eps)
        kept = np.clip(probability, bound, 1 - bound)
        return -np.log(np.where(labels, kept, 1 - kept))


auroc = AUROC()
average_precision = AveragePrecision()
brier = Brier()
log_loss = LogLoss()

METRICS: dict[str, Metric] = {metric.name: metric for metric in (auroc, average_precision, brier, log_loss)}


def metric_by_name(metric: Metric | str) -> Metric:
    """The metric itself, or the one that ``METRICS`` holds under this name."""
    if isinstance(metric, Metric):
        return metric
    if metric not in METRICS:
        raise ValueError(f"no metric is called {metric!r}; choose one of {', '.join(sorted(METRICS))}")
    return METRICS[metric]


def check_labels(y: ArrayLike) -> NDArray[np.bool_]:
    """(N,) labels as booleans; anything but 0 and 1 is refused."""
    labels = np.asarray(y)
    if labels.ndim != 1 or labels.size == 0:
        raise ValueError(f"labels have shape {labels.shape}; one label a row is needed, and at least one row")
    odd = ~np.isin(labels, (0, 1))
    if odd.any():
        at = int(odd.argmax())
        raise ValueError(
            f"label {labels[at]} at row {at} ({odd.sum()} such rows); labels must be 0 or 1. "
            "Map the classes to 0 and 1, and drop rows without a label."
        )
    return labels.astype(bool)


def check_score(score: ArrayLike, rows: int) -> Floats:
    """(N,) scores without NaN."""
    scores = np.asarray(score, dtype=np.float64)
    if scores.shape != (rows,):
        raise ValueError(f"scores have shape {scores.shape} for {rows} labels; give one score a label")
    bad = np.isnan(scores)
    if bad.any():
        raise ValueError(
            f"score {scores[int(bad.argmax())]} at row {int(bad.argmax())} ({bad.sum()} such rows); "
            "scores must be numbers. Look for a diverged model, or drop the rows from every model."
        )
    return scores


def check_probability(probability: ArrayLike, rows: int) -> Floats:
    """(N,) probabilities in [0, 1]."""
    values = check_score(probability, rows)
    outside = (values < 0) | (values > 1)
    if outside.any():
        at = int(outside.argmax())
        raise ValueError(
            f"probability {values[at]} at row {at} ({outside.sum()} such rows); probabilities lie in [0, 1]. "
            "Pass logits through the sigmoid first."
        )
    return values


def check_weight(weight: ArrayLike | None, rows: int) -> Floats:
    """(N,) finite, non-negative weights with a positive sum; ones when not given."""
    if weight is None:
        return np.ones(rows)
    weights = np.asarray(weight, dtype=np.float64)
    if weights.shape != (rows,):
        raise ValueError(f"weights have shape {weights.shape} for {rows} labels; give one weight a label")
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        at = int(bad.argmax())
        raise ValueError(
            f"weight {weights[at]} at row {at} ({bad.sum()} such rows); "
            "weights must be finite and not negative. Give rows that should not count the weight 0."
        )
    if not weights.any():
        raise ValueError(f"all {rows} weights are 0; at least one row must count")
    return weights


def _sorted(index: NDArray[np.intp], score: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Rows in ascending order of their score, and those scores."""
    order = index[np.argsort(score[index], kind="stable")]
    return order, score[order]


def _cumulated(weights: Floats) -> Floats:
    """(K + 1, R) sums of the first 0, 1, ..., K rows of (K, R)."""
    total = np.zeros((len(weights) + 1, weights.shape[1]))
    np.cumsum(weights, axis=0, out=total[1:])
    return total
