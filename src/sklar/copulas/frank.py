"""The Frank family, in any dimension."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import constraints

from sklar.copulas.analytic import Slopes
from sklar.copulas.archimedean import OneParameter
from sklar.copulas.columns import Column, Points, total
from sklar.copulas.frank_density import (
    eulerian_numbers,
    frank_kernel,
    polynomial,
    ratio,
    size,
    survival,
)
from sklar.copulas.quadrature import gauss_legendre
from sklar.copulas.unconstrained import capped_either_sign, floating, uncapped_either_sign
from sklar.special import (
    anywhere,
    exp_moment,
    log1mexp,
    log_expm1_ratio,
    log_log1pexp,
    log_neg_log1mexp,
    softplus,
)


class Frank(OneParameter):
    r"""$C(u) = -\frac1\theta\log(1-h)$, $h = (1-e^{-\theta})\prod_j r_j$.

    Here $r_j = (1-e^{-\theta u_j}) / (1-e^{-\theta})$.
    Radially symmetric, without tail dependence; $\theta \ge 0$, and any real for two modalities, where
    $c_{-\theta}(u, v) = c_\theta(u, 1-v)$. The density is the polylogarithm form made finite and positive:
    $\log c = -(M-1)g(\theta) - \theta\sum u_j + \log A_{M-1}(h) - M\log(1-h)$ with Eulerian polynomials A.

    Args:
        theta: Parameter; 0 is independence.
        dim: Number of modalities.
        validate_args: Whether to check the parameter and every argument.

    References:
        Hofert, Maechler and McNeil (2012), Likelihood inference for Archimedean copulas in high dimensions.
    """

    name = "frank"
    arg_constraints = {"theta": constraints.real}  # noqa: RUF012
    _advice = "Negative dependence among three or more modalities needs Gaussian."

    def __init__(
        self, theta: float | Float[Tensor, "*batch"], dim: int = 2, *, validate_args: bool | None = None
    ) -> None:
        strength = floating(theta)
        if validate_args is not False:
            _check_theta(strength.detach(), dim)
        super().__init__(strength, dim, validate_args)

    @cached_property
    def _negative(self) -> bool:
        return self.dim == 2 and anywhere(self.strength < 0)

    @property  # not kept: the first to ask may be inside no_grad
    def _size(self) -> Tensor:
        return size(self.strength)

    @property
    def theta(self) -> Tensor:
        """The parameter of the formula."""
        return self.strength

    @classmethod
    def from_strength(cls, strength: Tensor, dim: int, validate_args: bool | None = None) -> Self:
        """The member with theta = strength."""
        return cls(strength, dim, validate_args=validate_args)

    @classmethod
    def _tau_bounds(cls, dim: int) -> tuple[float, float]:
        return (-1.0, 1.0) if dim == 2 else (-1e-30, 1.0)

    @classmethod
    def strength_of_tau(cls, tau: Tensor) -> Tensor:
        """Solved numerically, without gradient."""
        size = _theta_of_tau(tau.detach().abs().double())
        return (torch.sign(tau) * size).to(tau.dtype)

    def kendall_tau(self) -> Tensor:
        """1 - 4 (1 - D_1(theta)) / theta with the Debye function D_1."""
        return torch.sign(self.strength) * _tau_of_theta(self._size)

    def tail_dependence(self) -> tuple[Tensor, Tensor]:
        """Zero and zero."""
        return torch.zeros_like(self.strength), torch.zeros_like(self.strength)

    @classmethod
    def from_raw(cls, raw: Tensor, dim: int, max_tau: float | None) -> Self:
        """For two modalities theta has either sign: raw / sqrt(1 + (raw/limit)^2)."""
        if dim > 2:
            return super().from_raw(raw, dim, max_tau)
        theta = raw if max_tau is None else capped_either_sign(raw, cls._limit(max_tau, raw))
        return cls.from_strengths(theta, dim, validate_args=False)

    def to_raw(self, max_tau: float | None) -> Tensor:
        """The inverse of :meth:`from_raw`."""
        if self.dim > 2:
            return super().to_raw(max_tau)
        theta = self.strengths.detach()
        return theta if max_tau is None else uncapped_either_sign(theta, self._limit(max_tau, theta))

    def parameters(self) -> dict[str, Tensor]:
        return {"theta": self.theta}

    @classmethod
    def _kernel(
        cls, parameters: Sequence[Tensor], columns: Points, slopes: bool
    ) -> tuple[Tensor, Slopes | None]:
        return frank_kernel(parameters, columns, slopes)

    def _boundary_limit(self, columns: Sequence[Column]) -> Tensor:
        """The density is bounded and continuous up to the boundary."""
        return self._log_density(columns)

    # Conditionals

    def _complement(self, u: Sequence[Tensor], s: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """H, and log(1-h) as -a low + log_b, from u and 1-u; every term is positive."""
        a, p = self._size, -torch.expm1(-self._size)
        # A constant of any value gives the same 1 - h; the smallest keeps log_b of order 1.
        low = u[0].detach()
        for value in u[1:]:
            low = torch.minimum(low, value.detach())
        product, tail = ratio(u[0], a), torch.exp(-a * (u[0] - low)) * ratio(s[0], a)
        for value, left in zip(u[1:], s[1:], strict=True):
            tail = tail + torch.exp(-a * (value - low)) * ratio(left, a) * product
            product = product * ratio(value, a)
        return p * product, torch.log(torch.exp(-a * (1.0 - low)) + p * tail), low

    def _reflect_last(self, columns: Sequence[Column]) -> list[Column]:
        """Theta < 0 is theta > 0 with the last modality turned around."""
        if not self._negative:
            return list(columns)
        last, flip = columns[-1], self.strength < 0
        survival = last.survival()
        turned = Column(torch.where(flip, survival, last.log_u), torch.where(flip, last.log_u, survival))
        return [*columns[:-1], turned]

    def _log_h(self, target: Sequence[Column], given: Sequence[Column]) -> tuple[Tensor, Tensor]:
        if not given:
            return self._both_of_cdf(target)
        log_r, log_r_sf = self._log_ratios(target)
        z, log_z, log_z_sf = self._given(given)
        s = len(given)
        numbers = eulerian_numbers(s - 1)
        whole = polynomial(numbers, z)
        odds = log_z - log_z_sf
        log_h = log_r - s * softplus(odds + log_r_sf)
        first_order = torch.log(torch.as_tensor(float(s))) + odds
        if s > 2:
            moved = total([c * z**i * torch.expm1(i * log_r) for i, c in enumerate(numbers) if i > 0]) / whole
            log_h = log_h + torch.log1p(moved)
            slope = total([i * c * z**i for i, c in enumerate(numbers) if i > 0]) / whole
            log_slope = torch.logaddexp(torch.log1p(slope), first_order)
        else:
            log_slope = softplus(first_order)
        leading = log_r_sf + log_slope  # log(1-h) to first order, for 1-h below the precision of the type
        underflown = leading < math.log(torch.finfo(leading.dtype).eps)
        log_h_sf = torch.where(underflown, leading, log1mexp(-torch.where(underflown, -1.0, log_h)))
        return log_h, log_h_sf

    def _conditional_quantile(
        self, w: Column, target: int, given: Mapping[int, Column]
    ) -> tuple[Tensor, Tensor]:
        if len(given) > 1:
            return super()._conditional_quantile(w, target, given)
        _, log_z, log_z_sf = self._given(tuple(given.values()))
        log_total = torch.logaddexp(log_z_sf, w.log_u + log_z)
        return self._uniform_of_ratio(w.log_u - log_total, log_z_sf + w.survival() - log_total)

    def _given(self, given: Sequence[Column]) -> tuple[Tensor, Tensor, Tensor]:
        """Z = (1-e^-a) prod r over the given modalities, as z, log z and log(1-z)."""
        given = self._reflect_last(given)
        a = self._size
        z, log_b, low = self._complement([c.log_u.exp() for c in given], [survival(c) for c in given])
        log_z = log1mexp(a) + total([self._log_ratio(column)[0] for column in given])
        return z, log_z, log_b - a * low

    def _log_ratio(self, column: Column) -> tuple[Tensor, Tensor]:
        """(log r, log(1-r)), both with full relative precision."""
        a = self._size
        g = log_expm1_ratio(a)
        u, survival = column.log_u.exp(), column.survival()
        log_sf = survival - a * u + log_expm1_ratio(a * survival.exp()) - g
        near_one = log_sf < -math.log(2.0)
        log_r = torch.where(
            near_one,
            torch.log1p(-torch.where(near_one, log_sf, -1.0).exp()),
            column.log_u + log_expm1_ratio(a * u) - g,
        )
        return log_r, log_sf

    def _log_ratios(self, columns: Sequence[Column]) -> tuple[Tensor, Tensor]:
        """(log R, log(1-R)) of the product R of the columns' ratios."""
        log_r, log_sf = self._log_ratio(columns[0])
        for column in columns[1:]:
            other, other_sf = self._log_ratio(column)
            log_r, log_sf = log_r + other, torch.logaddexp(log_sf, log_r + other_sf)
        return log_r, log_sf

    def _uniform_of_ratio(self, log_r: Tensor, log_r_sf: Tensor) -> tuple[Tensor, Tensor]:
        """(log u, log(1-u)) with r(u) = r."""
        a = self._size
        log_a, log_p = torch.log(a), log1mexp(a)
        log_sf = log_log1pexp(a + log_p + log_r_sf) - log_a
        low = log_p + log_r < -math.log(2.0)  # there, one minus the survival has lost its digits
        small = log_neg_log1mexp(torch.where(low, log_p + log_r, -1.0)) - log_a
        return torch.where(low, small, log1mexp(-torch.where(low, -1.0, log_sf))), log_sf

    def _both_of_cdf(self, columns: Sequence[Column]) -> tuple[Tensor, Tensor]:
        log_c, log_c_sf = self._uniform_of_ratio(*self._log_ratios(columns))
        if not self._negative or len(columns) == 1:
            return log_c, log_c_sf
        a = self._size
        log_a, parts = torch.log(a), []
        for column in columns:  # log(e^{au} - 1), where u underflows too
            reach = a * column.log_u.exp()
            parts.append(column.log_u + log_a + log_expm1_ratio(reach) + reach)
        below = log_log1pexp(total(parts) - log1mexp(a) - a) - log_a
        flip = self.strength < 0
        return torch.where(flip, below, log_c), torch.where(flip, log1mexp(-below), log_c_sf)


