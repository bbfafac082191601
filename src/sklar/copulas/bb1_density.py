r"""The BB1 density and its slopes.

With $x_j = -\log u_j$, $Y_j = (e^{\theta x_j} - 1)/\theta$, $W = (\sum_j Y_j^\delta)^{1/\delta}$,
$\eta = \delta - 1$, $v = W/(1 + \theta W)$ and $P(v) = \sum_k b_k(\eta) v^k \prod_{i<k} (1 + i\theta)$,
$\log c = \sum_j (\eta \log Y_j - \delta \log W + (1+\theta) x_j) + \log P(v) - \log(1 + \theta W)/\theta$.
All exponentials are relative to the largest x, called m: $1 + \theta W = e^{\theta m} (1 + \theta D)$.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sklar.copulas.analytic import Slopes
from sklar.copulas.arithmetic import components
from sklar.copulas.bb1_moderate import is_moderate, moderate_kernel
from sklar.copulas.columns import Points, stacked, total
from sklar.copulas.outer_power import outer_coefficient_slopes, outer_coefficients
from sklar.special import anywhere, exp_moment, log1p_moment

_SMALL = 0.1  # from here on the plain formula's slope in theta, an error of eps / theta^2, is exact enough


class Radial(NamedTuple):
    """Generators of all modalities, relative to that of the largest x."""

    x: Tensor
    """(M, *batch) -log u."""
    top: Tensor
    """m; a constant without gradient, since any gives the same value and derivatives."""
    reach: Tensor
    """(1 - e^{-theta x})/theta."""
    reference: Tensor
    """The same of m."""
    log_reference: Tensor
    shifted: Tensor
    """Log of Y_j e^{-theta m} over the reference."""
    power: Tensor
    """exp(delta shifted)."""
    whole: Tensor
    """Their sum."""
    log_whole: Tensor
    grown: Tensor
    """W e^{-theta m} over the reference, less one."""
    near: Tensor | None
    """Where x underflows, if log(1-u) is told."""
    plain: bool
    """Whether no theta is so small that its slope needs the form that is smooth through zero."""

    @property
    def excess(self) -> Tensor:
        """D."""
        return self.reference * self.grown


def radial(theta: Tensor, delta: Tensor, log_u: Tensor, log_sf: Tensor | None) -> Radial:
    """From (M, *batch) logs."""
    plain = not anywhere(theta < _SMALL)
    x = -log_u
    kind = torch.finfo(x.dtype)
    # On the boundary of the cube it is zero or infinite; these bounds only keep its rows apart from the rest.
    top = x.detach().amax(0).clamp(kind.tiny, kind.max)
    reach, reference = _reach(theta, x, plain), _reach(theta, top, plain)
    log_reference, near = torch.log(reference), None
    if log_sf is None:
        shifted = theta * (x - top) + torch.log(reach / reference)
    else:
        near = x < kind.eps  # there -log u is 1 - u to the last digit, but underflows
        highest = log_sf.detach().amax(0).clamp(min=-1e30)
        log_reference = torch.where(top < kind.eps, highest, log_reference)
        reference = torch.where(top < kind.eps, torch.exp(highest), reference)
        quotient = torch.where(near, 1.0, reach) / torch.where(near, 1.0, reference)
        shifted = theta * (x - top) + torch.where(near, log_sf - log_reference, torch.log(quotient))
    power = torch.exp(delta * shifted)
    whole = total(power.unbind(0))
    log_whole = torch.log(whole)
    grown = torch.expm1(log_whole / delta)
    return Radial(
        x, top, reach, reference, log_reference, shifted, power, whole, log_whole, grown, near, plain
    )


def _reach(theta: Tensor, x: Tensor, plain: bool) -> Tensor:
    return -torch.expm1(-theta * x) / theta if plain else x * exp_moment(theta * x)


def bb1_kernel(parameters: Sequence[Tensor], columns: Points, slopes: bool) -> tuple[Tensor, Slopes | None]:
    """See ``analytic.Kernel``; the parameters are theta and eta."""
    numbers = components(parameters[0])
    if is_moderate(numbers, columns):
        return moderate_kernel(numbers, columns, slopes)
    (theta, eta), d = parameters[0].unbind(-1), len(columns)
    delta = 1.0 + eta
    r = radial(theta, delta, *stacked(columns))
    log_b = torch.log1p(theta * r.excess)
    quotient = log_b / theta if r.plain else r.excess * log1p_moment(theta * r.excess)
    log_v = r.log_whole / delta - log_b  # less that of the reference
    powers = log_powers(theta, log_v, d, r.log_reference)
    log_poly, shares = normalised(
        [b + power for b, power in zip(log_coefficients(eta, d), powers, strict=True)]
    )
    spread, gap = total(r.shifted.unbind(0)), total(r.x.unbind(0)) - r.top
    value = (eta * spread + theta * (gap - (d - 1) * r.top)) + (gap - quotient) + (log_poly - d * r.log_whole)
    if not slopes:
        return value, None
    b = 1.0 + theta * r.excess
    v = r.reference * (1.0 + r.grown) / b
    beyond = torch.exp(-theta * r.top) / b  # 1 / (1 + theta W)
    missing = total([(d - k) * share for k, share in enumerate(shares[:-1], 1)])  # d - dlog P / dlog v
    p = r.power / r.whole
    # In log Y_j; written in what is missing from the degree, so that nothing cancels.
    pull = eta - p * (d * eta + missing * beyond + (1.0 + d * theta) * v)
    middle = total((p * r.shifted).unbind(0))
    growth = (d - missing) * beyond - v
    by_eta = spread - d * middle + growth * (middle - r.log_whole / delta) / delta
    for slope, power in zip(outer_coefficient_slopes(eta, d), powers, strict=False):
        by_eta = by_eta + slope * torch.exp(power - log_poly)
    by_theta = _theta_slope(theta, eta, r, p, missing, quotient)
    for k, share in enumerate(shares[1:], 2):
        by_theta = by_theta + share * total([i / (1.0 + i * theta) for i in range(1, k)])
    if r.near is None:
        return value, Slopes(([by_theta, by_eta],), -(1.0 + theta + pull / r.reach))
    by_u = -(1.0 + theta + pull / torch.where(r.near, 1.0, r.reach))
    by_sf = torch.where(r.near, pull, 0.0)
    return value, Slopes(([by_theta, by_eta],), torch.where(r.near, 0.0, by_u), by_sf)


def _theta_slope(
    theta: Tensor, eta: Tensor, r: Radial, p: Tensor, missing: Tensor, quotient: Tensor
) -> Tensor:
    """All of it but the polynomial's own, with m held constant."""
    d = p.shape[0]
    lag, lag_top = _lag(theta, r.x, r.reach, r.near, r.plain), _lag(theta, r.top, r.reference, None, r.plain)
    distance = r.x - r.top
    change = distance - (lag - lag_top)
    middle = total((p * change).unbind(0))
    by_excess = r.reference * (1.0 + r.grown) * middle - lag_top * r.excess
    y, by_b = theta * r.excess, r.excess + theta * by_excess
    if r.plain:
        by_quotient = (by_b / (1.0 + y) - quotient) / theta
    else:
        by_quotient = by_excess * log1p_moment(y) - r.excess * log1p_moment(y, 1) * by_b
    moved = eta * (total(change.unbind(0)) - d * middle) + total(distance.unbind(0))
    return moved + missing * (lag_top - middle) - (d - missing) * by_b / (1.0 + y) - by_quotient


