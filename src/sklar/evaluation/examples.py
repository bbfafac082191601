"""Which rows to look at one by one."""

import numpy as np
from numpy.typing import NDArray


def spread(
    risk: NDArray[np.float64], count: int, among: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Positions of at most ``count`` of the N rows, spread evenly over the predicted risk from low to high.

    Args:
        risk: (N,) predictions.
        count: Rows wanted.
        among: (N,) rows that may be taken; all by default.
    """
    free = np.arange(len(risk)) if among is None else np.flatnonzero(among)
    ranked = free[np.argsort(risk[free], kind="stable")]
    if len(ranked) <= count:
        return ranked
    places = np.linspace(0.05, 0.99, count) * (len(ranked) - 1)
    _, first = np.unique(places.astype(int), return_index=True)
    return np.asarray(ranked[places.astype(int)[first]])
