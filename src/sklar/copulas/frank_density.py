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
from sklar.copulas.columns import Column, stacked, total
from sklar.special import anywhere, exp_moment

# Where 1 - e^-au has all but one digit, and e^(a/2) to a power of the dimension is finite.
_MODERATE = {torch.float32: (0.5, 80.0), torch.float64: (0.5, 300.0)}
_NEAR_ZERO = 1e-30  # theta = 0 becomes this: independence to the last digit, and 0/0 stays away


class _Parts(NamedTuple):
    """What the density is made of; any centre gives the same."""

    centre: Tensor | float
    ratio: Tensor
    """r_j."""
    decay: Tensor
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
    log_u, log_sf = stacked(columns)
    flip = theta < 0 if d == 2 and anywhere(theta < 0) else None
    a = size(theta) if flip is not None or anywhere(theta == 0) else theta
    u = turned = log_u.exp()
    if flip is not None:
        one, other = torch.broadcast_tensors(u[0], torch.where(flip, survival(columns[1]), u[1]))  # type: ignore[no-untyped-call]
        u, turned = torch.stack([one, u[1].expand_as(one)]), torch.stack([one, other])
    centre, ratio, decay, floor, log_scale, shrinkage = _parts(turned, a)
    ratios, decays = ratio.unbind(0), decay.unbind(0)
    product, tail = ratios[0], decays[0]  # of the first modalities: prod r, and (1 - p prod r) e^(a centre)
    for k, (r, e) in enumerate(zip(ratios[1:], decays[1:], strict=True), start=2):
        tail = tail + (e - floor) * product
        if k < d or d > 2 or slopes:
            product = product * r
    log_density = (a * d * centre - (d - 1) * log_scale) - a * total(turned.unbind(0)) - d * torch.log(tail)
    h = -torch.expm1(-a) * product if d > 2 else product
    if d > 2:
        log_density = log_density + torch.log(polynomial(eulerian_numbers(d - 1), h))
    if not slopes:
        return log_density, None
    pull = d / tail  # dlog c / dh, less e^(a centre), which completes the decays
    if d > 2:
        pull = pull + _log_eulerian_slope(d - 1, h) * torch.exp(-a * centre)
    moved = pull * decay * _others(ratios) - 1.0
    weighed = turned * moved
    by_a = total(weighed.unbind(0)) + (d - 1) * (shrinkage - pull * product * floor)
    if flip is None and log_sf is None:
        return log_density, Slopes((by_a,), a * weighed)
    sign = torch.ones_like(a) if flip is None else 1.0 - 2.0 * flip.to(a.dtype)
    by_point = a * moved
    if flip is not None:
        by_point = torch.stack([by_point[0], by_point[1] * sign])
    if log_sf is None:
        return log_density, Slopes((by_a * sign,), by_point * u)
    low = u < 0.5
    by_u = torch.where(low, by_point * u, 0.0)
    return log_density, Slopes((by_a * sign,), by_u, torch.where(low, 0.0, -by_point * log_sf.exp()))


def _parts(u: Tensor, a: Tensor) -> _Parts:
    """With the smallest u as centre no exponential overflows, and expm1 keeps r's digits for small a.

    For a moderate a one half serves as the centre, and one exponential per modality is enough. Derivatives
    of second order always take the first form, which is smooth through a = 0.
    """
    smallest, largest = _MODERATE[a.dtype]
    seen = a.device.type == "cpu" and not torch.is_grad_enabled()
    if seen and bool(a.min() > smallest) and bool(a.max() < largest):
        half = 0.5 * a
        decay = torch.exp(half - a * u)
        floor, scale = torch.exp(-half), -torch.expm1(-a)
        whole, step = 1.0 / scale, floor / scale
        shrinkage = 1.0 / a - floor * floor / scale
        return _Parts(0.5, whole - step * decay, decay, floor, torch.log(scale / a), shrinkage)
    low = u.detach().amin(0)
    scale = exp_moment(a)
    return _Parts(
        low,
        ratio(u, a),
        torch.exp(-a * (u - low)),
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


def _others(values: Sequence[Tensor]) -> Tensor:
    """For each value the product of all the others, stacked, without a division."""
    if len(values) == 2:
        return torch.stack([values[1], values[0]])
    before, after = [values[0]], [values[-1]]
    for value in values[1:-1]:
        before.append(before[-1] * value)
    for value in reversed(values[1:-1]):
        after.append(after[-1] * value)
    after.reverse()
    middle = [one * other for one, other in zip(before[:-1], after[1:], strict=True)]
    return torch.stack([after[0], *middle, before[-1]])


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
