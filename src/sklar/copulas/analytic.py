"""Log densities that carry their first derivatives in closed form.

Autograd would record some thirty small operations per density and walk back through each. A kernel computes
value and slopes in one pass over shared intermediates, which takes a third of the time; derivatives of higher
order come from differentiating the slopes themselves, so kernels are written in differentiable operations.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Size, Tensor

from sklar.copulas.columns import Column

_CHUNK = 16_384  # points that stay in the cache of one core while a kernel passes over them


class Slopes(NamedTuple):
    """First derivatives of a log density, each broadcastable to its value.

    Attributes:
        parameters: In the order in which the kernel takes them.
        log_u: One per modality.
        log_sf: One per modality where log(1-u) was given. Each coordinate's derivative is split between the
            two logs: following both is following the point.
    """

    parameters: Sequence[Tensor]
    log_u: Sequence[Tensor]
    log_sf: Sequence[Tensor] = ()


Kernel = Callable[[Sequence[Tensor], Sequence[Column], bool], tuple[Tensor, Slopes | None]]
"""(parameters, columns, whether slopes are wanted) -> (log density, slopes)."""


def analytic_density(kernel: Kernel, parameters: Sequence[Tensor], columns: Sequence[Column]) -> Tensor:
    """The kernel's value, differentiable any number of times.

    Args:
        kernel: Elementwise over the batch: each point depends on its own columns and parameters alone.
        parameters: Tensors of batch shape, broadcastable.
        columns: One per modality; the kernel sees log(1-u) for all of them or for none.
    """
    paired = any(column.log_sf is not None for column in columns)
    inputs = [*parameters, *[column.log_u for column in columns]]
    if paired:
        inputs += [column.survival() for column in columns]
    value: Tensor = _Density.apply(kernel, len(parameters), len(columns), *inputs)  # type: ignore[no-untyped-call]
    return value


class _Density(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernel: Kernel, n_parameters: int, dim: int, *inputs: Tensor) -> Tensor:
        ctx.kernel, ctx.n_parameters, ctx.dim = kernel, n_parameters, dim
        wanted = any(ctx.needs_input_grad)
        value, slopes = _in_chunks(kernel, n_parameters, dim, inputs, wanted)
        if wanted:
            ctx.save_for_backward(*inputs, *slopes)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        inputs, slopes = saved[: len(saved) // 2], saved[len(saved) // 2 :]
        if torch.is_grad_enabled():  # a second derivative will be asked for
            slopes = _evaluate(ctx.kernel, ctx.n_parameters, ctx.dim, inputs, True)[1]
        needed = ctx.needs_input_grad[3:]
        found = [
            (grad * slope).sum_to_size(given.shape).to(given.dtype) if need else None
            for given, slope, need in zip(inputs, slopes, needed, strict=True)
        ]
        return None, None, None, *found


def _evaluate(
    kernel: Kernel, n_parameters: int, dim: int, inputs: Sequence[Tensor], wanted: bool
) -> tuple[Tensor, list[Tensor]]:
    parameters, rest = inputs[:n_parameters], inputs[n_parameters:]
    survival: Sequence[Tensor | None] = rest[dim:] or [None] * dim
    value, slopes = kernel(
        parameters, [Column(*pair) for pair in zip(rest[:dim], survival, strict=True)], wanted
    )
    return value, [] if slopes is None else [*slopes.parameters, *slopes.log_u, *slopes.log_sf]


def _in_chunks(
    kernel: Kernel, n_parameters: int, dim: int, inputs: Sequence[Tensor], wanted: bool
) -> tuple[Tensor, list[Tensor]]:
    """The kernel over pieces of the first batch axis, when the whole would not fit in the cache."""
    batch = Size(torch.broadcast_shapes(*[given.shape for given in inputs]))  # type: ignore[no-untyped-call]
    if batch.numel() <= 2 * _CHUNK or inputs[0].device.type != "cpu":
        return _evaluate(kernel, n_parameters, dim, inputs, wanted)
    rows = max(1, _CHUNK * batch[0] // batch.numel())
    split = [len(given.shape) == len(batch) and given.shape[0] > 1 for given in inputs]
    outputs: list[Tensor] = []
    for start in range(0, batch[0], rows):
        piece = slice(start, min(start + rows, batch[0]))
        value, slopes = _evaluate(
            kernel,
            n_parameters,
            dim,
            [given[piece] if cut else given for given, cut in zip(inputs, split, strict=True)],
            wanted,
        )
        if not outputs:
            outputs = [torch.empty(batch, dtype=part.dtype, device=part.device) for part in (value, *slopes)]
        for whole, part in zip(outputs, (value, *slopes), strict=True):
            whole[piece] = part
    return outputs[0], outputs[1:]
