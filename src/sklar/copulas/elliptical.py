"""What the elliptical families share: a correlation matrix, kept as its Cholesky factor.

With a quantile z_j per modality and R = L L^T, everything is a regression of some z on others, which is
forward substitution with a factor of the block of R in the right order.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, Self

import torch
from jaxtyping import Float
from torch import Size, Tensor
from torch.distributions import constraints

from sklar.copulas.analytic import Kernel, analytic_density, density_of_columns
from sklar.copulas.arithmetic import Parameter, affine, components, constants, reciprocal
from sklar.copulas.base import Copula
from sklar.copulas.columns import Column, completed, stacked
from sklar.copulas.correlation import Factor, validated_cholesky
from sklar.copulas.elliptical_cdf import Law, log_cdf, log_cdf_complement, log_cdf_with_error
from sklar.copulas.independence import Independence


class Regression(NamedTuple):
    """Some quantiles given others.

    Attributes:
        white: The known quantiles, whitened: uncorrelated, of unit scale.
        means: One per target.
        factor: Cholesky factor of the covariance of the targets that is left.
    """

    white: list[Tensor]
    means: list[Tensor]
    factor: Tensor

    def scales(self) -> list[Tensor]:
        """Standard deviations of the targets that are left."""
        return list(self.factor.norm(dim=-1).unbind(-1))

    def correlation(self) -> Tensor:
        """The targets' correlation that is left."""
        unit = self.factor / self.factor.norm(dim=-1, keepdim=True)
        left: Tensor = unit @ unit.mT
        return left


