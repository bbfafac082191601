"""Predictions of patients who are in no prepared folder."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sklar.data.cohort import Cohort
from sklar.data.tables import first
from sklar.errors import DataError
from sklar.runs.run import Run
from sklar.training.predict import predict
from sklar.types import Predictions

OnEmpty = Literal["error", "prior"]
"""What is answered to a row of which nothing was observed: nothing, or how often it happened in training."""


def answer(
    run: Run, cohort: Cohort, draws: int | None = None, seed: int | None = None, on_empty: OnEmpty = "error"
) -> Predictions:
    """Predict a cohort in memory with the statistics, tokenizers and calibration of a run.

    Args:
        run: A finished run of a model.
        cohort: Patients, read with the run's schema.
        draws: Draws of the missing latents, by default those of the configuration.
        seed: Of the draws, by default that of the run.
        on_empty: Rows with no modality: "error", or "prior", the share of events in training.

    Raises:
        UserError: The run is a reference model, which keeps no weights.
        DataError: A row has no modality, and that is not accepted.
    """
    data, documents = run.patients(cohort)
    empty = ~data.present.any(1)
    if on_empty == "error":
        refuse_empty(cohort)
    draws, seed = draws or run.config.training.draws, run.config.seed if seed is None else seed
    found = run.reported(predict(run.model, data, np.arange(len(data.ids)), documents, draws, seed))
    if not empty.any():
        return found
    base = prior(run)
    names = ("probability", "low", "high", "drawn_low", "drawn_high")
    columns = {name: own.copy() for name in names if (own := getattr(found, name)) is not None}
    for values in columns.values():
        values[empty] = base if values.ndim > 1 else base[0]
    return replace(found, **columns)


def refuse_empty(cohort: Cohort) -> None:
    """Nothing if every row has a modality.

    Raises:
        DataError: One has none.
    """
    empty = np.asarray((cohort.rows < 0).all(axis=1))
    if empty.any():
        raise DataError(
            f"{int(empty.sum())} rows have no observed modality (first: {cohort.schema.id} "
            f"{cohort.ids[first(empty)].as_py()!r}). Nothing can be predicted of them: drop them, or pass "
            'on_empty="prior" for the share of events in training'
        )


def prior(run: Run) -> NDArray[np.float64]:
    """(K,) how often each output happened in the training rows; of classes the shares."""
    counts: dict[str, Any] = run.data["counts"]["train"]
    tallies = [counts["outputs"][name] for name in run.schema.outputs] if "outputs" in counts else [counts]
    return np.array([own["events"] / max(own["labelled"], 1) for own in tallies])
