"""Recalibration of several outputs at once: labels each apart, classes so that they still sum to one."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from sklar.evaluation.checks import EvaluationError, Floats, check_groups, check_probability, check_weight
from sklar.evaluation.metrics import inside
from sklar.evaluation.outcomes import one_vs_rest
from sklar.evaluation.recalibration import (
    Kind,
    Recalibration,
    assign_folds,
    recalibrate,
    recalibration_from,
)


class JointRecalibration(ABC):
    """A map of the probabilities of K outputs."""

    @abstractmethod
    def __call__(self, probability: ArrayLike) -> Floats:
        """(..., K) recalibrated probabilities, in the shape given."""

    @abstractmethod
    def ends(self, probability: Floats, ends: Floats) -> Floats:
        """(N, K) where one end of an interval around each of (N, K) probabilities comes to lie.

        The map rises in each output, so an interval still holds its probability.
        """

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, ready for JSON; ``joint_recalibration_from`` reads them."""


@final
@dataclass(frozen=True)
class ByLabel(JointRecalibration):
    """Each of L labels has a map of its own.

    Attributes:
        maps: L maps.
    """

    maps: tuple[Recalibration, ...]

    def __call__(self, probability: ArrayLike) -> Floats:
        return _each(self.maps, probability)

    def ends(self, probability: Floats, ends: Floats) -> Floats:
        return self(ends)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "labels", "maps": [own.to_dict() for own in self.maps]}


class _Classes(JointRecalibration):
    """A map of K class probabilities that sum to one, before and after."""

    def ends(self, probability: Floats, ends: Floats) -> Floats:
        """An end of one class is mapped with the other classes in proportion to what they had."""
        rest = 1 - probability
        # a class that has everything leaves the others nothing to share
        share = np.divide(1 - ends, rest, out=np.zeros_like(rest), where=rest > 0)
        columns = []
        for k in range(probability.shape[1]):
            moved = probability * share[:, [k]]
            moved[:, k] = ends[:, k]
            columns.append(self(moved)[:, k])
        return np.stack(columns, axis=1)


@final
@dataclass(frozen=True)
class Softmax(_Classes):
    """softmax(slope log p + bias): temperature scaling with a bias of each class.

    Of two classes this is the map of `Logistic`. Source: Guo et al. (2017) for the temperature, 1 / slope;
    Alexandari, Kundaje and Shrikumar (2020) for the biases.

    Attributes:
        slope: Above 0; below 1 where the model was too sure.
        biases: K, the first of them 0.
    """

    slope: float
    biases: tuple[float, ...]

    def __call__(self, probability: ArrayLike) -> Floats:
        x = np.log(inside(np.asarray(probability, dtype=np.float64)))
        return np.asarray(softmax(self.slope * x + np.array(self.biases), axis=-1))

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "softmax", "slope": self.slope, "biases": list(self.biases)}


@final
@dataclass(frozen=True)
class OneVsRest(_Classes):
    """Each class has a map of its own, against the rest; the results are divided by their sum.

    Where all of them are zero, classes are equally likely. Source: Zadrozny and Elkan (2002).

    Attributes:
        maps: K maps.
    """

    maps: tuple[Recalibration, ...]

    def __call__(self, probability: ArrayLike) -> Floats:
        found = _each(self.maps, probability)
        total = found.sum(axis=-1, keepdims=True)
        even = np.full_like(found, 1 / len(self.maps))
        return np.asarray(np.divide(found, total, out=even, where=total > 0))

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "one_vs_rest", "maps": [own.to_dict() for own in self.maps]}


def recalibrate_classes(
    kind: Kind, y: ArrayLike, probability: ArrayLike, weight: ArrayLike | None = None
) -> JointRecalibration:
    """Fit a map of class probabilities: ``logistic`` a `Softmax`, ``isotonic`` a `OneVsRest`.

    Args:
        kind: Of ``recalibrate``.
        y: (N,) classes from 0, of rows that neither fitted nor selected the model.
        probability: (N, K) that sum to one.
        weight: (N,) case weights.

    Raises:
        EvaluationError: A class without rows, or probabilities that separate the classes or fall with them.
    """
    predicted = np.asarray(probability, dtype=np.float64)
    labels = one_vs_rest(y, predicted.shape[-1])
    predicted = check_probability(predicted, labels.shape)
    weights = check_weight(weight, len(labels))
    if (lost := np.flatnonzero(weights @ labels == 0)).size:
        raise EvaluationError(
            f"none of the {len(labels)} rows to calibrate on has class {lost[0]} (counted from 0); each "
            "class must occur. Take more rows"
        )
    if kind == "isotonic":
        maps = [recalibrate(kind, own, p, weights) for own, p in zip(labels.T, predicted.T, strict=True)]
        return OneVsRest(tuple(maps))
    if kind != "logistic":
        raise EvaluationError(f"no recalibration is called {kind!r}; choose logistic or isotonic")
    return _softmax(labels, np.log(inside(predicted)), weights / weights.sum())


