r"""The Frank density and its slopes.

With $r_j = (1-e^{-au_j})/(1-e^{-a})$, $h = (1-e^{-a})\prod r_j$ and Eulerian polynomials A,
$\log c = -(M-1)\log\frac{1-e^{-a}}{a} - a\sum u_j + \log A_{M-1}(h) - M\log(1-h)$. In place of 1-h, which may
be below e^{-a/2}, stands the tail $(1-h)e^{a\,\text{centre}}$, a sum of positive terms of order one.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from sklar.copulas.analytic import Slopes
from sklar.copulas.columns import Column, total
from sklar.special import anywhere, exp_moment

# Where 1 - e^-au has all but one digit, and e^(a/2) to a power of the dimension is finite.
_MODERATE = {torch.float32: (0.5, 80.0), torch.float64: (0.5, 300.0)}
_NEAR_ZERO = 1e-30  # theta = 0 becomes this: independence to the last digit, and 0/0 stays away


class _Parts(NamedTuple):
    """What the density is made of; any centre gives the same."""

    centre: Tensor | float
    ratio: list[Tensor]
    """r_j."""
    decay: list[Tensor]
    """e^{-a(u_j - centre)}."""
    floor: Tensor
    """e^{-a(1 - centre)}."""
    log_scale: Tensor
    """Log of (1 - e^-a)/a."""
    shrinkage: Tensor
    """Minus the derivative of log_scale in a."""


def frank_kernel(
    parameters: Sequence[Tensor], columns: Sequence[Column], slopes: bool
) -> tuple[Tensor, Slopes | None]:
    """See ``analytic.Kernel``; the parameter is theta, of either sign for two modalities."""
    (theta,) = parameters
    d = len(columns)
    flip = theta < 0 if d == 2 and anywhere(theta < 0) else None
    a = size(theta) if flip is not None or anywhere(theta == 0) else theta
    u = [column.log_u.exp() for column in columns]
    turned = u if flip is None else [u[0], torch.where(flip, survival(columns[1]), u[1])]
    centre, ratio, decay, floor, log_scale, shrinkage = _parts(turned, a)
    product, tail = ratio[0], decay[0]  # of the first modalities: prod r, and (1 - p prod r) e^(a centre)
    for r, e in zip(ratio[1:], decay[1:], strict=True):
        tail = tail + (e - floor) * product
        product = product * r
    log_density = (a * d * centre - (d - 1) * log_scale) - a * total(turned) - d * torch.log(tail)
    h = -torch.expm1(-a) * product if d > 2 else product
    if d > 2:
        log_density = log_density + torch.log(polynomial(eulerian_numbers(d - 1), h))
    if not slopes:
        return log_density, None
    pull = d / tail  # dlog c / dh, less e^(a centre), which completes the decays
    if d > 2:
        pull = pull + _log_eulerian_slope(d - 1, h) * torch.exp(-a * centre)
    moved = [pull * e * other - 1.0 for e, other in zip(decay, _others(ratio), strict=True)]
    weighed = [x * m for x, m in zip(turned, moved, strict=True)]
    by_a = total(weighed) + (d - 1) * (shrinkage - pull * product * floor)
    if flip is None and columns[0].log_sf is None:
        return log_density, Slopes((by_a,), [a * w for w in weighed])
    sign = torch.ones_like(a) if flip is None else 1.0 - 2.0 * flip.to(a.dtype)
    by_point = [a * moved[0], a * sign * moved[1]] if flip is not None else [a * m for m in moved]
    pairs = list(zip(by_point, u, strict=True))
    if columns[0].log_sf is None:
        return log_density, Slopes((by_a * sign,), [slope * x for slope, x in pairs])
    by_u = [torch.where(x < 0.5, slope * x, 0.0) for slope, x in pairs]
    by_sf = [
        torch.where(x < 0.5, 0.0, -slope * column.survival().exp())
        for (slope, x), column in zip(pairs, columns, strict=True)
    ]
    return log_density, Slopes((by_a * sign,), by_u, by_sf)


def _parts(u: Sequence[Tensor], a: Tensor) -> _Parts:
    """With the smallest u as centre no exponential overflows, and expm1 keeps r's digits for small a.

    For a moderate a one half serves as the centre, and one exponential per modality is enough. Derivatives
    of second order always take the first form, which is smooth through a = 0.
    """
    smallest, largest = _MODERATE[a.dtype]
    seen = a.device.type == "cpu" and not torch.is_grad_enabled()
    if seen and bool(a.min() > smallest) and bool(a.max() < largest):
        half = 0.5 * a
        decay = [torch.exp(half - a * x) for x in u]
        floor, scale = torch.exp(-half), -torch.expm1(-a)
        whole, step = 1.0 / scale, floor / scale
        shrinkage = 1.0 / a - floor * floor / scale
        return _Parts(0.5, [whole - step * e for e in decay], decay, floor, torch.log(scale / a), shrinkage)
    low = u[0].detach()
    for x in u[1:]:
        low = torch.minimum(low, x.detach())
    scale = exp_moment(a)
    return _Parts(
        low,
        [ratio(x, a) for x in u],
        [torch.exp(-a * (x - low)) for x in u],
        torch.exp(-a * (1.0 - low)),
        torch.log(scale),
        exp_moment(a, 1) / scale,
    )


def size(theta: Tensor) -> Tensor:
    """|theta|, with slope one at zero."""
    return torch.where(theta < 0, -theta, theta) + _NEAR_ZERO * (theta == 0)


def ratio(part: Tensor, a: Tensor) -> Tensor:
    """(1 - e^{-a part}) / (1 - e^-a), whose derivatives in a need the form that is smooth through zero."""
    if torch.is_grad_enabled():
        return part * exp_moment(a * part) / exp_moment(a)
    return torch.expm1(-a * part) / torch.expm1(-a)


def survival(column: Column) -> Tensor:
    """1 - u."""
    return -torch.expm1(column.log_u) if column.log_sf is None else column.log_sf.exp()


def _others(values: Sequence[Tensor]) -> list[Tensor]:
    """For each value the product of all the others, without a division."""
    if len(values) == 2:
        return [values[1], values[0]]
    before, after = [values[0]], [values[-1]]
    for value in values[1:-1]:
        before.append(before[-1] * value)
    for value in reversed(values[1:-1]):
        after.append(after[-1] * value)
    after.reverse()
    middle = [one * other for one, other in zip(before[:-1], after[1:], strict=True)]
    return [after[0], *middle, before[-1]]


@lru_cache
def eulerian_numbers(n: int) -> tuple[float, ...]:
    """Coefficients of the Eulerian polynomial A_n, from A_0 = 1."""
    row = [1]
    for length in range(2, n + 1):
        row = [
            (k + 1) * (row[k] if k < length - 1 else 0) + (length - k) * (row[k - 1] if k else 0)
            for k in range(length)
        ]
    return tuple(float(value) for value in row)


def polynomial(coefficients: Sequence[float], z: Tensor) -> Tensor:
    """Their polynomial, lowest power first."""
    if len(coefficients) == 1:
        return torch.full_like(z, coefficients[0])
    value = coefficients[-1] * z + coefficients[-2]
    for number in reversed(coefficients[:-2]):
        value = value * z + number
    return value


def _log_eulerian_slope(n: int, z: Tensor) -> Tensor:
    numbers = eulerian_numbers(n)
    slope = tuple(power * number for power, number in enumerate(numbers) if power > 0)
    return polynomial(slope, z) / polynomial(numbers, z)
