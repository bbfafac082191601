r"""The BB1 density and its slopes for parameters away from their bounds, in half the operations.

In the notation of ``bb1_density``: with $E_j = u_j^\theta - 1$ a generator is
$\log Y_j = \theta x_j + \log(-E_j/\theta)$, with slope $x_j/(-E_j) - 1/\theta$ in $\theta$, and
$P(v) = v\,Q(v)$ is summed by Horner's scheme in $\theta v \le 1$, since Q no more vanishes at v = 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sklar.copulas.analytic import Slopes
from sklar.copulas.arithmetic import Parameter, affine, constants, horner, moderate
from sklar.copulas.columns import Points, total_of_all
from sklar.copulas.outer_power import outer_coefficient_slopes, outer_coefficients

_THETA, _ETA = (0.1, 100.0), (1e-3, 100.0)
_FEW = 8  # modalities, up to which the coefficients are finite in single precision


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
    one, pace, sharpness, per_sharpness, *terms = constants(
        log_u, 1.0, theta, delta, per_delta, *series.value[:-1]
    )
    low = log_u.amin(0)
    reach = (pace * log_u).expm1_()  # E
    lowest, gaps = reach.amin(0), log_u - low
    shifted = (reach / lowest).log_().addcmul_(gaps, pace, value=-1.0)
    power = (sharpness * shifted).exp_()
    whole = total_of_all(power)
    log_whole = torch.log(whole)
    log_w = per_sharpness * log_whole
    excess = torch.expm1(log_w).mul_(lowest).neg_()  # theta D
    grown = excess - lowest  # theta W e^(-theta m)
    per_b, log_b = (one + excess).reciprocal_(), torch.log1p(excess)
    share = grown * per_b  # theta v
    q = horner(terms, series.value[-1], share)
    spread, distance = total_of_all(shifted), total_of_all(gaps)  # the latter is the sum of m - x
    value = affine(torch.log(q), eta, spread)
    value = affine(affine(value, per_delta - d, log_whole), -flat * per_theta, log_b)
    value = torch.sub(affine(value, -flat, distance), lowest.neg().log_().add_(low), alpha=d - 1)
    if not slopes:
        return value, None
    degree, start, scaled, beyond_one, per_pace, *terms = constants(
        log_u,
        *(float(d), d * eta, eta * theta, flat, per_theta),
        *series.missing[:-1],
        *series.by_eta[:-1],
        *series.by_theta[:-1],
    )
    per_q, p = torch.reciprocal(q), power.div_(whole)
    missing = horner(terms[: d - 2], series.missing[-1], share) * per_q  # d - dlog P / dlog v
    beyond = one - share  # 1 / (1 + theta W)
    by_log_v = degree - missing
    # In log W
    middle = total_of_all(p * shifted)
    by_eta = torch.sub(spread, middle, alpha=d)
    by_eta = torch.addcmul(
        by_eta, affine(by_log_v * beyond, -per_theta, share), per_sharpness * (middle - log_w)
    )
    by_eta = torch.addcmul(by_eta, horner(terms[d - 2 : 2 * d - 4], series.by_eta[-1], share), per_q)
    slope = log_u / reach  # of log Y in theta, plus 1/theta
    top = slope.amax(0)
    change = slope.sub_(top)
    moved = total_of_all(p * change)
    ahead = low + top  # 1/theta less by how much the slope of log Y lags behind the largest x
    by_log_b = torch.addcmul(excess * ahead, grown, moved) * per_b
    loss = affine(distance, -eta, torch.sub(total_of_all(change), moved, alpha=d))
    loss = torch.addcmul(loss, missing, ahead + moved - per_pace)
    loss = torch.addcmul(loss, by_log_v + per_pace, by_log_b)
    loss = affine(loss, -per_theta * per_theta, log_b)
    by_theta = horner(terms[2 * d - 4 :], series.by_theta[-1], share) * (share * per_q) - loss
    pull = affine(torch.addcmul(start, missing, beyond), (1.0 + d * theta) * per_theta, share).mul_(pace)
    by_u = torch.addcmul(scaled, p, pull, value=-1.0).div_(reach).sub_(beyond_one)
    return value, Slopes(([by_theta, by_eta],), by_u, torch.zeros_like(by_u) if columns.has_log_sf else [])


class _Series(NamedTuple):
    """Coefficients of polynomials in theta v, lowest power first, all times theta^(d-1)."""

    value: list[Parameter]
    """Of Q."""
    missing: list[Parameter]
    """Of d Q - v P', of a degree less."""
    by_eta: list[Parameter]
    """Of Q's slope in eta."""
    by_theta: list[Parameter]
    """Of Q's slope in theta, over theta v."""


def _series(theta: Parameter, eta: Parameter, dim: int) -> _Series:
    rising: Parameter = 1.0  # the product of 1 + i theta over i < k
    growth: Parameter = 0.0  # the slope of its logarithm
    series = _Series([], [], [], [])
    by_eta = outer_coefficient_slopes(eta, dim)
    for k, b in enumerate(outer_coefficients(eta, dim), start=1):
        scaled = rising * theta ** (dim - k)
        series.value.append(b * scaled)
        if k > 1:
            series.by_theta.append(series.value[-1] * growth)
        if k < dim:
            series.missing.append((dim - k) * series.value[-1])
            series.by_eta.append(by_eta[k - 1] * scaled)
            growth = growth + k / (1.0 + k * theta)
            rising = rising * (1.0 + k * theta)
    return series
