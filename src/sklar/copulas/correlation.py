"""Correlation matrices: checked, factored, repaired."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


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


def cholesky_from_raw(raw: Float[Tensor, "*batch pairs"], dim: int) -> Float[Tensor, "*batch dim dim"]:
    r"""Cholesky factor with canonical partial correlations $\tanh r$, row by row below the diagonal.

    $L_{ij} = \tanh r_{ij} \prod_{k<j} 1/\cosh r_{ik}$ and $L_{ii} = \prod_{k<i} 1/\cosh r_{ik}$
    (Lewandowski, Kurowicka and Joe, 2009), which keep their digits where a correlation is near one.
    """
    rho, rest = torch.tanh(raw).unbind(-1), torch.reciprocal(torch.cosh(raw)).unbind(-1)
    zero = torch.zeros_like(rho[0].detach())
    elements, start = [1.0 + zero, *[zero] * (dim - 1)], 0
    for i in range(1, dim):
        left = rest[start]
        elements.append(rho[start])
        for pair in range(start + 1, start + i):
            elements.append(left * rho[pair])
            left = left * rest[pair]
        elements += [left, *[zero] * (dim - i - 1)]
        start += i
    return torch.stack(elements, dim=-1).reshape(*zero.shape, dim, dim)


def raw_from_cholesky(factor: Float[Tensor, "*batch dim dim"]) -> Float[Tensor, "*batch pairs"]:
    """The inverse of :func:`cholesky_from_raw`: sinh r_ij = L_ij / norm of what follows it in its row."""
    left = factor.square().flip(-1).cumsum(-1).flip(-1).sqrt()
    lower = [(i, j) for i in range(factor.shape[-1]) for j in range(i)]
    pairs = [torch.asinh(factor[..., i, j] / left[..., i, j + 1]) for i, j in lower]
    return torch.stack(pairs, dim=-1)


def capped_cholesky_from_raw(
    raw: Float[Tensor, "*batch pairs"], dim: int, max_tau: float | None
) -> Float[Tensor, "*batch dim dim"]:
    """:func:`cholesky_from_raw` with R moved towards I, so that no pair's Kendall tau exceeds ``max_tau``."""
    tril = cholesky_from_raw(raw, dim)
    if max_tau is None:
        return tril
    limit = math.sin(0.5 * math.pi * max_tau)
    eye = torch.eye(dim, dtype=raw.dtype, device=raw.device)
    # Positive definite for certain: to check it would make an accelerator wait.
    capped: Tensor = torch.linalg.cholesky_ex(limit * (tril @ tril.mT) + (1.0 - limit) * eye)[0]
    return capped


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
