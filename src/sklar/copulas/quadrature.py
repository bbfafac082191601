"""Gauss-Legendre nodes."""

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache
def gauss_legendre(order: int) -> tuple[Tensor, Tensor]:
    """Nodes in (0, 1) and weights in double precision, from the Jacobi matrix (Golub and Welsch, 1969)."""
    k = torch.arange(1, order, dtype=torch.float64)
    side = k / torch.sqrt(4.0 * k * k - 1.0)
    nodes, vectors = torch.linalg.eigh(torch.diag(side, -1) + torch.diag(side, 1))
    return 0.5 * (nodes + 1.0), vectors[0] ** 2
