"""One model judged on parts of the rows: by pattern of present modalities, by age, by sex."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklar.evaluation.bootstrap import bootstrap
from sklar.evaluation.catalogue import metric_by_name
from sklar.evaluation.checks import (
    EvaluationError,
    Floats,
    Labels,
    check_groups,
    check_labels,
    check_probability,
    check_weight,
)
from sklar.evaluation.draws import FEWEST, too_few
from sklar.evaluation.estimate import Estimate
from sklar.evaluation.hiding import check_present
from sklar.evaluation.metric import Metric


@dataclass(frozen=True)
class Subgroup:
    """Rows that have something in common.

    Attributes:
        name: What they have in common; of a pattern, the names of the present modalities.
        rows: Their number; None where it is withheld.
        events: Number of events; None where it is withheld.
        predicted: Weighted mean of the predicted risk; None where it is withheld.
        observed: Weighted share of events; None where it is withheld.
        estimates: Per metric; empty where the cell is too small.
        reason: Why there are no estimates; empty where there are.
    """

    name: Any
    rows: int | None
    events: int | None
    predicted: float | None
    observed: float | None
    estimates: Mapping[str, Estimate]
    reason: str


def by_subgroup(
    metrics: Sequence[Metric | str],
    y: ArrayLike,
    probability: ArrayLike,
    subgroup: ArrayLike,
    groups: ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
    weight: ArrayLike | None = None,
    *,
    smallest: int = 0,
    fewest: int = FEWEST,
    classes: ArrayLike | None = None,
) -> tuple[Subgroup, ...]:
    """Metrics with intervals in every subgroup, the largest first.

    Args:
        metrics: Metrics or their names.
        y: (N,) labels, 0 or 1.
        probability: (N,) predicted probability of label 1.
        subgroup: (N,) names.
        groups: (N,) names of what was sampled.
        resamples: Number of replicates.
        seed: Of the draws.
        weight: (N,) case weights; rows of weight 0 do not count.
        smallest: Subgroups with fewer rows, and events or non-events fewer than that, are withheld, and the
            next smallest subgroups with them as long as totals would give them away.
        fewest: Events, and non-events, that estimates need.
        classes: (N,) classes of which label 1 is one, when results on others are shown too: events are
            withheld where those of any class are few, since the others would give them away.
    """
    labels = check_labels(y)
    rows = len(labels)
    names, code = np.unique(np.asarray(subgroup), return_inverse=True)
    if len(code) != rows:
        raise EvaluationError(f"{len(code)} subgroups for {rows} labels; give one subgroup a label")
    predicted, weights = check_probability(probability, rows), check_weight(weight, rows)
    sampled = check_groups(groups, rows)
    sizes = np.bincount(code[weights > 0], minlength=len(names))
    hidden = withheld(sizes, smallest)
    _, kind = np.unique(labels if classes is None else np.asarray(classes), return_inverse=True)
    cells = np.zeros((len(names), kind.max() + 1), dtype=np.int64)
    np.add.at(cells, (code[weights > 0], kind[weights > 0]), 1)
    secret = _secret(cells, hidden, smallest)

    def judge(index: int) -> Subgroup:
        name = names[index].item()
        if hidden[index]:
            return Subgroup(name, None, None, None, None, {}, f"fewer than {smallest} rows, or next to such")
        own = (weights > 0) & (code == index)
        part = labels[own], predicted[own], sampled[own], weights[own]
        return _judge(name, metrics, *part, resamples, seed, bool(secret[index]), smallest, fewest)

    return tuple(judge(int(index)) for index in np.argsort(-sizes, kind="stable") if sizes[index])


def by_pattern(
    metrics: Sequence[Metric | str],
    y: ArrayLike,
    probability: ArrayLike,
    present: ArrayLike,
    modalities: Sequence[str],
    groups: ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
    weight: ArrayLike | None = None,
    *,
    smallest: int = 0,
    fewest: int = FEWEST,
    classes: ArrayLike | None = None,
) -> tuple[Subgroup, ...]:
    """As ``by_subgroup``, for rows that share a pattern of present modalities.

    Args:
        metrics: Metrics or their names.
        y: (N,) labels, 0 or 1.
        probability: (N,) predicted probability of label 1.
        present: (N, M) true where a modality was observed.
        modalities: Names of the M columns; a subgroup's name is the tuple of those present.
        groups: (N,) names of what was sampled.
        resamples: Number of replicates.
        seed: Of the draws.
        weight: (N,) case weights.
        smallest: Of ``by_subgroup``.
        fewest: Of ``by_subgroup``.
        classes: Of ``by_subgroup``.
    """
    there = check_present(present, len(check_labels(y)))
    if there.shape[1] != len(modalities):
        raise EvaluationError(f"present has {there.shape[1]} columns for {len(modalities)} modalities")
    kinds, code = np.unique(there, axis=0, return_inverse=True)
    found = by_subgroup(
        metrics, y, probability, code.reshape(-1),  # numpy 2.0 alone returns a column
        groups, resamples, seed, weight, smallest=smallest, fewest=fewest, classes=classes,
    )  # fmt: skip
    seen = [tuple(m for m, there in zip(modalities, kind, strict=True) if there) for kind in kinds]
    return tuple(replace(part, name=seen[part.name]) for part in found)


def withheld(counts: ArrayLike, smallest: int) -> Labels:
    """(K,) which counts of a partition must not be shown.

    Those from 1 to ``smallest`` - 1; and where there are any, the smallest of the others too, until they are
    two or more and together ``smallest`` or more, since the total minus the rest gives away their sum.
    """
    found = np.asarray(counts)
    return _secret(found[:, None], np.zeros(len(found), dtype=bool), smallest)


def _secret(cells: NDArray[np.int64], hidden: Labels, smallest: int) -> Labels:
    """(K,) which of K subgroups must not tell their (K, C) counts, those that are ``hidden`` included.

    Those with a count from 1 to ``smallest`` - 1; and the smallest of the others, until of each of the C
    counts what is not told is none, or that of two subgroups or more and ``smallest`` or more.
    """
    secret = np.asarray(hidden | ((cells > 0) & (cells < smallest)).any(axis=1))
    filled = cells.sum(axis=1) > 0
    for other in np.argsort(cells.sum(axis=1), kind="stable"):
        untold = cells[secret].sum(axis=0)
        if not secret.any() or (secret.sum() > 1 and not ((untold > 0) & (untold < smallest)).any()):
            break
        secret[other] |= filled[other]
    return secret


def _judge(
    name: Any,
    metrics: Sequence[Metric | str],
    labels: Labels,
    predicted: Floats,
    sampled: NDArray[np.generic],
    weights: Floats,
    resamples: int,
    seed: int,
    secret: bool,
    smallest: int,
    fewest: int,
) -> Subgroup:
    reason = too_few(labels, sampled, weights, fewest)
    if not reason and len(np.unique(sampled)) < 2:
        reason = "one group only"
    estimates = {
        metric.name: bootstrap(metric, labels, predicted, sampled, resamples, seed, weights)
        for metric in map(metric_by_name, metrics)
        if not reason
    }
    if secret:
        reason = f"fewer than {smallest} events or non-events" if reason else ""
    return Subgroup(
        name=name,
        rows=len(labels),
        events=None if secret else int(labels.sum()),
        predicted=float(np.average(predicted, weights=weights)),
        observed=None if secret else float(np.average(labels, weights=weights)),
        estimates=estimates,
        reason=reason,
    )
