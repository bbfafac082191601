"""Correlation matrices: checked, factored, repaired."""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from operator import mul
from typing import Any, NamedTuple, Self

import torch
from jaxtyping import Float
from torch import Tensor

from sklar.copulas.arithmetic import Parameter, components, gathered, sech, tanh
from sklar.copulas.columns import total


def validated_cholesky(
    correlation: Float[Tensor, "*batch modality modality"],
) -> Float[Tensor, "*batch modality modality"]:
    """The Cholesky factor of a correlation matrix, or an error that says what is wrong with it."""
    if correlation.ndim < 2 or correlation.shape[-1] != correlation.shape[-2]:
        raise ValueError(f"a correlation matrix is square, got shape {tuple(correlation.shape)}.")
    matrix = correlation.detach()
    tolerance = 100 * torch.finfo(matrix.dtype).eps
    diagonal = torch.diagonal(matrix, dim1=-2, dim2=-1)
    if bool(((diagonal - 1.0).abs() > tolerance).any()) or bool(
        ((matrix - matrix.mT).abs() > tolerance).any()
    ):
        raise ValueError(
            f"a correlation matrix is symmetric with ones on its diagonal, got {matrix.tolist()}."
        )
    factor, failed = torch.linalg.cholesky_ex(correlation)
    if bool((failed != 0).any()):
        smallest = float(torch.linalg.eigvalsh(matrix).min())
        raise ValueError(
            f"the correlation matrix is not positive definite: its smallest eigenvalue is {smallest:.3g}. "
            "The pairs contradict each other; nearest_correlation repairs an estimate, and Independence, "
            "Gumbel or Frank need no matrix."
        )
    checked: Tensor = factor
    return checked


def nearest_correlation(
    matrix: Float[Tensor, "*batch modality modality"], smallest: float = 1e-4
) -> Float[Tensor, "*batch modality modality"]:
    """The matrix moved along the line to I, just so far that its eigenvalues are at least ``smallest``.

    Ones are put on the diagonal. ``smallest`` bounds the correlation of a pair by 1 - ``smallest``.
    """
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    matrix = 0.5 * (matrix + matrix.mT) * (1.0 - eye) + eye
    lowest = torch.linalg.eigvalsh(matrix)[..., 0]
    share = torch.where(lowest < smallest, (smallest - lowest) / (1.0 - lowest), 0.0)
    return matrix + share[..., None, None] * (eye - matrix)


class Factor(NamedTuple):
    """The Cholesky factor L of a correlation matrix in two forms, which spares gradients a slice."""

    tril: Float[Tensor, "*batch dim dim"]
    """L."""
    lower: Float[Tensor, "*batch entries"]
    """Its rows after the first, one after the other, each up to the diagonal."""

    @classmethod
    def of(cls, tril: Tensor) -> Self:
        """Both forms of a factor."""
        dim = tril.shape[-1]
        if dim == 2:
            return cls(tril, tril[..., 1, :])
        return cls(tril, tril.flatten(-2).index_select(-1, _below_first(dim, tril.device)))


@lru_cache
def _below_first(dim: int, device: torch.device) -> Tensor:
    """Where the rows after the first lie, up to the diagonal, in a flat matrix."""
    rows, columns = torch.tril_indices(dim, dim)
    places: Tensor = rows * dim + columns
    return places[1:].to(device)


def cholesky_from_raw(raw: Float[Tensor, "*batch pairs"], dim: int) -> Factor:
    r"""Cholesky factor with canonical partial correlations $\tanh r$, row by row below the diagonal.

    $L_{ij} = \tanh r_{ij} \prod_{k<j} 1/\cosh r_{ik}$ and $L_{ii} = \prod_{k<i} 1/\cosh r_{ik}$
    (Lewandowski, Kurowicka and Joe, 2009), which keep their digits where a correlation is near one.
    """
    return Factor(*_PartialCorrelations.apply(raw, dim))  # type: ignore[no-untyped-call]


