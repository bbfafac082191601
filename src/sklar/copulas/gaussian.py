"""The Gaussian copula with a full correlation matrix."""

import math
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from jaxtyping import Float
from torch import Size, Tensor
from torch.distributions import constraints

from sklar.copulas.base import Copula
from sklar.copulas.columns import Column
from sklar.copulas.correlation import (
    cholesky_from_raw,
    nearest_correlation,
    raw_from_cholesky,
    validated_cholesky,
)
from sklar.copulas.independence import Independence
from sklar.copulas.normal_cdf import log_normal_cdf, log_normal_cdf_complement
from sklar.special import log_ndtr_both, ndtri_log


class Gaussian(Copula):
    r"""$c(u) = \phi_R(z) / \prod_j \phi(z_j)$, $z_j = \Phi^{-1}(u_j)$, any correlation matrix R.

    With $R = LL^T$ and $y = L^{-1}z$,
    $\log c = -\sum_i\log L_{ii} - \frac12\sum_i (y_i - z_i)(y_i + z_i)$.

    Args:
        correlation: R, positive definite with ones on its diagonal.
        scale_tril: Its Cholesky factor L instead, which near-singular matrices need.
        validate_args: Whether to check the parameter and every argument.
    """

    name = "gaussian"
    tau_range = (-1.0, 1.0)
    arg_constraints = {"scale_tril": constraints.lower_cholesky}  # noqa: RUF012

    def __init__(
        self,
        correlation: Float[Tensor, "*batch modality modality"] | None = None,
        *,
        scale_tril: Float[Tensor, "*batch modality modality"] | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if scale_tril is None:
            if correlation is None:
                raise ValueError("Gaussian takes a correlation matrix or its Cholesky factor scale_tril.")
            scale_tril = validated_cholesky(torch.as_tensor(correlation))
        elif correlation is not None:
            raise ValueError("Gaussian takes a correlation matrix or its Cholesky factor, not both.")
        self.scale_tril = scale_tril
        super().__init__(scale_tril.shape[-1], scale_tril.shape[:-2], validate_args)

    @property
    def correlation(self) -> Tensor:
        """The correlation matrix R."""
        return self.scale_tril @ self.scale_tril.mT

    def marginal(self, indices: Sequence[int]) -> Copula:
        """The Gaussian copula of a block of R."""
        self._check_indices(indices)
        if len(indices) == 1:
            return Independence(1, self.batch_shape, self._validate_args)
        return Gaussian(scale_tril=self._factor(indices), validate_args=False)

    def expand(self, batch_shape: Size | Sequence[int], _instance: object = None) -> Self:
        """The same copula with a larger batch shape."""
        tril = self.scale_tril.expand(*batch_shape, self.dim, self.dim)
        return type(self)(scale_tril=tril, validate_args=False)

    def kendall_tau(self) -> Tensor:
        """(2/pi) arcsin(rho), averaged over pairs."""
        return self._mean_of_pairs(self.kendall_tau_matrix())

    def kendall_tau_matrix(self) -> Float[Tensor, "*batch modality modality"]:
        """(2/pi) arcsin(R)."""
        return torch.asin(self.correlation.clamp(-1.0, 1.0)) * (2.0 / math.pi)  # rounding of L L^T

    def parameters(self) -> dict[str, Tensor]:
        factor = self.scale_tril.double()
        # single precision leaves the diagonal of R a little off one, which a reader would refuse
        factor = factor / factor.norm(dim=-1, keepdim=True)
        return {"correlation": factor @ factor.mT}

    def spearman_rho(self) -> Tensor:
        """(6/pi) arcsin(rho/2), averaged over pairs."""
        return self._mean_of_pairs(torch.asin(0.5 * self.correlation) * (6.0 / math.pi))

    def tail_dependence(self) -> tuple[Tensor, Tensor]:
        """Zero and zero: a positive definite R has no pair at correlation one."""
        zero = torch.zeros_like(self.scale_tril[..., 0, 0])
        return zero, zero

    def _mean_of_pairs(self, matrix: Tensor) -> Tensor:
        rows, columns = torch.tril_indices(self.dim, self.dim, -1)
        return matrix[..., rows, columns].mean(-1)

    @classmethod
    def from_tau(cls, tau: float | Tensor, dim: int) -> Self:
        """Equal correlations sin(pi tau / 2)."""
        tau = torch.as_tensor(tau)
        low = -2.0 / math.pi * math.asin(1.0 / (dim - 1))
        if not bool(((tau > low) & (tau < 1.0)).all()):
            raise ValueError(
                f"{dim} modalities can share a Kendall's tau between {low:.3g} and 1, got {tau.tolist()}; "
                "pass a correlation matrix for unequal pairs."
            )
        rho = torch.sin(tau * (math.pi / 2.0))[..., None, None]
        eye = torch.eye(dim, dtype=rho.dtype, device=rho.device)
        return cls(rho * (1.0 - eye) + eye)

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
    def raw_size(cls, dim: int) -> int:
        """One per pair."""
        return dim * (dim - 1) // 2

    @classmethod
    def from_raw(cls, raw: Tensor, dim: int, max_tau: float | None) -> Self:
        """Partial correlations tanh(raw); then R moves towards I so that no |rho| exceeds its limit."""
        tril = cholesky_from_raw(raw, dim)
        if max_tau is not None:
            limit = math.sin(0.5 * math.pi * max_tau)
            eye = torch.eye(dim, dtype=raw.dtype, device=raw.device)
            tril = torch.linalg.cholesky(limit * (tril @ tril.mT) + (1.0 - limit) * eye)
        return cls(scale_tril=tril, validate_args=False)

    def to_raw(self, max_tau: float | None) -> Tensor:
        """The inverse of :meth:`from_raw`."""
        tril = self.scale_tril.detach()
        if max_tau is not None:
            limit = math.sin(0.5 * math.pi * max_tau)
            eye = torch.eye(self.dim, dtype=tril.dtype, device=tril.device)
            tril = torch.linalg.cholesky(nearest_correlation(eye + (tril @ tril.mT - eye) / limit))
        return raw_from_cholesky(tril)

    def rsample_log(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Tensor:
        """Log Phi(L e) of standard normal e."""
        shape = Size((*sample_shape, *self.batch_shape, self.dim))
        like = torch.empty(shape, dtype=self.scale_tril.dtype, device=self.scale_tril.device)
        noise = like.normal_(generator=generator)
        return log_ndtr_both((self.scale_tril @ noise.unsqueeze(-1)).squeeze(-1))[0]

    # Hooks

    def _log_density(self, columns: Sequence[Column]) -> Tensor:
        z = _scores(columns)
        total = -torch.diagonal(self.scale_tril, dim1=-2, dim2=-1).log().sum(-1)
        for score, white in zip(z[1:], _whiten(self.scale_tril, z)[1:], strict=True):  # the first cancels
            total = total - 0.5 * (white - score) * (white + score)
        return total

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

    def _log_cdf(self, columns: Sequence[Column]) -> Tensor:
        return log_normal_cdf(_scores(columns), self.correlation)

    def _conditional_log_cdf(
        self, target: Mapping[int, Column], given: Mapping[int, Column]
    ) -> tuple[Tensor, Tensor]:
        scores = [ndtri_log(*column) for column in target.values()]
        means, block = self._regress(tuple(target), given)
        scale = block.norm(dim=-1)
        residuals = [
            (score - mean) / scale[..., i] for i, (score, mean) in enumerate(zip(scores, means, strict=True))
        ]
        if len(residuals) == 1:
            return log_ndtr_both(residuals[0])
        unit = block / scale.unsqueeze(-1)
        matrix = unit @ unit.mT
        return log_normal_cdf(residuals, matrix), log_normal_cdf_complement(residuals, matrix)

    def _conditional_quantile(
        self, w: Column, target: int, given: Mapping[int, Column]
    ) -> tuple[Tensor, Tensor]:
        means, block = self._regress((target,), given)
        return log_ndtr_both(means[0] + block[..., 0, 0] * ndtri_log(*w))

    def _regress(self, target: Sequence[int], given: Mapping[int, Column]) -> tuple[list[Tensor], Tensor]:
        """Means of the targets' scores given the others, and the Cholesky factor of their covariance."""
        order, s = (*given, *target), len(given)
        factor = self._factor(order)
        white = _whiten(factor, [ndtri_log(*column) for column in given.values()])
        means = []
        for row in range(s, len(order)):
            mean = torch.zeros_like(factor[..., 0, 0])
            for j, value in enumerate(white):
                mean = mean + factor[..., row, j] * value
            means.append(mean)
        return means, factor[..., s:, s:]

    def _factor(self, indices: Sequence[int]) -> Tensor:
        """Cholesky factor of a block of R in the given order, from L, not from R: R has lost its digits."""
        if tuple(indices) == tuple(range(len(indices))):
            return self.scale_tril[..., : len(indices), : len(indices)]
        upper = torch.linalg.qr(self.scale_tril[..., list(indices), :].mT)[1]
        signs = torch.sign(torch.diagonal(upper, dim1=-2, dim2=-1)).unsqueeze(-1)
        factor: Tensor = (upper * signs).mT
        return factor

    def _like(self) -> Tensor:
        return self.scale_tril


def _scores(columns: Sequence[Column]) -> list[Tensor]:
    """Normal quantiles, in one call where all columns have the same shape."""
    shapes = {column.log_u.shape for column in columns}
    if len(shapes) > 1 or any(column.log_sf is None for column in columns):
        return [ndtri_log(*column) for column in columns]
    log_u = torch.stack([column.log_u for column in columns])
    log_sf = torch.stack([column.survival() for column in columns])
    return list(ndtri_log(log_u, log_sf).unbind(0))


def _whiten(factor: Tensor, z: Sequence[Tensor]) -> list[Tensor]:
    """Forward substitution y = L^-1 z, a column at a time; L_11 = 1 as in every correlation matrix."""
    white = [z[0]]
    rows = factor.unbind(-2)
    for i, score in enumerate(z[1:], start=1):
        row = rows[i].unbind(-1)
        for j, value in enumerate(white):
            score = score - row[j] * value
        white.append(score / row[i])
    return white
