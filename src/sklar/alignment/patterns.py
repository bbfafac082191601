"""Rows grouped by the modalities that they have."""

from collections.abc import Iterator

import torch
from jaxtyping import Bool
from torch import Tensor


def patterns(present: Bool[Tensor, "b m"]) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
    """Yield (positions of the rows, columns that are present) for each pattern that occurs.

    At most 2^M groups: what must be done per pattern is done once for all its rows.
    """
    # one number per pattern: finding distinct numbers takes an eighth of finding distinct rows
    bits = torch.arange(present.shape[1], device=present.device)
    codes, member, counts = torch.unique(
        (present.long() << bits).sum(1), return_inverse=True, return_counts=True
    )
    groups = member.argsort(stable=True).split(counts.tolist())
    for code, rows in zip(codes.tolist(), groups, strict=True):
        yield rows, tuple(column for column in range(present.shape[1]) if code >> column & 1)
