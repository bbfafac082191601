"""Estimate Student's t copula: the correlations by ranks, then the degrees of freedom by likelihood."""

import math
from collections.abc import Callable, Sequence
from itertools import combinations

import torch
from torch import Tensor

from sklar.copulas.base import Copula
from sklar.copulas.correlation import nearest_correlation
from sklar.copulas.estimation import mean_kendall_tau

_NODES = 7  # of log df, at first
_HALVES = (0.3, 0.08, 0.03)  # of the parabolas that follow: the last is exact to four thousandths of df


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
    nodes = torch.linspace(low, high, _NODES, dtype=torch.float64, device=log_u.device)
    values = torch.stack([likelihood(node) for node in nodes])
    middle = values.argmax(0).clamp(1, _NODES - 2)
    known = [values.gather(0, (middle + side).unsqueeze(0))[0] for side in (-1, 0, 1)]
    distance = float(nodes[1] - nodes[0])
    best = nodes[middle] + _towards_vertex(known, distance).clamp(-distance, distance)
    for half in _HALVES:
        best = best.clamp(low + half, high - half)
        tried = [likelihood(best + side * half) for side in (-1, 0, 1)]
        best = best + _towards_vertex(tried, half).clamp(-2.0 * half, 2.0 * half)
    return best.clamp(low, high).exp()


def _towards_vertex(values: Sequence[Tensor], distance: float) -> Tensor:
    """From the middle of three equidistant points to their parabola's vertex; uphill where it has none."""
    left, middle, right = values
    bend = (left - middle) + (right - middle)
    vertex = 0.5 * distance * (left - right) / torch.where(bend < 0.0, bend, -1.0)
    return torch.where(bend < 0.0, vertex, 2.0 * distance * torch.sign(right - left))
