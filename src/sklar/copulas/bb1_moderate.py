r"""The BB1 density and its slopes for parameters away from their bounds, in half the operations.

In the notation of ``bb1_density``: with $E_j = u_j^\theta - 1$ a generator is
$\log Y_j = \theta x_j + \log(-E_j/\theta)$, with slope $x_j/(-E_j) - 1/\theta$ in $\theta$, and
$P(v) = v\,Q(v)$ is summed by Horner's scheme, since Q no more vanishes at v = 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sklar.copulas.analytic import Slopes
from sklar.copulas.arithmetic import Parameter, affine, constants, horner, log, moderate
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
    delta, per_theta, series = 1.0 + eta, 1.0 / theta, _series(theta, eta, d)
    per_delta, flat = 1.0 / delta, 1.0 + theta
    one, pace, sharpness, per_pace, per_sharpness, offset, *terms = constants(
        log_u, 1.0, theta, delta, per_theta, per_delta, (d - 1) * log(theta), *series.value[:-1]
    )
    low = log_u.amin(0)
    reach = torch.expm1(pace * log_u)  # E
    lowest = reach.amin(0)
    shifted = torch.addcmul(torch.log(reach / lowest), log_u - low, pace, value=-1.0)
    power = torch.exp(sharpness * shifted)
    whole = total_of_all(power)
    log_whole = torch.log(whole)
    log_w = per_sharpness * log_whole
    excess = lowest * -torch.expm1(log_w)  # theta D
    grown = excess - lowest
    b, log_b = one + excess, torch.log1p(excess)
    v = per_pace * grown / b
    q = horner(terms, series.value[-1], v)
    spread = total_of_all(shifted)
    distance = torch.sub(total_of_all(log_u), low, alpha=d)  # sum of (m - x)
    value = affine(offset, eta, spread) + torch.log(q)
    value = affine(affine(value, per_delta - d, log_whole), -flat * per_theta, log_b)
    value = torch.sub(affine(value, -flat, distance), torch.log(-lowest) + low, alpha=d - 1)
    if not slopes:
        return value, None
    degree, start, scaled, beyond_one, *terms = constants(
        log_u,
        *(float(d), d * eta, eta * theta, flat),
        *series.missing[:-1],
        *series.by_eta[:-1],
        *series.by_theta[:-1],
    )
    per_b, per_q, per_whole = torch.reciprocal(b), torch.reciprocal(q), torch.reciprocal(whole)
    missing = horner(terms[: d - 2], series.missing[-1], v) * per_q  # d - dlog P / dlog v
    beyond = (one + lowest) * per_b  # 1 / (1 + theta W)
    by_log_v = degree - missing
    # In log W
    middle = total_of_all(power * shifted) * per_whole
    by_eta = torch.sub(spread, middle, alpha=d)
    by_eta = torch.addcmul(by_eta, by_log_v * beyond - v, per_sharpness * (middle - log_w))
    by_eta = torch.addcmul(by_eta, horner(terms[d - 2 : 2 * d - 4], series.by_eta[-1], v), per_q)
    slope = log_u / reach  # of log Y in theta, plus 1/theta
    top = slope.amax(0)
    change = slope - top
    moved = total_of_all(power * change) * per_whole
    ahead = low + top  # 1/theta less by how much the slope of log Y lags behind the largest x
    by_log_b = torch.addcmul(excess * ahead, grown, moved) * per_b
    loss = affine(distance, -eta, torch.sub(total_of_all(change), moved, alpha=d))
    loss = torch.addcmul(loss, missing, ahead + moved - per_pace)
    loss = torch.addcmul(loss, by_log_v + per_pace, by_log_b)
    loss = affine(loss, -per_theta * per_theta, log_b)
    by_theta = horner(terms[2 * d - 4 :], series.by_theta[-1], v) * (v * per_q) - loss
    pull = affine(torch.addcmul(start, missing, beyond), 1.0 + d * theta, v) * (pace * per_whole)
    by_u = torch.addcmul(scaled, power, pull, value=-1.0) / reach - beyond_one
    return value, Slopes(([by_theta, by_eta],), by_u, torch.zeros_like(by_u) if columns.has_log_sf else [])


class _Series(NamedTuple):
    """Coefficients of polynomials in v, lowest power first."""

    value: list[Parameter]
    """Of Q."""
    missing: list[Parameter]
    """Of d Q - v P', of a degree less."""
    by_eta: list[Parameter]
    """Of Q's slope in eta."""
    by_theta: list[Parameter]
    """Of Q's slope in theta, over v."""


def _series(theta: Parameter, eta: Parameter, dim: int) -> _Series:
    rising: Parameter = 1.0  # the product of 1 + i theta over i < k
    growth: Parameter = 0.0  # the slope of its logarithm
    series = _Series([], [], [], [])
    by_eta = outer_coefficient_slopes(eta, dim)
    for k, b in enumerate(outer_coefficients(eta, dim), start=1):
        series.value.append(b * rising)
        if k > 1:
            series.by_theta.append(series.value[-1] * growth)
        if k < dim:
            series.missing.append((dim - k) * series.value[-1])
            series.by_eta.append(by_eta[k - 1] * rising)
            growth = growth + k / (1.0 + k * theta)
            rising = rising * (1.0 + k * theta)
    return series
