"""Recalibrated probabilities and prediction sets, from validation rows that model selection does not see."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from sklar.data.store import PreparedData
from sklar.evaluation import (
    Conformal,
    EvaluationError,
    Recalibration,
    assign_folds,
    brier,
    cross_fitted,
    fit_conformal,
    recalibrate,
    recalibration_from,
)
from sklar.types import Predictions

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
    level: float = Field(default=0.9, gt=0, lt=1)
    """Share of events, and of non-events, whose prediction set holds the truth."""


@dataclass(frozen=True)
class Calibration:
    """A fitted recalibration and the prediction sets that go with it.

    Attributes:
        recalibration: From the model's probability to the one that is reported.
        conformal: Sets from reported probabilities.
        rows: Labelled rows that both were fitted on.
        events: Events among them.
        kept: Whether these rows were kept from model selection.
        brier_before: Brier score of the model's own probabilities on these rows.
        brier_after: Of probabilities recalibrated without the row's own fold.
    """

    recalibration: Recalibration
    conformal: Conformal
    rows: int
    events: int
    kept: bool
    brier_before: float
    brier_after: float

    def apply(self, predictions: Predictions) -> Predictions:
        """Predictions whose probabilities and intervals went through the map, which rises."""
        mapped = (self.recalibration(p) for p in (predictions.probability, predictions.low, predictions.high))
        probability, low, high = mapped
        return replace(predictions, probability=probability, low=low, high=high)

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
        return cls(
            recalibration=recalibration_from(content["recalibration"]),
            conformal=Conformal.from_dict(content["conformal"]),
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
    known = ~np.isnan(data.target[rows])
    if known.sum() < ENOUGH:
        return ValidationRows(rows, rows, kept=False)
    aside = assign_folds(data.target[rows], data.groups[rows], PARTS, seed) == 0
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
    known = ~np.isnan(predictions.target)
    y, p = predictions.target[known], predictions.probability[known]
    weight = predictions.weight[known] if weighted else np.ones(len(y))
    try:
        honest = cross_fitted(config.method, y, p, predictions.groups[known], weight, FOLDS, seed)
        return Calibration(
            recalibration=recalibrate(config.method, y, p, weight),
            conformal=fit_conformal(y, honest, config.level, weight, by_label=True),
            rows=len(y),
            events=int(y.sum()),
            kept=rows.kept,
            brier_before=brier(y, p, weight),
            brier_after=brier(y, honest, weight),
        )
    except EvaluationError as error:
        raise EvaluationError(
            f"calibration.method={config.method} on {len(y)} validation rows with {int(y.sum())} events: "
            f"{error}. Train with --set calibration.method=none"
        ) from error