class Elliptical(Copula):
    r"""A copula of an elliptical distribution, with a full correlation matrix.

    Attributes:
        scale_tril: (\*batch, M, M) the Cholesky factor L of the correlation matrix.
    """

    tau_range = (-1.0, 1.0)
    arg_constraints = {"scale_tril": constraints.lower_cholesky}  # noqa: RUF012

    def __init__(
        self,
        correlation: Tensor | None,
        scale_tril: Tensor | None,
        batch_shape: Sequence[int] = (),
        validate_args: bool | None = None,
    ) -> None:
        name = type(self).__name__
        if (scale_tril is None) == (correlation is None):
            raise ValueError(
                f"{name} takes a correlation matrix or its Cholesky factor, and one of them only."
            )
        if scale_tril is None:
            scale_tril = validated_cholesky(torch.as_tensor(correlation))
        batch = scale_tril.shape[:-2]
        if len(batch_shape):
            batch = _common_batch(name, batch, batch_shape)
            scale_tril = scale_tril.expand(*batch, *scale_tril.shape[-2:])
        self.scale_tril = scale_tril
        super().__init__(scale_tril.shape[-1], batch, validate_args)

    _lower: Tensor | None = None

    def _knowing(self, lower: Tensor) -> Self:
        """The same copula, told its ``Factor.lower``, which it would have to slice out of L."""
        self._lower = lower
        return self

    def _entries(self) -> Tensor:
        """See ``Factor.lower``; not kept, since the first to ask may be inside no_grad."""
        return Factor.of(self.scale_tril).lower if self._lower is None else self._lower

    @abstractmethod
    def _with_factor(self, scale_tril: Tensor) -> Self:
        """The same family and other parameters with another factor, in any dimension."""

    @abstractmethod
    def with_correlation(self, correlation: Float[Tensor, "*batch modality modality"]) -> Self:
        """The same family and other parameters with another correlation matrix."""

    @abstractmethod
    def _density(self) -> tuple[Kernel, Sequence[Tensor]]:
        """The kernel of the log density and its parameters, of which the last is L below its first row."""

    @abstractmethod
    def _law(self, known: int) -> Law:
        """The distribution of the scores, given ``known`` others."""

    @abstractmethod
    def _scores(self, columns: Sequence[Column]) -> list[Tensor]:
        """The quantiles, on the scale of the law."""

    @abstractmethod
    def _standardise(
        self, target: Mapping[int, Column], given: Mapping[int, Column]
    ) -> tuple[list[Tensor], Tensor]:
        """The targets' scores in units of their conditional distribution, and their correlation in it."""

    @property
    def correlation(self) -> Float[Tensor, "*batch modality modality"]:
        """The correlation matrix R."""
        return self.scale_tril @ self.scale_tril.mT

    def marginal(self, indices: Sequence[int]) -> Copula:
        """The same family with a block of R."""
        self._check_indices(indices)
        if len(indices) == 1:
            return Independence(1, self.batch_shape, self._validate_args)
        return self._with_factor(self._factor(indices))

    def log_cdf_with_error(
        self,
        log_u: Float[Tensor, "*batch modality"],
        log_sf: Float[Tensor, "*batch modality"] | None = None,
        *,
        scrambles: int = 8,
        seed: int = 0,
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
        """Log C(u) and its standard error, without gradient.

        Up to three modalities the CDF is exact and the error zero. Beyond, it is an average over points of
        a scrambled Sobol sequence (Genz and Bretz, 2002); :meth:`log_cdf` takes one fixed scramble, and this
        several, whose spread is the error.

        Args:
            log_u: Log uniforms.
            log_sf: log(1-u), see :meth:`log_density`.
            scrambles: Independent scrambles, of 4096 points each; the error falls with their root.
            seed: Of the first scramble.
        """
        if self.dim <= 3:
            value = self.log_cdf(log_u, log_sf).detach()
            return value, torch.zeros_like(value)
        if scrambles < 2:
            raise ValueError(f"a standard error needs at least 2 scrambles, got {scrambles}.")
        self._check_log_u(log_u, log_u)
        logs = [log_u.unbind(-1), [None] * self.dim if log_sf is None else log_sf.unbind(-1)]
        scores = self._scores([Column(*pair) for pair in zip(*logs, strict=True)])
        value, error = log_cdf_with_error(self._law(0), scores, self.correlation, scrambles, seed)
        return value.to(log_u.dtype), error.to(log_u.dtype)

    def parameters(self) -> dict[str, Tensor]:
        factor = self.scale_tril.double()
        # single precision leaves the diagonal of R a little off one, which a reader would refuse
        factor = factor / factor.norm(dim=-1, keepdim=True)
        return {"correlation": factor @ factor.mT}

    def kendall_tau(self) -> Tensor:
        """(2/pi) arcsin(rho), averaged over pairs."""
        return self._mean_of_pairs(self.kendall_tau_matrix())

    def kendall_tau_matrix(self) -> Float[Tensor, "*batch modality modality"]:
        """(2/pi) arcsin(R)."""
        return torch.asin(self.correlation.clamp(-1.0, 1.0)) * (2.0 / math.pi)  # rounding of L L^T

    def _mean_of_pairs(self, matrix: Tensor) -> Tensor:
        rows, columns = torch.tril_indices(self.dim, self.dim, -1)
        return matrix[..., rows, columns].mean(-1)

    @classmethod
    def raw_size(cls, dim: int) -> int:
        """One per pair, and the family's own."""
        return dim * (dim - 1) // 2

    def _log_density(self, columns: Sequence[Column]) -> Tensor:
        return density_of_columns(*self._density(), columns)

    def _log_density_at(self, log_u: Tensor, log_sf: Tensor | None) -> Tensor:
        return analytic_density(*self._density(), log_u, log_sf)

    def _log_cdf(self, columns: Sequence[Column]) -> Tensor:
        value = log_cdf(self._law(0), self._scores(columns), self.correlation)
        return value.to(columns[0].log_u.dtype)

    def _conditional_log_cdf(
        self, target: Mapping[int, Column], given: Mapping[int, Column]
    ) -> tuple[Tensor, Tensor]:
        kind, law = next(iter(target.values())).log_u.dtype, self._law(len(given))
        residuals, matrix = self._standardise(target, given)
        if len(residuals) == 1:
            log_h, log_h_sf = law.log_cdf(residuals[0])
        else:
            log_h, log_h_sf = log_cdf(law, residuals, matrix), log_cdf_complement(law, residuals, matrix)
        return log_h.to(kind), log_h_sf.to(kind)

    def _regress(self, target: Sequence[int], given: Sequence[int], known: Sequence[Tensor]) -> Regression:
        """The targets' quantiles given those of others."""
        order, s = (*given, *target), len(given)
        factor = self._factor(order)
        white = whiten(_rows_of(factor, s), known)
        means = []
        for row in range(s, len(order)):
            mean = torch.zeros_like(factor[..., 0, 0])
            for j, value in enumerate(white):
                mean = mean + factor[..., row, j] * value
            means.append(mean)
        return Regression(white, means, factor[..., s:, s:])

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


def equal_correlation(
    tau: float | Float[Tensor, "*batch"], dim: int
) -> Float[Tensor, "*batch modality modality"]:
    """The matrix whose pairs all have Kendall's tau ``tau`` under an elliptical distribution."""
    tau = torch.as_tensor(tau)
    low = -2.0 / math.pi * math.asin(1.0 / (dim - 1))
    if not bool(((tau > low) & (tau < 1.0)).all()):
        raise ValueError(
            f"{dim} modalities can share a Kendall's tau between {low:.3g} and 1, got {tau.tolist()}; "
            "pass a correlation matrix for unequal pairs."
        )
    rho = torch.sin(tau * (math.pi / 2.0))[..., None, None]
    eye = torch.eye(dim, dtype=rho.dtype, device=rho.device)
    return rho * (1.0 - eye) + eye


def lower_rows(lower: Tensor, dim: int) -> list[Sequence[Parameter]]:
    """The rows of L after the first up to the diagonal, from all of their elements."""
    parts, starts = components(lower), [(i - 1) * (i + 2) // 2 for i in range(1, dim + 1)]
    return [parts[start:end] for start, end in pairwise(starts)]


def whiten(rows: Sequence[Sequence[Parameter]], z: Sequence[Tensor]) -> list[Tensor]:
    """Forward substitution y = L^-1 z, a column at a time; L_11 = 1 as in every correlation matrix.

    Args:
        rows: Those of L after the first.
        z: One column per modality.
    """
    white = list(z[:1])
    for row, score in zip(rows, z[1:], strict=True):
        for entry, value in zip(row[:-1], white, strict=True):
            score = affine(score, -entry, value)
        white.append(score * reciprocal(row[-1]))
    return white


def whiten_again(rows: Sequence[Sequence[Parameter]], y: Sequence[Tensor]) -> list[Tensor]:
    """Back substitution L^-T y, which after :func:`whiten` gives R^-1 z."""
    remaining = list(y)
    for i in range(len(rows), 0, -1):
        row = rows[i - 1]
        remaining[i] = remaining[i] * reciprocal(row[-1])
        for j in range(i):
            remaining[j] = affine(remaining[j], -row[j], remaining[i])
    return remaining


def factor_slopes(
    rows: Sequence[Sequence[Parameter]], pull: Sequence[Tensor], white: Sequence[Tensor]
) -> list[Tensor]:
    """Derivatives in the rows of L after the first of -sum log L_ii - g(|L^-1 z|^2 / 2).

    Args:
        rows: Those of L up to the diagonal.
        pull: g' R^-1 z.
        white: L^-1 z.
    """
    slopes = []
    for i, step in enumerate(constants(pull[0], *[-reciprocal(row[-1]) for row in rows]), start=1):
        slopes += [pull[i] * white[j] for j in range(i)]
        slopes.append(torch.addcmul(step, pull[i], white[i]))
    return slopes


def elementwise(
    function: Callable[[Tensor, Tensor | None], Tensor], columns: Sequence[Column], axes: int = 0
) -> list[Tensor]:
    """function(log u, log(1-u)) of each column, in one call where all columns have the same shape.

    ``axes`` counts the batch axes of the parameters that the function closes over.
    """
    if len(columns) < 2 or len({column.log_u.shape for column in columns}) > 1:
        return [function(*column) for column in columns]
    return list(function(*together(columns, axes)).unbind(0))


def together(columns: Sequence[Column], axes: int = 0) -> Column:
    """All columns as one, with modalities along a new first axis, for functions that are elementwise."""
    return Column(*stacked(completed(columns), axes))


def _rows_of(factor: Tensor, size: int) -> list[list[Tensor]]:
    return [list(row.unbind(-1)[: i + 1]) for i, row in enumerate(factor.unbind(-2)[:size]) if i]


def _common_batch(name: str, first: Size, second: Sequence[int]) -> Size:
    try:
        return Size(torch.broadcast_shapes(first, Size(second)))  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise ValueError(
            f"{name}: correlation of batch shape {tuple(first)} and the other parameters of shape "
            f"{tuple(second)} do not broadcast; give one value, or one per copula."
        ) from error
