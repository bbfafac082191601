"""The Clayton family, in any dimension."""

import math
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property, reduce
from typing import Self

import torch
from jaxtyping import Float
from torch import Size, Tensor
from torch.distributions import constraints

from sklar.copulas.analytic import Slopes
from sklar.copulas.archimedean import OneParameter
from sklar.copulas.columns import Column, Points, apart_from_zero, largest_first, total
from sklar.copulas.unconstrained import capped_either_sign, floating, uncapped_either_sign
from sklar.special import (
    anywhere,
    exp_moment,
    log1mexp_of_log,
    log1p_moment,
    log_log1p_ratio,
    log_neg_log,
    softplus,
)

_SMALL = 0.1  # from here on the plain formula's slope in theta, an error of eps / theta^2, is exact enough
_NEAR_ZERO = 1e-30  # theta = 0 becomes this in conditionals: independence to the last digit, without 0/0


class Clayton(OneParameter):
    r"""$C(u) = (1 + \sum_j (u_j^{-\theta} - 1))^{-1/\theta}$: lower tail dependence.

    $\theta \ge 0$, and $-1 < \theta < 0$ for two modalities, where the density is zero outside
    $u^{-\theta} + v^{-\theta} > 1$. With $x_j = -\log u_j$ and $m$ the largest of them,
    $1 + \sum_j (e^{\theta x_j} - 1) = e^{\theta m}(1 + \theta Q)$ and
    $Q = \sum_{j \ne m} e^{\theta(x_j - m)} (1 - e^{-\theta x_j})/\theta$, so that no exponent is positive and
    everything is smooth through $\theta = 0$: $\log c = \sum_{k<M} \log(1 + k\theta)
    + \sum_{j \ne m} (x_j + \theta(x_j - m)) - (M + 1/\theta)\log(1 + \theta Q)$.

    Args:
        theta: Parameter; 0 is independence.
        dim: Number of modalities.
        validate_args: Whether to check the parameter and every argument.

    Example:
        >>> log_u = torch.tensor([[0.5, 0.5], [0.1, 0.9]]).log()
        >>> Clayton(torch.tensor(2.0)).log_density(log_u).exp()
        tensor([1.4810, 0.0408])

    References:
        Hofert, Maechler and McNeil (2012), Likelihood inference for Archimedean copulas in high dimensions.
    """

    name = "clayton"
    arg_constraints = {"theta": constraints.greater_than(-1.0)}  # type: ignore[no-untyped-call]  # noqa: RUF012
    _advice = "Negative dependence among three or more modalities needs Gaussian."

    def __init__(
        self, theta: float | Float[Tensor, "*batch"], dim: int = 2, *, validate_args: bool | None = None
    ) -> None:
        strength = floating(theta)
        if validate_args is not False:
            allowed = torch.isfinite(strength) & (strength > -1 if dim == 2 else strength >= 0)
            if not bool(allowed.all()):
                bad = strength.detach()[~allowed].flatten()[0].item()
                raise ValueError(
                    f"Clayton needs theta >= 0 (0 is independence) for {dim} modalities, got {bad:g}. "
                    "For two modalities any theta > -1 serves; among more, Gaussian has negative dependence."
                )
        super().__init__(strength, dim, validate_args)

    @cached_property
    def _negative(self) -> bool:
        return self.dim == 2 and anywhere(self.strength < 0)

    @property
    def theta(self) -> Tensor:
        """The parameter of the formula."""
        return self.strength

    @classmethod
    def from_strength(cls, strength: Tensor, dim: int, validate_args: bool | None = None) -> Self:
        """The member with theta = strength."""
        return cls(strength, dim, validate_args=validate_args)

    @classmethod
    def strength_of_tau(cls, tau: Tensor) -> Tensor:
        """2 tau / (1 - tau)."""
        return 2.0 * tau / (1.0 - tau)

    @classmethod
    def _tau_bounds(cls, dim: int) -> tuple[float, float]:
        return (-1.0, 1.0) if dim == 2 else (-1e-30, 1.0)

    def kendall_tau(self) -> Tensor:
        """Theta / (theta + 2)."""
        return self.theta / (self.theta + 2.0)

    def tail_dependence(self) -> tuple[Tensor, Tensor]:
        """(2^(-1/theta), 0)."""
        positive = self.theta > 0
        lower = torch.exp(-math.log(2.0) / torch.where(positive, self.theta, 1.0))
        return torch.where(positive, lower, 0.0), torch.zeros_like(lower)

    @classmethod
    def from_raw(cls, raw: Tensor, dim: int, max_tau: float | None) -> Self:
        """For two modalities theta = e^r - 1, so that tau = tanh(r/2); r = raw / sqrt(1 + (raw/limit)^2)."""
        if dim > 2:
            return super().from_raw(raw, dim, max_tau)
        if max_tau is not None:
            raw = capped_either_sign(raw, 2.0 * math.atanh(max_tau))
        return cls.from_strengths(torch.expm1(raw), dim, validate_args=False)

    def to_raw(self, max_tau: float | None) -> Tensor:
        """The inverse of :meth:`from_raw`."""
        if self.dim > 2:
            return super().to_raw(max_tau)
        raw = torch.log1p(self.strengths.detach())
        if max_tau is not None:
            raw = uncapped_either_sign(raw, 2.0 * math.atanh(max_tau))
        return raw

    @classmethod
    def fit(cls, u: Tensor, method: str = "mle") -> Self:
        """See :meth:`Copula.fit`; warns where theta is below -1/2, and the likelihood has no maximum."""
        fitted = super().fit(u, method)
        if method == "mle" and bool((fitted.theta < -0.5).any()):
            warnings.warn(
                f"Clayton with theta = {float(fitted.theta.min()):.3g}: below -0.5 the density is infinite "
                "on the edge of its support, the likelihood has no maximum, and the fit ends where that edge "
                'meets the most extreme row. method="itau" reads the order of all rows; Frank and Gaussian '
                "have negative dependence without an edge.",
                stacklevel=2,
            )
        return fitted

    def parameters(self) -> dict[str, Tensor]:
        return {"theta": self.theta}

    def rsample_log(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Each modality given those before it, in closed form.

        With exponential E_j and z_j = E_j / (1 + (j-1) theta), x_j solves
        e^{theta x} - 1 = (e^{theta z_j} - 1) e^{theta (z_1 + ... + z_{j-1})}. Unlike a gamma frailty this
        underflows for no theta, reaches theta < 0, and has gradients that are exact.
        """
        noise = self._exponential(Size((*sample_shape, *self.batch_shape, self.dim)), generator)
        theta = self.theta.unsqueeze(-1)
        order = torch.arange(self.dim, dtype=noise.dtype, device=noise.device)
        z = noise / (1.0 + order * theta)
        if not anywhere(theta < _SMALL):
            return -softplus(torch.log(-torch.expm1(-theta * z)) + theta * z.cumsum(-1)) / theta
        return -torch.exp(self._log_solution(theta, torch.log(z), theta * (z.cumsum(-1) - z)))

    # Density

    @classmethod
    def _kernel(
        cls, parameters: Sequence[Tensor], columns: Points, slopes: bool
    ) -> tuple[Tensor, Slopes | None]:
        (theta,) = parameters[0].unbind(-1)
        x = [-log_u for log_u in columns.log_u.unbind(0)]
        if not anywhere(theta < _SMALL):
            value, found = _plain_kernel(theta, x, slopes)
        elif len(x) > 2 or not anywhere(theta < 0):
            value, found = _smooth_kernel(theta, x, slopes)
        else:
            negative = theta < 0
            outside = negative & (_complement(torch.where(negative, theta, -0.5), x) <= 0)
            value, found = _smooth_kernel(theta, [torch.where(outside, 0.0, part) for part in x], slopes)
            value = torch.where(outside, -torch.inf, value)
            found = [torch.where(outside, 0.0, slope) for slope in found]
        if not slopes:
            return value, None
        # The density is flat next to u = 1, where log(1-u) would have more to tell.
        flat = [torch.zeros_like(value)] * len(x) if columns.has_log_sf else []
        return value, Slopes((found[:1],), found[1:], flat)

    def _boundary_limit(self, columns: Sequence[Column]) -> Tensor:
        zero = reduce(torch.logical_or, [torch.isinf(column.log_u) for column in columns])
        value = self._log_density([Column(torch.where(zero, -1.0, column.log_u)) for column in columns])
        return torch.where(zero & (self.theta != 0), -torch.inf, value)

    # Conditionals

    def _log_h(self, target: Sequence[Column], given: Sequence[Column]) -> tuple[Tensor, Tensor]:
        """Log h = -(1/theta + s) log(1 + theta R), 1 + theta R = (1 + t_S + t_T)/(1 + t_S)."""
        zero, target = apart_from_zero(target)
        theta = self.theta + _NEAR_ZERO * (self.theta == 0)
        log_minus_log_h = self._log_ratio(theta, target, given) + torch.log1p(len(given) * theta)
        log_minus_log_h = torch.where(zero, torch.inf, log_minus_log_h)
        return -torch.exp(log_minus_log_h), log1mexp_of_log(log_minus_log_h)

    def _log_ratio(self, theta: Tensor, target: Sequence[Column], given: Sequence[Column]) -> Tensor:
        """Log of log(1 + theta R)/theta."""
        x = [-column.log_u for column in target]
        top, others = largest_first(x)
        steep = torch.where(theta < 0, 0.0, theta)
        parts = [
            _log_reach(theta.abs(), value, log_neg_log(*column)) - steep * (top - value)
            for value, column in zip(x, target, strict=True)
        ]
        log_w = reduce(torch.logaddexp, parts)
        known, lift = _known(theta, given)
        log_r = log_w + torch.where(theta < 0, -theta * known, theta * (top - known)) - lift
        if not self._negative:
            return log_log1p_ratio(theta, log_r)
        rest = _complement(theta, [top, *([known] if given else others)])
        return _either(theta, log_r, rest * torch.exp(-theta * known))

    def _conditional_quantile(
        self, w: Column, target: int, given: Mapping[int, Column]
    ) -> tuple[Tensor, Tensor]:
        theta = self.theta + _NEAR_ZERO * (self.theta == 0)
        log_z = log_neg_log(*w) - torch.log1p(len(given) * theta)
        known, lift = _known(theta, tuple(given.values()))
        log_x = self._log_solution(theta, log_z, theta * known + lift)
        return -torch.exp(log_x), log1mexp_of_log(log_x)

    def _log_solution(self, theta: Tensor, log_z: Tensor, lift: Tensor) -> Tensor:
        """Log x where e^{theta x} - 1 = (e^{theta z} - 1) e^lift."""
        z = torch.exp(log_z)
        log_v = _log_reach(theta.abs(), z, log_z) + lift + torch.where(theta < 0, 0.0, theta) * z
        if not self._negative:
            return log_log1p_ratio(theta, log_v)
        below = torch.where(theta < 0, theta, -1.0)
        lift = torch.where(theta < 0, lift, -1.0)
        return _either(theta, log_v, torch.exp(lift + below * z) - torch.expm1(lift))


def _plain_kernel(theta: Tensor, x: Sequence[Tensor], slopes: bool) -> tuple[Tensor, list[Tensor]]:
    """Log density and its slopes in theta and every log u, for theta away from zero."""
    top, others = largest_first(x)
    inverse, power = 1.0 / theta, 1.0 / theta + len(x)
    gaps = [value - top for value in others]
    shrunk = [torch.exp(theta * gap) for gap in gaps]
    y = -total([e * torch.expm1(-theta * value) for e, value in zip(shrunk, others, strict=True)])
    log_b, spread = torch.log1p(y), total(gaps)
    value = (_constant(theta, len(x)) + theta * spread) + (total(others) - power * log_b)
    if not slopes:
        return value, []
    b = 1.0 + y
    # dy/dtheta = sum e (x - top g) with g = 1 - exp(-theta x), and sum e g = y
    by_y = total([e * value for e, value in zip(shrunk, others, strict=True)]) - top * y
    by_theta = _constant_slope(theta, len(x)) + spread + inverse * inverse * log_b - power * by_y / b
    return value, [by_theta, *_point_slopes(theta, x, top, b)]


def _smooth_kernel(theta: Tensor, x: Sequence[Tensor], slopes: bool) -> tuple[Tensor, list[Tensor]]:
    """The same for any theta, negative for two modalities: then the smaller x takes the place of the top."""
    size, negative = torch.where(theta < 0, -theta, theta), theta < 0
    top, others = largest_first(x)
    if len(x) == 2:
        top, others = torch.where(negative, others[0], top), [torch.where(negative, top, others[0])]
    reach = [top - torch.where(negative, 0.0, value) for value in others]
    shrunk = [value * torch.exp(-theta * r) for value, r in zip(others, reach, strict=True)]
    moments = [exp_moment(size * value) for value in others]
    q = total([e * moment for e, moment in zip(shrunk, moments, strict=True)])
    near = (theta * q).detach() < -0.5  # near the support's boundary 1 + theta Q has lost its digits
    y = torch.where(near, 0.0, theta * q)
    rest = torch.where(near, _complement(theta, [top, others[0]]), 1.0)
    b = torch.where(near, torch.exp(-theta * top) * rest, 1.0 + y)
    quotient = torch.where(near, torch.log(b) / torch.where(near, theta, 1.0), q * log1p_moment(y))
    spread = total([value - top for value in others])
    value = _constant(theta, len(x)) + theta * spread + (total(others) - quotient) - len(x) * torch.log(b)
    if not slopes:
        return value, []
    sign = torch.where(negative, -1.0, 1.0)
    by_q = -total(
        [
            e * (r * moment + sign * part * exp_moment(size * part, 1))
            for e, r, moment, part in zip(shrunk, reach, moments, others, strict=True)
        ]
    )
    by_y = q + theta * by_q
    by_rest = total([part * torch.exp(torch.where(near, theta, -1.0) * part) for part in (top, others[0])])
    by_log_b = torch.where(near, by_rest / rest - top, by_y / b)
    by_quotient = torch.where(
        near,
        (by_log_b - quotient) / torch.where(near, theta, 1.0),
        by_q * log1p_moment(y) - q * log1p_moment(y, 1) * by_y,
    )
    by_theta = _constant_slope(theta, len(x)) + spread - len(x) * by_log_b - by_quotient
    return value, [by_theta, *_point_slopes(theta, x, top, b)]


def _point_slopes(theta: Tensor, x: Sequence[Tensor], top: Tensor, b: Tensor) -> list[Tensor]:
    """Derivatives in log u: (1 + M theta) e^{theta (x_j - top)} / B - (1 + theta)."""
    pull = (1.0 + len(x) * theta) / b
    return [pull * torch.exp(theta * (value - top)) - (1.0 + theta) for value in x]


def _constant(theta: Tensor, dim: int) -> Tensor:
    return total([torch.log1p(k * theta) for k in range(1, dim)])


def _constant_slope(theta: Tensor, dim: int) -> Tensor:
    return total([k / (1.0 + k * theta) for k in range(1, dim)])


def _complement(theta: Tensor, x: Sequence[Tensor]) -> Tensor:
    """1 + sum_j (e^{theta x_j} - 1) of one or two modalities for theta < 0; negative outside the support."""
    if len(x) == 1:
        return torch.exp(theta * x[0])
    top, (other,) = largest_first(x)
    return torch.exp(theta * top) + torch.expm1(theta * other)


def _known(theta: Tensor, given: Sequence[Column]) -> tuple[Tensor, Tensor]:
    """(m, lift) of 1 + t_S = e^{theta m + lift}; for theta < 0 of at most one modality."""
    if not given:
        return torch.zeros_like(theta), torch.zeros_like(theta)
    top, others = largest_first([-column.log_u for column in given])
    parts = [value * exp_moment(theta * value) * torch.exp(theta * (value - top)) for value in others]
    return top, torch.log1p(theta * total(parts)) if parts else torch.zeros_like(top)


def _log_reach(size: Tensor, x: Tensor, log_x: Tensor) -> Tensor:
    """Log of (1 - e^{-size x})/size, also where x is infinite or underflows."""
    large = size * x > 1.0
    small = log_x + torch.log(exp_moment(torch.where(large, 0.0, size * x)))
    away = torch.where(large, size, 1.0)
    plain = torch.log(-torch.expm1(-away * torch.where(large, x, 1.0))) - torch.log(away)
    return torch.where(large, plain, small)


def _either(theta: Tensor, log_r: Tensor, rest: Tensor) -> Tensor:
    """Log of log(1 + theta r)/theta; for theta < 0 ``rest`` is 1 + theta r with all its digits."""
    negative = theta < 0
    y = torch.where(negative, theta * torch.exp(torch.where(negative, log_r, 0.0)), 0.0)
    near, outside = y.detach() < -0.5, negative & (rest <= 0)
    small = log_r + torch.log(log1p_moment(torch.where(near, 0.0, y)))
    log_rest = torch.log(torch.where(near & ~outside, rest, 0.5))
    below = torch.where(near, torch.log(-log_rest) - torch.log(torch.where(negative, -theta, 1.0)), small)
    below = torch.where(outside, torch.inf, below)
    positive = torch.where(negative, 1.0, theta)
    return torch.where(negative, below, log_log1p_ratio(positive, torch.where(negative, 0.0, log_r)))
