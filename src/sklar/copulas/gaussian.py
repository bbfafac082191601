"""The Gaussian copula with a full correlation matrix."""

import math
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from jaxtyping import Float
from torch import Size, Tensor

from sklar.copulas.analytic import Kernel, Slopes, analytic_density
from sklar.copulas.arithmetic import constants, log
from sklar.copulas.columns import Column, Points
from sklar.copulas.correlation import capped_cholesky_from_raw, nearest_correlation, raw_from_capped_cholesky
from sklar.copulas.elliptical import (
    Elliptical,
    elementwise,
    equal_correlation,
    factor_slopes,
    lower_rows,
    whiten,
    whiten_again,
)
from sklar.copulas.normal_cdf import NormalLaw
from sklar.special import log_ndtr_both, ndtri_log, ndtri_log_slopes


class Gaussian(Elliptical):
    r"""$c(u) = \phi_R(z) / \prod_j \phi(z_j)$, $z_j = \Phi^{-1}(u_j)$, any correlation matrix R.

    With $R = LL^T$ and $y = L^{-1}z$,
    $\log c = -\sum_i\log L_{ii} - \frac12\sum_i (y_i - z_i)(y_i + z_i)$.

    Args:
        correlation: R, positive definite with ones on its diagonal.
        scale_tril: Its Cholesky factor L instead, which near-singular matrices need.
        validate_args: Whether to check the parameter and every argument.
    """

    name = "gaussian"

    def __init__(
        self,
        correlation: Float[Tensor, "*batch modality modality"] | None = None,
        *,
        scale_tril: Float[Tensor, "*batch modality modality"] | None = None,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(correlation, scale_tril, validate_args=validate_args)

    def _with_factor(self, scale_tril: Tensor) -> Self:
        return type(self)(scale_tril=scale_tril, validate_args=False)

    def with_correlation(self, correlation: Tensor) -> Self:
        """The Gaussian copula of another correlation matrix."""
        return type(self)(correlation)

    def expand(self, batch_shape: Size | Sequence[int], _instance: object = None) -> Self:
        """The same copula with a larger batch shape."""
        return self._with_factor(self.scale_tril.expand(*batch_shape, self.dim, self.dim))

    def spearman_rho(self) -> Tensor:
        """(6/pi) arcsin(rho/2), averaged over pairs."""
        return self._mean_of_pairs(torch.asin(0.5 * self.correlation) * (6.0 / math.pi))

    def tail_dependence(self) -> tuple[Tensor, Tensor]:
        """Zero and zero: a positive definite R has no pair at correlation one."""
        zero = torch.zeros_like(self.scale_tril[..., 0, 0])
        return zero, zero

    @classmethod
    def from_tau(cls, tau: float | Tensor, dim: int) -> Self:
        """Equal correlations sin(pi tau / 2)."""
        return cls(equal_correlation(tau, dim))

    @classmethod
    def estimate(cls, log_u: Tensor, log_sf: Tensor | None = None) -> Self:
        """Correlation of the normal scores, moved inside the positive definite matrices if need be."""
        scores = ndtri_log(log_u.detach(), None if log_sf is None else log_sf.detach()).movedim(0, -1)
        if not bool(torch.isfinite(scores).all()):
            raise ValueError(
                "normal scores need u strictly between 0 and 1; pass log_sf where log u rounds to 0."
            )
        centred = scores - scores.mean(-1, keepdim=True)
        unit = centred / centred.norm(dim=-1, keepdim=True)
        return cls(nearest_correlation(unit @ unit.mT))

    @classmethod
    def from_raw(cls, raw: Tensor, dim: int, max_tau: float | None) -> Self:
        """Partial correlations tanh(raw); then R moves towards I so that no correlation exceeds its limit."""
        factor = capped_cholesky_from_raw(raw, dim, max_tau)
        return cls(scale_tril=factor.tril, validate_args=False)._knowing(factor.lower)

    def to_raw(self, max_tau: float | None) -> Tensor:
        """The inverse of :meth:`from_raw`."""
        return raw_from_capped_cholesky(self.scale_tril, max_tau)

    def rsample_log(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Log Phi(L e) of standard normal e."""
        shape = Size((*sample_shape, *self.batch_shape, self.dim))
        like = torch.empty(shape, dtype=self.scale_tril.dtype, device=self.scale_tril.device)
        noise = like.normal_(generator=generator)
        return log_ndtr_both((self.scale_tril @ noise.unsqueeze(-1)).squeeze(-1))[0]

    def log_density_of_scores(self, z: Float[Tensor, "*batch modality"]) -> Float[Tensor, "*batch"]:
        """:meth:`log_density` at u = Phi(z), for whoever has the normal scores and needs no quantiles."""
        entries = (self._entries(),)
        if z.device.type == "cpu":  # looking at the values would make an accelerator wait
            value = analytic_density(_kernel_of_scores, entries, z)
            if math.isfinite(value.detach().sum().item()):
                return value
        edge = torch.isinf(z).any(-1, keepdim=True)
        value = analytic_density(_kernel_of_scores, entries, torch.where(edge, 0.0, z))
        return torch.where(edge.squeeze(-1), self._boundary_limit(Points(*log_ndtr_both(z))), value)

    # Hooks

    def _density(self) -> tuple[Kernel, Sequence[Tensor]]:
        return _kernel, (self._entries(),)

    def _boundary_limit(self, columns: Sequence[Column]) -> Tensor:
        """An uncorrelated modality on the boundary has no say; any other takes the density to zero."""
        z = [ndtri_log(*column).detach() for column in columns]
        off = self.correlation.detach() - torch.eye(self.dim, dtype=z[0].dtype, device=z[0].device)
        alone = (off == 0).all(-1)
        kept, gone = [], torch.zeros_like(z[0], dtype=torch.bool)
        for index, score in enumerate(z):
            edge = torch.isinf(score)
            gone = gone | (edge & ~alone[..., index])
            kept.append(torch.where(edge, 0.0, score))
        inside = self._log_density([Column(*log_ndtr_both(score)) for score in kept])
        return torch.where(gone, -torch.inf, inside)

    def _law(self, known: int) -> NormalLaw:
        return NormalLaw()

    def _scores(self, columns: Sequence[Column]) -> list[Tensor]:
        return elementwise(ndtri_log, columns)

    def _standardise(
        self, target: Mapping[int, Column], given: Mapping[int, Column]
    ) -> tuple[list[Tensor], Tensor]:
        scores = self._scores((*given.values(), *target.values()))
        left = self._regress(tuple(target), tuple(given), scores[: len(given)])
        residuals = [
            (score - mean) / scale
            for score, mean, scale in zip(scores[len(given) :], left.means, left.scales(), strict=True)
        ]
        return residuals, left.correlation()

    def _conditional_quantile(
        self, w: Column, target: int, given: Mapping[int, Column]
    ) -> tuple[Tensor, Tensor]:
        left = self._regress((target,), tuple(given), self._scores(tuple(given.values())))
        return log_ndtr_both(left.means[0] + left.factor[..., 0, 0] * ndtri_log(*w))


def _kernel(parameters: Sequence[Tensor], columns: Points, slopes: bool) -> tuple[Tensor, Slopes | None]:
    """Log density and its derivatives in the rows of L and the logs; see ``analytic.Kernel``."""
    logs = (columns.log_u, columns.log_sf) if columns.has_log_sf else (columns.turned, None)
    scores, by_u, by_sf = ndtri_log_slopes(*logs) if slopes else (ndtri_log(*logs), logs[0], None)
    value, found = _of_scores(parameters[0], scores, slopes)
    if found is None:
        return value, None
    by_lower, by_score = found
    return value, Slopes((by_lower,), by_score * by_u, () if by_sf is None else by_score * by_sf)


def _kernel_of_scores(
    parameters: Sequence[Tensor], columns: Points, slopes: bool
) -> tuple[Tensor, Slopes | None]:
    """The same at normal scores, which lie where the logs of u would."""
    value, found = _of_scores(parameters[0], columns.turned, slopes)
    return value, None if found is None else Slopes((found[0],), found[1])


def _of_scores(
    lower: Tensor, scores: Tensor, slopes: bool
) -> tuple[Tensor, tuple[list[Tensor], Tensor] | None]:
    """Log density at scores (M, *batch), and its derivatives in L's rows and in the scores."""
    rows, z = lower_rows(lower, len(scores)), scores.unbind(0)
    white = whiten(rows, z)
    (value,) = constants(scores, -sum(log(row[-1]) for row in rows))
    for score, residual in zip(z[1:], white[1:], strict=True):  # the first cancels
        value = torch.addcmul(value, residual - score, residual + score, value=-0.5)
    if not slopes:
        return value, None
    outer = whiten_again(rows, white)
    return value, (factor_slopes(rows, outer, white), scores - torch.stack(outer))