def _lag(theta: Tensor, x: Tensor, reach: Tensor, near: Tensor | None, plain: bool) -> Tensor:
    """Lag x - dlog Y/dtheta, which is x/2 for small x and 1/theta for large."""
    if not plain:
        return x * exp_moment(theta * x, 1) / exp_moment(theta * x)
    if near is None:
        return (1.0 - x * (1.0 / reach - theta)) / theta
    return torch.where(near, 0.5 * x, (1.0 - x * (1.0 / torch.where(near, 1.0, reach) - theta)) / theta)


def log_powers(theta: Tensor, log_v: Tensor, dim: int, log_reference: Tensor | float = 0.0) -> list[Tensor]:
    """Log of v^k times the product of 1 + i theta over i < k, k = 1 .. dim, less dim log_reference.

    Args:
        theta: Parameter.
        log_v: Log of v over the reference; v itself may underflow.
        dim: Number of terms.
        log_reference: Log of the reference.
    """
    powers, log_a = [], torch.zeros_like(theta)
    for k in range(1, dim):
        powers.append(log_a + k * log_v + (k - dim) * log_reference)
        log_a = log_a + torch.log1p(k * theta)
    return [*powers, log_a + dim * log_v]


def log_coefficients(eta: Tensor, dim: int) -> list[Tensor]:
    """Log of the coefficients b; at eta = 0 all but the last are zero."""
    *lower, last = outer_coefficients(eta, dim)
    logs = [torch.where(b > 0, torch.log(torch.where(b > 0, b, 1.0)), -torch.inf) for b in lower]
    return [*logs, torch.log(last)]


def normalised(terms: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Log of the sum of exponentials, and their shares."""
    highest = terms[0].detach()
    for term in terms[1:]:
        highest = torch.maximum(highest, term.detach())
    parts = [torch.exp(term - highest) for term in terms]
    whole = total(parts)
    return highest + torch.log(whole), [part / whole for part in parts]
