"""One modality's uniforms as a pair of logs."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sklar.special import log1mexp


class Column(NamedTuple):
    """One modality's uniforms: log u and, where it is known more precisely than log u tells, log(1-u)."""

    log_u: Tensor
    log_sf: Tensor | None = None

    def survival(self) -> Tensor:
        """log(1-u)."""
        return log1mexp(-self.log_u) if self.log_sf is None else self.log_sf


Observed = Tensor | tuple[Tensor, Tensor]
"""A known modality: log u, or the pair (log u, log(1-u))."""


def stacked(columns: Sequence[Column]) -> tuple[Tensor, Tensor | None]:
    """(M, *batch) log u, and log(1-u) if every column has it: one operation then serves all modalities."""
    survival = [column.log_sf for column in columns if column.log_sf is not None]
    log_sf = _stack(survival) if len(survival) == len(columns) else None
    return _stack([column.log_u for column in columns]), log_sf


def _stack(values: Sequence[Tensor]) -> Tensor:
    if any(value.shape != values[0].shape for value in values):
        values = torch.broadcast_tensors(*values)  # type: ignore[no-untyped-call]
    return torch.stack(tuple(values))


def total(values: Sequence[Tensor]) -> Tensor:
    """The sum of tensors; the builtin starts from a number, one operation more."""
    result = values[0]
    for value in values[1:]:
        result = result + value
    return result


def largest_first(values: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """The largest value at each point, and the others in no particular order."""
    largest, others = values[0], []
    for value in values[1:]:
        if torch.is_grad_enabled():  # maximum would halve gradients where two are equal, and lose curvature
            above = value > largest
            largest, other = torch.where(above, value, largest), torch.where(above, largest, value)
        else:
            largest, other = torch.maximum(largest, value), torch.minimum(largest, value)
        others.append(other)
    return largest, others
