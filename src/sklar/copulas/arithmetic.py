"""Arithmetic on parameters that are tensors or, for one copula on the CPU, Python numbers.

A step of training passes over few points, so that each operation costs more to start than to run. One on a
tensor without axes takes twenty times as long as one on a Python number, and kernels have dozens of them.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Parameter = Tensor | float


def components(vector: Tensor) -> Sequence[Parameter]:
    """Those along the last axis: of one copula as Python numbers, where no derivative can be asked for.

    An accelerator's stay tensors, since reading them would make it wait.
    """
    one = vector.ndim == 1 and vector.device.type == "cpu"
    return vector.tolist() if one and not torch.is_grad_enabled() else vector.unbind(-1)


def gathered(like: Tensor, values: Sequence[Parameter]) -> Tensor:
    """The inverse of :func:`components`, for a vector of this batch shape and type."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    if not tensors:
        return like.new_tensor(values)
    whole = [value if isinstance(value, Tensor) else torch.full_like(tensors[0], value) for value in values]
    return torch.stack(whole, -1)


def reciprocal(x: Parameter) -> Parameter:
    """1/x for x >= 0, infinite at zero."""
    if isinstance(x, Tensor):
        return torch.reciprocal(x)
    return 1.0 / x if x else math.inf


def exp(x: Parameter) -> Parameter:
    """e^x."""
    if isinstance(x, Tensor):
        return torch.exp(x)
    return math.exp(x) if x < 709.0 else math.inf


def expm1(x: Parameter) -> Parameter:
    """e^x - 1 for x <= 0."""
    return torch.expm1(x) if isinstance(x, Tensor) else math.expm1(x)


def log(x: Parameter) -> Parameter:
    """Log x for x >= 0."""
    if isinstance(x, Tensor):
        return torch.log(x)
    return math.log(x) if x else -math.inf


def log1p(x: Parameter) -> Parameter:
    """log(1 + x) for x > -1."""
    return torch.log1p(x) if isinstance(x, Tensor) else math.log1p(x)


def tanh(x: Parameter) -> Parameter:
    """Hyperbolic tangent."""
    return torch.tanh(x) if isinstance(x, Tensor) else math.tanh(x)


def sech(x: Parameter) -> Parameter:
    """One over the hyperbolic cosine."""
    if isinstance(x, Tensor):
        return torch.reciprocal(torch.cosh(x))
    return 1.0 / math.cosh(x) if abs(x) < 700.0 else 0.0


def constants(like: Tensor, *values: Parameter) -> list[Tensor]:
    """Numbers as tensors without axes, of the type of the points that they will meet, in one operation.

    A Python number would be turned into one, and converted, in every operation anew.
    """
    if like.device.type != "cpu":  # a list would be copied there, and the host would wait
        return [value if isinstance(value, Tensor) else like.new_full((), value) for value in values]
    numbers = [value for value in values if not isinstance(value, Tensor)]
    made = iter(torch.tensor(numbers, dtype=like.dtype).unbind(0) if numbers else ())
    return [value if isinstance(value, Tensor) else next(made) for value in values]


def affine(offset: Tensor, slope: Parameter, x: Tensor) -> Tensor:
    """The line offset + slope x, in one operation."""
    if isinstance(slope, Tensor):
        return torch.addcmul(offset, slope, x)
    return torch.add(offset, x, alpha=slope)


def horner(terms: Sequence[Tensor], lead: Parameter, x: Tensor) -> Tensor:
    """The polynomial in x of the terms, lowest power first, and the lead of the next power.

    Without terms it is the lead itself, as a tensor without axes or of its own.
    """
    if not terms:
        return constants(x, lead)[0]
    value = affine(terms[-1], lead, x)
    for term in reversed(terms[:-1]):
        value = torch.addcmul(term, value, x)
    return value


def moderate(parameter: Parameter, low: float, high: float) -> bool:
    """Whether a parameter is known to lie between bounds, without gradient and without waiting."""
    if not isinstance(parameter, Tensor):
        return low < parameter < high
    seen = parameter.device.type == "cpu" and not torch.is_grad_enabled()
    return seen and bool(parameter.min() > low) and bool(parameter.max() < high)
