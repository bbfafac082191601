"""Between parameters and the real numbers that learn them: floats, softplus and smooth caps.

A cap is exact near zero and has a slope everywhere, unlike a clamp, below whose bound nothing learns. Its
inverse takes what lies beyond the cap for 99 % of it.
"""

import torch
from jaxtyping import Float
from torch import Tensor

_NEARLY = 0.99


def floating(value: float | Tensor | None) -> Tensor:
    """A floating-point tensor; integers take the default type."""
    tensor = torch.as_tensor(value)
    return tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())


def softplus_inverse(value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The number whose softplus is ``value`` > 0."""
    return value + torch.log(-torch.expm1(-value))


def capped(value: Float[Tensor, "*shape"], limit: Tensor | float) -> Float[Tensor, "*shape"]:
    """A positive value held below ``limit``: 1 / (1 / value + 1 / limit)."""
    return value * limit / (value + limit)


def uncapped(value: Float[Tensor, "*shape"], limit: Tensor | float) -> Float[Tensor, "*shape"]:
    """The inverse of :func:`capped`."""
    value = value.clamp(max=_NEARLY * limit)
    return value * limit / (limit - value)


def capped_either_sign(value: Float[Tensor, "*shape"], limit: Tensor | float) -> Float[Tensor, "*shape"]:
    """A value of either sign held between -limit and limit: value / sqrt(1 + (value / limit)^2)."""
    return value * torch.rsqrt(1.0 + (value / limit) ** 2)


def uncapped_either_sign(value: Float[Tensor, "*shape"], limit: Tensor | float) -> Float[Tensor, "*shape"]:
    """The inverse of :func:`capped_either_sign`."""
    value = value.clamp(max=_NEARLY * limit).clamp(min=-_NEARLY * limit)
    return value * torch.rsqrt(1.0 - (value / limit) ** 2)
