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
from sklar.copulas.arithmetic import Parameter, components, constants, exp, expm1, log, moderate
from sklar.copulas.columns import Column, Points, total
from sklar.special import anywhere, below, exp_moment

# Where 1 - e^-au has all but one digit, and e^(a/2) to a power of the dimension is finite.
_MODERATE = {torch.float32: (0.5, 80.0), torch.float64: (0.5, 300.0)}
_NEAR_ZERO = 1e-30  # theta = 0 becomes this: independence to the last digit, and 0/0 stays away


class _Parts(NamedTuple):
    """What the density is made of; any centre gives the same."""

    centre: Parameter
    exponent: Tensor
    """-a(u_j - centre)."""
    decay: Tensor
    """Its exponential."""
    ratio: Tensor
    """r_j."""
    floor: Parameter
    """e^{-a(1 - centre)}."""
    log_scale: Parameter
    """Log of (1 - e^-a)/a."""
    shrinkage: Parameter
    """Minus the derivative of log_scale in a."""


def frank_kernel(parameters: Sequence[Tensor], columns: Points, slopes: bool) -> tuple[Tensor, Slopes | None]:
    """See ``analytic.Kernel``; the parameter is theta, of either sign for two modalities."""
    d, (theta,), (number,) = len(columns), parameters[0].unbind(-1), components(parameters[0])
    u = turned = columns.u
    flip = theta < 0 if d == 2 and anywhere(number < 0) else None
    if flip is not None:
        one, other = torch.broadcast_tensors(u[0], torch.where(flip, survival(columns[1]), u[1]))  # type: ignore[no-untyped-call]
        u, turned = torch.stack([one, u[1].expand_as(one)]), torch.stack([one, other])
    a: Parameter = theta
    if isinstance(number, float) and moderate(abs(number), *_MODERATE[u.dtype]):
        a = abs(number)
    elif flip is not None or anywhere(number == 0):
        a = size(theta)
    part = _parts(turned, a)
    ratios, decays = part.ratio.unbind(0), part.decay.unbind(0)
    floor, offset, strength = constants(u, part.floor, (d - 1) * part.log_scale, a)
    product, tail = ratios[0], decays[0]  # of the first modalities: prod r, and (1 - p prod r) e^(a centre)
    for k, (r, e) in enumerate(zip(ratios[1:], decays[1:], strict=True), start=2):
        tail = torch.addcmul(tail, e - floor, product)
        if k < d or d > 2 or slopes:
            product = product * r
    log_density = torch.sub(total(part.exponent.unbind(0)), torch.log(tail), alpha=d) - offset
    h = product if d == 2 else -expm1(-a) * product
    if d > 2:
        log_density = log_density + torch.log(polynomial(eulerian_numbers(d - 1), h))
    if not slopes:
        return log_density, None
    pull = (d * strength) / tail  # a dlog c / dh, less e^(a centre), which completes the decays
    if d > 2:
        pull = pull + _log_eulerian_slope(d - 1, h) * (a * exp(-a * part.centre))
    by_point = [e * others * pull - strength for e, others in zip(decays, _others(ratios), strict=True)]
    weighed = [value * slope for value, slope in zip(turned.unbind(0), by_point, strict=True)]
    lost, per_a, still = constants(u, (1 - d) * part.floor, 1.0 / a, (d - 1) * part.shrinkage)
    by_a = per_a * (total(weighed) + lost * (pull * product)) + still
    if flip is None and columns.log_sf is None:
        return log_density, Slopes(([by_a],), weighed)
    if flip is not None:
        sign = 1.0 - 2.0 * flip.to(by_a.dtype)
        by_a, by_point[1] = by_a * sign, by_point[1] * sign
    by_log_u = [slope * value for slope, value in zip(by_point, u.unbind(0), strict=True)]
    if columns.log_sf is None:
        return log_density, Slopes(([by_a],), by_log_u)
    low = below(u, 0.5)
    by_log_sf = torch.stack(by_point) * torch.exp(columns.log_sf) * (low - 1.0)
    return log_density, Slopes(([by_a],), torch.stack(by_log_u) * low, by_log_sf)


def _parts(u: Tensor, a: Parameter) -> _Parts:
    """With the smallest u as centre no exponential overflows, and expm1 keeps r's digits for small a.

    For a moderate a one half serves as the centre, and one exponential per modality is enough. Derivatives
    of second order always take the first form, which is smooth through a = 0.
    """
    if not isinstance(a, Tensor) or moderate(a, *_MODERATE[u.dtype]):
        floor, scale = exp(-0.5 * a), -expm1(-a)
        step = floor / scale
        half, pace, whole, drop = constants(u, 0.5 * a, -a, 1.0 / scale, -step)
        exponent = pace * u + half
        decay = torch.exp(exponent)
        reached = drop * decay + whole
        return _Parts(0.5, exponent, decay, reached, floor, log(scale / a), 1.0 / a - floor * step)
    low = u.detach().amin(0)
    scale = exp_moment(a)
    exponent = -a * (u - low)
    return _Parts(
        low,
        exponent,
        torch.exp(exponent),
        ratio(u, a),
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
    value = (z if coefficients[-1] == 1.0 else coefficients[-1] * z) + coefficients[-2]
    for number in reversed(coefficients[:-2]):
        value = value * z + number
    return value


def _log_eulerian_slope(n: int, z: Tensor) -> Tensor:
    numbers = eulerian_numbers(n)
    slope = tuple(power * number for power, number in enumerate(numbers) if power > 0)
    return polynomial(slope, z) / polynomial(numbers, z)
