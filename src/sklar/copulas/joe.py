"""The Joe family, in any dimension."""

import math
from collections.abc import Sequence
from functools import lru_cache, reduce

import torch
from torch import Tensor

from sklar.copulas.analytic import Slopes
from sklar.copulas.archimedean import FromOne
from sklar.copulas.columns import Column, total
from sklar.special import anywhere, log1mexp, log_expm1_ratio, log_neg_log1mexp, softplus

_LOG_2 = math.log(2.0)


class Joe(FromOne):
    r"""$C(u) = 1 - (1 - \prod_j (1 - (1-u_j)^\theta))^{1/\theta}$, $\theta \ge 1$: upper tail dependence.

    With $s_j = 1 - u_j$, $r_j = 1 - s_j^\theta$, $h = \prod r_j$ and $\kappa = 1 - 1/\theta$,
    $\log c = (M-1)\log\theta + (\theta-1)\sum\log s_j - (M-1+\kappa)\log(1-h) + \log Q(h)$ where
    $Q = (1-h)^{M-1} + \kappa\sum_{k\ge 1} b_k h^k (1-h)^{M-1-k}$ has positive coefficients. The natural
    argument is log(1-u), which is taken as it is where it is given.

    Args:
        theta: Parameter; 1 is independence.
        dim: Number of modalities.
        eta: theta - 1, instead of ``theta``, when precision next to independence matters.
        validate_args: Whether to check the parameter and every argument.

    References:
        Joe (1993), Parametric families of multivariate distributions with given margins; Hofert, Maechler
        and McNeil (2012), Likelihood inference for Archimedean copulas in high dimensions.
    """

    name = "joe"
    _advice = "Joe has no negative dependence; Frank (two modalities), Gaussian and Rotated do."

    @classmethod
    def _check_eta(cls, eta: Tensor) -> None:
        allowed = (eta >= 0) & torch.isfinite(eta)
        if not bool(allowed.all()):
            bad = eta[~allowed].flatten()[0].item() + 1.0
            raise ValueError(f"Joe needs a finite theta >= 1 (1 is independence), got {bad:g}. {cls._advice}")

    @classmethod
    def strength_of_tau(cls, tau: Tensor) -> Tensor:
        """By Newton's method in double precision, differentiable once."""
        share = _share_of_tau(tau.detach().double())
        reached, slope = _tau_of_share(share)
        share = share + (tau - reached) / slope  # moves nothing, and carries the gradient
        return (share / (2.0 - share)).to(tau.dtype)

    def kendall_tau(self) -> Tensor:
        r"""$1 + 2(\psi(2) - \psi(2/\theta + 1))/(2-\theta)$, $\psi$ the digamma function."""
        return _tau_of_share(2.0 * self.eta / self.theta)[0]

    # Density

    @classmethod
    def _kernel(
        cls, parameters: Sequence[Tensor], columns: Sequence[Column], slopes: bool
    ) -> tuple[Tensor, Slopes | None]:
        (eta,) = parameters[0].unbind(-1)
        theta, d = 1.0 + eta, len(columns)
        kappa = eta / theta
        log_s, by_log_u = _log_survivals(columns, slopes)
        # A constant of any value gives the same 1 - h; the largest keeps 1 <= tail <= d.
        top = log_s[0].detach()
        for value in log_s[1:]:
            top = torch.maximum(top, value.detach())
        lift = torch.exp(theta * top)
        power = [torch.exp(theta * (value - top)) for value in log_s]
        ratio = [1.0 - lift * value for value in power]
        product, tail = ratio[0], power[0]  # of the first modalities: h, and 1 - h less its factor lift
        for r, value in zip(ratio[1:], power[1:], strict=True):
            tail = tail + value * product
            product = product * r
        q, by_kappa, by_h = _polynomial(kappa, product, lift * tail, d)
        independent = eta == 0 if anywhere(eta == 0) else None
        if independent is not None:  # the rest of q is its first term alone, which may underflow
            q = torch.where(independent, q.clamp(min=1e-30), q)
        log_tail, spread = torch.log(tail), total(log_s)
        value = torch.log(q).sub(top, alpha=d - 1) - (d - 1 + kappa) * log_tail
        value = value + eta * spread.sub(top, alpha=d) + (d - 1) * torch.log1p(eta)
        if independent is not None:
            value = torch.where(independent, 0.0, value)
        if not slopes:
            return value, None
        growth = 1.0 + by_h / q
        shares = [e * other / tail for e, other in zip(power, _others(ratio), strict=True)]
        mean = total([share * log for share, log in zip(shares, log_s, strict=True)])
        by_eta = (by_kappa / q - log_tail - theta * top) / (theta * theta)
        by_eta = by_eta + (d - 1) / theta + spread - kappa * growth * mean
        by_log_s = [eta * (1.0 - share * growth) for share in shares]
        if by_log_u is None:
            return value, Slopes(([by_eta],), [torch.zeros_like(part) for part in by_log_s], by_log_s)
        by_u = [slope * part for slope, part in zip(by_log_s, by_log_u, strict=True)]
        return value, Slopes(([by_eta],), by_u)

    def _boundary_limit(self, columns: Sequence[Column]) -> Tensor:
        """At u = 0 the formula has a value; at u = 1 the density vanishes, or in the corner has no limit."""
        one = torch.isinf(columns[0].survival())
        for column in columns[1:]:
            one = one | torch.isinf(column.survival())
        inside = [Column(*[torch.where(one, -_LOG_2, p) for p in (c.log_u, c.survival())]) for c in columns]
        limit = torch.where(one, -torch.inf, self._log_density(inside))
        return torch.where(self.eta == 0, 0.0, limit)

    # Conditionals

    def _log_h(self, target: Sequence[Column], given: Sequence[Column]) -> tuple[Tensor, Tensor]:
        if not given:
            log_r, log_q = self._ratios(target, torch.zeros_like(self.eta))
            return _complement_of_power(log_r, log_q, -torch.log1p(self.eta))
        top = given[0].survival().detach()
        for column in given[1:]:
            top = torch.maximum(top, column.survival().detach())
        top = top.clamp(min=-1e30)  # zero given survival would leave no difference to take
        log_r, log_q = self._ratios(target, top)
        log_z, log_y = self._ratios(given, top)
        s, kappa = len(given), self.eta / self.theta
        log_kappa = torch.where(kappa > 0, torch.log(torch.where(kappa > 0, kappa, 1.0)), -torch.inf)
        reach = log_q - log_y  # log of (1 - R) / (1 - z): theta top, and the digits it would cost, are gone
        growth = softplus(reach + log_z)  # log of (1 - z R) / (1 - z)
        log_h = log_r - kappa * growth
        leading = torch.logaddexp(log_q + self.theta * top, log_kappa + reach + log_z)
        if s > 1:
            step = growth - log_r
            log_z_sf = log_y + self.theta * top
            log_terms = [(s - 1) * log_z_sf]
            for k, b in enumerate(_coefficients(kappa, s)[0], 1):
                log_terms.append(log_kappa + torch.log(b) + k * log_z + (s - 1 - k) * log_z_sf)
            log_total = reduce(torch.logaddexp, log_terms)
            weights = [torch.exp(term - log_total) for term in log_terms]
            moved = total([weight * torch.expm1(-k * step) for k, weight in enumerate(weights) if k > 0])
            cancels = moved < -0.5  # then one plus the move has lost digits, and the terms are far apart
            shifted = [term - k * step for k, term in enumerate(log_terms)]
            log_moved = reduce(torch.logaddexp, shifted) - log_total
            log_h = log_h + torch.where(cancels, log_moved, torch.log1p(torch.where(cancels, 0.0, moved)))
            pull = reduce(torch.logaddexp, [math.log(k) + term for k, term in enumerate(log_terms) if k > 0])
            leading = torch.logaddexp(leading, reach + pull - log_total)
        # To first order in 1 - R, -log h = 1 - h; that is what remains when 1 - R or its share underflows.
        underflown = reach < math.log(torch.finfo(reach.dtype).eps)
        return log_h, torch.where(underflown, leading, log1mexp(-torch.where(underflown, -1.0, log_h)))

    def _ratios(self, columns: Sequence[Column], top: Tensor) -> tuple[Tensor, Tensor]:
        """(log R, log(1-R) - theta top) of R = prod (1 - (1-u)^theta); the sums have terms of one sign."""
        log_theta = torch.log1p(self.eta)
        parts = []
        for column in columns:
            survival = column.survival()
            log_r, _ = _complement_of_power(column.log_u, survival, log_theta)
            parts.append((log_r, self.theta * (survival - top)))
        log_r, log_q = parts[0]
        for other, other_q in parts[1:]:
            log_r, log_q = log_r + other, torch.logaddexp(log_q, log_r + other_q)
        return log_r, log_q


