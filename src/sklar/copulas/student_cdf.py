r"""Log CDF of Student's t, exact in both tails, with derivatives in the argument and in df.

The argument is $y = \operatorname{asinh}(x/\sqrt\nu)$: x itself overflows at $\nu = 1$, $\log u = -710$.
In y the density is $c\,\operatorname{sech}^\nu y$, and for $t = |y|$ the tail is
$P = c\,\operatorname{sech}^\nu(t)\,J$ with the ratio of tail to density
$J(t, \nu) = \int_0^\infty (\cosh s + \tanh t \sinh s)^{-\nu}\,ds$, $\;dJ/dt = \nu\tanh(t) J - 1$.

J and its derivatives in $\nu$ are entire enough in $T = \tanh t$ that 24 Chebyshev terms reach the last
digit for every $\nu$; the terms come from a double-exponential rule, once per value of df.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from sklar.special import log1mexp

LIMIT = 150.0
"""Largest y whose sinh is formed; its fourth power is still finite."""

_TERMS = 24
_DF_AT_ONCE = 16  # values of df whose quadrature stays in the cache
# Where the Chebyshev variable has used half of its range, in units of T sqrt(1 + nu): 5e-15 off for any df.
_HALF_WAY = 4.0
_SHIFT = 12  # the asymptotic series of the gamma ratio is exact to the last digit from here on
# log(Gamma(x + 1/2) / Gamma(x)) - log(x) / 2, coefficients of 1/x, 1/x^3, ...
_HALF_RATIO = (-1 / 8, 1 / 192, -1 / 640, 17 / 14336, -31 / 18432, 691 / 180224)


class StudentTail(NamedTuple):
    r"""The univariate distribution for given degrees of freedom.

    Attributes:
        df: In double precision; broadcasts against arguments.
        series: (3, terms, \*df.shape) Chebyshev coefficients of J and its two derivatives in df.
    """

    df: Tensor
    series: Tensor

    @classmethod
    def of(cls, df: Tensor) -> Self:
        """The distribution with these degrees of freedom, in any shape."""
        wide = df.double()
        flat = wide.detach().reshape(-1)
        pieces = [_chebyshev_series(piece) for piece in torch.split(flat, _DF_AT_ONCE)]
        return cls(wide, torch.cat(pieces, dim=-1).reshape(3, _TERMS, *df.shape))

    def unsqueeze(self) -> Self:
        """The same with one more axis at the end, for a batch of arguments per df."""
        return type(self)(self.df.unsqueeze(-1), self.series.unsqueeze(-1))

    def log_sf(self, t: Tensor) -> Tensor:
        """Log P(Y > t) for t >= 0."""
        return log_scale(self.df) + self.ratio(t)[0].log() - self.df * log_cosh(t)

    def log_density(self, y: Tensor) -> Tensor:
        """Log density of y."""
        return log_scale(self.df) - self.df * log_cosh(magnitude(y))

    def log_cdf(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(log F, log(1-F)) at y of either sign."""
        tail = self.log_sf(magnitude(y))
        rest = log1mexp(-tail)
        left = y < 0
        return torch.where(left, tail, rest), torch.where(left, rest, tail)

    def ratio(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """J and dJ/dnu at t >= 0."""
        pair: tuple[Tensor, Tensor] = _Ratio.apply(t, self.df, self.series)  # type: ignore[no-untyped-call]
        return pair

    def slope_in_df(self, t: Tensor, ratio: Tensor, ratio_slope: Tensor) -> Tensor:
        """Dt/dnu at a fixed probability."""
        return ratio * (log_scale_slope(self.df) - log_cosh(t)) + ratio_slope


def magnitude(y: Tensor) -> Tensor:
    """|y| with slope one at zero, where torch.abs has zero."""
    return torch.where(y < 0, -y, y)


def lift_of(ys: Sequence[Tensor], limit: float = LIMIT) -> Tensor:
    """How far the largest distance from the centre lies beyond ``limit``; a constant without gradient."""
    top = ys[0].detach().abs()
    for y in ys[1:]:
        top = torch.maximum(top, y.detach().abs())
    return (top - limit).clamp(min=0.0)


def lifted_sinh(y: Tensor, lift: Tensor) -> Tensor:
    r"""$e^{-m}\sinh y$, m being :func:`lift_of` it and others; zero where it is $e^{-150}$ of theirs."""
    size = torch.sinh((magnitude(y) - lift).clamp(min=0.0))
    return torch.where(y < 0, -size, size)


def lifted_asinh(value: Tensor, lift: Tensor) -> Tensor:
    r"""$\operatorname{asinh}(e^m v)$."""
    size = magnitude(value)
    small = (size < 1.0) & (lift == 0.0)
    near = torch.asinh(torch.where(small, size, 0.0))
    size = torch.where(small, 1.0, size)
    # The floor stands for a square that underflows, beside the square of a size that is far larger.
    far = lift + torch.log(size + torch.sqrt(size.square() + torch.exp(-2.0 * lift).clamp(min=1e-280)))
    distance = torch.where(small, near, far)
    return torch.where(value < 0, -distance, distance)


def log_cosh(t: Tensor) -> Tensor:
    """Log cosh t for t >= 0; its error is eps t, so that nu log cosh t is good for any nu."""
    return t + torch.log1p(0.5 * torch.expm1(-2.0 * t))


def log_scale(df: Tensor) -> Tensor:
    """Log c, minus the log of B(1/2, nu/2)."""
    return log_half_ratio(0.5 * df) - 0.5 * math.log(math.pi)


def log_scale_slope(df: Tensor) -> Tensor:
    """Its derivative in nu."""
    return 0.5 * half_ratio_slope(0.5 * df)


def log_half_ratio(a: Tensor) -> Tensor:
    r"""$\log(\Gamma(a + 1/2)/\Gamma(a))$; the difference of two lgamma loses digits as a grows."""
    steps = torch.arange(_SHIFT, dtype=a.dtype, device=a.device)
    moved = torch.log1p(-0.5 / (a.unsqueeze(-1) + steps + 0.5)).sum(-1)
    x = a + _SHIFT
    return moved + 0.5 * x.log() + sum(c * x ** -(2 * j + 1) for j, c in enumerate(_HALF_RATIO))


def half_ratio_slope(a: Tensor) -> Tensor:
    """Derivative of :func:`log_half_ratio`."""
    steps = a.unsqueeze(-1) + torch.arange(_SHIFT, dtype=a.dtype, device=a.device)
    moved = (0.5 / (steps * (steps + 0.5))).sum(-1)
    x = a + _SHIFT
    return moved + 0.5 / x - sum((2 * j + 1) * c * x ** -(2 * j + 2) for j, c in enumerate(_HALF_RATIO))


class _Ratio(torch.autograd.Function):
    """(J, dJ/dnu); the first determines its own derivatives in t of every order."""

    @staticmethod
    def forward(ctx: Any, t: Tensor, df: Tensor, series: Tensor) -> tuple[Tensor, Tensor]:
        ratio, slope = chebyshev_sums(series[:2], torch.tanh(t), df)
        ctx.save_for_backward(t, df, series, ratio, slope)
        ctx.set_materialize_grads(False)  # the slope is often unused, and its derivative costs a series
        return ratio, slope

    @staticmethod
    def backward(
        ctx: Any, grad: Tensor | None, grad_slope: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, None]:
        t, df, series, ratio, slope = ctx.saved_tensors
        tanh = torch.tanh(t)
        by_t, by_df = torch.zeros_like(t), torch.zeros_like(df)
        if grad is not None:
            by_t = by_t + (grad * (df * tanh * ratio - 1.0)).sum_to_size(t.shape)
            by_df = by_df + (grad * slope).sum_to_size(df.shape)
        if grad_slope is not None:
            by_t = by_t + (grad_slope * tanh * (ratio + df * slope)).sum_to_size(t.shape)
            if ctx.needs_input_grad[1]:
                curvature: Tensor = _Curvature.apply(t, df, series)  # type: ignore[no-untyped-call]
                by_df = by_df + (grad_slope * curvature).sum_to_size(df.shape)
        return by_t, by_df, None


class _Curvature(torch.autograd.Function):
    """The second derivative of J in df, where the chain of derivatives ends."""

    @staticmethod
    def forward(ctx: Any, t: Tensor, df: Tensor, series: Tensor) -> Tensor:
        return chebyshev_sums(series[2:], torch.tanh(t), df)[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        raise NotImplementedError("third derivatives in the degrees of freedom are not available.")


def chebyshev_sums(series: Tensor, tanh: Tensor, df: Tensor) -> list[Tensor]:
    """The functions of T = tanh t with these coefficients, by Clenshaw's recurrence."""
    width = torch.sqrt(1.0 + df)
    x = 2.0 * (2.0 * tanh * (_HALF_WAY + width) / (_HALF_WAY + tanh * width) - 1.0)  # twice the variable
    sums = []
    for coefficients in series.unbind(0):
        terms = coefficients.unbind(0)
        last, before = terms[-1] + torch.zeros_like(x), torch.zeros_like(x)
        for term in terms[-2:0:-1]:
            torch.sub(term, before, out=before)
            last, before = torch.addcmul(before, x, last, out=before), last
        sums.append((terms[0] - before + 0.5 * x * last) / (_HALF_WAY + tanh * width))
    return sums


def _chebyshev_series(df: Tensor) -> Tensor:
    """Coefficients of (4 + T sqrt(1+nu)) times J and its derivatives, from values at Chebyshev nodes.

    Args:
        df: Of one axis.
    """
    place, transform = _chebyshev_nodes(df.device)
    abscissas, weights = _half_line_rule(df.device)
    width = torch.sqrt(1.0 + df)
    tanh = _HALF_WAY * place / (2.0 * (_HALF_WAY + width) - width * place)
    # The unit of length in which (cosh s + T sinh s)^-nu has decayed by a factor of about e.
    unit = 1.0 / (df * (tanh + 1.0 / torch.sqrt(1.0 + df)))
    s = unit.unsqueeze(-1) * abscissas
    log_base = s + torch.log1p(0.5 * (1.0 - tanh.unsqueeze(-1)) * torch.expm1(-2.0 * s))
    terms = torch.exp(-df.unsqueeze(-1) * log_base) * weights
    moments = [terms.sum(-1), -(terms * log_base).sum(-1), (terms * log_base.square()).sum(-1)]
    values = torch.stack(moments) * (unit * (_HALF_WAY + tanh * width))
    return transform @ values


@lru_cache
def _chebyshev_nodes(device: torch.device) -> tuple[Tensor, Tensor]:
    """1 + x at the nodes x, and the matrix that turns values there into coefficients."""
    k = torch.arange(_TERMS, dtype=torch.float64)
    angle = math.pi * (k + 0.5) / _TERMS
    transform = torch.cos(torch.outer(k, angle)) * (2.0 / _TERMS)
    transform[0] *= 0.5
    return (1.0 + torch.cos(angle)).unsqueeze(-1).to(device), transform.to(device)


@lru_cache
def _half_line_rule(device: torch.device) -> tuple[Tensor, Tensor]:
    """Nodes and weights of the double-exponential rule s = exp(p - e^-p) for integrals over (0, inf)."""
    p = torch.linspace(-4.5, 4.3, 128, dtype=torch.float64)
    s = torch.exp(p - torch.exp(-p))
    return s.to(device), ((p[1] - p[0]) * s * (1.0 + torch.exp(-p))).to(device)
