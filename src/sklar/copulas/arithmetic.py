"""Arithmetic on parameters that are tensors or, for one copula on the CPU, Python numbers.

A step of training passes over few points, so that each operation costs more to start than to run. One on a
tensor without axes takes twenty times as long as one on a Python number, and kernels have dozens of them.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Parameter = Tensor | float


def as_numbers(parameters: Sequence[Tensor]) -> Sequence[Parameter]:
    """The parameters of one copula as Python numbers, where no derivative of them can be asked for.

    An accelerator's stay tensors, since reading them would make it wait.
    """
    one = all(parameter.ndim == 0 and parameter.device.type == "cpu" for parameter in parameters)
    return (
        [parameter.item() for parameter in parameters] if one and not torch.is_grad_enabled() else parameters
    )


def exp(x: Parameter) -> Parameter:
    """e^x."""
    if isinstance(x, Tensor):
        return torch.exp(x)
    return math.exp(x) if x < 709.0 else math.inf


def expm1(x: Parameter) -> Parameter:
    """e^x - 1 for x <= 0."""
    return torch.expm1(x) if isinstance(x, Tensor) else math.expm1(x)


def log(x: Parameter) -> Parameter:
    """Log x for x > 0."""
    return torch.log(x) if isinstance(x, Tensor) else math.log(x)


def log1p(x: Parameter) -> Parameter:
    """log(1 + x) for x > -1."""
    return torch.log1p(x) if isinstance(x, Tensor) else math.log1p(x)


def constants(like: Tensor, *values: Parameter) -> list[Tensor]:
    """Numbers as tensors without axes, of the type of the points that they will meet, in one operation.

    A Python number would be turned into one, and converted, in every operation anew.
    """
    if like.device.type != "cpu":  # a list would be copied there, and the host would wait
        return [value if isinstance(value, Tensor) else like.new_full((), value) for value in values]
    numbers = [value for value in values if not isinstance(value, Tensor)]
    made = iter(torch.tensor(numbers, dtype=like.dtype).unbind(0) if numbers else ())
    return [value if isinstance(value, Tensor) else next(made) for value in values]


def moderate(parameter: Parameter, low: float, high: float) -> bool:
    """Whether a parameter is known to lie between bounds, without gradient and without waiting."""
    if not isinstance(parameter, Tensor):
        return low < parameter < high
    seen = parameter.device.type == "cpu" and not torch.is_grad_enabled()
    return seen and bool(parameter.min() > low) and bool(parameter.max() < high)
