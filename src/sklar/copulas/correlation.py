"""Correlation matrices: checked, factored, repaired."""

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
