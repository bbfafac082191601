"""The family of Ali, Mikhail and Haq, in any dimension."""

import math
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import constraints

from sklar.copulas.amh_density import amh_kernel, product_and_rest
from sklar.copulas.analytic import Slopes
from sklar.copulas.archimedean import OneParameter
from sklar.copulas.columns import Column, Points, total
from sklar.copulas.frank_density import eulerian_numbers, polynomial, survival
from sklar.copulas.unconstrained import capped, capped_either_sign, floating, uncapped, uncapped_either_sign
from sklar.special import log1mexp

_LARGEST_TAU = 1.0 / 3.0
_SMALLEST_TAU = (5.0 - 8.0 * math.log(2.0)) / 3.0
_LOG_2 = math.log(2.0)


class AMH(OneParameter):
    r"""$C(u) = \kappa / (\prod_j \frac{\kappa + \theta u_j}{u_j} - \theta)$, $\kappa = 1 - \theta$.

    Weak dependence without tails: $0 \le \theta < 1$, and $-1 \le \theta < 1$ for two modalities. Everything
    is written in the odds $\sigma = \theta/\kappa$, which keep their digits at independence ($\sigma = 0$) as
    well as next to $\theta = 1$. With $q_j = (1-u_j)/(1+\sigma u_j)$, $r_j = 1 - q_j$,
    $h = \theta \prod_j r_j$ and Eulerian polynomials A, $\log c = \log A_M(h)
    - 2\sum_j \log\frac{1+\sigma u_j}{1+\sigma} - (M+1) \log(1 + \sigma(1 - \prod_j r_j))$.

    Args:
        theta: Parameter; 0 is independence.
        dim: Number of modalities.
        odds: theta / (1 - theta), instead of ``theta``, when precision next to one matters.
        validate_args: Whether to check the parameter and every argument.

    References:
        Hofert, Maechler and McNeil (2012), Likelihood inference for Archimedean copulas in high dimensions.
    """

    name = "amh"
    tau_range = (0.0, _LARGEST_TAU)
    arg_constraints = {"odds": constraints.greater_than_eq(-0.5)}  # type: ignore[no-untyped-call]  # noqa: RUF012
    _advice = "Clayton, Frank and Gaussian reach further."

    def __init__(
        self,
        theta: float | Float[Tensor, "*batch"] | None = None,
        dim: int = 2,
        *,
        odds: float | Float[Tensor, "*batch"] | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if (theta is None) == (odds is None):
            raise ValueError("AMH takes theta or odds = theta / (1 - theta), and one of them only.")
        if odds is not None:
            strength = floating(odds)
        else:
            theta = torch.as_tensor(theta)
            strength = theta / (1.0 - theta)
        if validate_args is not False:
            _check_range(theta, strength, dim)
        super().__init__(strength, dim, validate_args)

    @property
    def odds(self) -> Tensor:
        """Theta / (1 - theta)."""
        return self.strength

    @property
    def theta(self) -> Tensor:
        """The parameter of the formula."""
        return self.strength / (1.0 + self.strength)

    @classmethod
    def from_strength(cls, strength: Tensor, dim: int, validate_args: bool | None = None) -> Self:
        """The member with theta = strength / (1 + strength)."""
        return cls(dim=dim, odds=strength, validate_args=validate_args)

    @classmethod
    def strength_of_tau(cls, tau: Tensor) -> Tensor:
        """Solved numerically, without gradient."""
        theta = _theta_of_tau(tau.detach().double())
        return (theta / (1.0 - theta)).to(tau.dtype)

    @classmethod
    def _tau_bounds(cls, dim: int) -> tuple[float, float]:
        return (_SMALLEST_TAU if dim == 2 else -1e-30, _LARGEST_TAU)

    def kendall_tau(self) -> Tensor:
        r"""$1 - \frac{2}{3\theta^2}(\theta + (1-\theta)^2 \log(1-\theta))$."""
        return _tau_of_odds(self.odds)

    def tail_dependence(self) -> tuple[Tensor, Tensor]:
        """Zero and zero."""
        return torch.zeros_like(self.strength), torch.zeros_like(self.strength)

    @classmethod
    def from_raw(cls, raw: Tensor, dim: int, max_tau: float | None) -> Self:
        """Theta = sigmoid(raw); for two modalities, where it has either sign, theta = tanh(raw / 2).

        A cap beyond the family's reach caps nothing: its members have a limit, Clayton with theta = 1.
        """
        limit = None if max_tau is None or max_tau >= _LARGEST_TAU else cls._limit(max_tau, raw)
        if dim == 2:
            if limit is not None:
                raw = capped_either_sign(raw, torch.log1p(2.0 * limit))
            return cls.from_strengths(0.5 * torch.expm1(raw), dim, validate_args=False)
        odds = torch.exp(raw)
        odds = odds if limit is None else capped(odds, limit)
        return cls.from_strengths(odds, dim, validate_args=False)

    def to_raw(self, max_tau: float | None) -> Tensor:
        """The inverse of :meth:`from_raw`."""
        odds = self.strengths.detach()
        limit = None if max_tau is None or max_tau >= _LARGEST_TAU else self._limit(max_tau, odds)
        if self.dim == 2:
            raw = torch.log1p(2.0 * odds)
            if limit is not None:
                raw = uncapped_either_sign(raw, torch.log1p(2.0 * limit))
            return raw
        if limit is not None:
            odds = uncapped(odds, limit)
        return torch.log(odds)

    def parameters(self) -> dict[str, Tensor]:
        return {"theta": self.theta}

    # Density

    @classmethod
    def _kernel(
        cls, parameters: Sequence[Tensor], columns: Points, slopes: bool
    ) -> tuple[Tensor, Slopes | None]:
        return amh_kernel(parameters, columns, slopes)

    def _boundary_limit(self, columns: Sequence[Column]) -> Tensor:
        return self._log_density(columns)

    # Conditionals

    def _log_h(self, target: Sequence[Column], given: Sequence[Column]) -> tuple[Tensor, Tensor]:
        r"""$h = R (\frac{1-z}{1-zR})^{s+1} A_s(zR)/A_s(z)$, $z = \theta\prod_S r$, $R = \prod_T r$."""
        log_r, log_q = self._log_products(target)
        q = torch.exp(log_q)
        if not given:
            shrunk = torch.log1p(self.odds * q)
            return log_r - shrunk, log_q + torch.log1p(self.odds) - shrunk
        s, (z, ahead, behind) = len(given), self._given(given)
        shrunk = torch.log1p(ahead * q)
        if s == 1:
            return log_r - 2.0 * shrunk, log_q + torch.log(behind + ahead * ahead * q) - 2.0 * shrunk
        numbers = eulerian_numbers(s)
        whole = polynomial(numbers, z)
        moved = total([c * z**i * torch.expm1(i * log_r) for i, c in enumerate(numbers) if i > 0]) / whole
        log_h = log_r - (s + 1) * shrunk + torch.log1p(moved)
        slope = total([i * c * z**i for i, c in enumerate(numbers) if i > 0]) / whole
        leading = log_q + torch.log(1.0 + (s + 1) * ahead + slope)
        underflown = leading < math.log(torch.finfo(leading.dtype).eps)
        return log_h, torch.where(underflown, leading, log1mexp(-torch.where(underflown, -1.0, log_h)))

    def _conditional_quantile(
        self, w: Column, target: int, given: Mapping[int, Column]
    ) -> tuple[Tensor, Tensor]:
        """Given one modality, h = w is quadratic in r and in 1-r; both roots are sums of positive terms."""
        if len(given) > 1:
            return super()._conditional_quantile(w, target, given)
        _, ahead, behind = self._given(tuple(given.values()))
        below, above, negative = torch.exp(w.log_u), torch.exp(w.survival()), ahead < 0
        middle = torch.where(negative, behind - 2.0 * ahead * above, 1.0 + 2.0 * below * ahead)
        spread = 4.0 * ahead * (1.0 + ahead)
        root = torch.sqrt(torch.where(negative, behind * behind - spread * above, 1.0 + spread * below))
        log_q = _LOG_2 + w.survival() - torch.log(middle + root)
        log_r = _LOG_2 + w.log_u + 2.0 * torch.log1p(ahead) - torch.log(1.0 + root + 0.5 * spread * below)
        shrunk = torch.log1p(self.odds * torch.exp(log_q))
        log_sf = log_q + torch.log1p(self.odds) - shrunk
        return _one_minus(log_sf, log_r - shrunk), log_sf

    def _given(self, given: Sequence[Column]) -> tuple[Tensor, Tensor, Tensor]:
        """Z, z/(1-z) and (1+z)/(1-z), which vanishes at theta = -1, u = 1."""
        odds, scale = self.odds, 1.0 + self.odds
        u = [column.log_u.exp() for column in given]
        q = [survival(column) / (1.0 + odds * value) for column, value in zip(given, u, strict=True)]
        product, lost, _ = product_and_rest([value * scale / (1.0 + odds * value) for value in u], q)
        g = 1.0 + odds * lost
        return odds * product / scale, odds * product / g, (1.0 + 2.0 * odds - odds * lost) / g

    def _log_products(self, columns: Sequence[Column]) -> tuple[Tensor, Tensor]:
        """(log R, log(1-R)) of the product R of the columns' r."""
        log_r, log_q = self._log_ratio(columns[0])
        for column in columns[1:]:
            other, other_q = self._log_ratio(column)
            log_r, log_q = log_r + other, torch.logaddexp(log_q, log_r + other_q)
        return log_r, log_q

    def _log_ratio(self, column: Column) -> tuple[Tensor, Tensor]:
        down = torch.log1p(self.odds * column.log_u.exp())
        log_q = column.survival() - down
        return _one_minus(log_q, column.log_u + torch.log1p(self.odds) - down), log_q


def _check_range(theta: Tensor | float | None, odds: Tensor, dim: int) -> None:
    if theta is None:
        allowed = (odds >= (-0.5 if dim == 2 else 0.0)) & torch.isfinite(odds)
        given = odds / (1.0 + odds)
    else:
        given = torch.as_tensor(theta)
        allowed = (given >= (-1.0 if dim == 2 else 0.0)) & (given < 1.0)
    if not bool(allowed.all()):
        raise ValueError(
            f"AMH needs {'-1' if dim == 2 else '0'} <= theta < 1 (0 is independence) "
            f"for {dim} modalities, got {given.detach()[~allowed].flatten()[0].item():g}. "
            "Clayton and Frank reach stronger dependence, Gaussian every negative one."
        )


def _one_minus(log_q: Tensor, log_r: Tensor) -> Tensor:
    """Log r, from log(1-r) where r is above one half."""
    above = log_q < -_LOG_2
    return torch.where(above, torch.log1p(-torch.exp(torch.where(above, log_q, -1.0))), log_r)


def _tau_of_odds(odds: Tensor) -> Tensor:
    theta, small = odds / (1.0 + odds), (odds > -0.3) & (odds < 1.0)
    safe = torch.where(small, 1.0, theta)
    decay = torch.log1p(odds) / (1.0 + odds) ** 2
    x, series = torch.where(small, theta, 0.0), torch.zeros_like(odds)
    for m in range(45, 0, -1):  # 4/3 sum theta^m / (m (m+1) (m+2))
        series = (series + 4.0 / (3.0 * m * (m + 1) * (m + 2))) * x
    return torch.where(small, series, 1.0 - 2.0 * (theta - decay) / (3.0 * safe * safe))


def _theta_of_tau(tau: Tensor) -> Tensor:
    """Bisection between the bounds that convexity of tau in theta gives."""
    steep = torch.where(tau > 0, 1.0 / _LARGEST_TAU, -1.0 / _SMALLEST_TAU)
    low, high = torch.minimum(4.5 * tau, steep * tau), torch.maximum(4.5 * tau, steep * tau)
    low, high = low.clamp(min=-1.0), high.clamp(max=1.0)  # the ends of the family
    for _ in range(60):
        middle = 0.5 * (low + high)
        below = _tau_of_odds(middle / (1.0 - middle)) < tau
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return 0.5 * (low + high)
