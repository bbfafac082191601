r"""Quantile of Student's t from logs of probabilities, exact in both tails.

Solved for $t = |y|$, $y = \operatorname{asinh}(x/\sqrt\nu)$ (see ``student_cdf``), on the log of the smaller
tail, which is concave in t and straight far out: the same two steps serve $\log u = -5000$ and the middle,
for every df. Each step sums the inverse function's Taylor series, whose terms follow from
$dJ/dt = \nu\tanh(t)J - 1$, to fifth order.
"""

import math
from typing import Any

import torch
from torch import Tensor

from sklar.copulas.student_cdf import StudentTail, chebyshev_sums, log_scale
from sklar.special import patched

_LOG_2 = math.log(2.0)
_ROUGH = 12  # terms of the series that the first step needs
_CHUNK = 16_384  # values that stay in the cache of one core


def student_quantile(tail: StudentTail, log_u: Tensor, log_sf: Tensor | None = None) -> Tensor:
    r"""$y = \operatorname{asinh}(x/\sqrt\nu)$ with $T_\nu(x) = u$, in double precision.

    Args:
        tail: The distribution.
        log_u: Log probabilities.
        log_sf: log(1-u), where it is known more precisely than ``log_u`` tells. The derivative then
            flows through the smaller of the two.
    """
    log_p, left = smaller_tail(log_u, log_sf)
    t = student_distance(tail, log_p)
    return torch.where(left, -t, t)


def smaller_tail(log_u: Tensor, log_sf: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Log of the smaller of u and 1-u in double precision, and whether it is u."""
    wide = log_u.double()
    if log_sf is None:
        left = wide < -_LOG_2
        return torch.where(left, wide, torch.log(-torch.expm1(wide))), left
    wide_sf = log_sf.double()
    left = wide < wide_sf
    return torch.where(left, wide, wide_sf), left


def student_distance(tail: StudentTail, log_p: Tensor) -> Tensor:
    """The t >= 0 with log P(Y > t) = log p, for p <= 1/2."""
    t: Tensor = _Distance.apply(log_p, *tail)  # type: ignore[no-untyped-call]
    return t


class _Distance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, log_p: Tensor, df: Tensor, series: Tensor) -> Tensor:
        t = patched(solve_in_chunks(log_p, df, series), log_p == -torch.inf, torch.neg, log_p)
        ctx.save_for_backward(df, series, t)
        ctx.shape = log_p.shape
        return t

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        df, series, t = ctx.saved_tensors
        tail = StudentTail(df, series)
        ratio, slope = tail.ratio(t)
        by_p = -(grad * ratio).sum_to_size(ctx.shape)
        if not ctx.needs_input_grad[1]:
            return by_p, None, None
        return by_p, (grad * tail.slope_in_df(t, ratio, slope)).sum_to_size(df.shape), None


def solve_in_chunks(log_p: Tensor, df: Tensor, series: Tensor) -> Tensor:
    """The distances, a piece of the first axis at a time where the whole would not fit in the cache."""
    if df.numel() == 1 and log_p.numel() > _CHUNK:
        flat, df, series = log_p.reshape(-1), df.reshape(()), series.reshape(*series.shape[:2])
        return torch.cat([_solve(part, df, series) for part in torch.split(flat, _CHUNK)]).reshape(
            log_p.shape
        )
    if log_p.ndim <= df.ndim or log_p.numel() <= _CHUNK:
        return _solve(log_p, df, series)
    rows = max(1, _CHUNK * log_p.shape[0] // log_p.numel())
    return torch.cat([_solve(part, df, series) for part in torch.split(log_p, rows)])


def _solve(log_p: Tensor, df: Tensor, series: Tensor) -> Tensor:
    scale = log_scale(df)
    excess = (-_LOG_2 - log_p).clamp(min=0.0)  # rounding may leave p a last digit above one half
    t = _start(excess / df, excess, scale)
    t = _step(t, log_p, df, series[:, :_ROUGH], scale)  # to 1e-3
    return _step(t, log_p, df, series, scale)  # to the last digit


def _start(per_df: Tensor, excess: Tensor, scale: Tensor) -> Tensor:
    """The smaller of two upper bounds, from P <= sech^nu(t)/2 and from P <= exp(-2ct)/2."""
    grown = torch.expm1(per_df.clamp(max=300.0))
    wide = torch.log1p(grown + torch.sqrt(grown * (grown + 2.0))) + (per_df - 300.0).clamp(min=0.0)
    return torch.minimum(wide, excess * torch.exp(-scale) * 0.5)


def _step(t: Tensor, log_p: Tensor, df: Tensor, series: Tensor, scale: Tensor) -> Tensor:
    """Five terms of the Taylor series of t in log p about the present point."""
    decay = torch.expm1(-2.0 * t)
    tanh = -decay / (2.0 + decay)
    (ratio,) = chebyshev_sums(series[:1], tanh, df)
    gap = log_p - (scale + ratio.log() - df * (t + torch.log1p(0.5 * decay)))
    pull = df * tanh
    free = df * (1.0 - tanh * tanh)
    first = pull * ratio - 1.0
    second = free * ratio + pull * first
    third = 2.0 * free * (first - tanh * ratio) + pull * second
    # Derivatives of J in t; those of t in log p are -J, J J', -J (J J')' and J (J (J J')')'.
    cubic = first * first + ratio * second
    quartic = first * (first * first + 4.0 * ratio * second) + ratio * ratio * third
    series_sum = 1.0 - gap * (first / 2.0 - gap * (cubic / 6.0 - gap * quartic / 24.0))
    return (t - ratio * gap * series_sum).clamp(min=0.0)
