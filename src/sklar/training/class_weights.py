"""Weights of training rows by their class, for outcomes of which one side is rare."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sklar.data.schema import Schema
from sklar.errors import UserError, nearest

NONE, BALANCED = "none", "balanced"


def class_weights(
    given: str | Mapping[str, float], schema: Schema, target: NDArray[np.float64], rows: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """(N,) factor of every row's task loss; None where all are one.

    "balanced" is n / (K n_c) for a row of class c, of which there are n_c among n labelled training rows: all
    K classes weigh alike.

    Args:
        given: "none", "balanced", or per class its factor; of one event the classes are "0" and "1".
        schema: What the outcome is.
        target: (N,) the class of every row, NaN where it is unknown.
        rows: (R,) the training rows.

    Raises:
        UserError: There are several labels, which have no class, or a class is unknown.
    """
    if given == NONE:
        return None
    if schema.task == "multilabel":
        raise UserError(
            f"training.class_weight with {len(schema.labels)} labels: a row has one weight, which cannot "
            "suit all of them. Leave it out, or give rows weights of their own"
        )
    names = schema.classes or ("0", "1")
    if isinstance(given, str):
        known = target[rows][~np.isnan(target[rows])].astype(np.int64)
        counts = np.bincount(known, minlength=len(names))
        factors = len(known) / (
            len(names) * np.maximum(counts, 1)
        )  # of a class without rows nothing is asked
    else:
        if unknown := [name for name in given if name not in names]:
            raise UserError(
                f"training.class_weight names class {unknown[0]!r}; there are {', '.join(names)}"
                f"{nearest(unknown[0], names)}"
            )
        factors = np.array([given.get(name, 1.0) for name in names])
    return np.where(np.isnan(target), 1.0, factors[np.nan_to_num(target).astype(np.int64)])
