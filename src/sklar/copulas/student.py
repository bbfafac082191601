"""Student's t copula with a full correlation matrix and learnable degrees of freedom."""

import math
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from jaxtyping import Float
from torch import Size, Tensor
from torch.distributions import constraints
from torch.nn.functional import logsigmoid

from sklar.copulas.analytic import Kernel
from sklar.copulas.columns import Column
from sklar.copulas.correlation import capped_cholesky_from_raw, raw_from_capped_cholesky
from sklar.copulas.elliptical import Elliptical, elementwise, equal_correlation
from sklar.copulas.student_cdf import LIMIT, StudentTail, lift_of, lifted_asinh, lifted_sinh, magnitude
from sklar.copulas.student_density import student_density
from sklar.copulas.student_estimation import correlation_of_ranks, likeliest_df
from sklar.copulas.student_joint import StudentLaw
from sklar.copulas.student_quantile import student_quantile

DEFAULT_DF = 4.0
"""Degrees of freedom where only a Kendall's tau is given: heavy tails, finite variance."""

_DF_RANGE = (0.5, 1000.0)  # of learned copulas; at the upper end the density is the Gaussian's within 1e-3


class StudentT(Elliptical):
    r"""$c(u) = t_{\nu,R}(x) / \prod_j t_\nu(x_j)$, $x_j = T_\nu^{-1}(u_j)$: the Gaussian copula with tails.

    Extremes come together, in both tails and at any correlation: with R = I the modalities are still
    dependent, and no member is independence. Everything is computed in
    $y = \operatorname{asinh}(x/\sqrt\nu)$, which stays finite where x overflows.
    With $s_j = \sinh y_j$, $R = LL^T$, $w = L^{-1}s$,
    $\log c = K - \sum_i \log L_{ii} - \frac{\nu+M}{2}\log(1 + |w|^2) + (\nu+1)\sum_j\log\cosh y_j$.

    Args:
        correlation: R, positive definite with ones on its diagonal.
        df: Degrees of freedom, positive; broadcasts with the matrix. From 0.05 to 10^6 derivatives in df
            keep 12 digits.
        scale_tril: Cholesky factor L of R instead, which near-singular matrices need.
        validate_args: Whether to check the parameters and every argument.

    References:
        Demarta and McNeil (2005), The t copula and related copulas.
    """

    name = "student_t"
    contains_independence = False
    arg_constraints = {  # noqa: RUF012
        "scale_tril": constraints.lower_cholesky,
        "df": constraints.positive,
    }

    def __init__(
        self,
        correlation: Float[Tensor, "*batch modality modality"] | None = None,
        df: float | Float[Tensor, "*batch"] = DEFAULT_DF,
        *,
        scale_tril: Float[Tensor, "*batch modality modality"] | None = None,
        validate_args: bool | None = None,
    ) -> None:
        like = correlation if scale_tril is None else scale_tril
        given = torch.as_tensor(df, dtype=None if isinstance(df, Tensor) or like is None else like.dtype)
        if validate_args is not False and not bool((given > 0).all() & torch.isfinite(given).all()):
            bad = given.detach()[~((given > 0) & torch.isfinite(given))].flatten()[0].item()
            raise ValueError(
                f"StudentT needs df > 0 and finite, got {bad:g}. Gaussian is its limit of infinite df; "
                "below one the tails are heavier than Cauchy's."
            )
        self._df = given
        self._series: dict[int, Tensor] = {}
        super().__init__(correlation, scale_tril, given.shape, validate_args)

    @property
    def df(self) -> Float[Tensor, "*batch"]:
        """Degrees of freedom."""
        return self._df.expand(self.batch_shape)

    def _with_factor(self, scale_tril: Tensor) -> Self:
        return type(self)(scale_tril=scale_tril, df=self._df, validate_args=False)

    def with_correlation(self, correlation: Tensor) -> Self:
        """The same df with another correlation matrix."""
        return type(self)(correlation, self._df)

    def expand(self, batch_shape: Size | Sequence[int], _instance: object = None) -> Self:
        """The same copula with a larger batch shape."""
        return self._with_factor(self.scale_tril.expand(*batch_shape, self.dim, self.dim))

    def parameters(self) -> dict[str, Tensor]:
        return {**super().parameters(), "df": self.df.double()}

    def tail_dependence(self) -> tuple[Tensor, Tensor]:
        r"""$2 T_{\nu+1}(-\sqrt{(\nu+1)(1-\rho)/(1+\rho)})$ on both sides, averaged over pairs."""
        rows, columns = torch.tril_indices(self.dim, self.dim, -1)
        rho = self.correlation[..., rows, columns].double()
        bound = -torch.asinh(torch.sqrt((1.0 - rho) / (1.0 + rho)))
        both = 2.0 * self._tail(1).unsqueeze().log_cdf(bound)[0].exp().mean(-1).to(self.scale_tril.dtype)
        return both, both

    def spearman_rho(self) -> Tensor:
        r"""$\frac6\pi E\,\arcsin(\rho\sqrt{B_1B_2})$, averaged over pairs.

        $B_i = G_i/(G_0+G_i)$ of three chi-squares with $\nu$ degrees of freedom: given the mixing variables
        of the three independent draws in Spearman's definition, the differences are normal. By the
        trapezoidal rule in the logs of $G_i/G_0$; 12 digits from df = 1, seven at 0.5.
        """
        rows, columns = torch.tril_indices(self.dim, self.dim, -1)
        rho = self.correlation[..., rows, columns].double()[..., None, None]
        half = 0.5 * self.df.double()[..., None, None, None]
        # Logs of the ratios have tails of rate nu/2, which are 36 nats down at the reach.
        grid = torch.linspace(-1.0, 1.0, 257, dtype=half.dtype, device=half.device)
        reach = 36.0 / half + 12.0 / torch.sqrt(half) + 1.0
        one, other = reach * grid.unsqueeze(-1), reach * grid
        log_total = torch.logsumexp(
            torch.stack(torch.broadcast_tensors(one, other, torch.zeros_like(one))),  # type: ignore[no-untyped-call]
            dim=0,
        )
        log_weight = half * (one + other) - 3.0 * half * log_total
        weight = torch.softmax(log_weight.flatten(-2), dim=-1).view(log_weight.shape)
        inner = torch.exp(0.5 * (logsigmoid(one) + logsigmoid(other)))
        pairs = (weight * torch.asin(rho * inner)).sum((-2, -1)) * (6.0 / math.pi)
        return pairs.mean(-1).to(self.scale_tril.dtype)

    @classmethod
    def from_tau(cls, tau: float | Tensor, dim: int, df: float | Tensor = DEFAULT_DF) -> Self:
        """Equal correlations sin(pi tau / 2)."""
        return cls(equal_correlation(tau, dim), df)

    @classmethod
    def estimate(cls, log_u: Tensor, log_sf: Tensor | None = None) -> Self:
        """R from Kendall's tau of each pair, whatever df; then df by maximum likelihood at that R."""
        log_u, log_sf = log_u.detach(), None if log_sf is None else log_sf.detach()
        score = log_u if log_sf is None else log_u - log_sf
        inside = torch.isfinite(score) if log_sf is not None else torch.isfinite(score) & (score < 0.0)
        if not bool(inside.all()):
            raise ValueError(
                "Student's t needs u strictly between 0 and 1; pass log_sf where log u rounds to 0."
            )
        matrix = correlation_of_ranks(score)
        factor = torch.linalg.cholesky(matrix)
        df = likeliest_df(
            lambda df: cls(scale_tril=factor, df=df, validate_args=False), log_u, log_sf, _DF_RANGE
        )
        return cls(scale_tril=factor, df=df.to(matrix.dtype))

    @classmethod
    def raw_size(cls, dim: int) -> int:
        """One per pair, and one."""
        return super().raw_size(dim) + 1

    @classmethod
    def from_raw(cls, raw: Tensor, dim: int, max_tau: float | None) -> Self:
        """R as the Gaussian's; then df between 0.5 and 1000, whose log is a sigmoid of the last number."""
        low, high = (math.log(end) for end in _DF_RANGE)
        df = torch.exp(low + (high - low) * torch.sigmoid(raw[..., -1]))
        factor = capped_cholesky_from_raw(raw[..., :-1], dim, max_tau)
        return cls(scale_tril=factor.tril, df=df, validate_args=False)._knowing(factor.lower)

    def to_raw(self, max_tau: float | None) -> Tensor:
        """The inverse of :meth:`from_raw`; df outside its range becomes the nearest inside."""
        low, high = (math.log(end) for end in _DF_RANGE)
        share = (self.df.detach().log() - low) / (high - low)
        last = torch.logit(share.clamp(0.001, 0.999)).unsqueeze(-1).to(self.scale_tril.dtype)
        return torch.cat([raw_from_capped_cholesky(self.scale_tril, max_tau), last], dim=-1)

    def rsample_log(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        r"""Whitened coordinates one by one, from log-uniform noise.

        Given s of them, the next is $\prod_{i<s}\cosh y_i \sinh y_s$, with $y_s$ of $\nu + s$ degrees of
        freedom. Every step is a quantile, so that gradients follow the noise exactly; a chi-square divisor
        would have to be differentiated implicitly, and underflows.
        """
        limit = LIMIT / self.dim
        growth = torch.ones((), dtype=torch.float64, device=self.scale_tril.device)
        lift = torch.zeros_like(growth)
        white: list[Tensor] = []
        for s in range(self.dim):
            y = student_quantile(self._tail(s), self._log_uniform(sample_shape, generator))
            more = lift_of([y], limit)
            white = [value * torch.exp(-more) for value in white]
            white.append(growth * lifted_sinh(y, more))
            growth = growth * torch.cosh((magnitude(y) - more).clamp(min=0.0))
            lift = lift + more
        factor, tail = self.scale_tril.double(), self._tail(0)
        drawn = []
        for i in range(self.dim):
            total = factor[..., i, 0] * white[0]
            for j in range(1, i + 1):
                total = total + factor[..., i, j] * white[j]
            drawn.append(tail.log_cdf(lifted_asinh(total, lift))[0])
        return torch.stack(drawn, dim=-1).to(self.scale_tril.dtype)

    # Hooks

    def _density(self) -> tuple[Kernel, Sequence[Tensor]]:
        return student_density(self._df, lambda: self._tail(0)), (self._df.unsqueeze(-1), self._entries())

    def _law(self, known: int) -> StudentLaw:
        return StudentLaw(self._tail(known))

    def _scores(self, columns: Sequence[Column]) -> list[Tensor]:
        tail = self._tail(0)
        return elementwise(
            lambda log_u, log_sf: student_quantile(tail, log_u, log_sf), columns, self._df.ndim
        )

    def _conditional_quantile(
        self, w: Column, target: int, given: Mapping[int, Column]
    ) -> tuple[Tensor, Tensor]:
        y = student_quantile(self._tail(len(given)), *w)
        known = self._scores(tuple(given.values()))
        lift, more = lift_of(known), lift_of([y])
        left = self._regress((target,), tuple(given), [lifted_sinh(value, lift) for value in known])
        spread = left.factor[..., 0, 0] * _spread(left.white, lift)
        solved = left.means[0] * torch.exp(-more) + spread * lifted_sinh(y, more)
        log_u, log_sf = self._tail(0).log_cdf(lifted_asinh(solved, lift + more))
        return log_u.to(w.log_u.dtype), log_sf.to(w.log_u.dtype)

    def _standardise(
        self, target: Mapping[int, Column], given: Mapping[int, Column]
    ) -> tuple[list[Tensor], Tensor]:
        r"""The targets' residuals in units of their conditional scale, as y of df + s, and their correlation.

        Given s of them, the others are again Student's t, with df + s, the means of the regression and
        its covariance times $(1 + |w|^2)\,\nu/(\nu + s)$, where w are the whitened sinh of the known y.
        """
        scores = self._scores((*given.values(), *target.values()))
        known, asked = scores[: len(given)], scores[len(given) :]
        lift, top = lift_of(known) if known else torch.zeros_like(asked[0]), lift_of(scores)
        left = self._regress(tuple(target), tuple(given), [lifted_sinh(y, lift) for y in known])
        spread, residuals = _spread(left.white, lift), []
        for y, mean, scale in zip(asked, left.means, left.scales(), strict=True):
            gap = lifted_sinh(y, top) - mean * torch.exp(lift - top)
            residuals.append(lifted_asinh(gap / (scale * spread), top - lift))
        return residuals, left.correlation().double()

    def _tail(self, more: int) -> StudentTail:
        """The univariate distribution with ``more`` further degrees of freedom."""
        df = self._df.double() + more
        if more not in self._series:
            self._series[more] = StudentTail.of(df).series
        return StudentTail(df, self._series[more])


def _spread(white: Sequence[Tensor], lift: Tensor) -> Tensor:
    r"""$e^{-m}\sqrt{1 + |w|^2}$ from $e^{-m}w$."""
    total = torch.exp(-2.0 * lift).clamp(min=1e-280)  # underflows beside |w|^2 only
    for value in white:
        total = total + value.square()
    return torch.sqrt(total)
