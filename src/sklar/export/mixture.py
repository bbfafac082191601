"""A mixture of fixed parameters: latents to normal scores and back in a fixed number of operations."""

from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sklar.alignment import CopulaAlignment
from sklar.export.normal import log_tails, normal_score
from sklar.marginals.learned import MixtureMarginal

SWEEPS = 24
"""Newton sweeps over each block of coordinates; most blocks settle in six."""
BLOCK = 32
"""Coordinates solved together, from left to right."""


class Margin(nn.Module):
    r"""The mixture of one modality, as an alignment imputes with it.

    With one component the normal score of the Rosenblatt uniform is the standardised latent itself. With
    several, $u_j = \sum_k w_{kj} \Phi(t_{kj})$, and the way back takes `SWEEPS` Newton steps on the normal
    score per block of coordinates.

    Args:
        joint: The alignment.
        name: The modality.
    """

    log_weights: Tensor
    loc: Tensor
    scale: Tensor

    def __init__(self, joint: CopulaAlignment, name: str) -> None:
        super().__init__()
        mixture, own = joint.margin(name), cast(MixtureMarginal, joint.margins[name])
        # weights that depend on what else is present are computed per row
        self.context = own.network if bool(own.initialised) else None
        self.column = joint.modalities.index(name)
        logits = mixture.logits if self.context is None else own.logits
        self.register_buffer("log_weights", logits.detach().clone())
        self.register_buffer("loc", mixture.loc.detach().clone())
        self.register_buffer("scale", mixture.scale.detach().clone())

    def mean(self, present: Bool[Tensor, "b m"]) -> Float[Tensor, "b d"]:
        """Of each row's mixture."""
        return self._weights(present).exp().T @ self.loc

    def score(self, z: Float[Tensor, "b d"], present: Bool[Tensor, "b m"]) -> Float[Tensor, "b d"]:
        """Normal scores of the Rosenblatt uniforms of latents."""
        if len(self.loc) == 1:
            return (z - self.loc[0]) / self.scale[0]
        below, above = self._tails(z, self.loc.unsqueeze(1), self.scale.unsqueeze(1), self._weights(present))
        return normal_score(below, above)

    def latent(self, score: Float[Tensor, "s b d"], present: Bool[Tensor, "b m"]) -> Float[Tensor, "s b d"]:
        """The latents that have these normal scores."""
        if len(self.loc) == 1:
            return self.loc[0] + self.scale[0] * score
        draws, rows = score.shape[:2]
        weights = self._weights(present).unsqueeze(1).expand(-1, draws, -1).flatten(1)
        flat, parts = score.flatten(0, 1), []
        for start in range(0, flat.shape[1], BLOCK):
            own = slice(start, start + BLOCK)
            loc, scale = self.loc[:, None, own], self.scale[:, None, own]
            z = self._solve(flat[:, own], loc, scale, weights)
            parts.append(z)
            density = _log_density(z, loc, scale)
            weights = (weights + (density - density.amax(0)).sum(2)).log_softmax(0)
        return torch.cat(parts, 1).reshape(draws, rows, -1)

    def _weights(self, present: Tensor) -> Float[Tensor, "k b"]:
        logits = self.log_weights.expand(len(present), -1)
        if self.context is not None:
            others = torch.cat([present[:, : self.column], present[:, self.column + 1 :]], 1)
            logits = logits + self.context(others.to(logits.dtype))
        return logits.log_softmax(1).T

    def _tails(self, z: Tensor, loc: Tensor, scale: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Log u and log(1 - u) of (n, d) latents, whatever is to the left being in ``weights`` (K, n)."""
        log_w = _running(_log_density(z, loc, scale), weights)
        below, above = log_tails((z - loc) / scale)
        below, above = (log_w + below).logsumexp(0), (log_w + above).logsumexp(0)
        left = below < above
        small = torch.where(left, below, above)
        large = torch.log1p(-small.exp())
        return torch.where(left, small, large), torch.where(left, large, small)

    def _solve(self, score: Tensor, loc: Tensor, scale: Tensor, weights: Tensor) -> Tensor:
        ends = loc + scale * score
        low, high = ends.amin(0), ends.amax(0)
        z = (weights.exp().unsqueeze(2) * ends).sum(0)
        for _ in range(SWEEPS):
            found = normal_score(*self._tails(z, loc, scale, weights))
            density = _log_density(z, loc, scale)
            slope = (_running(density, weights) + density + 0.5 * found * found).exp().sum(0)
            # between components that lie far apart the slope underflows: the step ends at the bracket
            step = (found - score) / slope.clamp(min=1e-30)
            z = torch.minimum(torch.maximum(z - step, low), high)
        return z


def _log_density(z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """(K, n, d) log normal densities but for log sqrt(2 pi)."""
    return -0.5 * ((z - loc) / scale).square() - scale.log()


def _running(density: Tensor, weights: Tensor) -> Tensor:
    """(K, n, d) log weights of the components given the coordinates to the left."""
    relative = density - density.amax(0)
    before = torch.cat([torch.zeros_like(relative[..., :1]), relative[..., :-1]], 2).cumsum(2)
    return (weights.unsqueeze(2) + before).log_softmax(0)
