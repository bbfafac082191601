"""How a model holds up as more and more modalities are missing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sklar.evaluation.bootstrap import replicates, resample_weights_for, summarise
from sklar.evaluation.catalogue import metric_by_name
from sklar.evaluation.checks import EvaluationError, check_label_columns, check_labels
from sklar.evaluation.estimate import Estimate
from sklar.evaluation.hiding import Predict, answer, at_risk, check_present, hide
from sklar.evaluation.metric import Metric

RATES = tuple(tenth / 10 for tenth in range(10))
"""0, 10, ..., 90 %."""


@dataclass(frozen=True)
class StressCurve:
    """A metric as more and more is hidden.

    Attributes:
        rates: (T,) probability with which each present modality was hidden.
        kept: (T,) share of the modalities at risk that stayed; above 1 - rate, as each row keeps one.
        estimates: T estimates; their intervals are over rows, for the one set of modalities that was hidden.
    """

    rates: tuple[float, ...]
    kept: tuple[float, ...]
    estimates: tuple[Estimate, ...]


def stress_curve(
    metric: Metric | str,
    predict: Predict,
    y: ArrayLike,
    present: ArrayLike,
    rates: Sequence[float] = RATES,
    groups: ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
    weight: ArrayLike | None = None,
    *,
    rows: ArrayLike | None = None,
    columns: Sequence[int] | None = None,
    judged: ArrayLike | None = None,
) -> StressCurve:
    """A metric on rows whose modalities are hidden at rising rates, all rates on the same draws.

    Args:
        metric: A metric or its name.
        predict: Of the N rows.
        y: (N,) labels, 0 or 1; (N, K) where the metric is of several outcomes.
        present: (N, M) true where a modality was observed.
        rates: T probabilities of hiding a present modality.
        groups: (N,) names of what was sampled.
        resamples: Number of replicates.
        seed: Of what is hidden, and of the draws.
        weight: (N,) case weights.
        rows: (N,) true where rows may lose modalities: missingness of one subgroup; all by default.
        columns: Positions of the modalities that may be lost; all by default.
        judged: (N,) true where rows are judged: the curve of one subgroup; all by default.
    """
    labels = check_labels(y) if np.ndim(y) == 1 else check_label_columns(y)
    there = check_present(present, len(labels))
    chosen = np.ones(len(labels), dtype=bool) if judged is None else np.asarray(judged, dtype=bool)
    named = metric_by_name(metric)
    part = [None if given is None else np.asarray(given)[chosen] for given in (groups, weight)]
    counts = resample_weights_for(named, labels[chosen], part[0], resamples, seed, part[1])
    exposed = at_risk(there, rows, columns)
    if not exposed.any():
        raise EvaluationError("no modality can be hidden: none is present in the chosen rows and columns")
    kept, estimates = [], []
    for rate in rates:
        seen = hide(there, rate, seed, rows, columns)
        score = answer(predict, seen)[chosen]
        values = replicates(named, labels[chosen], score, counts, part[1])
        estimates.append(summarise(named(labels[chosen], score, part[1]), values))
        kept.append(float((seen & exposed).sum() / exposed.sum()))
    return StressCurve(tuple(float(rate) for rate in rates), tuple(kept), tuple(estimates))
