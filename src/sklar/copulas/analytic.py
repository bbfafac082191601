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


class Slopes(NamedTuple):
    """First derivatives of a log density.

    Attributes:
        parameters: In the order in which the kernel takes them, broadcastable to the value.
        log_u: One per modality, of the value's shape, or all of them stacked along a first axis.
        log_sf: The same where log(1-u) was given. Each coordinate's derivative is split between the
            two logs: following both is following the point.
        vector: One per component of the vector, broadcastable to the value.
    """

    parameters: Sequence[Tensor]
    log_u: Sequence[Tensor] | Tensor
    log_sf: Sequence[Tensor] | Tensor = ()
    vector: Sequence[Tensor] | Tensor = ()


Kernel = Callable[[Sequence[Tensor], Points, bool], tuple[Tensor, Slopes | None]]
"""(parameters and the vector if there is one, points, whether slopes are wanted) -> (log density, slopes)."""


def analytic_density(
    kernel: Kernel,
    parameters: Sequence[Tensor],
    log_u: Tensor,
    log_sf: Tensor | None = None,
    vector: Tensor | None = None,
) -> Tensor:
    """The kernel's value, differentiable any number of times.

    Args:
        kernel: Elementwise over the batch: each point depends on its own columns and parameters alone.
        parameters: Tensors of batch shape, broadcastable.
        log_u: (*batch, M).
        log_sf: log(1-u); the kernel sees it for all modalities or for none.
        vector: (*batch, components) a parameter of several numbers, broadcastable like the others.
    """
    points = (log_u,) if log_sf is None else (log_u, log_sf)
    several = () if vector is None else (vector,)
    call = _Call(kernel, len(parameters), len(several))
    value: Tensor = _Density.apply(call, *parameters, *several, *points)  # type: ignore[no-untyped-call]
    return value


def density_of_columns(
    kernel: Kernel, parameters: Sequence[Tensor], columns: Sequence[Column], vector: Tensor | None = None
) -> Tensor:
    """The same from columns, whose shapes may differ and of which some may lack log(1-u)."""
    log_u, log_sf = stacked(completed(columns))
    axes = None if log_sf is None else log_sf.movedim(0, -1)
    return analytic_density(kernel, parameters, log_u.movedim(0, -1), axes, vector)


class _Call(NamedTuple):
    """A kernel, and how many parameters and then vectors come before the points."""

    kernel: Kernel
    n_parameters: int
    n_vectors: int

    def __call__(self, inputs: Sequence[Tensor], wanted: bool) -> tuple[Tensor, Slopes | None]:
        points = inputs[self.n_parameters + self.n_vectors :]
        # Modalities will lie along a first axis, which the batch of the parameters must not meet.
        lacking = max(map(len, self.batches(inputs))) + 1 - points[0].ndim
        if lacking > 0:
            points = [log[(None,) * lacking] for log in points]
        return self.kernel(inputs[: -len(points)], Points(*points), wanted)

    def batches(self, inputs: Sequence[Tensor]) -> list[Size]:
        """The batch shapes of parameters, vectors and points."""
        return [given.shape if i < self.n_parameters else given.shape[:-1] for i, given in enumerate(inputs)]

    def columns(self, slopes: Slopes, inputs: Sequence[Tensor]) -> tuple[Sequence[Tensor] | Tensor, ...]:
        """The slopes of the inputs that have columns."""
        found = (slopes.vector, slopes.log_u, slopes.log_sf)[1 - self.n_vectors :]
        return found[: len(inputs) - self.n_parameters]


