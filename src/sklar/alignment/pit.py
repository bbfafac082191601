"""How vector-valued latents become uniforms that a copula can couple.

Sklar's theorem speaks of scalar margins. The modes differ in what they take as scalars: q uniforms per
row and modality, (B, q, M).

=========== ======= ========================================================= ==========================
mode        q       uniforms                                                  density of the joint
=========== ======= ========================================================= ==========================
rosenblatt  d       CDF of each coordinate given the earlier ones             yes
marginal    d       CDF of each coordinate on its own                         K = 1; else composite
head        heads   CDF of learned projections                                heads = 1; else composite
kendall     1       CDF of the scalar F_m(z_m) under the model                yes (K > 1: as fitted)
literal     1       F_m(z_m) itself, the paper's formula                      d = 1 only
official    K       component CDFs of the released code                       never
=========== ======= ========================================================= ==========================
"""

import math
import warnings
from collections.abc import Sequence
from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sklar.alignment.official import Official
from sklar.alignment.standardise import Standardise
from sklar.alignment.uniforms import Latents, Pit, Uniforms
from sklar.marginals import GaussianMixture, MixtureMarginal
from sklar.marginals.gamma import log_gamma_tails
from sklar.special import log_neg_log


@final
class Rosenblatt(Pit):
    """d independent uniforms per modality: the default, an exact density for any d and K."""

    def __init__(self, modalities: int, dim: int, components: int, heads: int) -> None:
        super().__init__(modalities, dim, components, heads)
        self.coordinates, self.density = dim, True

    def forward(self, latents: Latents) -> Uniforms:
        return latents.uniforms

    def fit(self, latents: Latents) -> None:
        """All parameters are the mixtures'."""


@final
class Marginal(Pit):
    """The mixture CDF of each coordinate on its own; for K > 1 these depend on each other."""

    def __init__(self, modalities: int, dim: int, components: int, heads: int) -> None:
        super().__init__(modalities, dim, components, heads)
        self.coordinates, self.density = dim, components == 1 or dim == 1

    def forward(self, latents: Latents) -> Uniforms:
        pairs = [m.marginal_cdf(z) for m, z in zip(latents.mixtures, latents.z, strict=True)]
        return Uniforms(*(torch.stack(part, -1) for part in zip(*pairs, strict=True)))

    def fit(self, latents: Latents) -> None:
        """All parameters are the mixtures'."""


@final
class Head(Pit):
    """Learned projections of unit norm, standardised, through one-dimensional mixtures.

    The projections learn from the copula term only, the mixtures from the likelihood of detached scores: that
    likelihood would turn a projection towards the axis of least variance.
    """

    def __init__(self, modalities: int, dim: int, components: int, heads: int) -> None:
        super().__init__(modalities, dim, components, heads)
        self.coordinates, self.density = heads, heads == 1
        self.weight = nn.Parameter(torch.randn(modalities, heads, dim))
        self.standardise = nn.ModuleList(Standardise(heads) for _ in range(modalities))
        self.margins = nn.ModuleList(MixtureMarginal(heads, components) for _ in range(modalities))

    def forward(self, latents: Latents) -> Uniforms:
        return _through(self.margins, self._scores(latents))

    def fit(self, latents: Latents) -> None:
        _fit(self.margins, self._scores(latents), latents.present)

    def projections(self) -> Float[Tensor, "m q d"]:
        """The projections, each of norm one."""
        return nn.functional.normalize(self.weight, dim=-1)

    def _scores(self, latents: Latents) -> list[Tensor]:
        scores = latents.z @ self.projections().mT
        return [
            layer(own, rows)
            for layer, own, rows in zip(self.standardise, scores, latents.present.T, strict=True)
        ]


@final
class Kendall(Pit):
    r"""The paper's scalar $F_m(z_m)$, made uniform by its own CDF under the model.

    For K = 1, $-\log F$ is the sum of d exponentials, so $u = P(\Gamma_d > -\log F)$ exactly. For K > 1 a
    one-dimensional mixture is fitted to the cube root of $-\log F$, which is nearly normal (Wilson & Hilferty
    1931); any monotone function of F has the same u. One scalar carries 1/d of the dependence that d
    coordinates carry, and its copula tends to a Gaussian one as d grows.
    """

    def __init__(self, modalities: int, dim: int, components: int, heads: int) -> None:
        super().__init__(modalities, dim, components, heads)
        self.coordinates, self.density, self.dim = 1, True, dim
        self.margins = nn.ModuleList(
            MixtureMarginal(1, components) for _ in range(modalities if components > 1 else 0)
        )

    def forward(self, latents: Latents) -> Uniforms:
        depths = self._depths(latents)
        if latents.mixtures[0].components == 1:
            pairs = [log_gamma_tails(depth, self.dim) for depth in depths]
            log_sf, log_u = (torch.stack(part, -1).unsqueeze(1) for part in zip(*pairs, strict=True))
            return Uniforms(log_u, log_sf)
        found = _through(self.margins, [self._root(depth) for depth in depths])
        return Uniforms(found.log_sf, found.log_u, found.log_prob)  # large depth, small F

    def fit(self, latents: Latents) -> None:
        if len(self.margins):
            _fit(self.margins, [self._root(depth) for depth in self._depths(latents)], latents.present)

    def _depths(self, latents: Latents) -> list[Tensor]:
        """log(-log F) of each modality."""
        return [
            log_neg_log(*mixture.joint_cdf(z)) for mixture, z in zip(latents.mixtures, latents.z, strict=True)
        ]

    def _root(self, depth: Tensor) -> Tensor:
        """(B, 1) cube roots, standardised as if K were 1."""
        root = ((depth - math.log(self.dim)) / 3.0).exp()
        return ((root - 1.0) * math.sqrt(9.0 * self.dim) + 1.0 / math.sqrt(9.0 * self.dim)).unsqueeze(-1)


@final
class Literal(Pit):
    """The paper's formula, u = F_m(z_m) with the d-variate CDF, evaluated in logs; warns for d > 1."""

    def __init__(self, modalities: int, dim: int, components: int, heads: int) -> None:
        super().__init__(modalities, dim, components, heads)
        self.coordinates, self.density = 1, dim == 1
        if dim > 1:
            warnings.warn(
                f"pit='literal' takes the {dim}-variate CDF of a latent for a uniform, which it is not: "
                "the joint has no unit mass and finds dependence in independent latents. Use pit='kendall' "
                "for this scalar made uniform, or pit='rosenblatt'",
                stacklevel=3,
            )

    def forward(self, latents: Latents) -> Uniforms:
        pairs = [m.joint_cdf(z) for m, z in zip(latents.mixtures, latents.z, strict=True)]
        return Uniforms(*(torch.stack(part, -1).unsqueeze(1) for part in zip(*pairs, strict=True)))

    def fit(self, latents: Latents) -> None:
        """All parameters are the mixtures'."""


PITS: dict[str, type[Pit]] = {
    "rosenblatt": Rosenblatt,
    "marginal": Marginal,
    "head": Head,
    "kendall": Kendall,
    "literal": Literal,
    "official": Official,
}


def _through(margins: nn.ModuleList, scores: Sequence[Tensor]) -> Uniforms:
    """Scores (B, q) through mixtures that learn from the scores' likelihood and from nothing else."""
    pairs, log_probs = [], []
    for module, score in zip(margins, scores, strict=True):
        mixture = _scalar_mixture(cast(MixtureMarginal, module))
        log_probs.append(mixture.log_prob(score.detach()) / score.shape[-1])
        pairs.append(mixture.detach().marginal_cdf(score))
    log_u, log_sf = (torch.stack(part, -1) for part in zip(*pairs, strict=True))
    return Uniforms(log_u, log_sf, torch.stack(log_probs))


def _scalar_mixture(module: MixtureMarginal) -> GaussianMixture:
    """A margin's mixture; standard normal until it is initialised."""
    mixture: GaussianMixture = module()
    return mixture if bool(module.initialised) else mixture.standard()


@torch.no_grad()
def _fit(margins: nn.ModuleList, scores: Sequence[Tensor], present: Tensor) -> None:
    for module, score, rows in zip(margins, scores, present.T, strict=True):
        own = score[rows]
        if len(own) >= len(module.logits):  # type: ignore[arg-type]
            cast(MixtureMarginal, module).initialise(own)
