"""What goes into a way of making uniforms, what comes out, and what every way promises."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sklar.marginals import GaussianMixture
from sklar.special import ndtri_log


@dataclass(frozen=True)
class Latents:
    """A batch of latents and what their mixtures make of it.

    Attributes:
        z: The latents; those of absent modalities are not read.
        present: Which modalities each row has.
        mixtures: Of the modalities, detached where the uniforms must not move them.
        log_u: Log of the Rosenblatt uniforms.
        log_sf: log(1 - u).
        log_prob: Log density of each latent under its mixture.
    """

    z: Float[Tensor, "m b d"]
    present: Bool[Tensor, "b m"]
    mixtures: Sequence[GaussianMixture]
    log_u: Float[Tensor, "b d m"]
    log_sf: Float[Tensor, "b d m"]
    log_prob: Float[Tensor, "m b"]

    @cached_property
    def uniforms(self) -> "Uniforms":
        """The Rosenblatt uniforms."""
        return Uniforms(self.log_u, self.log_sf)

    @cached_property
    def paired(self) -> Bool[Tensor, " b"]:
        """Which rows have at least two modalities."""
        return self.present.sum(1) >= 2


@dataclass(frozen=True)
class Uniforms:
    """Pseudo-observations of a batch.

    Attributes:
        log_u: log u.
        log_sf: log(1 - u).
        log_prob: Log likelihood per scalar of the mode's own margins, which only they learn from; None where
            the mode has none.
    """

    log_u: Float[Tensor, "b q m"]
    log_sf: Float[Tensor, "b q m"]
    log_prob: Float[Tensor, "m b"] | None = None

    @property
    def modalities_first(self) -> list[Float[Tensor, "m b q"]]:
        """Both logs as they lie in memory."""
        return [self.log_u.movedim(-1, 0), self.log_sf.movedim(-1, 0)]

    @cached_property
    def scores(self) -> Float[Tensor, "m b q"]:
        """Normal scores, modalities first, which the Gaussian copula and the running moments read."""
        with torch.enable_grad():  # the first to ask may be outside of it, and the next one inside
            return ndtri_log(*self.modalities_first)


class Pit(nn.Module, ABC):
    """One mode.

    Args:
        modalities: M.
        dim: d.
        components: K.
        heads: Projections, for the modes that have them.

    Attributes:
        coordinates: q.
        density: Whether the joint of the uniforms and the mixtures is normalised.
    """

    coordinates: int
    density: bool

    @abstractmethod
    def __init__(self, modalities: int, dim: int, components: int, heads: int) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, latents: Latents) -> Uniforms:
        """The uniforms of a batch, with their gradient in the latents."""

    @abstractmethod
    def fit(self, latents: Latents) -> None:
        """Initialise what the mode learns of its own from a cache of latents, by EM."""
