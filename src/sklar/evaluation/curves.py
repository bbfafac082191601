"""The curves whose areas are AUROC and AUPR."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sklar.evaluation.checks import Floats, check_labels, check_score, check_weight
from sklar.evaluation.metrics import auroc


@dataclass(frozen=True)
class Curve:
    """Points (K,) from the strictest to the most lenient threshold."""

    x: Floats
    y: Floats


def roc_curve(y: ArrayLike, score: ArrayLike, weight: ArrayLike | None = None) -> Curve:
    """False positive rate (x) and true positive rate (y); linear between points."""
    true, false = _called(y, score, weight)
    return Curve(false / false[-1], true / true[-1])


def precision_recall_curve(y: ArrayLike, score: ArrayLike, weight: ArrayLike | None = None) -> Curve:
    """Recall (x) and precision (y); a step that keeps the precision of its right end."""
    true, false = _called(y, score, weight)
    true, false = true[1:], false[1:]
    precision = true / (true + false)
    return Curve(np.concatenate(([0.0], true / true[-1])), np.concatenate((precision[:1], precision)))


def _called(y: ArrayLike, score: ArrayLike, weight: ArrayLike | None) -> tuple[Floats, Floats]:
    """(K + 1,) weight of events and of non-events at or above each distinct score, from none to all."""
    labels = check_labels(y)
    scores = check_score(score, len(labels))
    weights = check_weight(weight, len(labels))
    auroc.check_classes(labels, weights)
    labels, scores, weights = labels[weights > 0], scores[weights > 0], weights[weights > 0]
    _, level = np.unique(-scores, return_inverse=True)
    true, false = np.bincount(level, weights * labels), np.bincount(level, weights * ~labels)
    return np.concatenate(([0.0], np.cumsum(true))), np.concatenate(([0.0], np.cumsum(false)))