def _check_theta(theta: Tensor, dim: int) -> None:
    allowed = torch.isfinite(theta) if dim == 2 else (theta >= 0) & torch.isfinite(theta)
    if not bool(allowed.all()):
        raise ValueError(
            f"Frank needs theta >= 0 (0 is independence) for {dim} modalities, got "
            f"{theta[~allowed].flatten()[0].item():g}. "
            "For two modalities any finite theta serves; among more, Gaussian has negative dependence."
        )


def _tau_of_theta(theta: Tensor) -> Tensor:
    """Kendall's tau for theta > 0."""
    nodes, weights = (part.to(theta) for part in gauss_legendre(48))
    short = theta.clamp(max=40.0).unsqueeze(-1) * nodes  # beyond 40 the integrand's tail is below 1e-16
    kernel = torch.exp(-short) / exp_moment(short)  # t / (e^t - 1)
    debye = torch.where(theta < 40.0, (kernel * weights).sum(-1), math.pi**2 / (6.0 * theta))
    plain = 1.0 - 4.0 * (1.0 - debye) / theta
    small = theta < 0.8
    x = torch.where(small, theta, 0.0)
    series = torch.zeros_like(x)
    for coefficient in reversed(_TAU_SERIES):
        series = series * x * x + coefficient
    return torch.where(small, series * x, plain)


# 4 B_2k / ((2k+1) (2k)!), B the Bernoulli numbers, k = 1 .. 8.
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
_TAU_SERIES = tuple(
    4.0 * b / ((2 * k + 1) * math.factorial(2 * k)) for k, b in enumerate(_BERNOULLI, start=1)
)


def _theta_of_tau(tau: Tensor) -> Tensor:
    """Bisection in double precision, between the bounds tau <= theta / 9 and tau >= 1 - 4 / theta."""
    low, high = 9.0 * tau, 4.0 / (1.0 - tau)
    for _ in range(60):
        middle = 0.5 * (low + high)
        below = _tau_of_theta(middle.clamp(min=1e-300)) < tau
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return torch.where(tau == 0, 0.0, 0.5 * (low + high))
