"""A mixture whose parameters are learned."""

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sklar.marginals.fit import fit_mixture
from sklar.marginals.mixture import GaussianMixture


@final
class MixtureMarginal(nn.Module):
    """Parameters of a :class:`GaussianMixture` over one modality's latents.

    The scale is ``min_scale`` plus an exponential: a component that closes in on a single row would
    otherwise have an unbounded likelihood. Latents are standardised, so the unit is one standard deviation.

    Args:
        dim: Width d of the latents.
        components: K.
        min_scale: Smallest standard deviation.

    Attributes:
        initialised: Whether :meth:`initialise` has run.
    """

    initialised: Tensor

    def __init__(self, dim: int, components: int = 3, min_scale: float = 1e-3) -> None:
        super().__init__()
        self.min_scale = min_scale
        self.logits = nn.Parameter(torch.zeros(components))
        # Spread over the standardised latents: identical components would receive identical gradients.
        centres = math.sqrt(2.0) * torch.erfinv((2.0 * torch.arange(components) + 1.0) / components - 1.0)
        self.loc = nn.Parameter(centres.unsqueeze(-1).repeat(1, dim))
        self.log_scale = nn.Parameter(torch.zeros(components, dim))
        self.register_buffer("initialised", torch.tensor(False))

    def forward(self) -> GaussianMixture:
        """The mixture of the current parameters."""
        return GaussianMixture(self.logits, self.loc, self.min_scale + self.log_scale.exp())

    @torch.no_grad()
    def initialise(self, latents: Float[Tensor, "n d"], generator: torch.Generator | None = None) -> None:
        """Fit to a cache of latents by k-means++ and EM."""
        if latents.ndim != 2 or latents.shape[1] != self.loc.shape[1]:
            raise ValueError(f"latents must be (rows, {self.loc.shape[1]}), got {tuple(latents.shape)}.")
        log_weights, loc, scale = fit_mixture(latents, len(self.logits), generator)
        self.logits.copy_(log_weights)
        self.loc.copy_(loc)
        # A constant coordinate has no spread of its own; exp of -14 is negligible beside min_scale.
        self.log_scale.copy_((scale - self.min_scale).clamp(min=1e-6).log())
        self.initialised.fill_(True)
