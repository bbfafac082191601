"""One modality's uniforms as a pair of logs."""

from collections.abc import Sequence
from functools import cached_property, reduce
from typing import NamedTuple, final, overload

import torch
from torch import Tensor

from sklar.special import anywhere, log1mexp

_QUICK = 32_768  # elements from which on additions overtake a reduction


class Column(NamedTuple):
    """One modality's uniforms: log u and, where it is known more precisely than log u tells, log(1-u)."""

    log_u: Tensor
    log_sf: Tensor | None = None

    def survival(self) -> Tensor:
        """log(1-u)."""
        return log1mexp(-self.log_u) if self.log_sf is None else self.log_sf


@final
class Points(Sequence[Column]):
    """Columns that lie one after the other in memory, so that one operation can serve all of them.

    Args:
        log_u: (*batch, M).
        log_sf: The same for log(1-u), if it is known.

    Attributes:
        log_u: (M, *batch).
        log_sf: The same for log(1-u), if it is known.
        u: The same for u itself.
    """

    def __init__(self, log_u: Tensor, log_sf: Tensor | None = None) -> None:
        self._log_u, self._log_sf = log_u, log_sf

    @cached_property
    def log_u(self) -> Tensor:
        # stacking the unbound is four times faster than transposing
        return torch.stack(self._log_u.unbind(-1))

    @cached_property
    def log_sf(self) -> Tensor | None:
        return None if self._log_sf is None else torch.stack(self._log_sf.unbind(-1))

    @property
    def turned(self) -> Tensor:
        """(M, *batch) log u as it lies in memory, for one operation that lays out its result anew."""
        return self._log_u.movedim(-1, 0)

    @property
    def has_log_sf(self) -> bool:
        """Whether log(1-u) is known, without a look at it."""
        return self._log_sf is not None

    def needs_log_sf(self) -> bool:
        """Whether some log u has lost the digits that log(1-u) tells; on an accelerator True unseen."""
        log_u = self._log_u
        return self.has_log_sf and anywhere(log_u.detach().amax() > -torch.finfo(log_u.dtype).eps)

    @cached_property
    def u(self) -> Tensor:
        if torch.is_grad_enabled():
            return torch.exp(self.log_u)
        return torch.exp(self.turned, out=self._log_u.new_empty(self.turned.shape))

    @cached_property
    def _columns(self) -> list[Column]:
        survival = [None] * len(self) if self.log_sf is None else self.log_sf.unbind(0)
        return [Column(*pair) for pair in zip(self.log_u.unbind(0), survival, strict=True)]

    def __len__(self) -> int:
        return self._log_u.shape[-1]

    @overload
    def __getitem__(self, index: int) -> Column: ...
    @overload
    def __getitem__(self, index: slice) -> list[Column]: ...
    def __getitem__(self, index: int | slice) -> Column | list[Column]:
        return self._columns[index]


Observed = Tensor | tuple[Tensor, Tensor]
"""A known modality: log u, or the pair (log u, log(1-u))."""


def completed(columns: Sequence[Column]) -> Sequence[Column]:
    """All with log(1-u) if any of them has it."""
    if isinstance(columns, Points) or all(column.log_sf is None for column in columns):
        return columns
    return [Column(column.log_u, column.survival()) for column in columns]


def apart_from_zero(columns: Sequence[Column]) -> tuple[Tensor, Sequence[Column]]:
    """Where some u is 0, and the columns with those points moved inside, where formulas have slopes."""
    zero = reduce(torch.logical_or, [torch.isinf(column.log_u) for column in columns])
    if not anywhere(zero):
        return zero, columns
    return zero, [Column(torch.where(zero, -1.0, column.log_u), column.log_sf) for column in columns]


def stacked(columns: Sequence[Column], axes: int = 0) -> tuple[Tensor, Tensor | None]:
    """(M, *batch) log u, and log(1-u) if every column has it: one operation then serves all modalities.

    Args:
        columns: One per modality.
        axes: Batch axes of the parameters that the result will meet; they must not meet the modalities'.
    """
    if isinstance(columns, Points):
        log_u, log_sf = columns.log_u, columns.log_sf
    else:
        survival = [column.log_sf for column in columns if column.log_sf is not None]
        log_u = _stack([column.log_u for column in columns])
        log_sf = _stack(survival) if len(survival) == len(columns) else None
    lacking = axes + 1 - log_u.ndim
    if lacking > 0:
        apart = (slice(None), *(None,) * lacking)
        return log_u[apart], None if log_sf is None else log_sf[apart]
    return log_u, log_sf


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


def total_of_all(values: Tensor) -> Tensor:
    """The sum over the first axis; a reduction is quicker to start than additions, and slower to run."""
    return values.sum(0) if values.numel() <= _QUICK else total(values.unbind(0))


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