class _Density(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: _Call, *inputs: Tensor) -> Tensor:
        ctx.call = call
        wanted = any(ctx.needs_input_grad)
        value, slopes = _in_chunks(call, inputs, wanted)
        if wanted:
            ctx.save_for_backward(*inputs, *slopes)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        inputs, slopes = saved[: len(saved) // 2], saved[len(saved) // 2 :]
        if torch.is_grad_enabled():  # a second derivative will be asked for
            slopes = _evaluate(ctx.call, inputs, True)[1]
        found: list[Tensor | None] = []
        for i, (given, slope) in enumerate(zip(inputs, slopes, strict=True)):
            if not ctx.needs_input_grad[1 + i]:
                found.append(None)
            elif i < ctx.call.n_parameters:
                found.append(_collected(grad, slope, given.shape).to(given.dtype))
            else:
                found.append(_collected_columns(grad, slope, given.shape).to(given.dtype))
        return None, *found


def _collected(grad: Tensor, slope: Tensor, shape: Size) -> Tensor:
    """The sum of grad * slope over the axes along which a parameter of this shape does not vary.

    A large one in pieces, so that the products, which nobody else needs, stay in the cache.
    """
    if grad.numel() <= 2 * _CHUNK or slope.shape != grad.shape or len(shape) == grad.ndim:
        change = grad * slope
        return change if change.shape == shape else change.sum_to_size(shape)
    rows = max(1, _CHUNK * len(grad) // grad.numel())
    pieces = zip(torch.split(grad, rows), torch.split(slope, rows), strict=True)
    return total([(one * other).sum_to_size(shape) for one, other in pieces])


def _collected_columns(grad: Tensor, slopes: Tensor, shape: Size) -> Tensor:
    """The same for the slopes of all columns, along a first axis; the result has them along the last."""
    if grad.numel() > 2 * _CHUNK and len(shape) <= grad.ndim:
        return torch.stack([_collected(grad, slope, shape[:-1]) for slope in slopes], -1)
    change = (grad * slopes).movedim(0, -1)
    return change if change.shape == shape else change.sum_to_size(shape)


def _evaluate(call: _Call, inputs: Sequence[Tensor], wanted: bool) -> tuple[Tensor, list[Tensor]]:
    """Value and slopes; those of columns are stacked along a first axis."""
    value, slopes = call(inputs, wanted)
    if slopes is None:
        return value, []
    return value, [*slopes.parameters, *[_whole(part, value.shape) for part in call.columns(slopes, inputs)]]


def _whole(slopes: Sequence[Tensor] | Tensor, shape: Size) -> Tensor:
    """Slopes of all columns as one tensor, each of the value's shape."""
    if isinstance(slopes, Tensor) and slopes.shape[1:] == shape:
        return slopes
    return torch.stack([slope if slope.shape == shape else slope.expand(shape) for slope in slopes])


def _in_chunks(call: _Call, inputs: Sequence[Tensor], wanted: bool) -> tuple[Tensor, list[Tensor]]:
    """The kernel over pieces of the first batch axis, when the whole would not fit in the cache."""
    points = inputs[-1]
    if points.numel() <= 2 * _CHUNK * points.shape[-1] or points.device.type != "cpu":
        return _evaluate(call, inputs, wanted)
    shapes = call.batches(inputs)
    batch = Size(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]
    rows = max(1, _CHUNK * batch[0] // batch.numel())
    split = [len(shape) == len(batch) and shape[0] > 1 for shape in shapes]
    outputs: list[Tensor] = []
    targets: list[Tensor] = []
    for start in range(0, batch[0], rows):
        piece = slice(start, min(start + rows, batch[0]))
        cut = [given[piece] if whole else given for given, whole in zip(inputs, split, strict=True)]
        value, slopes = call(cut, wanted)
        parts = [value] if slopes is None else [value, *slopes.parameters]
        stacks = () if slopes is None else call.columns(slopes, inputs)
        if not outputs:
            outputs = [part.new_empty(batch) for part in parts]
            outputs += [columns[0].new_empty((len(columns), *batch)) for columns in stacks]
            targets = [*outputs[: len(parts)], *[row for whole in outputs[len(parts) :] for row in whole]]
        for target, part in zip(targets, [*parts, *[row for stack in stacks for row in stack]], strict=True):
            target[piece] = part
    return outputs[0], outputs[1:]
