"""Estimate Student's t copula: the correlations by ranks, then the degrees of freedom by likelihood."""

import math
from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor

from sklar.copulas.base import Copula
from sklar.copulas.correlation import nearest_correlation
from sklar.copulas.estimation import mean_kendall_tau

_ROUNDS, _INSIDE = (
    3,
    5,
)  # each round keeps a third of the interval: a twentieth in log df is left for the parabola


def correlation_of_ranks(score: Tensor) -> Tensor:
    """sin(pi tau / 2) of each pair, for rows (n, *batch, M) of any increasing function of u.

    Exact for every elliptical distribution, and no outlier moves it; moved inside the positive definite
    matrices if need be.
    """
    columns = score.unbind(-1)
    matrix = torch.diag_embed(torch.ones_like(score[0]))
    for i, j in combinations(range(len(columns)), 2):
        rho = torch.sin(0.5 * math.pi * mean_kendall_tau([columns[i], columns[j]]))
        matrix[..., i, j] = matrix[..., j, i] = rho
    return nearest_correlation(matrix)


def likeliest_df(
    build: Callable[[Tensor], Copula], log_u: Tensor, log_sf: Tensor | None, bounds: tuple[float, float]
) -> Tensor:
    """The df between ``bounds`` of largest likelihood, for each copula of the batch.

    Args:
        build: Makes the copulas from their df.
        log_u: (n, *batch, M).
        log_sf: log(1-u) or None.
        bounds: Lowest and highest value.
    """

    def likelihood(log_df: Tensor) -> Tensor:
        return build(log_df.exp()).log_density(log_u, log_sf).double().mean(0)

    low, high = math.log(bounds[0]), math.log(bounds[1])
    nodes = torch.linspace(low, high, 12, dtype=torch.float64, device=log_u.device)
    values = torch.stack([likelihood(node) for node in nodes])
    best = nodes[values.argmax(0)]
    half = nodes[1] - nodes[0]
    for _ in range(_ROUNDS):
        offsets = torch.linspace(-1.0, 1.0, _INSIDE + 2, dtype=best.dtype, device=best.device) * half
        tried = [(best + offset).clamp(low, high) for offset in offsets]
        values = torch.stack([likelihood(candidate) for candidate in tried])
        best = torch.stack(tried).gather(0, values.argmax(0, keepdim=True))[0]
        half = half * (2.0 / (_INSIDE + 1))
    left, middle, right = (likelihood((best + side).clamp(low, high)) for side in (-half, 0.0 * half, half))
    bend = (left - middle) + (right - middle)
    step = torch.where(bend < 0.0, 0.5 * half * (left - right) / torch.where(bend < 0.0, bend, -1.0), 0.0)
    return (best + step.clamp(-half, half)).clamp(low, high).exp()
