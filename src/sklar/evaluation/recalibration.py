"""Maps that make predicted probabilities agree with what happened, fitted on rows that trained nothing."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression
from scipy.special import expit

from sklar.evaluation.checks import (
    EvaluationError,
    Floats,
    Index,
    check_groups,
    check_labels,
    check_probability,
    check_weight,
)
from sklar.evaluation.logistic import fit_line, logit

Kind = Literal["logistic", "isotonic"]


class Recalibration(ABC):
    """A rising map from predicted to recalibrated probability."""

    @abstractmethod
    def __call__(self, probability: ArrayLike) -> Floats:
        """(...) recalibrated probabilities, in the shape given."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, ready for JSON; ``recalibration_from`` reads them."""


@final
@dataclass(frozen=True)
class Logistic(Recalibration):
    """expit(intercept + slope logit(p)); keeps the ranking as long as the slope is positive.

    Source: Cox (1958); Platt (1999) without his shrinkage of the labels.
    """

    intercept: float
    slope: float

    def __call__(self, probability: ArrayLike) -> Floats:
        values = np.asarray(probability, dtype=np.float64)
        return np.asarray(expit(self.intercept + self.slope * logit(values)))

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "logistic", "intercept": self.intercept, "slope": self.slope}


@final
@dataclass(frozen=True)
class Isotonic(Recalibration):
    """Linear between K points, constant beyond; it may tie what was ranked.

    Source: Zadrozny and Elkan (2002), with lines between the blocks' means.

    Attributes:
        x: (K,) rising predicted probabilities.
        y: (K,) observed shares, not falling.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]

    def __call__(self, probability: ArrayLike) -> Floats:
        return np.asarray(np.interp(np.asarray(probability, dtype=np.float64), self.x, self.y))

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "isotonic", "x": list(self.x), "y": list(self.y)}


def recalibrate(
    kind: Kind, y: ArrayLike, probability: ArrayLike, weight: ArrayLike | None = None
) -> Recalibration:
    """Fit a map by name.

    Args:
        kind: ``logistic`` has two parameters and suits few rows; ``isotonic`` takes any rising shape and
            wants a thousand rows or more (Niculescu-Mizil and Caruana 2005).
        y: (N,) labels, 0 or 1, of rows that neither fitted nor selected the model.
        probability: (N,) predicted probability of label 1.
        weight: (N,) case weights.

    Raises:
        EvaluationError: One label only, or probabilities that separate the labels or fall with them.
    """
    labels = check_labels(y)
    predicted = check_probability(probability, len(labels))
    weights = check_weight(weight, len(labels))
    counted = weights > 0
    if len(np.unique(labels[counted])) < 2:
        raise EvaluationError(
            f"the {counted.sum()} rows to calibrate on have one label only; both must occur. Take more rows"
        )
    if kind == "logistic":
        intercept, slope = (float(found[0]) for found in fit_line(labels, logit(predicted), weights[None]))
        if not slope > 0:
            why = "separate the labels" if np.isnan(slope) else f"fall as risk rises (slope {slope:.3g})"
            raise EvaluationError(
                f"the {counted.sum()} probabilities to calibrate on {why}, so no logistic map fits. "
                "Take more rows, or look at the model"
            )
        return Logistic(intercept, slope)
    if kind != "isotonic":
        raise EvaluationError(f"no recalibration is called {kind!r}; choose logistic or isotonic")
    values, code = np.unique(predicted[counted], return_inverse=True)
    mass = np.bincount(code, weights[counted])
    share = np.bincount(code, weights[counted] * labels[counted]) / mass
    found = isotonic_regression(share, weights=mass)
    ends = np.unique(
        np.concatenate((found.blocks[:-1], found.blocks[1:] - 1))
    )  # first and last of each block
    return Isotonic(tuple(values[ends].tolist()), tuple(np.clip(found.x, 0, 1)[ends].tolist()))


def recalibration_from(content: Mapping[str, Any]) -> Recalibration:
    """The map that ``to_dict`` described."""
    kind = content.get("kind")
    if kind == "logistic":
        return Logistic(float(content["intercept"]), float(content["slope"]))
    if kind == "isotonic":
        return Isotonic(tuple(map(float, content["x"])), tuple(map(float, content["y"])))
    raise EvaluationError(f"no recalibration is called {kind!r}; it is logistic or isotonic")


def cross_fitted(
    kind: Kind,
    y: ArrayLike,
    probability: ArrayLike,
    groups: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    folds: int = 5,
    seed: int = 0,
) -> Floats:
    """(N,) probabilities, each recalibrated by a map that was fitted without the row's fold.

    They tell honestly what recalibration does where rows are too few to keep some aside.

    Args:
        kind: Of ``recalibrate``.
        y: (N,) labels, 0 or 1.
        probability: (N,) predicted probability of label 1.
        groups: (N,) names of what was sampled, which stay in one fold.
        weight: (N,) case weights.
        folds: Number of folds, of which each gets groups with and without events.
        seed: Of the folds.
    """
    labels = check_labels(y)
    predicted, weights = check_probability(probability, len(labels)), check_weight(weight, len(labels))
    fold = assign_folds(labels, check_groups(groups, len(labels)), folds, seed)
    out = np.empty(len(labels))
    for index in range(folds):
        own = fold == index
        out[own] = recalibrate(kind, labels[~own], predicted[~own], weights[~own])(predicted[own])
    return out


def assign_folds(y: ArrayLike, groups: ArrayLike, folds: int, seed: int = 0) -> Index:
    """(N,) fold of each row: groups stay whole, and those with an event are spread evenly."""
    names, code = np.unique(np.asarray(groups), return_inverse=True)
    if not 2 <= folds <= len(names):
        raise EvaluationError(
            f"{folds} folds of {len(names)} groups; take at least 2, and no more than groups"
        )
    event = np.bincount(code, np.nan_to_num(np.asarray(y, dtype=np.float64))) > 0
    chance = np.random.default_rng(seed).random(len(names))
    order = np.lexsort((chance, event))
    place = np.empty(len(names), dtype=np.intp)
    place[order] = np.arange(len(names)) % folds
    return np.asarray(place[code])