def cross_fitted_classes(
    kind: Kind,
    y: ArrayLike,
    probability: Floats,
    groups: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    folds: int = 5,
    seed: int = 0,
) -> Floats:
    """(N, K) class probabilities, each row recalibrated by a map that was fitted without its fold.

    Args:
        kind: Of ``recalibrate``.
        y: (N,) classes from 0.
        probability: (N, K).
        groups: (N,) names of what was sampled, which stay in one fold.
        weight: (N,) case weights.
        folds: Number of folds.
        seed: Of the folds.
    """
    classes, weights = np.asarray(y), check_weight(weight, len(probability))
    fold = assign_folds(classes, check_groups(groups, len(classes)), folds, seed)
    out = np.empty(probability.shape)
    for index in range(folds):
        own = fold == index
        out[own] = recalibrate_classes(kind, classes[~own], probability[~own], weights[~own])(
            probability[own]
        )
    return out


def joint_recalibration_from(content: Mapping[str, Any]) -> JointRecalibration:
    """The map that ``to_dict`` described."""
    kind = content.get("kind")
    if kind == "softmax":
        return Softmax(float(content["slope"]), tuple(map(float, content["biases"])))
    several = {"labels": ByLabel, "one_vs_rest": OneVsRest}
    if kind not in several:
        raise EvaluationError(f"no recalibration is called {kind!r}; it is labels, softmax or one_vs_rest")
    return several[kind](tuple(map(recalibration_from, content["maps"])))


def _each(maps: tuple[Recalibration, ...], probability: ArrayLike) -> Floats:
    values = np.asarray(probability, dtype=np.float64)
    if values.shape[-1] != len(maps):
        raise EvaluationError(f"probabilities of {values.shape[-1]} outputs for {len(maps)} maps")
    return np.stack([own(values[..., k]) for k, own in enumerate(maps)], axis=-1)


def _softmax(labels: Floats, x: Floats, weights: Floats) -> Softmax:
    """Maximum likelihood; the loss is convex in slope and biases."""
    loss = _Loss(labels, x, weights)
    start = np.concatenate(([1.0], np.zeros(labels.shape[1] - 1)))
    derivatives = {"jac": loss.slope, "hess": loss.curvature}
    found = minimize(loss.value, start, method="trust-exact", tol=1e-10, **derivatives)
    fitted = Softmax(float(found.x[0]), (0.0, *map(float, found.x[1:])))
    chance = (labels * fitted(np.exp(x))).sum(1)[weights > 0]
    # where every row's own class is the likely one, a steeper slope is always better
    separated = chance.min() > 0.5 or fitted.slope > _STEEPEST
    if separated or not fitted.slope > 0:
        why = "separate the classes" if separated else f"fall as risk rises (slope {fitted.slope:.3g})"
        raise EvaluationError(
            f"the {len(chance)} probabilities to calibrate on {why}, so no logistic map fits. Take more "
            "rows, or look at the model"
        )
    return fitted


_STEEPEST = 1e3
"""A slope that only probabilities that separate the classes, but for ties, reach."""


@dataclass(frozen=True)
class _Loss:
    """Weighted mean negative log likelihood of (slope, biases of all classes but the first).

    Attributes:
        labels: (N, K) 0 or 1.
        x: (N, K) log probabilities.
        weights: (N,) that sum to one.
    """

    labels: Floats
    x: Floats
    weights: Floats

    def value(self, at: Floats) -> float:
        return -float(self.weights @ (self.labels * log_softmax(self._logits(at), axis=1)).sum(1))

    def slope(self, at: Floats) -> Floats:
        gap = (softmax(self._logits(at), axis=1) - self.labels) * self.weights[:, None]
        return np.concatenate(([(gap * self.x).sum()], gap.sum(0)[1:]))

    def curvature(self, at: Floats) -> Floats:
        q = softmax(self._logits(at), axis=1)
        weighted = q * self.weights[:, None]
        mean = (q * self.x).sum(1, keepdims=True)
        centred = self.x - mean
        cross = (weighted * centred).sum(0)
        among = np.diag(weighted.sum(0)) - weighted.T @ q
        whole = np.block(
            [[np.array([[(weighted * centred * self.x).sum()]]), cross[None]], [cross[:, None], among]]
        )
        return np.delete(np.delete(whole, 1, axis=0), 1, axis=1)  # the first class has no bias

    def _logits(self, at: Floats) -> Floats:
        return np.asarray(at[0] * self.x + np.concatenate(([0.0], at[1:])))
