"""Recalibrated probabilities and prediction sets, from validation rows that model selection does not see.

An event has one map; of several labels each has its own, and classes have one that keeps their sum at one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from sklar.data.outcome import labelled
from sklar.data.store import PreparedData
from sklar.evaluation import (
    ByLabel,
    Conformal,
    EvaluationError,
    JointRecalibration,
    LabelConformal,
    Recalibration,
    assign_folds,
    brier,
    cross_fitted,
    cross_fitted_classes,
    fit_conformal,
    joint_recalibration_from,
    multiclass_brier,
    one_vs_rest,
    recalibrate,
    recalibrate_classes,
    recalibration_from,
)
from sklar.evaluation.recalibration import Kind
from sklar.types import Predictions, TaskName

Floats = NDArray[np.float64]
Names = NDArray[np.str_]
_Fitted = tuple[Recalibration | JointRecalibration, Conformal | LabelConformal, float, float]
"""A map, its sets, and the Brier score before and after."""

CALIBRATION = "calibration.json"
ENOUGH = 400
"""Labelled validation rows of which a quarter can be spared."""
PARTS = 4
FOLDS = 5
_PLAIN = ("rows", "events", "kept", "brier_before", "brier_after")


class CalibrationConfig(BaseModel):
    """How probabilities are recalibrated; by default they are the model's own.

    With 400 labelled validation rows or more, a quarter of their groups is kept from early stopping and used
    for this alone; with fewer, all of them are used for both.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["none", "logistic", "isotonic"] = "none"
    """Of classes "logistic" is `sklar.evaluation.Softmax`, "isotonic" `sklar.evaluation.OneVsRest`."""
    level: float = Field(default=0.9, gt=0, lt=1)
    """Share of events, and of non-events, whose prediction set holds the truth; of classes, of each."""


