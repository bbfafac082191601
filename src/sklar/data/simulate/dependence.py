"""The severity core: one latent vector per modality, coupled by a copula coordinate by coordinate."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from sklar.copulas import FAMILIES, Copula, Gaussian, Independence
from sklar.errors import UserError
from sklar.special import log_ndtr_both, log_normal_density, ndtri_log

_NODES = 401
_REACH = 9.0
"""A standard normal leaves (-9, 9) with probability 2e-19."""


@dataclass(frozen=True)
class Dependence:
    """How the latents of M modalities hang together.

    Coordinate j of all modalities, (z_1j, ..., z_Mj), has standard normal margins and one copula; different
    coordinates are independent. With the Gaussian family the latents are jointly normal.

    Attributes:
        modalities: M, at least 2.
        family: Key of `sklar.copulas.FAMILIES`.
        tau: Kendall's tau of every pair; 0 is independence, whatever the family.

    Raises:
        UserError: Too few modalities, an unknown family, or a tau that the family does not reach.
    """

    modalities: int
    family: str = "gaussian"
    tau: float = 0.5

    def __post_init__(self) -> None:
        if self.modalities < 2:
            raise UserError(
                f"{self.modalities} modality: dependence is between modalities, so name at least two"
            )
        if self.family not in FAMILIES:
            raise UserError(f"copula family {self.family!r}: choose one of {', '.join(FAMILIES)}")
        _ = self.copula  # so that an impossible tau is refused here

    @cached_property
    def copula(self) -> Copula:
        """The copula of one coordinate, in double precision."""
        if self.tau == 0:
            return Independence(self.modalities)
        try:
            return FAMILIES[self.family].from_tau(
                torch.tensor(self.tau, dtype=torch.float64), self.modalities
            )
        except ValueError as error:
            raise UserError(f"tau {self.tau} with family {self.family!r}: {error}") from None

    @property
    def gaussian(self) -> bool:
        """Whether the latents are jointly normal."""
        return isinstance(self.copula, Gaussian | Independence)

    @cached_property
    def correlation(self) -> Float[Tensor, "modality modality"]:
        """Pearson correlation of the latents of one coordinate: exact, or by quadrature over a pair."""
        if isinstance(self.copula, Gaussian):
            return self.copula.correlation
        eye = torch.eye(self.modalities, dtype=torch.float64)
        if isinstance(self.copula, Independence):
            return eye
        # the trapezoid rule converges faster than any power on a smooth integrand that vanishes at both ends
        axis = torch.linspace(-_REACH, _REACH, _NODES, dtype=torch.float64)
        pair = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1)
        log_mass = self.copula.marginal((0, 1)).log_density(*log_ndtr_both(pair))
        mass = (log_mass + log_normal_density(pair).sum(-1)).exp()
        rho = (mass * pair[..., 0] * pair[..., 1]).sum() / mass.sum()
        return eye + rho * (1.0 - eye)

    def draw(self, rows: int, rank: int, generator: torch.Generator) -> Float[Tensor, "rows modality rank"]:
        """Latents of ``rows`` independent rows with ``rank`` coordinates each."""
        if isinstance(self.copula, Independence):
            shape = (rows, self.modalities, rank)
            return torch.empty(shape, dtype=torch.float64).normal_(generator=generator)
        return ndtri_log(self.copula.rsample_log((rows, rank), generator)).mT.contiguous()
