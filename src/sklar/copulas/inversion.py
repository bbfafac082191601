"""Invert a conditional CDF by a bracketed Newton iteration, with the implicit gradient.

Solved in the log odds of u against the log odds of h: both are exact in both corners, and the curve
that joins them is increasing and straight at both ends, so that Newton converges from anywhere.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from sklar.special import anywhere

Uniform = tuple[Tensor, Tensor]
"""(log u, log(1-u))."""

_MAX_STEPS = 100  # bisection alone needs 60; Newton takes 4 to 10
_BLIND_STEPS = 30  # on an accelerator, which is not asked whether it has converged


def invert_conditional(
    log_cdf: Callable[[Uniform], Uniform],
    log_density: Callable[[Uniform], Tensor],
    log_w: Tensor,
    log_w_sf: Tensor,
) -> Uniform:
    """(log u, log(1-u)) with h(u) = w.

    The result differentiates once: implicitly, through one Newton step taken from the solution.

    Args:
        log_cdf: (log u, log(1-u)) -> (log h, log(1-h)), differentiable in what it closes over.
        log_density: (log u, log(1-u)) -> log dh/du.
        log_w: Target.
        log_w_sf: Log of one minus it.
    """
    goal = log_w - log_w_sf
    certain = torch.isinf(goal)  # w is 0 or 1, and so is u
    goal = torch.where(certain, 0.0, goal)
    with torch.no_grad():
        odds, slope = _solve(log_cdf, log_density, goal)
    log_h, log_h_sf = log_cdf(_uniform(odds))
    step = (log_h - log_h_sf - goal) / slope
    once: Tensor = _DifferentiableOnce.apply(odds - step)  # type: ignore[no-untyped-call]
    return _uniform(torch.where(certain, log_w - log_w_sf, once))


def _uniform(odds: Tensor) -> Uniform:
    return logsigmoid(odds), logsigmoid(-odds)


def _solve(
    log_cdf: Callable[[Uniform], Uniform], log_density: Callable[[Uniform], Tensor], goal: Tensor
) -> tuple[Tensor, Tensor]:
    """Log odds of u at which the log odds of h equal ``goal``, and the slope there."""

    def slope_at(odds: Tensor) -> tuple[Tensor, Tensor]:
        """Log odds of h, and their derivative."""
        u = _uniform(odds)
        log_h, log_h_sf = log_cdf(u)
        return log_h - log_h_sf, torch.exp(log_density(u) + u[0] + u[1] - log_h - log_h_sf)

    log_h, _ = log_cdf(_uniform(goal))  # its shape is the broadcast of everything involved
    odds = goal.expand_as(log_h).clone()
    low, high = torch.full_like(odds, -torch.inf), torch.full_like(odds, torch.inf)
    moved, done = high, torch.zeros_like(odds, dtype=torch.bool)
    # The last step, taken by the caller, squares what is left: 1e-2 of one unit in the last place.
    tolerance = 0.1 * torch.finfo(odds.dtype).eps ** 0.5
    for _ in range(_MAX_STEPS if odds.device.type == "cpu" else _BLIND_STEPS):
        reached, slope = slope_at(odds)
        gap = reached - goal
        low, high = torch.where(gap < 0, odds, low), torch.where(gap > 0, odds, high)
        newton = odds - gap / slope
        # A step that does not shrink may be one of a cycle: halve the bracket instead.
        newton = torch.where((newton - odds).abs() > 0.5 * moved, torch.nan, newton)
        following = torch.where(done | (gap == 0), odds, _safeguarded(newton, low, high))
        moved = (following - odds).abs()
        odds, done = following, done | (moved <= tolerance * (1.0 + odds.abs()))
        if not anywhere(~done):
            break
    return odds, slope_at(odds)[1]


def _safeguarded(newton: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The Newton point where it lies inside the bracket, else its middle (or a leap past its finite end)."""
    middle = torch.where(
        torch.isinf(low),
        high - 2.0 * (1.0 + high.abs()),
        torch.where(torch.isinf(high), low + 2.0 * (1.0 + low.abs()), 0.5 * (low + high)),
    )
    return torch.where((newton >= low) & (newton <= high), newton, middle)


class _DifferentiableOnce(torch.autograd.Function):
    """The identity, refusing a second derivative that the Newton step does not carry."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad
