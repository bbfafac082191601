"""What the released code of the paper computes, for parity only: it is no copula likelihood.

Read in its only public commit (4f807b7). Each modality has K components; "log u" is the product of a
component's normal CDFs, clamped; each family is evaluated as released: Gumbel's distribution function in the
place of its density, Frank's with only positive signs, Gaussian and Frank on a batch-standardised, folded log
u. The K components of the modalities are paired by number, so the weights sum to 1/K.
"""

import math
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sklar.alignment.uniforms import Latents, Pit, Uniforms
from sklar.copulas import FAMILIES, Copula, Gaussian
from sklar.special import log1mexp, log_normal_density

RELEASED = {"gumbel": (2, 3), "frank": (2,), "gaussian": (2,)}
"""Families that can be evaluated as released, and for how many modalities."""


@final
class Official(Pit):
    """The released loss, with its own parameters; rows that lack a modality contribute nothing.

    Its uniforms are the K component CDFs of each modality, (B, K, M).

    Attributes:
        theta: The one copula parameter, started at 1.
    """

    def __init__(self, modalities: int, dim: int, components: int, heads: int) -> None:
        super().__init__(modalities, dim, components, heads)
        self.coordinates, self.density = components, False
        self.family = "gumbel"
        self.theta = nn.Parameter(torch.ones(1))
        self.logits = nn.Parameter(torch.full((modalities, components), 1.0 / components))
        # identical components with identical gradients: K has no effect, as released
        self.loc = nn.Parameter(torch.zeros(modalities, components, dim))
        self.raw_scale = nn.Parameter(torch.full((modalities, components, dim), -4.0))

    def evaluate(self, family: str) -> None:
        """Choose the family.

        Raises:
            ValueError: The released code cannot evaluate it for that many modalities.
        """
        if len(self.loc) not in RELEASED.get(family, ()):
            raise ValueError(
                f"the released code has no {family} for {len(self.loc)} modalities: pit='official' takes "
                "gumbel, frank or gaussian for two and gumbel for three. pit='rosenblatt' takes every family"
            )
        self.family = family

    def forward(self, latents: Latents) -> Uniforms:
        log_u = self._scores(latents.z)[0]
        return Uniforms(log_u, log1mexp(-log_u))

    def fit(self, latents: Latents) -> None:
        """The released code has no initialisation from data."""

    def log_density(self, latents: Latents) -> Float[Tensor, " b"]:
        """What stands in the place of the log copula density, mean over components; 0 in incomplete rows."""
        rows = latents.present.all(1).nonzero().squeeze(1)
        out = latents.z.new_zeros(len(latents.present))
        if not len(rows):
            return out
        return out.index_copy(0, rows, self._pseudo_density(self._scores(latents.z[:, rows])[0]).mean(1))

    def loss(self, latents: Latents) -> Float[Tensor, ""]:
        r"""$-\frac1n \sum_i \log \sum_k \exp(\log c_{ik} + \sum_m (\log f_{mk}(z_{mi}) + \log \pi_{mk}))$."""
        rows = latents.present.all(1).nonzero().squeeze(1)
        if not len(rows):
            return latents.z.new_zeros(())
        log_u, log_pdf = self._scores(latents.z[:, rows])
        joint = self._pseudo_density(log_u) + (log_pdf + self.logits.log_softmax(-1).T).sum(-1)
        return -joint.logsumexp(1).mean()

    def copula(self) -> Copula:
        """The member of the family that theta names, for reporting."""
        theta = self.theta.detach()[0]
        if self.family == "gaussian":
            rho = torch.tanh(theta)
            return Gaussian(torch.stack([torch.stack([rho / rho, rho]), torch.stack([rho, rho / rho])]))
        kind: Any = FAMILIES[self.family]
        strength = theta.clamp(min=1.0) if self.family == "gumbel" else theta  # as in the loss
        copula: Copula = kind(strength, dim=len(self.loc))
        return copula

    def _scores(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K, M) log u and log densities of every component."""
        scale = nn.functional.softplus(self.raw_scale).unsqueeze(2)
        t = (z.unsqueeze(1) - self.loc.unsqueeze(2)) / scale
        # the released floor of each coordinate's CDF
        phi = (0.5 * torch.erfc(-t * math.sqrt(0.5))).clamp(min=1e-15)
        log_u = phi.log().sum(-1)
        # the released ceiling: the largest value below zero of the component, in this batch
        ceiling = torch.where(log_u < 0, log_u.detach(), -torch.inf).amax(2, keepdim=True)
        log_u = log_u.clamp(max=torch.where(torch.isinf(ceiling), 0.0, ceiling))
        log_pdf = (log_normal_density(t) - scale.log()).sum(-1)
        return log_u.permute(2, 1, 0), log_pdf.permute(2, 1, 0)

    def _pseudo_density(self, log_u: Tensor) -> Tensor:
        """(B, K) what each family puts for log c."""
        if self.family == "gumbel":
            theta = self.theta.clamp(min=1.0)
            return -(-log_u).pow(theta).sum(-1).pow(1.0 / theta)
        centred = log_u - log_u.mean(0)
        folded = torch.exp(-0.5 * (centred / log_u.std(0)).square())
        if self.family == "frank":
            total = folded.sum(-1)
            numerator = self.theta * -torch.expm1(-self.theta) * torch.exp(-self.theta * total)
            first, second = (-self.theta * part for part in folded.unbind(-1))
            terms = torch.stack([(-self.theta).expand_as(total), first, second, first + second])
            return numerator.clamp(min=1e-5).log() - 2.0 * terms.logsumexp(0)
        rho = torch.tanh(self.theta)
        x, y = (math.sqrt(2.0) * torch.erfinv(2.0 * folded.clamp(1e-6, 0.99999) - 1.0)).unbind(-1)
        kept = 1.0 - rho.square()
        form = (x.square() + y.square()) * rho.square() - 2.0 * x * y * rho
        return -form / (2.0 * kept) - 0.5 * kept.clamp(min=0.001).log()
