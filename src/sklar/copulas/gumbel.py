"""The Gumbel family, in any dimension."""

import math
from collections.abc import Sequence

import torch
from torch import Size, Tensor

from sklar.copulas.analytic import Slopes
from sklar.copulas.archimedean import FromOne
from sklar.copulas.arithmetic import components, constants
from sklar.copulas.columns import Column, Points, stacked, total, total_of_all
from sklar.copulas.outer_power import outer_coefficient_slopes, outer_coefficients
from sklar.special import log1mexp, log1mexp_of_log, log_neg_log, softplus

_SINGLE_POWERS = 8  # up to this dimension w^dim is finite in single precision for log u = -10,000


class Gumbel(FromOne):
    r"""$C(u) = \exp(-(\sum_j (-\log u_j)^\theta)^{1/\theta})$, $\theta \ge 1$: upper tail dependence.

    The density is written as a sum of logs of sums of positive terms, so that nothing cancels:
    with $x_j = -\log u_j$, $\eta = \theta - 1$, $w = (\sum x_j^\theta)^{1/\theta}$ and
    $p_j = x_j^\theta / w^\theta$, $\log c = \sum_j (\log p_j - \log x_j + x_j) + \log P_M(w) - w$.

    Args:
        theta: Parameter; 1 is independence.
        dim: Number of modalities.
        eta: theta - 1, instead of ``theta``, when precision next to independence matters.
        validate_args: Whether to check the parameter and every argument.

    Example:
        >>> log_u = torch.tensor([[0.5, 0.5], [0.1, 0.9]]).log()
        >>> Gumbel(torch.tensor(2.0)).log_density(log_u).exp()
        tensor([1.5160, 0.0726])

    References:
        Hofert, Maechler and McNeil (2012), Likelihood inference for Archimedean copulas in high
        dimensions; their alternating Stirling sums are replaced by a positive recurrence.
    """

    name = "gumbel"
    _advice = "Gumbel has no negative dependence; Frank (two modalities) and Gaussian do."

    @classmethod
    def _check_eta(cls, eta: Tensor) -> None:
        if not bool((eta >= 0).all()):
            bad = eta[~(eta >= 0)].flatten()[0].item() + 1.0
            raise ValueError(
                f"Gumbel needs theta >= 1 (1 is independence), got {bad:g}. "
                "It has no negative dependence; Frank and Gaussian do."
            )

    @classmethod
    def strength_of_tau(cls, tau: Tensor) -> Tensor:
        """Tau / (1 - tau)."""
        return tau / (1.0 - tau)

    def kendall_tau(self) -> Tensor:
        """1 - 1/theta."""
        return self.eta / self.theta

    def rsample_log(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Marshall and Olkin's frailty algorithm with Kanter's (1975) positive stable variable."""
        shape = Size((*sample_shape, *self.batch_shape))
        eta, theta = self.eta, self.theta
        like = torch.empty(shape, dtype=eta.dtype, device=eta.device)
        angle = math.pi * like.uniform_(generator=generator).clamp(min=torch.finfo(eta.dtype).tiny)
        noise = self._exponential(shape, generator)
        bend = torch.sin(angle * (eta / theta))
        log_frailty = torch.log(torch.sin(angle / theta)) - theta * torch.log(torch.sin(angle))
        log_frailty = log_frailty + torch.xlogy(eta, bend) - eta * torch.log(noise)
        log_e = torch.log(self._exponential(Size((*shape, self.dim)), generator))
        return -torch.exp((log_e - log_frailty.unsqueeze(-1)) / theta.unsqueeze(-1))

    @classmethod
    def _kernel(
        cls, parameters: Sequence[Tensor], columns: Points, slopes: bool
    ) -> tuple[Tensor, Slopes | None]:
        (strength,), d, log_u = components(parameters[0]), len(columns), columns.log_u
        shifted, top, x_top, near_one = _shift(log_u, columns.log_sf if columns.needs_log_sf() else None)
        exponent = 1.0 + strength
        one, eta, theta, inverse, power_of_total, degree, *coefficients = constants(
            log_u,
            *(1.0, strength, exponent, 1.0 / exponent, 1.0 / exponent - d, d * exponent),
            *outer_coefficients(strength, d)[:-1],
            *outer_coefficient_slopes(strength, d),
        )
        lower, by_eta = coefficients[: d - 1], coefficients[d - 1 :]
        power = torch.exp(theta * shifted)
        whole = total_of_all(power)
        log_total = torch.log(whole)
        log_w = inverse * log_total  # less log x_top
        w = x_top * torch.exp(log_w)
        poly, by_log_w = _polynomial(lower, w, slopes)
        spread = total_of_all(shifted)
        value = torch.log(poly) - (total_of_all(log_u) + w)
        value = torch.addcmul(torch.addcmul(value, eta, spread), power_of_total, log_total)
        value = torch.sub(value, top, alpha=d - 1)
        if not slopes:
            return value, None
        per_poly, per_whole = torch.reciprocal(poly), torch.reciprocal(whole)
        growth = torch.addcmul(one - w, by_log_w, per_poly)  # dlog(P e^-w) / dlog w
        middle = total_of_all(power * shifted) * per_whole
        by_theta = torch.addcmul(torch.sub(spread, middle, alpha=d), inverse * growth, middle - log_w)
        by_theta = torch.addcmul(by_theta, _polynomial_slope(by_eta, w), per_poly)
        by_log_x = torch.addcmul(eta - log_u, (growth - degree) * per_whole, power)
        if near_one is None:
            by_u = by_log_x / log_u
            return value, Slopes(([by_theta],), by_u, torch.zeros_like(by_u) if columns.has_log_sf else [])
        by_u = torch.where(near_one, 0.0, by_log_x / torch.where(near_one, 1.0, log_u))
        return value, Slopes(([by_theta],), by_u, torch.where(near_one, by_log_x, 0.0))

    def _boundary_limit(self, columns: Sequence[Column]) -> Tensor:
        limit = super()._boundary_limit(columns)
        return torch.where(self.eta == 0, 0.0, limit)

    def _log_terms(self, log_w: Tensor, dim: int) -> Tensor:
        """Log P(w), where w itself may underflow."""
        log_poly = dim * log_w
        for k, b in enumerate(outer_coefficients(self.eta, dim)[:-1], 1):
            log_b = torch.where(b > 0, torch.log(torch.where(b > 0, b, 1.0)), -torch.inf)
            log_poly = torch.logaddexp(log_poly, log_b + k * log_w)
        return log_poly

    def _log_h(self, target: Sequence[Column], given: Sequence[Column]) -> tuple[Tensor, Tensor]:
        log_t = self._log_t(target)
        if not given:
            log_h = -torch.exp(log_t / self.theta)
            return log_h, log1mexp_of_log(log_t / self.theta)
        eta, theta, s = self.eta, self.theta, len(given)
        log_t_given = self._log_t(given)
        ratio, log_w = log_t - log_t_given, log_t_given / theta
        delta, w = softplus(ratio) / theta, torch.exp(log_w)
        weights = self._polynomial_weights(w, s)
        moved = total([weight * torch.expm1(-(s - k) * delta) for k, weight in enumerate(weights, 1)])
        cancels = moved < -0.5  # the ratio of polynomials is small, and one plus the move has no digits
        log_ratio = torch.where(
            cancels,
            self._log_terms(log_w + delta, s) - self._log_terms(log_w, s) - s * delta,
            torch.log1p(torch.where(cancels, 0.0, moved)),
        )
        grown = torch.exp(log_w + delta) * -torch.expm1(-delta)  # w expm1(delta), where w underflows too
        log_h = -grown - s * eta * delta + log_ratio
        # To first order in delta, -log h = 1 - h; this is what remains when delta itself underflows.
        slope = w + s * eta + total([(s - k) * weight for k, weight in enumerate(weights, 1)])
        underflown = delta < torch.finfo(delta.dtype).eps
        log_h_sf = torch.where(
            underflown,
            ratio - torch.log(theta) + torch.log(slope),
            log1mexp(-torch.where(underflown, -1.0, log_h)),
        )
        return log_h, log_h_sf

    def _log_t(self, columns: Sequence[Column]) -> Tensor:
        """Log of sum_j x_j^theta."""
        if len(columns) == 1:
            return self.theta * log_neg_log(*columns[0])
        shifted, top, *_ = _shift(*stacked(columns, self.theta.ndim))
        return self.theta * top + torch.log(total(torch.exp(self.theta * shifted).unbind(0)))

    def _polynomial_weights(self, w: Tensor, dim: int) -> list[Tensor]:
        """The shares b_k w^k / P(w), k = 1 .. dim."""
        scale = w.detach().clamp(min=1.0)
        a, inverse = w / scale, 1.0 / scale
        coefficients = outer_coefficients(self.eta, dim)
        terms = [b * a ** (k - 1) * inverse ** (dim - k) for k, b in enumerate(coefficients, 1)]
        whole = total(terms)
        return [term / whole for term in terms]


def _polynomial(lower: Sequence[Tensor], w: Tensor, slopes: bool) -> tuple[Tensor, Tensor]:
    """Q = P(w)/w and w dQ/dw, where P is w^M and the lower terms, by Horner's scheme."""
    if len(lower) >= _SINGLE_POWERS:
        w = w.double()
    value, by_w = w + lower[-1], w
    for b in reversed(lower[:-1]):
        if slopes:
            by_w = (by_w + value) * w
        value = torch.addcmul(b, value, w)
    return value, by_w


def _polynomial_slope(by_lower: Sequence[Tensor], w: Tensor) -> Tensor:
    """The derivative of Q in eta from those of its coefficients."""
    if len(by_lower) >= _SINGLE_POWERS:
        w = w.double()
    value = by_lower[-1]
    for b in reversed(by_lower[:-1]):
        value = b + value * w
    return value


def _shift(log_u: Tensor, log_sf: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """log(x_j / x_top) for x = -log u, log x_top and x_top, the largest x; where x underflows, if told.

    The quotient comes before the logarithm: log x_j - log x_top would lose the digits that w - sum x needs.
    x_top is a constant without gradient, since any constant gives the same value and derivatives.
    """
    x = -log_u
    kind = torch.finfo(x.dtype)
    # On the boundary of the cube it is zero or infinite; these bounds only keep its rows apart from the rest.
    x_top = x.detach().amax(0).clamp(kind.tiny, kind.max)
    top = torch.log(x_top)
    if log_sf is None:
        return torch.log(x / x_top), top, x_top, None
    top = torch.where(x_top < kind.eps, log_sf.detach().amax(0).clamp(min=-1e30), top)
    x_top = torch.where(x_top < kind.eps, torch.exp(top), x_top)
    near_one = x < kind.eps  # there -log u is 1 - u to the last digit, but underflows
    quotient = torch.where(near_one, 1.0, x) / torch.where(near_one, 1.0, x_top)
    return torch.where(near_one, log_sf - top, torch.log(quotient)), top, x_top, near_one
