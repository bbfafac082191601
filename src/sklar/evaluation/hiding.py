"""Hiding modalities from a model that could see them.

A model enters as a function ``predict(present) -> (N,) or (N, K) probabilities`` of the same N rows, in which
``present`` (N, M) says what it may look at: never more than is there, and at least one modality a row.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklar.evaluation.checks import EvaluationError, Floats, check_probability

Present = NDArray[np.bool_]
Predict = Callable[[Present], ArrayLike]


def hide(
    present: ArrayLike,
    rate: float,
    seed: int = 0,
    rows: ArrayLike | None = None,
    columns: Sequence[int] | None = None,
) -> Present:
    """(N, M) what is left when each present modality is hidden with the same probability, by chance alone.

    What is hidden at a rate is hidden at every higher one, and a row that would lose its last modality keeps
    the one that chance spares longest. So curves over rates are smooth, and every row stays predictable.

    Args:
        present: (N, M) true where a modality was observed.
        rate: From 0 to 1.
        seed: Of the chance; equal shapes and seeds hide the same.
        rows: (N,) true where rows may lose modalities, such as one subgroup; all by default.
        columns: Positions of the modalities that may be lost; all by default.
    """
    there = check_present(present)
    if not 0 <= rate <= 1:
        raise EvaluationError(f"rate is {rate:g}; the share to hide lies between 0 and 1")
    chance = np.random.default_rng(seed).random(there.shape)
    losing = at_risk(there, rows, columns) & (chance < rate)
    spared = np.where(there, np.where(losing, chance, 2.0), -1.0).argmax(1)
    kept = there & ~losing
    empty = ~kept.any(1) & there.any(1)
    kept[empty, spared[empty]] = True
    return kept


def at_risk(present: Present, rows: ArrayLike | None, columns: Sequence[int] | None) -> Present:
    """(N, M) which present modalities lie in the chosen rows and columns."""
    chosen = np.ones(len(present), dtype=bool) if rows is None else np.asarray(rows, dtype=bool)
    if chosen.shape != (len(present),):
        raise EvaluationError(f"rows has shape {chosen.shape} for {len(present)} rows; it is a boolean a row")
    losing = np.zeros_like(present)
    losing[:, slice(None) if columns is None else list(columns)] = True
    return np.asarray(present & losing & chosen[:, None])


def answer(predict: Predict, seen: Present) -> Floats:
    """(N,) or (N, K) probabilities that a model gives to what it may see."""
    found = np.asarray(predict(seen), dtype=np.float64)
    return check_probability(found, (len(seen), *found.shape[1:]))


def check_present(present: ArrayLike, rows: int | None = None) -> Present:
    """(N, M) true where a modality was observed; of ``rows`` rows, where their number is known."""
    there = np.asarray(present)
    wrong = rows is not None and len(there) != rows
    if there.ndim != 2 or there.size == 0 or there.dtype != np.bool_ or wrong:
        raise EvaluationError(
            f"present has shape {there.shape} of {there.dtype}{'' if rows is None else f' for {rows} rows'}; "
            "it is a boolean for each row and modality"
        )
    return there