def _log_survivals(columns: Sequence[Column], slopes: bool) -> tuple[list[Tensor], list[Tensor] | None]:
    """log(1-u), and where it is not an argument itself its derivative in log u, -u/(1-u)."""
    given = [column.log_sf for column in columns if column.log_sf is not None]
    if given:
        return given, None
    log_s, by_log_u = [], []
    for column in columns:
        u, negative = column.log_u.exp(), torch.expm1(column.log_u)
        s = -negative
        # The quotient, one but for the rounding of s, restores what log(s) lost (Kahan); below half a unit in
        # the last place nothing is left to restore.
        log_s.append(torch.log(s) * (u / (1.0 + negative).clamp(min=0.25 * torch.finfo(u.dtype).eps)))
        if slopes:
            by_log_u.append(u / negative)
    return log_s, by_log_u


def _complement_of_power(log_a: Tensor, log_a_sf: Tensor, log_power: Tensor) -> tuple[Tensor, Tensor]:
    """(log(1 - (1-a)^p), p log(1-a)) from log a and log(1-a), with full relative precision of both."""
    log_sf = torch.exp(log_power) * log_a_sf
    small = log_a < -_LOG_2
    log_z = log_power + torch.where(
        small,
        log_neg_log1mexp(torch.where(small, log_a, -1.0)),
        torch.log(-torch.where(small, -1.0, log_a_sf)),
    )
    far = log_sf < -_LOG_2
    log_z = torch.where(far, -1.0, log_z)
    near = log_z + log_expm1_ratio(log_z.exp())
    return torch.where(far, torch.log1p(-torch.where(far, log_sf, -1.0).exp()), near), log_sf