@dataclass(frozen=True)
class Calibration:
    """A fitted recalibration and the prediction sets that go with it.

    Attributes:
        recalibration: From the model's probability to the one that is reported.
        conformal: Sets from reported probabilities.
        rows: Labelled rows that both were fitted on.
        events: Events among them; of several labels, rows with any. None of classes.
        kept: Whether these rows were kept from model selection.
        brier_before: Brier score of the model's own probabilities on these rows; of several labels the mean.
        brier_after: Of probabilities recalibrated without the row's own fold.
    """

    recalibration: Recalibration | JointRecalibration
    conformal: Conformal | LabelConformal
    rows: int
    events: int | None
    kept: bool
    brier_before: float
    brier_after: float

    def apply(self, predictions: Predictions) -> Predictions:
        """Predictions whose probabilities and intervals went through the map, which rises."""
        p = predictions.probability
        low, high = (self.ends(p, end) for end in (predictions.low, predictions.high))
        found = replace(predictions, probability=self.recalibration(p), low=low, high=high)
        if predictions.drawn_low is None or predictions.drawn_high is None:
            return found
        low, high = (self.ends(p, end) for end in (predictions.drawn_low, predictions.drawn_high))
        return replace(found, drawn_low=low, drawn_high=high)

    def ends(self, probability: Floats, end: Floats) -> Floats:
        """Ends of intervals around probabilities, of the same shape, after the map."""
        if isinstance(self.recalibration, JointRecalibration):
            return self.recalibration.ends(probability, end)
        return self.recalibration(end)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, ready for JSON."""
        return {
            **{
                name: getattr(self, name)
                for name in ("rows", "events", "kept", "brier_before", "brier_after")
            },
            "recalibration": self.recalibration.to_dict(),
            "conformal": self.conformal.to_dict(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Calibration":
        """What ``to_dict`` described."""
        kind, sets = content["recalibration"]["kind"], content["conformal"]
        read = recalibration_from if kind in ("logistic", "isotonic") else joint_recalibration_from
        return cls(
            recalibration=read(content["recalibration"]),
            conformal=(LabelConformal if "labels" in sets else Conformal).from_dict(sets),
            **{name: content[name] for name in _PLAIN},
        )


@dataclass(frozen=True)
class ValidationRows:
    """What validation rows are for.

    Attributes:
        selection: (S,) positions of the rows that early stopping judges.
        calibration: (C,) positions of the rows that recalibration is fitted on; empty without one.
        kept: Whether the two are apart.
    """

    selection: NDArray[np.int64]
    calibration: NDArray[np.int64]
    kept: bool


def validation_rows(config: CalibrationConfig, data: PreparedData, seed: int) -> ValidationRows:
    """Which validation rows select the model, and which recalibrate it.

    Args:
        config: How.
        data: The prepared folder.
        seed: Of the quarter that is kept, by group and evenly over groups with events.
    """
    rows = data.rows("valid")
    if config.method == "none":
        return ValidationRows(rows, rows[:0], kept=False)
    target = data.target[rows]
    if labelled(target).sum() < ENOUGH:
        return ValidationRows(rows, rows, kept=False)
    any_event = target if target.ndim == 1 else (target == 1).any(1)
    aside = assign_folds(any_event, data.groups[rows], PARTS, seed) == 0
    return ValidationRows(rows[~aside], rows[aside], kept=True)


def calibrate(
    config: CalibrationConfig,
    rows: ValidationRows,
    answer: Callable[[NDArray[np.int64]], Predictions],
    weighted: bool,
    seed: int,
) -> Calibration | None:
    """Fit on the model's predictions of the calibration rows; None where none is asked for.

    The sets come from probabilities that were recalibrated without their own fold, so that rows are not
    judged by a map that knows them.

    Args:
        config: How.
        rows: Which rows.
        answer: The model's predictions of rows by position.
        weighted: Whether rows are weighted for censoring.
        seed: Of the folds.

    Raises:
        EvaluationError: Rows are too few, or hold one label only.
    """
    if config.method == "none":
        return None
    predictions = answer(rows.calibration)
    known = labelled(predictions.target)
    y, p, groups = predictions.target[known], predictions.probability[known], predictions.groups[known]
    weight = predictions.weight[known] if weighted else np.ones(len(y))
    events = None if predictions.task == "multiclass" else int((y == 1).reshape(len(y), -1).any(1).sum())
    fit = _FITS[predictions.task]
    try:
        fitted = fit(config.method, config.level, y, p, groups, weight, seed)
    except EvaluationError as error:
        among = "" if events is None else f" with {events} events"
        raise EvaluationError(
            f"calibration.method={config.method} on {len(y)} validation rows{among}: "
            f"{error}. Train with --set calibration.method=none"
        ) from error
    recalibration, conformal, before, after = fitted
    return Calibration(recalibration, conformal, len(y), events, rows.kept, before, after)


def _fit_event(
    kind: Kind, level: float, y: Floats, p: Floats, groups: Names, weight: Floats, seed: int
) -> tuple[Recalibration, Conformal, float, float]:
    honest = cross_fitted(kind, y, p, groups, weight, FOLDS, seed)
    conformal = fit_conformal(y, honest, level, weight, by_label=True)
    return recalibrate(kind, y, p, weight), conformal, brier(y, p, weight), brier(y, honest, weight)


def _fit_labels(
    kind: Kind, level: float, y: Floats, p: Floats, groups: Names, weight: Floats, seed: int
) -> _Fitted:
    parts = []
    for own, predicted in zip(y.T, p.T, strict=True):
        known = ~np.isnan(own)
        columns = (own[known], predicted[known], groups[known], weight[known])
        parts.append(_fit_event(kind, level, *columns, seed))
    maps, sets, before, after = zip(*parts, strict=True)
    return ByLabel(maps), LabelConformal(sets), float(np.mean(before)), float(np.mean(after))


def _fit_classes(
    kind: Kind, level: float, y: Floats, p: Floats, groups: Names, weight: Floats, seed: int
) -> _Fitted:
    events = one_vs_rest(y, p.shape[1])
    honest = cross_fitted_classes(kind, y, p, groups, weight, FOLDS, seed)
    conformal = fit_conformal(y, honest, level, weight, by_label=True)
    before, after = (multiclass_brier(events, own, weight) for own in (p, honest))
    return recalibrate_classes(kind, y, p, weight), conformal, before, after


_FITS: dict[TaskName, Callable[[Kind, float, Floats, Floats, Names, Floats, int], _Fitted]] = {
    "binary": _fit_event,
    "multilabel": _fit_labels,
    "multiclass": _fit_classes,
}
