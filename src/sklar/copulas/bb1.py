"""The BB1 family, a Clayton copula with an outer power, in any dimension."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import constraints

from sklar.copulas.analytic import Slopes
from sklar.copulas.archimedean import Archimedean
from sklar.copulas.bb1_density import bb1_kernel, log_coefficients, log_powers, normalised, radial
from sklar.copulas.clayton import Clayton
from sklar.copulas.columns import Column, Points, apart_from_zero, stacked, total
from sklar.copulas.estimation import mean_kendall_tau
from sklar.copulas.unconstrained import floating, softplus_inverse
from sklar.special import log1mexp, log1mexp_of_log, log_log1p_ratio, log_log1pexp, softplus

_SPLITS = 33  # candidate shares of the dependence that theta carries, in an estimate


class BB1(Archimedean):
    r"""$C(u) = (1 + [\sum_j (u_j^{-\theta} - 1)^\delta]^{1/\delta})^{-1/\theta}$: dependence in both tails.

    $\theta \ge 0$ and $\delta \ge 1$; $\delta = 1$ is Clayton and $\theta = 0$ Gumbel.
    With $x_j = -\log u_j$, $Y_j = (e^{\theta x_j} - 1)/\theta$, $W = (\sum_j Y_j^\delta)^{1/\delta}$ and
    $v = W/(1 + \theta W)$, $\log c = \sum_j \log\frac{Y_j^{\delta-1} e^{(1+\theta) x_j}}{W^\delta}
    + \log\sum_k b_k v^k - \frac1\theta \log(1 + \theta W)$ with positive coefficients b.

    Args:
        theta: Parameter of the lower tail; 0 adds no dependence.
        delta: Parameter of the upper tail; 1 adds no dependence.
        dim: Number of modalities.
        eta: delta - 1, instead of ``delta``, when precision next to one matters.
        validate_args: Whether to check the parameters and every argument.

    References:
        Joe and Hu (1996), Multivariate distributions from mixtures of max-infinitely divisible distributions;
        Hofert, Maechler and McNeil (2012) for derivatives under an outer power, made positive here.
    """

    name = "bb1"
    arg_constraints = {  # noqa: RUF012
        "theta": constraints.nonnegative,
        "eta": constraints.nonnegative,
    }

    def __init__(
        self,
        theta: float | Float[Tensor, "*batch"],
        delta: float | Float[Tensor, "*batch"] | None = None,
        dim: int = 2,
        *,
        eta: float | Float[Tensor, "*batch"] | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if (delta is None) == (eta is None):
            raise ValueError("BB1 takes delta or eta = delta - 1, and one of them only.")
        first = floating(theta)
        second = floating(eta) if eta is not None else floating(delta) - 1.0
        if validate_args is not False:
            for name, value, shift in (("theta", first, 0.0), ("delta", second, 1.0)):
                allowed = (value >= 0) & torch.isfinite(value)
                if not bool(allowed.all()):
                    raise ValueError(
                        f"BB1 needs theta >= 0 and delta >= 1 (0 and 1 are independence), got {name} = "
                        f"{value.detach()[~allowed].flatten()[0].item() + shift:g}. "
                        "It has no negative dependence; Frank and Gaussian do."
                    )
        both = torch.broadcast_tensors(first, second)  # type: ignore[no-untyped-call]
        super().__init__(torch.stack(both, -1), dim, validate_args)

    @property
    def theta(self) -> Tensor:
        """The parameter of the lower tail."""
        return self.strengths[..., 0]

    @property
    def eta(self) -> Tensor:
        """Delta - 1."""
        return self.strengths[..., 1]

    @property
    def delta(self) -> Tensor:
        """The parameter of the upper tail."""
        return 1.0 + self.eta

    @classmethod
    def from_tau(cls, tau: float | Tensor, dim: int) -> Self:
        """Both parts carry half: 1 - tau = 1/delta 2/(theta + 2) with equal factors."""
        tau = torch.as_tensor(tau)
        if not bool(((tau > -1e-30) & (tau < 1.0)).all()):
            raise ValueError(
                f"BB1 reaches Kendall's tau from 0 to below 1, got {tau.tolist()}. "
                "Negative dependence needs Frank (two modalities) or Gaussian."
            )
        half = -0.5 * torch.log1p(-tau)
        return cls._from_parts(half, half, dim)

    @classmethod
    def _from_parts(cls, lower: Tensor, upper: Tensor, dim: int, validate_args: bool | None = None) -> Self:
        """From log(1 + theta/2) and log delta, which add up to -log(1 - tau)."""
        return cls(2.0 * torch.expm1(lower), dim=dim, eta=torch.expm1(upper), validate_args=validate_args)

    @classmethod
    def estimate(cls, log_u: Tensor, log_sf: Tensor | None = None) -> Self:
        """The sample's Kendall tau fixes the total; the likelihood picks one of 33 ways to split it."""
        log_u = log_u.detach()
        log_sf = None if log_sf is None else log_sf.detach()
        score = log_u if log_sf is None else log_u - log_sf
        # An estimate outside the range becomes the nearest member that is not degenerate.
        tau = mean_kendall_tau(score.unbind(-1)).clamp(1e-3, 1.0 - 1e-3)
        whole, dim = -torch.log1p(-tau), log_u.shape[-1]
        shares = (torch.arange(_SPLITS, dtype=whole.dtype, device=whole.device) + 0.5) / _SPLITS

        def fit(share: Tensor) -> Tensor:
            member = cls._from_parts(share * whole, (1.0 - share) * whole, dim, False)
            value = member.log_density(log_u, log_sf)
            return torch.where(torch.isfinite(value), value, 0.0).mean(0)  # the boundary tells nothing of it

        best = shares[torch.stack([fit(share) for share in shares]).argmax(0)]
        return cls._from_parts(best * whole, (1.0 - best) * whole, dim)

    def kendall_tau(self) -> Tensor:
        """1 - 2 / (delta (theta + 2))."""
        bottom = self.theta + 2.0
        return (self.theta + self.eta * bottom) / (self.delta * bottom)

    def tail_dependence(self) -> tuple[Tensor, Tensor]:
        """(2^(-1/(theta delta)), 2 - 2^(1/delta))."""
        positive = self.theta > 0
        lower = torch.exp(-math.log(2.0) / (torch.where(positive, self.theta, 1.0) * self.delta))
        upper = -2.0 * torch.expm1(-math.log(2.0) * self.eta / self.delta)
        return torch.where(positive, lower, 0.0), upper

    @classmethod
    def raw_size(cls, dim: int) -> int:
        """Two: softplus^-1 of log(1 + theta/2) and of log delta."""
        return 2

    @classmethod
    def from_raw(cls, raw: Tensor, dim: int, max_tau: float | None) -> Self:
        """The sum of both parts, T = -log(1 - tau), is capped as T L / (T + L)."""
        parts = softplus(raw)
        if max_tau is not None:
            limit = -math.log1p(-max_tau)
            parts = parts * (limit / (parts.sum(-1, keepdim=True) + limit))
        strengths = torch.expm1(parts) * _scales(raw.dtype, raw.device)
        return cls.from_strengths(strengths, dim, validate_args=False)

    def to_raw(self, max_tau: float | None) -> Tensor:
        """The inverse of :meth:`from_raw`."""
        parts = torch.stack([torch.log1p(0.5 * self.theta), torch.log1p(self.eta)], dim=-1).detach()
        if max_tau is not None:
            limit = -math.log1p(-max_tau)
            whole = parts.sum(-1, keepdim=True)
            shrunk = whole.clamp(max=0.99 * limit)  # beyond the cap: the largest allowed
            parts = parts * (shrunk / whole) * (limit / (limit - shrunk))
        return softplus_inverse(parts)

    def parameters(self) -> dict[str, Tensor]:
        return {"theta": self.theta, "delta": self.delta}

    # Density

    @classmethod
    def _kernel(
        cls, parameters: Sequence[Tensor], columns: Points, slopes: bool
    ) -> tuple[Tensor, Slopes | None]:
        return bb1_kernel(parameters, columns, slopes)

    def _boundary_limit(self, columns: Sequence[Column]) -> Tensor:
        clayton = Clayton(self.theta, self.dim, validate_args=False)._boundary_limit(columns)
        return torch.where(self.eta == 0, clayton, -torch.inf)

    # Conditionals

    def _log_h(self, target: Sequence[Column], given: Sequence[Column]) -> tuple[Tensor, Tensor]:
        r"""A sum of terms of one sign.

        With W' of all and W of the given modalities and $\Delta = \log W'/W$, $-\log h = s\eta\Delta
        + (1 + s\theta)\frac1\theta\log(1 + \theta v(e^\Delta - 1)) - \log\frac{P(v') v'^{-s}}{P(v) v^{-s}}$.
        """
        zero, target = apart_from_zero(target)
        log_h, log_h_sf = self._log_h_inside(target, given)
        return torch.where(zero, -torch.inf, log_h), torch.where(zero, 0.0, log_h_sf)

    def _log_h_inside(self, target: Sequence[Column], given: Sequence[Column]) -> tuple[Tensor, Tensor]:
        theta, eta, s = self.theta, self.eta, len(given)
        top, log_w = _log_radius(theta, self.delta, target)
        if not given:
            log_minus_log_c = log_log1p_ratio(theta, log_w + theta * top)
            return -torch.exp(log_minus_log_c), log1mexp_of_log(log_minus_log_c)
        known, log_w_given = _log_radius(theta, self.delta, given)
        decay, scaled = torch.exp(-theta * known), torch.exp(log_w_given)
        beyond = decay / (decay + theta * scaled)  # 1 / (1 + theta W)
        log_v = log_w_given - torch.log(decay + theta * scaled)
        ratio = self.delta * (theta * (top - known) + log_w - log_w_given)
        log_delta = log_log1pexp(ratio) - torch.log(self.delta)
        moved = softplus(ratio) / self.delta
        quotient = torch.exp(log_log1p_ratio(theta, log_v + moved + log1mexp_of_log(log_delta)))
        log_ratio, missing = self._log_ratio(log_v, moved, theta * quotient, beyond, s)
        log_h = log_ratio - s * eta * moved - (1.0 + s * theta) * quotient
        # To first order in Delta, -log h = 1 - h; this is what remains when Delta itself underflows.
        slope = s * eta + (1.0 + s * theta) * torch.exp(log_v) + missing * beyond
        underflown = moved < torch.finfo(moved.dtype).eps
        plain = log1mexp(-torch.where(underflown, -1.0, log_h))
        return log_h, torch.where(underflown, log_delta + torch.log(slope), plain)

    def _log_ratio(
        self, log_v: Tensor, moved: Tensor, grown: Tensor, beyond: Tensor, dim: int
    ) -> tuple[Tensor, Tensor]:
        """Log of P(v') v'^-s over P(v) v^-s, and by how much P's degree at v is below s."""
        if dim == 1:
            return torch.zeros_like(moved), torch.zeros_like(moved)
        shift = beyond * torch.expm1(-moved)
        far = shift < -0.5
        log_move = torch.where(far, moved - grown, -torch.log1p(torch.where(far, 0.0, shift)))
        whole, shares = self._log_polynomial(log_v, dim)
        change = total([part * torch.expm1(-(dim - k) * log_move) for k, part in enumerate(shares, 1)])
        cancels = change < -0.5  # the ratio of polynomials is small, and one plus the change has no digits
        apart = self._log_polynomial(log_v + log_move, dim)[0] - whole - dim * log_move
        log_ratio = torch.where(cancels, apart, torch.log1p(torch.where(cancels, 0.0, change)))
        return log_ratio, total([(dim - k) * part for k, part in enumerate(shares, 1)])

    def _log_polynomial(self, log_v: Tensor, dim: int) -> tuple[Tensor, list[Tensor]]:
        """Log P(v) and the share of each of its terms."""
        powers = log_powers(self.theta, log_v, dim)
        logs = log_coefficients(self.eta, dim)
        return normalised([b + power for b, power in zip(logs, powers, strict=True)])


@lru_cache  # every step of a training asks for the same one
def _scales(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Theta over theta/2 and eta over delta - 1."""
    return torch.tensor([2.0, 1.0], dtype=dtype, device=device)


def _log_radius(theta: Tensor, delta: Tensor, columns: Sequence[Column]) -> tuple[Tensor, Tensor]:
    """Log W as (m, log W - theta m)."""
    r = radial(theta, delta, *stacked(columns, theta.ndim))
    return r.top, r.log_reference + r.log_whole / delta
