"""Recalibration of a run that is finished already, on rows that it has not seen."""

from dataclasses import replace
from typing import Literal

import numpy as np

from sklar import runs
from sklar.data.cohort import Cohort
from sklar.estimator.holder import RunHolder
from sklar.runs.folder import to_json
from sklar.training.calibration import CALIBRATION, CalibrationConfig, ValidationRows, calibrate
from sklar.training.files import write


def recalibrate(
    holder: RunHolder, cohort: Cohort, method: Literal["logistic", "isotonic"], seed: int
) -> None:
    """Fit a map from the model's own probabilities to those that are reported, and keep it with the run.

    Args:
        holder: The run.
        cohort: Labelled patients.
        method: The kind of map.
        seed: Of the folds that judge it.

    Raises:
        EvaluationError: The rows are too few, or have one class only.
    """
    run = holder.run
    bare = replace(run, path=run.path)
    bare.__dict__["calibration"] = None
    found = runs.answer(bare, cohort)
    every = np.arange(len(found.ids))
    config = CalibrationConfig(method=method)
    fitted = calibrate(config, ValidationRows(every[:0], every, kept=True), lambda _: found, False, seed)
    if fitted is not None:
        write(holder.path / CALIBRATION, to_json(fitted.to_dict()))
        holder.forget()
