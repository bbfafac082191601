"""Rows grouped by the modalities that they have."""

from collections.abc import Iterator

import torch
from jaxtyping import Bool
from torch import Tensor


def patterns(present: Bool[Tensor, "b m"]) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
    """Yield (positions of the rows, columns that are present) for each pattern that occurs.

    At most 2^M groups: what must be done per pattern is done once for all its rows.
    """
    distinct, member = torch.unique(present, dim=0, return_inverse=True)
    for index, pattern in enumerate(distinct.tolist()):
        rows = (member == index).nonzero().squeeze(1)
        yield rows, tuple(column for column, there in enumerate(pattern) if there)
