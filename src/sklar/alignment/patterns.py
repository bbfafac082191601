"""Rows grouped by the modalities that they have."""

from collections.abc import Iterator

import torch
from jaxtyping import Bool
from torch import Tensor


def patterns(present: Bool[Tensor, "b m"]) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
    """Yield (positions of the rows, columns that are present) for each pattern that occurs.

    At most 2^M groups: what must be done per pattern is done once for all its rows.
    """
    if len(present) and bool(present.all()):
        yield torch.arange(len(present), device=present.device), tuple(range(present.shape[1]))
        return
    # one number per pattern: finding distinct numbers takes an eighth of finding distinct rows
    bits = torch.arange(present.shape[1], device=present.device)
    ordered, order = (present.long() << bits).sum(1).sort(stable=True)
    codes, counts = torch.unique_consecutive(ordered, return_counts=True)
    for code, rows in zip(codes.tolist(), torch.split(order, counts.tolist()), strict=True):
        yield rows, tuple(column for column in range(present.shape[1]) if code >> column & 1)