class _PartialCorrelations(torch.autograd.Function):
    r"""The factor and its slopes by rows; autograd would record dozens of operations on a handful of numbers.

    With $l_{ik} = \prod_{j \le k} 1/\cosh r_{ij}$, the elements of a row change in $r_{ik}$ by
    $l_{ik} / \cosh r_{ik}$ at k, by $-\tanh r_{ik}$ of themselves after it, and not before.
    """

    @staticmethod
    def forward(ctx: Any, raw: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        ctx.rows, ctx.dim = _rows(raw, dim), dim
        ctx.save_for_backward(raw)
        ctx.set_materialize_grads(False)
        rows: list[list[Parameter]] = [[1.0], *[row.elements for row in ctx.rows]]
        whole = [element for row in rows for element in (*row, *[0.0] * (dim - len(row)))]
        lower = [element for row in rows[1:] for element in row]
        return gathered(raw, whole).reshape(*raw.shape[:-1], dim, dim), gathered(raw, lower)

    @staticmethod
    def backward(ctx: Any, by_tril: Tensor | None, by_lower: Tensor | None) -> tuple[Tensor | None, None]:
        (raw,) = ctx.saved_tensors
        parts = [] if by_tril is None else [Factor.of(by_tril).lower]
        parts += [] if by_lower is None else [by_lower]
        if not parts:
            return None, None
        pulls, slopes, start = components(total(parts)), list[Parameter](), 0
        for i, row in enumerate(_rows(raw, ctx.dim) if torch.is_grad_enabled() else ctx.rows, start=1):
            own, pull = list[Parameter](), pulls[start : start + i + 1]
            after = pull[i] * row.elements[i]
            for k in range(i - 1, -1, -1):
                own.append(pull[k] * row.left[k] * row.rest[k] - after * row.rho[k])
                after = after + pull[k] * row.elements[k]
            slopes += reversed(own)
            start += i + 1
        return gathered(raw, slopes), None


class _Row(NamedTuple):
    """One row of the factor up to its diagonal, and of its partial correlations."""

    elements: list[Parameter]
    rho: Sequence[Parameter]
    rest: Sequence[Parameter]
    """1 / cosh r."""
    left: list[Parameter]
    """Its products from the row's start."""


def _rows(raw: Tensor, dim: int) -> list[_Row]:
    """Those after the first."""
    parts, rows, start = components(raw), [], 0
    for i in range(1, dim):
        row = parts[start : start + i]
        rho, rest = [tanh(part) for part in row], [sech(part) for part in row]
        left = list(accumulate(rest, mul))
        elements = [rho[0], *[before * part for before, part in zip(left, rho[1:], strict=False)], left[-1]]
        rows.append(_Row(elements, rho, rest, left))
        start += i
    return rows


def raw_from_cholesky(factor: Float[Tensor, "*batch dim dim"]) -> Float[Tensor, "*batch pairs"]:
    """The inverse of :func:`cholesky_from_raw`: sinh r_ij = L_ij / norm of what follows it in its row."""
    left = factor.square().flip(-1).cumsum(-1).flip(-1).sqrt()
    lower = [(i, j) for i in range(factor.shape[-1]) for j in range(i)]
    pairs = [torch.asinh(factor[..., i, j] / left[..., i, j + 1]) for i, j in lower]
    return torch.stack(pairs, dim=-1)


def capped_cholesky_from_raw(raw: Float[Tensor, "*batch pairs"], dim: int, max_tau: float | None) -> Factor:
    """:func:`cholesky_from_raw` with R moved towards I, so that no pair's Kendall tau exceeds ``max_tau``."""
    if max_tau is None:
        return cholesky_from_raw(raw, dim)
    limit = math.sin(0.5 * math.pi * max_tau)
    if dim == 2:  # of one pair, R moves with its partial correlation, and needs no factorisation
        return cholesky_from_raw(torch.atanh(limit * torch.tanh(raw)), dim)
    tril = cholesky_from_raw(raw, dim).tril
    eye = torch.eye(dim, dtype=raw.dtype, device=raw.device)
    # Positive definite for certain: to check it would make an accelerator wait.
    return Factor.of(torch.linalg.cholesky_ex(limit * (tril @ tril.mT) + (1.0 - limit) * eye)[0])


def raw_from_capped_cholesky(
    factor: Float[Tensor, "*batch dim dim"], max_tau: float | None
) -> Float[Tensor, "*batch pairs"]:
    """The inverse of :func:`capped_cholesky_from_raw`; stronger dependence becomes the strongest allowed."""
    tril = factor.detach()
    if max_tau is not None:
        limit = math.sin(0.5 * math.pi * max_tau)
        eye = torch.eye(tril.shape[-1], dtype=tril.dtype, device=tril.device)
        tril = torch.linalg.cholesky(nearest_correlation(eye + (tril @ tril.mT - eye) / limit))
    return raw_from_cholesky(tril)