@lru_cache
def _stirling_numbers(n: int) -> tuple[float, ...]:
    """Stirling numbers of the second kind S(n, 1) .. S(n, n)."""
    row = [1]
    for size in range(2, n + 1):
        row = [(k + 1) * (row[k] if k < size - 1 else 0) + (row[k - 1] if k else 0) for k in range(size)]
    return tuple(float(value) for value in row)


def _coefficients(kappa: Tensor, dim: int) -> tuple[list[Tensor], list[Tensor]]:
    """b_k = S(M, k+1) prod_{i=2..k} (i - 1 + kappa), k = 1 .. M-1, and their derivatives."""
    factor, slope = torch.ones_like(kappa), torch.zeros_like(kappa)
    values, slopes = [], []
    for k, number in enumerate(_stirling_numbers(dim)[1:], 1):
        values.append(number * factor)
        slopes.append(number * slope)
        slope = slope * (k + kappa) + factor
        factor = factor * (k + kappa)
    return values, slopes


def _polynomial(kappa: Tensor, h: Tensor, y: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Q, its derivative in kappa, and sum_k k b_k h^(k-1) y^(M-1-k), for y = 1 - h."""
    if dim == 2:
        return y + kappa * h, h, torch.ones_like(h)
    values, slopes = _coefficients(kappa, dim)
    rest, by_h = values[-1], (dim - 1) * values[-1]
    by_kappa, power = values[-1] + kappa * slopes[-1], torch.ones_like(y)
    for k in range(dim - 2, 0, -1):
        power = power * y
        b, slope = values[k - 1], slopes[k - 1]
        rest, by_h = rest * h + b * power, by_h * h + k * b * power
        by_kappa = by_kappa * h + (b + kappa * slope) * power
    return power * y + kappa * rest * h, by_kappa * h, by_h


def _others(values: Sequence[Tensor]) -> list[Tensor]:
    """For each value the product of all the others, without a division."""
    if len(values) == 2:
        return [values[1], values[0]]
    before, after = [torch.ones_like(values[0])], [torch.ones_like(values[0])]
    for value in values[:-1]:
        before.append(before[-1] * value)
    for value in reversed(values[1:]):
        after.append(after[-1] * value)
    return [one * other for one, other in zip(before, reversed(after), strict=True)]


_FIRST = 9  # terms of the series below this are summed one by one


@lru_cache
def _tail_coefficients() -> tuple[float, ...]:
    """sum_{n >= 9} (n-2) / ((n-1) n^(k+2)), k = 0 .. 26, from Hurwitz zeta values."""
    powers = torch.arange(2, 60, dtype=torch.float64)
    zeta = torch.special.zeta(powers, torch.tensor(float(_FIRST), dtype=torch.float64))
    # sum 1 / ((n-1) n^p) is the sum of the zeta values beyond p.
    return tuple(float(zeta[k] - zeta[k + 1 :].sum()) for k in range(27))


def _tau_of_share(share: Tensor) -> tuple[Tensor, Tensor]:
    r"""Kendall's tau and its derivative in $t = 2(\theta-1)/\theta$, $0 \le t \le 2$.

    $\tau = t\sum_{n\ge 3} (n-2) / ((n-1) n (n-t))$ is the digamma formula term by term. All its terms are
    positive, so that neither theta = 1 nor the formula's 0/0 at theta = 2 costs a digit.
    """
    total, slope = torch.zeros_like(share), torch.zeros_like(share)
    for coefficient in reversed(_tail_coefficients()):
        slope = slope * share + total
        total = total * share + coefficient
    for n in range(3, _FIRST):
        term = (n - 2) / ((n - 1) * n * (n - share))
        total, slope = total + term, slope + term / (n - share)
    return share * total, total + share * slope


def _share_of_tau(tau: Tensor) -> Tensor:
    """Newton from the right, where an increasing convex function never overshoots."""
    share = torch.full_like(tau, 2.0)
    for _ in range(8):
        reached, slope = _tau_of_share(share)
        share = share - (reached - tau) / slope
    return share
