"""Expectations of absent latents given observed ones: the trapezoid rule on a grid that finds its place."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sklar.copulas import Copula
from sklar.special import log_ndtr_both, log_normal_density

_REACH = 9.0
"""A standard normal leaves (-9, 9) with probability 2e-19."""
_NEGLIGIBLE = 40.0
"""Points whose weight is below e^-40 = 4e-18 of the largest do not count."""
_SEARCH = {1: 65, 2: 25}
_NODES = {1: 97, 2: 41}
"""Nodes per axis, by the number of axes: of each of two searches, and of the sum."""
_TOLERANCE = 1e-6
"""Of the change against half the nodes; where the integrand is smooth the error is about its square."""
_MOST = 1 << 16
"""Most points of one row; a row that has not converged by then keeps its error."""
_BLOCK = 1 << 19
"""Rows times points that are held at once."""


@dataclass(frozen=True)
class Integral:
    r"""$E[v(X) g(X) \mid z] / E[g(X) \mid z]$ for D <= 2 standard normal X coupled with z by a copula.

    The weight of a point is $g(x)\,c(\Phi(z), \Phi(x))\prod\phi(x_d)$. Two searches shrink the box of each
    row to where the weight counts. There the trapezoid rule converges faster than any power of the step,
    because the weight is smooth and vanishes at the edge; where a family has a kink, nodes are added until
    half of them give the same answer or there are 65,536 points.

    Attributes:
        copula: Of the observed modalities, then the absent ones.
        observed: z, latents of the observed.
        log_factor: log g as a sum over axes: of positions of rows (n,) and values on the axes (n, D, k).
        value: v, of positions of rows (n,) and points (n, G, D), with a last axis of several values.
    """

    copula: Copula
    observed: Float[Tensor, "n seen"]
    log_factor: Callable[[Tensor, Tensor], Tensor]
    value: Callable[[Tensor, Tensor], Tensor]

    def solve(self) -> tuple[Float[Tensor, "n value"], Float[Tensor, " n"]]:
        """The expectations, and per row the largest change against half the nodes."""
        axes = self.copula.dim - self.observed.shape[1]
        means, errors = [], []
        for rows in blocks(len(self.observed), _NODES[axes] ** axes):
            low = torch.full((len(rows), axes), -_REACH, dtype=torch.float64)
            high = -low
            for _ in range(2):
                low, high = self._shrink(rows, low, high, _SEARCH[axes])
            mean, error = self._sum(rows, low, high, _NODES[axes])
            nodes = 2 * _NODES[axes] - 1
            while nodes**axes <= _MOST and bool((late := error > _TOLERANCE).any()):
                where = torch.nonzero(late).squeeze(1)
                for block in blocks(len(where), nodes**axes):
                    part = where[block]
                    mean[part], error[part] = self._sum(rows[part], low[part], high[part], nodes)
                nodes = 2 * nodes - 1
            means.append(mean)
            errors.append(error)
        return torch.cat(means), torch.cat(errors)

    def _log_weight(
        self, rows: Tensor, axis: Float[Tensor, "n axis node"], mesh: Int[Tensor, "point axis"]
    ) -> Float[Tensor, "n point"]:
        """What depends on one coordinate is computed once per node, and the copula once per point."""
        given = [part.unsqueeze(1).expand(-1, len(mesh), -1) for part in log_ndtr_both(self.observed[rows])]
        free = [at(part, mesh) for part in log_ndtr_both(axis)]
        log_u, log_sf = (torch.cat(pair, dim=-1) for pair in zip(given, free, strict=True))
        own = log_normal_density(axis) + self.log_factor(rows, axis)
        return self.copula.log_density(log_u, log_sf) + at(own, mesh).sum(-1)

    def _shrink(self, rows: Tensor, low: Tensor, high: Tensor, nodes: int) -> tuple[Tensor, Tensor]:
        """The box around the nodes that count, one step wider on every side."""
        mesh = _mesh(low.shape[1], nodes)
        weight = self._log_weight(rows, _axis(low, high, nodes), mesh)
        counts = weight > weight.amax(1, keepdim=True) - _NEGLIGIBLE
        along = _projected(counts, low.shape[1], nodes)
        step = (high - low) / (nodes - 1)
        first, last = along.argmax(-1), along.flip(-1).argmax(-1)
        return low + (first - 1) * step, high - (last - 1) * step

    def _sum(self, rows: Tensor, low: Tensor, high: Tensor, nodes: int) -> tuple[Tensor, Tensor]:
        """(n, V) weighted means over a grid, and (n,) how far every other node is from them."""
        mesh, axis = _mesh(low.shape[1], nodes), _axis(low, high, nodes)
        weight = torch.softmax(self._log_weight(rows, axis, mesh), dim=1).unsqueeze(-1)
        values = self.value(rows, at(axis, mesh))
        mean = (weight * values).sum(1)
        even = (mesh % 2 == 0).all(-1)
        half = weight[:, even]
        coarse = (half * values[:, even]).sum(1) / half.sum(1)
        return mean, (mean - coarse).abs().amax(1)


def blocks(rows: int, points: int) -> list[Tensor]:
    """Positions of rows, in parts that hold at most half a million points (or one row) at once."""
    size = max(1, _BLOCK // points)
    return [torch.arange(start, min(start + size, rows)) for start in range(0, rows, size)]


def at(axis: Float[Tensor, "n axis node"], mesh: Int[Tensor, "point axis"]) -> Float[Tensor, "n point axis"]:
    """Values on the axes, at the points of a mesh."""
    return torch.stack([axis[:, d, mesh[:, d]] for d in range(mesh.shape[1])], dim=-1)


def _axis(low: Tensor, high: Tensor, nodes: int) -> Float[Tensor, "n axis node"]:
    unit = torch.linspace(0.0, 1.0, nodes, dtype=torch.float64)
    return low.unsqueeze(-1) + unit * (high - low).unsqueeze(-1)


def _mesh(axes: int, nodes: int) -> Int[Tensor, "point axis"]:
    """Node numbers of every point, the last axis running fastest."""
    return torch.cartesian_prod(*[torch.arange(nodes)] * axes).view(-1, axes)


def _projected(counts: Bool[Tensor, "n point"], axes: int, nodes: int) -> Int[Tensor, "n axis node"]:
    """Whether any point that shares a node of an axis counts."""
    grid = counts.view(-1, *[nodes] * axes)
    sides = []
    for axis in range(axes):
        others = [other + 1 for other in range(axes) if other != axis]
        sides.append(grid.any(dim=others) if others else grid)
    return torch.stack(sides, dim=1).to(torch.uint8)
