"""The multivariate normal distribution, as nested integration sees it."""

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor

from sklar.copulas.elliptical_cdf import Law, given
from sklar.copulas.quadrature import gauss_legendre
from sklar.special import log_ndtr, log_ndtr_both, log_normal_density, ndtri_log

_ORDER = 32  # nodes per panel
_DROP = 42.0  # nats below the peak at which the integrand no longer counts
_GRID = 17


class NormalLaw(Law):
    """Standard normal scores; no parameter."""

    largest = 1e3  # differences of scores stay finite

    @property
    def shape_parameter(self) -> Tensor:
        return torch.zeros(())

    def with_shape_parameter(self, value: Tensor) -> Self:
        return self

    def unsqueeze(self) -> Self:
        return self

    def given_one(self) -> Self:
        """The same: conditional distributions of the normal differ in mean and covariance only."""
        return self

    def log_cdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return log_ndtr_both(x)

    def log_density(self, x: Tensor) -> Tensor:
        return log_normal_density(x)

    def quantile(self, log_p: Tensor) -> Tensor:
        return ndtri_log(log_p)

    def standardise(self, score: Tensor, at: Tensor, rho: Tensor, scale: Tensor) -> Tensor:
        return (score - rho * at) / scale

    def log_pair(self, one: Tensor, other: Tensor) -> Tensor:
        return log_normal_density(one) + log_normal_density(other)

    def integrate(self, scores: Sequence[Tensor], correlation: Tensor) -> Tensor:
        """Over the first score, in panels about the peak of its log-concave integrand; recursive."""
        if len(scores) == 1:
            return log_ndtr(scores[0])
        rho = correlation[..., 0, 1:].unsqueeze(-2)
        # The others given the first: scores that are linear in it, one correlation matrix for all of it.
        _, matrix = given(self, scores, correlation, 0, scores[0])
        matrix = matrix.unsqueeze(-3)
        scale = torch.sqrt((1.0 - rho) * (1.0 + rho))
        others = torch.stack(list(scores[1:]), dim=-1).unsqueeze(-2)

        def log_integrand(x: Tensor) -> Tensor:
            rest = (others - rho * x.unsqueeze(-1)) / scale
            inner = matrix.expand(*rest.shape, rest.shape[-1])
            return log_normal_density(x) + self.integrate(list(rest.unbind(-1)), inner)

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
