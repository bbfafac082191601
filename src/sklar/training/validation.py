"""How good predictions of a split are, whatever the kind of target."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from sklar.errors import TrainingError
from sklar.evaluation import auroc, average_precision
from sklar.types import TaskName

Floats = NDArray[np.float64]


def judge(
    task: TaskName, y: Float[Any, "n *k"], p: Float[Any, "n k"], weight: Float[Any, " n"]
) -> dict[str, float]:
    """AUROC and average precision of labelled rows.

    Several labels are judged one by one and averaged, classes one against the rest; those of which the rows
    have only one side are left out.

    Args:
        task: What the target is.
        y: Targets, NaN where unknown.
        p: Probabilities.
        weight: Of the rows.

    Raises:
        TrainingError: There is nothing to judge by.
    """
    scores = []
    for outcome, probability in _outcomes(task, y, p):
        known = ~np.isnan(outcome)
        if len(set(outcome[known])) < 2:
            continue
        scores.append(list(_scores(outcome[known], probability[known], weight[known]).values()))
    if not scores:
        known = ~np.isnan(y).reshape(len(y), -1).all(1)
        what = f"{int(np.nansum(y))} events" if task == "binary" else "no outcome with both sides"
        raise TrainingError(
            f"the validation split has {int(known.sum())} labelled rows and {what}; early stopping needs "
            "rows with and without an event: prepare the data with another split"
        )
    best = np.mean(scores, 0)
    return {"valid_auroc": float(best[0]), "valid_average_precision": float(best[1])}


def by_output(
    task: TaskName,
    outputs: Sequence[str],
    y: Float[Any, "n *k"],
    p: Float[Any, "n k"],
    weight: Float[Any, " n"],
) -> dict[str, Any]:
    """AUROC and average precision of every output, and of all (row, output) pairs pooled.

    Args:
        task: What the target is, of several outputs.
        outputs: Their names.
        y: Targets, NaN where unknown.
        p: Probabilities.
        weight: Of the rows.

    Returns:
        ``{"micro": {...}, "outputs": {name: {...}}}``; None for an output of which the rows have one side.
    """
    pairs = list(_outcomes(task, y, p))
    found = {}
    for name, (outcome, probability) in zip(outputs, pairs, strict=True):
        known = ~np.isnan(outcome)
        both = len(set(outcome[known])) == 2
        found[name] = _scores(outcome[known], probability[known], weight[known]) if both else None
    events, scores, weights = (
        np.concatenate(parts) for parts in zip(*((*pair, weight) for pair in pairs), strict=True)
    )
    known = ~np.isnan(events)
    return {"micro": _scores(events[known], scores[known], weights[known]), "outputs": found}


def _scores(y: Floats, p: Floats, weight: Floats) -> dict[str, float]:
    return {metric.name: float(metric(y, p, weight)) for metric in (auroc, average_precision)}


def _outcomes(task: TaskName, y: Floats, p: Floats) -> Iterator[tuple[Floats, Floats]]:
    """Pairs of (N,) 0, 1 or NaN, and (N,) probabilities."""
    if task != "multiclass":
        yield from zip(y.reshape(len(y), -1).T, p.T, strict=True)
        return
    for label in range(p.shape[1]):
        yield np.where(np.isnan(y), np.nan, y == label), p[:, label]
