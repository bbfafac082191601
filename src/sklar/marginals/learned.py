"""A mixture whose parameters are learned."""

import math
from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sklar.marginals.fit import fit_mixture
from sklar.marginals.mixture import GaussianMixture

_HIDDEN = 16


@final
class MixtureMarginal(nn.Module):
    """Parameters of a :class:`GaussianMixture` over one modality's latents.

    The scale is ``min_scale`` plus an exponential: a component that closes in on a single row would
    otherwise have an unbounded likelihood. Latents are standardised, so the unit is one standard deviation.

    Weights are one vector, or with ``context`` the softmax of a small MLP of c numbers per row. What the
    weights may read without ceasing to describe a density of z is anything but z: an alignment gives
    them the presence of the other modalities.

    Args:
        dim: Width d of the latents.
        components: K.
        context: c, the numbers per row that the weights depend on; 0 for one vector of weights.
        min_scale: Smallest standard deviation.

    Attributes:
        initialised: Whether :meth:`initialise` has run.

    Raises:
        ValueError: d or K below 1, c below 0.
    """

    initialised: Tensor

    def __init__(self, dim: int, components: int = 3, context: int = 0, min_scale: float = 1e-3) -> None:
        super().__init__()
        for name, value, least in (("dim", dim, 1), ("components", components, 1), ("context", context, 0)):
            if value < least:
                raise ValueError(f"a mixture needs {name} >= {least}, got {value}.")
        self.min_scale = min_scale
        self.context = context
        self.logits = nn.Parameter(torch.zeros(components))
        self.network = (
            nn.Sequential(nn.Linear(context, _HIDDEN), nn.Tanh(), nn.Linear(_HIDDEN, components, bias=False))
            if context
            else None
        )
        # Spread over the standardised latents: identical components would receive identical gradients.
        centres = math.sqrt(2.0) * torch.erfinv((2.0 * torch.arange(components) + 1.0) / components - 1.0)
        self.loc = nn.Parameter(centres.unsqueeze(-1).repeat(1, dim))
        self.log_scale = nn.Parameter(torch.zeros(components, dim))
        self.register_buffer("initialised", torch.tensor(False))

    def forward(self, context: Float[Tensor, "*batch c"] | None = None) -> GaussianMixture:
        """The mixture of the current parameters, with weights per row of ``context`` if there is one.

        Raises:
            ValueError: A context where the weights take none, or none where they need one.
        """
        if (context is None) != (self.network is None):
            needs = f"{self.context} numbers per row" if self.context else "no context"
            raise ValueError(f"the weights of this mixture take {needs}.")
        logits = self.logits if self.network is None else self.logits + self.network(context)
        return GaussianMixture(logits, self.loc, self.min_scale + self.log_scale.exp())

    @torch.no_grad()
    def initialise(self, latents: Float[Tensor, "n d"], generator: torch.Generator | None = None) -> None:
        """Fit to a cache of latents by k-means++ and EM; weights start equal for every context."""
        if latents.ndim != 2 or latents.shape[1] != self.loc.shape[1]:
            raise ValueError(f"latents must be (rows, {self.loc.shape[1]}), got {tuple(latents.shape)}.")
        log_weights, loc, scale = fit_mixture(latents, len(self.logits), generator)
        self.logits.copy_(log_weights)
        self.loc.copy_(loc)
        # A constant coordinate has no spread of its own; exp of -14 is negligible beside min_scale.
        self.log_scale.copy_((scale - self.min_scale).clamp(min=1e-6).log())
        if self.network is not None:
            cast(nn.Linear, self.network[2]).weight.zero_()
        self.initialised.fill_(True)
