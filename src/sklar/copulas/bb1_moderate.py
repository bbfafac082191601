r"""The BB1 density and its slopes for parameters away from their bounds, in half the operations.

In the notation of ``bb1_density``: with $E_j = u_j^\theta - 1$ a generator is
$\log Y_j = \theta x_j + \log(-E_j/\theta)$, with slope $x_j/(-E_j) - 1/\theta$ in $\theta$, and
$P(v) = v\,Q(v)$ is summed by Horner's scheme, since Q no more vanishes at v = 0.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sklar.copulas.analytic import Slopes
from sklar.copulas.arithmetic import Parameter, constants, log, moderate
from sklar.copulas.columns import Points, total_of_all
from sklar.copulas.outer_power import outer_coefficient_slopes, outer_coefficients

_THETA, _ETA = (0.1, 100.0), (1e-3, 100.0)
_FEW = 16  # modalities, up to which the powers of v <= 1/theta are finite in single precision


def is_moderate(parameters: Sequence[Parameter], columns: Points) -> bool:
    """Whether the kernel serves: parameters between bounds and no log u that has lost its digits."""
    theta, eta = parameters
    inside = len(columns) <= _FEW and moderate(theta, *_THETA) and moderate(eta, *_ETA)
    return inside and not columns.needs_log_sf()


def moderate_kernel(
    parameters: Sequence[Parameter], columns: Points, slopes: bool
) -> tuple[Tensor, Slopes | None]:
    """See ``analytic.Kernel``; all of it is relative to the largest x, of the smallest u."""
    (theta, eta), log_u, d = parameters, columns.log_u, len(columns)
    delta = 1.0 + eta
    rising = _rising(theta, d)
    lower = [b * a for b, a in zip(outer_coefficients(eta, d), rising, strict=True)]
    one, power_of_y, pace, sharpness, per_theta, per_delta, offset, *terms = constants(
        log_u, 1.0, eta, theta, delta, 1.0 / theta, 1.0 / delta, (d - 1) * log(theta), *lower
    )
    low = log_u.amin(0)
    reach = torch.expm1(pace * log_u)  # E
    lowest = reach.amin(0)
    reference = -lowest
    shifted = torch.addcmul(torch.log(reach / lowest), log_u - low, pace, value=-1.0)
    power = torch.exp(sharpness * shifted)
    whole = total_of_all(power)
    log_whole = torch.log(whole)
    log_w = per_delta * log_whole
    excess = reference * torch.expm1(log_w)  # theta D
    grown = excess + reference
    b, log_b = one + excess, torch.log1p(excess)
    quotient = per_theta * log_b
    v = grown * per_theta / b
    q = _horner(terms, v)
    sums, spread = total_of_all(log_u), total_of_all(shifted)
    distance = torch.sub(sums, low, alpha=d)  # sum of (m - x)
    value = torch.addcmul(torch.log(q), power_of_y, spread) + (log_w - log_b)
    value = torch.sub(value, torch.log(reference), alpha=d - 1) + offset
    value = torch.sub(value, log_whole, alpha=d)
    value = torch.addcmul(value, pace, distance, value=-1.0) - (sums - low + quotient)
    if not slopes:
        return value, None
    by_eta_terms = [slope * a for slope, a in zip(outer_coefficient_slopes(eta, d), rising, strict=False)]
    by_theta_terms = [
        b * a * sum(i / (1.0 + i * theta) for i in range(1, k))
        for k, (b, a) in enumerate(zip(outer_coefficients(eta, d), rising, strict=True), 1)
    ][1:]
    few = [(d - k) * term for k, term in enumerate(lower[:-1], 1)]
    degree, steep, start, flat, scaled, *terms = constants(
        log_u,
        float(d),
        1.0 + d * theta,
        d * eta,
        1.0 + theta,
        eta * theta,
        *few,
        *by_eta_terms,
        *by_theta_terms,
    )
    per_b, per_q, per_whole = torch.reciprocal(b), torch.reciprocal(q), torch.reciprocal(whole)
    missing = _horner(terms[: d - 1], v) * per_q  # d - dlog P / dlog v
    beyond = (one - reference) * per_b  # 1 / (1 + theta W)
    by_log_v = degree - missing
    # In log W
    middle = total_of_all(power * shifted) * per_whole
    by_eta = torch.sub(spread, middle, alpha=d)
    by_eta = torch.addcmul(by_eta, (by_log_v * beyond - v) * per_delta, middle - log_w)
    by_eta = torch.addcmul(by_eta, _horner(terms[d - 1 : 2 * d - 2], v), per_q)
    slope = log_u / reach  # of log Y in theta, plus 1/theta
    top = slope.amax(0)
    change = slope - top
    moved = total_of_all(power * change) * per_whole
    ahead = low + top  # 1/theta less by how much the slope of log Y lags behind the largest x
    by_b = torch.addcmul(excess * ahead, grown, moved)
    by_log_b = by_b * per_b
    by_theta = power_of_y * torch.sub(total_of_all(change), moved, alpha=d) - distance
    by_theta = torch.addcmul(by_theta, missing, per_theta - ahead - moved)
    by_theta = torch.addcmul(by_theta, by_log_v + per_theta, by_log_b, value=-1.0)
    by_theta = torch.addcmul(by_theta, per_theta, quotient)
    by_theta = torch.addcmul(by_theta, _horner(terms[2 * d - 2 :], v) * v, per_q)
    pull = pace * per_whole * (torch.addcmul(start, missing, beyond) + steep * v)
    by_u = torch.addcmul(scaled, power, pull, value=-1.0) / reach - flat
    return value, Slopes((by_theta, by_eta), by_u, torch.zeros_like(by_u) if columns.has_log_sf else [])


def _rising(theta: Parameter, dim: int) -> list[Parameter]:
    """The product of 1 + i theta over i < k, k = 1 .. dim."""
    products: list[Parameter] = [1.0]
    for k in range(1, dim):
        products.append(products[-1] * (1.0 + k * theta))
    return products


def _horner(terms: Sequence[Tensor], v: Tensor) -> Tensor:
    """Their polynomial in v, lowest power first."""
    value = terms[-1]
    for term in reversed(terms[:-1]):
        value = term + value * v
    return value
