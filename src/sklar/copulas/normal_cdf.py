r"""Log CDF of the multivariate normal, with exact derivatives.

Up to three dimensions by one positive, log-concave integral per dimension above one,
$\Phi_d(z) = \int_{-\infty}^{z_1} \phi(x) \Phi_{d-1}(z_{2..d} | x) dx$: unlike Plackett's formula, whose
terms change sign, it keeps relative precision where the probability is e^-500. Beyond three dimensions
by separation of variables over scrambled Sobol points (Genz, 1992).
Derivatives are CDFs of lower dimension (Plackett, 1954), whatever method gave the value.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from sklar.copulas.quadrature import gauss_legendre
from sklar.special import log_ndtr, log_normal_density, ndtri_log

_ONE = 1e3  # Phi is one to the last digit from here on, and differences of scores stay finite
_ORDER = 32  # nodes per panel
_DROP = 42.0  # nats below the peak at which the integrand no longer counts
_GRID = 17
_SOBOL_POINTS = 4096


def log_normal_cdf(scores: Sequence[Tensor], correlation: Tensor) -> Tensor:
    """Log P(Z_1 <= z_1, ..., Z_d <= z_d) for standard normal Z with ``correlation`` (..., d, d)."""
    if len(scores) == 1:
        return log_ndtr(scores[0])
    shape = torch.broadcast_shapes(scores[0].shape, correlation.shape[:-2])  # type: ignore[no-untyped-call]
    stacked = torch.stack([score.expand(shape) for score in scores], dim=-1)
    matrix = correlation.expand(*shape, *correlation.shape[-2:])
    value: Tensor = _LogNormalCdf.apply(stacked, matrix)  # type: ignore[no-untyped-call]
    return value


def log_normal_cdf_complement(scores: Sequence[Tensor], correlation: Tensor) -> Tensor:
    """Log P(some Z_j > z_j), as a sum over the first j that exceeds, so that nothing cancels."""
    parts = []
    for j in range(len(scores)):
        signs = torch.ones(j + 1, dtype=correlation.dtype, device=correlation.device)
        signs[j] = -1.0
        block = correlation[..., : j + 1, : j + 1] * signs * signs.unsqueeze(-1)
        parts.append(log_normal_cdf([*scores[:j], -scores[j]], block))
    return torch.logsumexp(torch.stack(torch.broadcast_tensors(*parts)), dim=0)  # type: ignore[no-untyped-call]


class _LogNormalCdf(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, correlation: Tensor) -> Tensor:
        wide, matrix = z.double().clamp(max=_ONE), correlation.double()
        value = _integrate(list(wide.unbind(-1)), matrix) if z.shape[-1] <= 3 else _separate(wide, matrix)
        value = torch.where((z == -torch.inf).any(-1), -torch.inf, value).clamp(max=0.0).to(z.dtype)
        ctx.save_for_backward(z, correlation, value)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        z, correlation, value = ctx.saved_tensors
        scores = list(z.clamp(max=_ONE).unbind(-1))
        d = len(scores)
        by_score = [grad * torch.exp(_log_slope(scores, correlation, i) - value) for i in range(d)]
        by_pair = torch.zeros_like(correlation)
        for i in range(d):
            for j in range(i):
                slope = grad * torch.exp(_log_pair_slope(scores, correlation, i, j) - value)
                unit = torch.zeros(d, d, dtype=z.dtype, device=z.device)
                unit[i, j] = unit[j, i] = 0.5  # the two entries move together
                by_pair = by_pair + slope[..., None, None] * unit
        return torch.stack(by_score, dim=-1), by_pair


def _log_slope(scores: Sequence[Tensor], correlation: Tensor, i: int) -> Tensor:
    """Log dPhi_d/dz_i = log phi(z_i) + log Phi_{d-1}(the rest given z_i)."""
    return log_normal_density(scores[i]) + log_normal_cdf(*_given(scores, correlation, i, scores[i]))


def _log_pair_slope(scores: Sequence[Tensor], correlation: Tensor, i: int, j: int) -> Tensor:
    """Log dPhi_d/drho_ij = log phi_2(z_i, z_j) + log Phi_{d-2}(the rest given both), for j < i."""
    rho = correlation[..., i, j]
    free = (1.0 - rho) * (1.0 + rho)
    residual = (scores[j] - rho * scores[i]) / torch.sqrt(free)
    log_pair = log_normal_density(scores[i]) + log_normal_density(residual) - 0.5 * torch.log(free)
    if len(scores) == 2:
        return log_pair
    rest, matrix = _given(scores, correlation, i, scores[i])
    if len(rest) == 2:
        matrix_rho = matrix[..., 0, 1]
        last = rest[1 - j]
        return log_pair + log_ndtr(
            (last - matrix_rho * rest[j]) / torch.sqrt((1.0 - matrix_rho) * (1.0 + matrix_rho))
        )
    return log_pair + log_normal_cdf(*_given(rest, matrix, j, rest[j]))


def _given(scores: Sequence[Tensor], correlation: Tensor, i: int, at: Tensor) -> tuple[list[Tensor], Tensor]:
    """Standardised scores and correlation of the others, given Z_i = ``at``."""
    others = [k for k in range(len(scores)) if k != i]
    rho = [correlation[..., i, k] for k in others]
    scale = [torch.sqrt((1.0 - r) * (1.0 + r)) for r in rho]
    rest = [(scores[k] - r * at) / s for k, r, s in zip(others, rho, scale, strict=True)]
    rows = [
        torch.stack(
            [
                torch.ones_like(rho[p])
                if p == q
                else (correlation[..., k, m] - rho[p] * rho[q]) / (scale[p] * scale[q])
                for q, m in enumerate(others)
            ],
            dim=-1,
        )
        for p, k in enumerate(others)
    ]
    return rest, torch.stack(rows, dim=-2)


def _integrate(scores: list[Tensor], correlation: Tensor) -> Tensor:
    """The integral over the first score; recursive."""
    if len(scores) == 1:
        return log_ndtr(scores[0])
    rho = correlation[..., 0, 1:].unsqueeze(-2)
    # The others given the first: scores that are linear in it, one correlation matrix for all of it.
    _, matrix = _given(scores, correlation, 0, scores[0])
    matrix = matrix.unsqueeze(-3)
    scale = torch.sqrt((1.0 - rho) * (1.0 + rho))
    others = torch.stack(scores[1:], dim=-1).unsqueeze(-2)

    def log_integrand(x: Tensor) -> Tensor:
        rest = (others - rho * x.unsqueeze(-1)) / scale
        inner = matrix.expand(*rest.shape, rest.shape[-1])
        return log_normal_density(x) + _integrate(list(rest.unbind(-1)), inner)

    step, width = torch.nan_to_num(others / rho).squeeze(-2), (scale / rho.abs()).squeeze(-2)
    breaks = torch.cat([step - 8.0 * width, step, step + 8.0 * width], dim=-1)
    return _log_integral(log_integrand, scores[0].unsqueeze(-1), _reach(scores).unsqueeze(-1), breaks)


def _reach(scores: Sequence[Tensor]) -> Tensor:
    """A distance from zero within which the integrand peaks: negative bounds draw it out, twice over."""
    total = torch.full_like(scores[0], 10.0)
    for score in scores:
        total = total + 2.0 * torch.where(score < 0, -score, 0.0)
    return total


def _log_integral(log_f: Callable[[Tensor], Tensor], upper: Tensor, reach: Tensor, breaks: Tensor) -> Tensor:
    """Log of the integral of exp(log_f) below ``upper``, for log_f with second derivative at most -1.

    Args:
        log_f: Maps (..., n) to (..., n).
        upper: (..., 1).
        reach: (..., 1) distance from zero that surely holds the peak.
        breaks: (..., k) places where log_f turns; panels end there.
    """
    peak = _peak(log_f, -reach, torch.minimum(upper, reach))
    floor = log_f(peak) - _DROP
    left = _crossing(log_f, floor, peak, peak - 9.2)  # curvature -1 alone loses 42 nats over 9.2
    right = _crossing(log_f, floor, peak, torch.minimum(upper, peak + 9.2))
    ends = torch.cat([left, peak, breaks, right], dim=-1)
    ends = ends.clamp(min=left, max=right).sort(dim=-1).values
    nodes, weights = (part.to(upper) for part in gauss_legendre(_ORDER))
    start, length = ends[..., :-1, None], ends.diff(dim=-1)[..., None]
    values = log_f((start + length * nodes).flatten(-2)) + (length * weights).log().flatten(-2)
    return torch.logsumexp(values, dim=-1)


def _peak(log_f: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """Where a concave function is largest, to 1/30,000 of the interval, by grids within grids.

    Near enough is good enough, since it only places panels; grids need far fewer calls than bisection.
    """
    grid = torch.linspace(0.0, 1.0, _GRID, dtype=low.dtype, device=low.device)
    for _ in range(5):
        x = low + (high - low) * grid
        best = log_f(x).argmax(dim=-1, keepdim=True)
        low, high = x.gather(-1, (best - 1).clamp(min=0)), x.gather(-1, (best + 1).clamp(max=_GRID - 1))
    return x.gather(-1, best)


def _crossing(log_f: Callable[[Tensor], Tensor], floor: Tensor, inside: Tensor, outside: Tensor) -> Tensor:
    """A point between, at which log_f is at or just below ``floor`` (or ``outside`` where it is never)."""
    grid = torch.linspace(0.0, 1.0, _GRID, dtype=floor.dtype, device=floor.device)
    for _ in range(2):
        x = inside + (outside - inside) * grid
        last = (log_f(x) > floor).sum(dim=-1, keepdim=True).clamp(min=1) - 1
        inside, outside = x.gather(-1, last), x.gather(-1, (last + 1).clamp(max=_GRID - 1))
    return outside


def _separate(z: Tensor, correlation: Tensor) -> Tensor:
    """Genz's separation of variables, averaged over a fixed set of scrambled Sobol points."""
    d = z.shape[-1]
    order = z.argsort(dim=-1)  # the tightest bounds first: it leaves the least to the points
    z = z.gather(-1, order)
    rows = correlation.gather(-2, order.unsqueeze(-1).expand_as(correlation))
    factor = torch.linalg.cholesky(rows.gather(-1, order.unsqueeze(-2).expand_as(correlation)))
    engine = SobolEngine(d - 1, scramble=True, seed=0)  # type: ignore[no-untyped-call]
    points = engine.draw(_SOBOL_POINTS, dtype=torch.float64).to(z.device).clamp(min=2.0**-53)
    log_points = points.log()
    total = torch.zeros(())
    drawn: list[Tensor] = []
    for i in range(d):
        mean = sum((factor[..., i, j, None] * drawn[j] for j in range(i)), torch.zeros((), dtype=z.dtype))
        log_part = log_ndtr((z[..., i, None] - mean) / factor[..., i, i, None])
        total = total + log_part
        if i < d - 1:
            drawn.append(ndtri_log(log_points[:, i] + log_part))
    value: Tensor = torch.logsumexp(total, dim=-1) - math.log(_SOBOL_POINTS)
    return value
