r"""Derivatives of a generator with an outer power.

The n-th of $\psi(t^{1/(1+\eta)})$ is $\pm (t + \eta t)^{-n} \sum_{k=1}^n b_{nk}(\eta) w^k |\psi^{(k)}(w)|$
at $w = t^{1/(1+\eta)}$, with coefficients b that are positive, so that nothing cancels.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import overload

import torch
from torch import Tensor

from sklar.copulas.arithmetic import Parameter


@lru_cache
def _coefficient_table(dim: int) -> tuple[tuple[int, ...], ...]:
    """b_1 .. b_dim in powers of eta, lowest first: b_{n+1,k} = b_{n,k-1} + (n eta + n - k) b_{n,k}."""
    row: list[list[int]] = [[1]]
    for n in range(1, dim):
        grown = [[0] * (n + 1 - k) + [0] for k in range(1, n + 1)] + [[1]]
        for k in range(1, n + 1):
            for power, number in enumerate(row[k - 1]):
                grown[k - 1][power] += (n - k) * number
                grown[k - 1][power + 1] += n * number
            for power, number in enumerate(row[k - 2] if k > 1 else []):
                grown[k - 1][power] += number
        row = grown
    return tuple(tuple(polynomial) for polynomial in row)


def _horner(coefficients: Sequence[int], x: Parameter) -> Parameter:
    *lower, lead = coefficients
    if not lower:
        return torch.full_like(x, float(lead)) if isinstance(x, Tensor) else float(lead)
    value = lead * x + lower[-1] if lower[-1] else lead * x
    for number in reversed(lower[:-1]):
        value = value * x + number if number else value * x
    return value


@overload
def outer_coefficients(eta: Tensor, dim: int) -> list[Tensor]: ...
@overload
def outer_coefficients(eta: Parameter, dim: int) -> list[Parameter]: ...
def outer_coefficients(eta: Parameter, dim: int) -> Sequence[Parameter]:
    """b_1 .. b_dim at one value of eta, all positive."""
    return [_horner(polynomial, eta) for polynomial in _coefficient_table(dim)]


def outer_coefficient_slopes(eta: Parameter, dim: int) -> list[Parameter]:
    """Derivatives of :func:`outer_coefficients` in eta; that of b_dim is zero and left out."""
    slopes = [
        [power * number for power, number in enumerate(polynomial) if power > 0]
        for polynomial in _coefficient_table(dim)[:-1]
    ]
    return [_horner(slope, eta) for slope in slopes]
