"""Prediction sets that hold the truth as often as they promise, whatever the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklar.evaluation.checks import EvaluationError, Floats, check_probability, check_weight


@dataclass(frozen=True)
class Conformal:
    """Split conformal sets: label k is in the set where 1 - p_k is at most a threshold.

    Attributes:
        level: Share of rows whose set holds the truth, at least, on average over calibration sets.
        thresholds: K thresholds, infinite where calibration rows are too few to leave the label out. Equal
            for all labels unless they were fitted by label.
        by_label: Whether the level is promised for rows of each label rather than for all rows together.
        rows: Number of calibration rows.
    """

    level: float
    thresholds: tuple[float, ...]
    by_label: bool
    rows: int

    def sets(self, probability: ArrayLike) -> NDArray[np.bool_]:
        """(N, K) which labels are in the set; both, or none, say that the model does not know.

        Args:
            probability: (N,) of label 1, or (N, K) of K classes.
        """
        p = _by_class(probability, len(np.asarray(probability)))
        if p.shape[1] != len(self.thresholds):
            raise EvaluationError(
                f"probabilities of {p.shape[1]} classes for {len(self.thresholds)} thresholds"
            )
        return np.asarray(1 - p <= np.array(self.thresholds))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, ready for JSON, with null for an infinite threshold."""
        thresholds = [value if np.isfinite(value) else None for value in self.thresholds]
        return {"level": self.level, "thresholds": thresholds, "by_label": self.by_label, "rows": self.rows}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Conformal":
        """The sets that ``to_dict`` described."""
        thresholds = tuple(np.inf if value is None else float(value) for value in content["thresholds"])
        return cls(float(content["level"]), thresholds, bool(content["by_label"]), int(content["rows"]))


@dataclass(frozen=True)
class LabelConformal:
    """Split conformal sets of L labels, each from its own rows.

    Attributes:
        labels: L of them, of one event each.
    """

    labels: tuple[Conformal, ...]

    def sets(self, probability: ArrayLike) -> NDArray[np.bool_]:
        """(N, L, 2) whether 0, and 1, is in the set of each label.

        Args:
            probability: (N, L) of 1.
        """
        p = np.asarray(probability, dtype=np.float64)
        if p.ndim != 2 or p.shape[1] != len(self.labels):
            raise EvaluationError(f"probabilities have shape {p.shape} for {len(self.labels)} labels")
        return np.stack([own.sets(column) for own, column in zip(self.labels, p.T, strict=True)], axis=1)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, ready for JSON."""
        return {"labels": [own.to_dict() for own in self.labels]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "LabelConformal":
        """The sets that ``to_dict`` described."""
        return cls(tuple(map(Conformal.from_dict, content["labels"])))


def fit_conformal(
    y: ArrayLike,
    probability: ArrayLike,
    level: float = 0.9,
    weight: ArrayLike | None = None,
    *,
    by_label: bool = False,
) -> Conformal:
    r"""Thresholds from rows that neither fitted nor selected the model.

    The threshold is the $\lceil (n + 1) \text{level} \rceil$-th smallest of the n scores $1 - p_y$, infinite
    where there is none. New rows must be exchangeable with these; rows of one patient are not, so give one
    row a patient where the promise matters. With weights it is the weighted quantile, with a mean weight for
    the new row, which the promise holds for only roughly.

    Source: Vovk, Gammerman and Shafer (2005); by label: Vovk (2012), "Mondrian", and Sadinle, Lei and
    Wasserman (2019), by whom sets of several classes are the least ambiguous ones.

    Args:
        y: (N,) labels 0 or 1, or classes 0 to K - 1.
        probability: (N,) of label 1, or (N, K) of K classes.
        level: Promised share, in (0, 1).
        weight: (N,) case weights.
        by_label: Fit a threshold for each label, which protects the rare one.
    """
    labels = np.asarray(y)
    if labels.ndim != 1 or labels.size == 0:
        raise EvaluationError(f"labels have shape {labels.shape}; one label a row, and at least one row")
    p = _by_class(probability, len(labels))
    if not np.isin(labels, np.arange(p.shape[1])).all():
        raise EvaluationError(f"labels must be whole numbers from 0 to {p.shape[1] - 1}, known for every row")
    if not 0 < level < 1:
        raise EvaluationError(f"level is {level:g}; it lies between 0 and 1, such as 0.9")
    weights = check_weight(weight, len(labels))
    score = 1 - p[np.arange(len(labels)), labels.astype(np.intp)]
    counted = weights > 0
    parts = [counted & (labels == k) for k in range(p.shape[1])] if by_label else [counted] * p.shape[1]
    thresholds = tuple(_quantile(score[part], weights[part], level) for part in parts)
    return Conformal(float(level), thresholds, by_label, int(counted.sum()))


def _quantile(score: Floats, weights: Floats, level: float) -> float:
    """The smallest score with ``level`` of the weight at or below it, one more row lying at infinity."""
    if not len(score):
        return float("inf")
    order = np.argsort(score, kind="stable")
    mass = np.cumsum(weights[order])
    # a part of the last bit, so that 0.9 of 10 + 1 rows is reached by the 10th and not missed by rounding
    wanted = level * (mass[-1] + weights.mean()) * (1 - 1e-12)
    at = int(np.searchsorted(mass, wanted, "left"))
    return float(score[order][at]) if at < len(score) else float("inf")


def _by_class(probability: ArrayLike, rows: int) -> Floats:
    """(N, K) class probabilities, of one probability those of labels 0 and 1."""
    values = np.asarray(probability, dtype=np.float64)
    if values.ndim == 1:
        p = check_probability(values, rows)
        return np.stack((1 - p, p), axis=1)
    return check_probability(values, (rows, values.shape[1] if values.ndim == 2 else 0))
