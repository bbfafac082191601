"""Several models and several metrics on one set of draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sklar.evaluation.bootstrap import replicates, summarise
from sklar.evaluation.catalogue import metric_by_name
from sklar.evaluation.checks import EvaluationError, Floats, check_groups, check_weight
from sklar.evaluation.comparison import Comparison, contrast
from sklar.evaluation.draws import by_outcome, resample_weights, too_few
from sklar.evaluation.estimate import Estimate
from sklar.evaluation.metric import Metric
from sklar.evaluation.testing import holm


@dataclass(frozen=True)
class Ranking:
    """Models against the best one.

    Attributes:
        best: The model with the best value.
        tied: It and every model whose interval to it contains zero: what a table sets in bold.
        comparisons: Per other model, it minus the best, with an interval at the level that Holm's method
            gives it.
        adjusted: Per other model, its p-value after Holm's method.
    """

    best: str
    tied: frozenset[str]
    comparisons: Mapping[str, Comparison]
    adjusted: Mapping[str, float]


@dataclass(frozen=True)
class Resampled:
    """Metrics of models on the rows, and on the same R replicates of them.

    Attributes:
        metrics: By name.
        values: Per model and metric.
        replicates: Per model and metric (R,), NaN-free; the same replicate has the same rows for all.
    """

    metrics: Mapping[str, Metric]
    values: Mapping[str, Mapping[str, float]]
    replicates: Mapping[str, Mapping[str, Floats]]

    def estimate(self, model: str, metric: str) -> Estimate:
        """A metric of a model with its 95 % percentile interval."""
        return summarise(self.values[model][metric], self.replicates[model][metric])

    def compare(self, model: str, other: str, metric: str, alpha: float = 0.05) -> Comparison:
        """Paired difference of two models, with a 1 - alpha interval."""
        return contrast(
            self.values[model][metric] - self.values[other][metric],
            self.replicates[model][metric] - self.replicates[other][metric],
            alpha,
        )

    def rank(self, metric: str, alpha: float = 0.05) -> Ranking:
        """Every model against the best, adjusted by Holm's step-down method.

        Of m comparisons, the one with the smallest p-value gets a 1 - alpha / m interval, the next one
        1 - alpha / (m - 1), and so on until one contains zero; from there on none is told apart. The best is
        chosen on the same rows, which the adjustment does not know.

        Args:
            metric: Its name.
            alpha: Probability of telling any model apart that is as good.
        """
        sign = 1 if self.metrics[metric].higher_is_better else -1
        best = max(self.values, key=lambda model: sign * self.values[model][metric])
        plain = {model: self.compare(model, best, metric) for model in self.values if model != best}
        order = sorted(plain, key=lambda model: plain[model].p_value)
        found, tied, apart = {}, {best}, True
        for index, model in enumerate(order):
            found[model] = self.compare(model, best, metric, alpha / (len(order) - index))
            apart = apart and not found[model].low <= 0 <= found[model].high
            if not apart:
                tied.add(model)
        adjusted = holm([comparison.p_value for comparison in plain.values()]) if plain else ()
        return Ranking(
            best=best,
            tied=frozenset(tied),
            comparisons={model: found[model] for model in plain},
            adjusted=dict(zip(plain, map(float, adjusted), strict=True)),
        )


def resample(
    metrics: Sequence[Metric | str],
    y: ArrayLike,
    scores: Mapping[str, ArrayLike],
    groups: ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
    weight: ArrayLike | None = None,
    *,
    ids: ArrayLike | None = None,
    stratified: bool = False,
) -> Resampled:
    """Judge several models by several metrics on one set of draws.

    Args:
        metrics: Metrics or their names.
        y: (N,) labels, 0 or 1; (N, K) where the metrics are of several outcomes.
        scores: Per model (N,) or (N, K).
        groups: (N,) names of what was sampled; each row is its own group when not given.
        resamples: Number of replicates.
        seed: Equal seeds on equal groups give equal draws.
        weight: (N,) case weights.
        ids: (N,) names of the rows; a warning tells when they repeat and no groups are given.
        stratified: Draw groups with an event and groups without one apart.
    """
    judged = [metric_by_name(metric) for metric in metrics]
    if not judged or not scores:
        raise EvaluationError(
            f"{len(judged)} metrics of {len(scores)} models; at least one of each is needed"
        )
    rows = len(np.asarray(y))
    names = check_groups(groups, rows, ids)
    for metric in judged:
        metric.check_classes(y, check_weight(weight, rows))
    both = any(metric.needs_both_classes for metric in judged)
    reason = too_few(y, names, weight) if both else ""
    if reason:
        raise EvaluationError(f"{reason}; that is too few for intervals. Take more rows")
    strata = by_outcome(y, names) if stratified else None
    counts = resample_weights(names, resamples, seed, y if both else None, weight, strata)
    return Resampled(
        metrics={metric.name: metric for metric in judged},
        values={
            model: {metric.name: metric(y, score, weight) for metric in judged}
            for model, score in scores.items()
        },
        replicates={
            model: {metric.name: replicates(metric, y, score, counts, weight) for metric in judged}
            for model, score in scores.items()
        },
    )
