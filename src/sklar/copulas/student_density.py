r"""The log density of Student's t copula with its first derivatives, in one pass."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sklar.copulas.analytic import Components, Kernel, Slopes
from sklar.copulas.arithmetic import log
from sklar.copulas.columns import Column
from sklar.copulas.elliptical import factor_slopes, lower_rows, together, whiten, whiten_again
from sklar.copulas.student_cdf import (
    StudentTail,
    half_ratio_slope,
    lift_of,
    log_cosh,
    log_half_ratio,
)
from sklar.copulas.student_quantile import smaller_tail, student_distance
from sklar.special import anywhere


def student_density(whole: Tensor, shared: Callable[[], StudentTail]) -> Kernel:
    """The kernel in df and the rows of L after the first.

    Args:
        whole: All of df.
        shared: Gives the univariate distribution of all of df, which the kernel reuses; where df differs by
            point, it sees a piece at a time, and only that piece's distribution is needed.
    """

    def kernel(
        parameters: Sequence[Tensor], columns: Sequence[Column], slopes: bool
    ) -> tuple[Tensor, Slopes | None]:
        df, entries = parameters[0].double().squeeze(-1), parameters[1].double()
        tail = StudentTail(df, shared().series) if df.shape == whole.shape else StudentTail.of(df)
        return _evaluate(entries, tail, columns, slopes)

    return kernel


def _evaluate(
    entries: Tensor, tail: StudentTail, columns: Sequence[Column], slopes: bool
) -> tuple[Tensor, Slopes | None]:
    df, d = tail.df, len(columns)
    rows, joined = lower_rows(entries, d), together(columns)
    log_p, left = smaller_tail(*joined)
    distance = student_distance(tail, log_p)
    sign = 1.0 - 2.0 * left.to(distance.dtype)  # faster than a choice
    sinh, cosh, tanh, log_cosines, remainder, doubled = _hyperbolic(distance)
    white = whiten(rows, list((sign * sinh).unbind(0)))
    form = remainder  # 1 + |w|^2 is e^(2m) (1 + form)
    for value in white:
        form = form + value.square()
    half = 0.5 * (df + d)
    log_form = doubled + torch.log1p(form)
    log_cosines_sum = log_cosines.sum(0)
    value = _constant(df, d) - half * log_form + (df + 1.0) * log_cosines_sum
    for row in rows:
        value = value - log(row[-1])
    kind = columns[0].log_u.dtype
    if not slopes:
        return value.to(kind), None
    weight = 2.0 * half / (1.0 + form)
    outer = whiten_again(rows, white)
    pull = weight * torch.stack(torch.broadcast_tensors(*outer))  # type: ignore[no-untyped-call]
    by_y = (df + 1.0) * sign * tanh - pull * cosh
    ratio, ratio_slope = tail.ratio(distance)
    moved = (by_y * sign * tail.slope_in_df(distance, ratio, ratio_slope)).sum(0)
    by_df = _constant_slope(df, d) - 0.5 * log_form + log_cosines_sum + moved
    by_log = by_y * ratio
    by_sf: Components = ()
    if joined.log_sf is None:
        by_u = torch.where(left, by_log, by_log * torch.exp(joined.log_u.double() - log_p))
    else:
        by_u, by_sf = torch.where(left, by_log, 0.0), torch.where(left, 0.0, -by_log)
    return value.to(kind), Slopes(([by_df], factor_slopes(rows, pull.unbind(0), white)), by_u, by_sf)


def _hyperbolic(distance: Tensor) -> tuple[Tensor, ...]:
    """Sinh and cosh of t over e^m, tanh t, log cosh t, e^(-2m) - 1 and 2m, where m keeps all finite."""
    lift = lift_of(distance.unbind(0))
    if not anywhere(lift > 0.0):
        sinh = torch.sinh(distance)
        square = sinh.square()
        cosh, zero = torch.sqrt(1.0 + square), torch.zeros((), dtype=sinh.dtype, device=sinh.device)
        return sinh, cosh, sinh / cosh, 0.5 * torch.log1p(square), zero, zero
    inside = (distance - lift).clamp(min=0.0)
    hyperbolic = torch.sinh(inside), torch.cosh(inside), torch.tanh(distance), log_cosh(distance)
    return *hyperbolic, torch.expm1(-2.0 * lift), 2.0 * lift


def _constant(df: Tensor, dim: int) -> Tensor:
    r"""$\log(\Gamma(\frac{\nu+M}2)\Gamma(\frac\nu2)^{M-1}/\Gamma(\frac{\nu+1}2)^M)$."""
    total = -(dim - 1) * log_half_ratio(0.5 * df)
    for k in range(1, dim):
        total = total + log_half_ratio(0.5 * (df + k))
    return total


def _constant_slope(df: Tensor, dim: int) -> Tensor:
    total = -(dim - 1) * half_ratio_slope(0.5 * df)
    for k in range(1, dim):
        total = total + half_ratio_slope(0.5 * (df + k))
    return 0.5 * total
