"""Predictions in steps that are coarse enough to be shared."""

import numpy as np
from numpy.typing import NDArray


def coarse(y: NDArray[np.int64], probability: NDArray[np.float64], smallest: int) -> NDArray[np.float64]:
    """(N,) ranks of the probabilities, each of at least ``smallest`` events and as many other rows.

    A curve of them has no step that tells of fewer. Equal probabilities share a rank, and there is one rank
    where events or others are fewer than twice as many.

    Args:
        y: (N,) labels, 0 or 1.
        probability: (N,) predicted probability of label 1.
        smallest: Least events, and others, of a rank.
    """
    order = np.argsort(-probability, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(probability[order]) != 0, True))
    events = np.cumsum(y[order])[ends]
    others = ends + 1 - events
    last: list[int] = []
    told = np.zeros(2, dtype=np.int64)
    while True:  # a turn for each step, of which there are at most N / (2 smallest)
        want = told + smallest
        at = int(max(np.searchsorted(events, want[0]), np.searchsorted(others, want[1])))
        if at >= len(ends) or min(events[-1] - events[at], others[-1] - others[at]) < smallest:
            break
        told = np.array([events[at], others[at]])
        last.append(int(ends[at]))
    rank = np.empty(len(y))
    rank[order] = -np.searchsorted(last, np.arange(len(y)), side="left").astype(np.float64)
    return rank
