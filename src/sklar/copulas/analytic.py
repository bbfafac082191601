"""Log densities that carry their first derivatives in closed form.

Autograd would record some thirty small operations per density and walk back through each. A kernel computes
value and slopes in one pass over shared intermediates, which takes a third of the time; derivatives of higher
order come from differentiating the slopes themselves, so kernels are written in differentiable operations.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Size, Tensor

from sklar.copulas.columns import Column, Points, completed, stacked, total

_CHUNK = 16_384  # points that stay in the cache of one core while a kernel passes over them


Components = Sequence[Tensor] | Tensor
"""Derivatives in what lies along the last axis of an argument.

One tensor per component, broadcastable to the value, or all of them stacked along a first axis.
"""


class Slopes(NamedTuple):
    """First derivatives of a log density.

    Attributes:
        parameters: Of each tensor of parameters, in the order in which the kernel takes them.
        log_u: Per modality.
        log_sf: The same where log(1-u) was given. Each coordinate's derivative is split between the
            two logs: following both is following the point.
    """

    parameters: Sequence[Components]
    log_u: Components
    log_sf: Components = ()


Kernel = Callable[[Sequence[Tensor], Points, bool], tuple[Tensor, Slopes | None]]
"""(parameters, points, whether slopes are wanted) -> (log density, slopes)."""


def analytic_density(
    kernel: Kernel, parameters: Sequence[Tensor], log_u: Tensor, log_sf: Tensor | None = None
) -> Tensor:
    """The kernel's value, differentiable any number of times.

    Args:
        kernel: Elementwise over the batch: each point depends on its own columns and parameters alone.
        parameters: Tensors (*batch, components), whose batches broadcast.
        log_u: (*batch, M).
        log_sf: log(1-u); the kernel sees it for all modalities or for none.
    """
    points = (log_u,) if log_sf is None else (log_u, log_sf)
    value: Tensor = _Density.apply(kernel, len(parameters), *parameters, *points)  # type: ignore[no-untyped-call]
    return value


def density_of_columns(kernel: Kernel, parameters: Sequence[Tensor], columns: Sequence[Column]) -> Tensor:
    """The same from columns, whose shapes may differ and of which some may lack log(1-u)."""
    log_u, log_sf = stacked(completed(columns))
    axes = None if log_sf is None else log_sf.movedim(0, -1)
    return analytic_density(kernel, parameters, log_u.movedim(0, -1), axes)


class _Density(torch.autograd.Function):
    """Of the parameters and then the points, each with its components along the last axis."""

    @staticmethod
    def forward(ctx: Any, kernel: Kernel, n_parameters: int, *inputs: Tensor) -> Tensor:
        ctx.kernel, ctx.n_parameters = kernel, n_parameters
        wanted = any(ctx.needs_input_grad)
        value, slopes = _in_chunks(kernel, n_parameters, inputs, wanted)
        if wanted:
            ctx.save_for_backward(*inputs, *slopes)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        inputs, slopes = saved[: len(saved) // 2], saved[len(saved) // 2 :]
        if torch.is_grad_enabled():  # a second derivative will be asked for
            slopes = _evaluate(ctx.kernel, ctx.n_parameters, inputs, True)[1]
        triples = zip(ctx.needs_input_grad[2:], inputs, slopes, strict=True)
        found = [_collected(grad, slope, given) if wanted else None for wanted, given, slope in triples]
        return None, None, *found


def _collected(grad: Tensor, slopes: Tensor, given: Tensor) -> Tensor:
    """The derivative in an input: grad * slopes, summed over the axes along which the input does not vary.

    A large one in pieces, so that the products, which nobody else needs, stay in the cache.
    """
    if grad.numel() <= 2 * _CHUNK or given.ndim > grad.ndim:
        return _reduced(grad, slopes, given.shape).to(given.dtype)
    rows = max(1, _CHUNK * len(grad) // grad.numel())
    pieces = zip(torch.split(grad, rows), torch.split(slopes, rows, 1), strict=True)
    return total([_reduced(one, other, given.shape) for one, other in pieces]).to(given.dtype)


def _reduced(grad: Tensor, slopes: Tensor, shape: Size) -> Tensor:
    change = grad * slopes
    if len(shape) == 1:
        return change.flatten(1).sum(1) if change.ndim > 1 else change
    change = change.movedim(0, -1)
    return change if change.shape == shape else change.sum_to_size(shape)


def _apply(
    kernel: Kernel, n_parameters: int, inputs: Sequence[Tensor], wanted: bool
) -> tuple[Tensor, Sequence[Components]]:
    """The value, and the slopes of every input."""
    points = inputs[n_parameters:]
    # Modalities will lie along a first axis, which the batch of the parameters must not meet.
    lacking = max(given.ndim for given in inputs) - points[0].ndim
    if lacking > 0:
        points = [log[(None,) * lacking] for log in points]
    value, slopes = kernel(inputs[:n_parameters], Points(*points), wanted)
    if slopes is None:
        return value, []
    return value, [*slopes.parameters, slopes.log_u, slopes.log_sf][: len(inputs)]


def _evaluate(
    kernel: Kernel, n_parameters: int, inputs: Sequence[Tensor], wanted: bool
) -> tuple[Tensor, list[Tensor]]:
    """The same with the components of all slopes along a first axis."""
    value, slopes = _apply(kernel, n_parameters, inputs, wanted)
    return value, [_whole(part, value.shape) for part in slopes]


def _whole(slopes: Components, shape: Size) -> Tensor:
    """Slopes of all components as one tensor, each of the value's shape."""
    if isinstance(slopes, Tensor) and slopes.shape[1:] == shape:
        return slopes
    alike = [slope if slope.shape == shape else slope.expand(shape) for slope in slopes]
    return torch.stack(alike) if len(alike) > 1 else alike[0].unsqueeze(0)


def _in_chunks(
    kernel: Kernel, n_parameters: int, inputs: Sequence[Tensor], wanted: bool
) -> tuple[Tensor, list[Tensor]]:
    """The kernel over pieces of the first batch axis, when the whole would not fit in the cache."""
    points = inputs[-1]
    if points.numel() <= 2 * _CHUNK * points.shape[-1] or points.device.type != "cpu":
        return _evaluate(kernel, n_parameters, inputs, wanted)
    batch = Size(torch.broadcast_shapes(*[given.shape[:-1] for given in inputs]))  # type: ignore[no-untyped-call]
    rows = max(1, _CHUNK * batch[0] // batch.numel())
    split = [given.ndim == len(batch) + 1 and len(given) > 1 for given in inputs]
    value, slopes = points.new_empty(()), list[Tensor]()
    for start in range(0, batch[0], rows):
        piece = slice(start, min(start + rows, batch[0]))
        cut = [given[piece] if whole else given for given, whole in zip(inputs, split, strict=True)]
        part, parts = _apply(kernel, n_parameters, cut, wanted)
        if start == 0:
            value = part.new_empty(batch)
            slopes = [rows[0].new_empty((len(rows), *batch)) for rows in parts]
        value[piece] = part
        for target, components in zip(slopes, parts, strict=True):
            for row, component in zip(target, components, strict=True):
                row[piece] = component
    return value, slopes
