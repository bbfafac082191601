"""What every evaluation asks of its arrays; what it cannot judge it refuses, and says why."""

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklar.errors import DataError

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]
Index = NDArray[np.intp]


class EvaluationError(DataError):
    """These rows do not support what was asked of them."""


def check_labels(y: ArrayLike) -> Labels:
    """(N,) labels as booleans; anything but 0 and 1 is refused."""
    labels = np.asarray(y)
    if labels.ndim != 1 or labels.size == 0:
        raise EvaluationError(
            f"labels have shape {labels.shape}; one label a row is needed, and at least one row"
        )
    odd = ~np.isin(labels, (0, 1))
    if odd.any():
        at = int(odd.argmax())
        raise EvaluationError(
            f"label {labels[at]} at row {at} ({odd.sum()} such rows); labels must be 0 or 1. "
            "Map the classes to 0 and 1 (several classes: one_vs_rest), and drop rows without a label."
        )
    return labels.astype(bool)


def check_label_columns(y: ArrayLike) -> Floats:
    """(N, K) labels 0 or 1, NaN where one is unknown; (N,) labels become one column."""
    labels = np.asarray(y, dtype=np.float64)
    if labels.ndim == 1:
        return check_labels(y).astype(np.float64)[:, None]
    if labels.ndim != 2 or labels.size == 0:
        raise EvaluationError(
            f"labels have shape {labels.shape}; rows times outcomes are needed, at least one of each"
        )
    odd = ~(np.isnan(labels) | np.isin(labels, (0, 1)))
    if odd.any():
        row, column = (int(at[0]) for at in np.nonzero(odd))
        raise EvaluationError(
            f"label {labels[row, column]} at row {row} of outcome {column} ({odd.sum()} such labels); "
            "labels must be 0 or 1, or NaN where unknown. Classes 0, 1, 2, ... go through one_vs_rest first."
        )
    return labels


def check_score(score: ArrayLike, shape: int | tuple[int, ...]) -> Floats:
    """(N,) or (N, K) scores without NaN."""
    wanted = (shape,) if isinstance(shape, int) else shape
    scores = np.asarray(score, dtype=np.float64)
    if scores.shape != wanted:
        what = f"{wanted[0]} labels" if len(wanted) == 1 else f"{wanted[0]} rows of {wanted[1]} labels"
        raise EvaluationError(f"scores have shape {scores.shape} for {what}; give one score a label")
    bad = np.isnan(scores)
    if bad.any():
        at = int(np.nonzero(bad)[0][0])
        raise EvaluationError(
            f"score nan at row {at} ({bad.sum()} such rows); "
            "scores must be numbers. Look for a diverged model, or drop the rows from every model."
        )
    return scores


def check_probability(probability: ArrayLike, shape: int | tuple[int, ...]) -> Floats:
    """(N,) or (N, K) probabilities in [0, 1]."""
    values = check_score(probability, shape)
    outside = (values < 0) | (values > 1)
    if outside.any():
        at = int(np.nonzero(outside)[0][0])
        raise EvaluationError(
            f"probability {values[outside][0]} at row {at} ({outside.sum()} such rows); probabilities lie in "
            "[0, 1]. Pass logits through the sigmoid first."
        )
    return values


def check_weight(weight: ArrayLike | None, rows: int) -> Floats:
    """(N,) finite, non-negative weights with a positive sum; ones when not given."""
    if weight is None:
        return np.ones(rows)
    weights = np.asarray(weight, dtype=np.float64)
    if weights.shape != (rows,):
        raise EvaluationError(
            f"weights have shape {weights.shape} for {rows} labels; give one weight a label"
        )
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        at = int(bad.argmax())
        raise EvaluationError(
            f"weight {weights[at]} at row {at} ({bad.sum()} such rows); "
            "weights must be finite and not negative. Give rows that should not count the weight 0."
        )
    if not weights.any():
        raise EvaluationError(f"all {rows} weights are 0; at least one row must count")
    return weights


def check_groups(groups: ArrayLike | None, rows: int, ids: ArrayLike | None = None) -> NDArray[np.generic]:
    """(N,) names of what was sampled: the groups, or each row on its own.

    Args:
        groups: (N,) names, such as patients; None makes every row its own group.
        rows: N.
        ids: (N,) names of the rows. When they repeat and no groups are given, a warning says that rows of
            one id are treated as independent.
    """
    if ids is not None and groups is None:
        names = _one_each(ids, rows, "ids")
        repeated = rows - len(np.unique(names))
        if repeated:
            warnings.warn(
                f"{repeated} of {rows} ids occur before, and rows are judged as if they were independent, "
                "which makes intervals too narrow and p-values too small. Pass groups=ids.",
                stacklevel=3,
            )
    return np.arange(rows) if groups is None else _one_each(groups, rows, "groups")


def match_rows(ids: ArrayLike, wanted: ArrayLike) -> Index:
    """(N,) positions in ``ids`` that bring it into the order of ``wanted``.

    Raises:
        EvaluationError: An id repeats, or the two do not hold the same ids.
    """
    have, want = np.asarray(ids), np.asarray(wanted)
    for names in (have, want):
        kinds, count = np.unique(names, return_counts=True)
        if len(kinds) < len(names):
            raise EvaluationError(
                f"{len(names) - len(kinds)} of {len(names)} ids occur more than once; rows can be matched by "
                f"unique ids only (the most frequent one occurs {count.max()} times). Predict every row once."
            )
    order, target = np.argsort(have, kind="stable"), np.argsort(want, kind="stable")
    if not np.array_equal(have[order], want[target]):
        shared = len(np.intersect1d(have, want))
        raise EvaluationError(
            f"the rows differ: {len(have)} and {len(want)} ids, of which {shared} are shared; a comparison "
            "needs the same rows. Predict the same split of the same prepared folder."
        )
    index = np.empty_like(order)
    index[target] = order
    return index


def check_disjoint(**groups: ArrayLike) -> None:
    """Refuse splits that share a group: ``check_disjoint(train=patients_a, test=patients_b)``.

    A model that has seen a patient is judged too kindly on that patient's other rows.
    """
    names = {split: np.unique(np.asarray(members)) for split, members in groups.items()}
    for split, members in names.items():
        for other in list(names)[: list(names).index(split)]:
            shared = np.intersect1d(members, names[other])
            if len(shared):
                raise EvaluationError(
                    f"{len(shared)} groups have rows in both {other} and {split}, so {split} rows are not "
                    "new to the model. Split by group, and train again."
                )


def _one_each(names: ArrayLike, rows: int, what: str) -> NDArray[np.generic]:
    found = np.asarray(names)
    if found.shape != (rows,):
        count = len(found) if found.ndim else 0
        raise EvaluationError(f"{count} {what} for {rows} labels; give one of {what} a label")
    return found
