"""What pulls the modalities together: the copula's likelihood, or one of the losses it is compared with.

Every term is to be minimised, is a mean over the rows that have what it needs, and is exactly zero when no
row of a batch has two modalities.
"""

from collections.abc import Callable
from itertools import combinations
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from sklar.alignment.official import Official
from sklar.alignment.uniforms import Latents, Uniforms

if TYPE_CHECKING:
    from sklar.alignment.joint import CopulaAlignment

TEMPERATURE = 0.2
"""Of the softmax divergence, as in the released code."""

Term = Callable[["CopulaAlignment", Latents, Uniforms], Tensor]


def copula(joint: "CopulaAlignment", latents: Latents, uniforms: Uniforms) -> Float[Tensor, ""]:
    """Minus the log copula density over rows with at least two modalities.

    Mean over coordinates, or their sum for ``scale="sum"``. `pit` "official" has its own loss.
    """
    if isinstance(joint.pit, Official):
        return joint.pit.loss(latents)
    log_density = joint.log_density_of(uniforms, latents.present)
    mean = log_density.sum() / latents.paired.sum().clamp(min=1)
    return -mean * (joint.pit.coordinates if joint.scale == "sum" else 1)


def cosine(joint: "CopulaAlignment", latents: Latents, uniforms: Uniforms) -> Float[Tensor, ""]:
    """1 - cosine, mean over all present pairs of modalities (Table 4)."""
    return _over_pairs(
        latents, lambda one, other: 1.0 - functional.cosine_similarity(one, other, dim=-1, eps=1e-8)
    )


def kl_softmax(joint: "CopulaAlignment", latents: Latents, uniforms: Uniforms) -> Float[Tensor, ""]:
    """KL(softmax(a / T) || softmax(b / T)) over coordinates, a before b and detached (Table 4).

    What the released code calls KL: latents read as logits of a distribution over their coordinates. With
    three modalities the mean over all present pairs.
    """

    def divergence(one: Tensor, other: Tensor) -> Tensor:
        log_p, log_q = ((part / TEMPERATURE).log_softmax(-1) for part in (one.detach(), other))
        return (log_p.exp() * (log_p - log_q)).sum(-1)

    return _over_pairs(latents, divergence)


def kl_gaussian(joint: "CopulaAlignment", latents: Latents, uniforms: Uniforms) -> Float[Tensor, ""]:
    r"""KL of the Gaussians with two modalities' moments (Appendix B), per coordinate, mean over pairs.

    .. math:: \tfrac12 [\log\tfrac{|\Sigma_2|}{|\Sigma_1|} - d + \mathrm{tr}(\Sigma_2^{-1}\Sigma_1)
              + (\mu_2 - \mu_1)^\top \Sigma_2^{-1} (\mu_2 - \mu_1)]

    The moments are those of the batch's rows that have both modalities, because those of the fitted mixtures
    have no gradient in the latents. Standardised latents agree in mean and variance, so what is compared is
    the correlations within each modality; the covariances are full, shrunk by d rows of the identity, without
    which a batch smaller than d gives a singular one. It aligns distributions, not rows.
    """
    total, pairs = latents.z.new_zeros(()), 0
    for one, other in combinations(range(len(latents.z)), 2):
        rows = (latents.present[:, one] & latents.present[:, other]).nonzero().squeeze(1)
        if len(rows) < 2:
            continue
        total = total + _gaussian_divergence(latents.z[one][rows], latents.z[other][rows])
        pairs += 1
    return total / max(pairs, 1)


def nothing(joint: "CopulaAlignment", latents: Latents, uniforms: Uniforms) -> Float[Tensor, ""]:
    """No alignment; margins and moments are still fitted, since imputation reads them."""
    return latents.z.new_zeros(())


TERMS: dict[str, Term] = {
    "copula": copula,
    "cosine": cosine,
    "kl_softmax": kl_softmax,
    "kl_gaussian": kl_gaussian,
    "none": nothing,
}


def decorrelation(z: Float[Tensor, "m b d"], present: Bool[Tensor, "b m"]) -> Float[Tensor, ""]:
    r"""$\sum_{i \ne j} C_{ij}^2 / d$, mean over modalities, with C the correlations over present rows.

    Zero when the coordinates of every modality are uncorrelated, d - 1 when they all carry one factor. A
    modality with fewer than two rows in the batch does not count.
    """
    mask = present.T.unsqueeze(2).to(z.dtype)
    count = mask.sum(1, keepdim=True)
    at_least_one = count.clamp(min=1)  # a modality without rows has no correlations, and is left out below
    centred = (z - (z * mask).sum(1, keepdim=True) / at_least_one) * mask
    variance = centred.square().sum(1, keepdim=True)
    # a constant coordinate correlates with nothing; its slope is that of a deviation of one thousandth
    unit = centred * torch.rsqrt(variance + 1e-6 * at_least_one)
    correlation = unit.mT @ unit
    off = correlation.square().sum((1, 2)) - correlation.diagonal(dim1=1, dim2=2).square().sum(1)
    known = count.flatten() >= 2
    return (off * known).sum() / (z.shape[2] * known.sum().clamp(min=1))


def _over_pairs(latents: Latents, distance: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Mean of a distance over all pairs of modalities that rows have, the earlier modality first."""
    first, second = torch.triu_indices(len(latents.z), len(latents.z), 1, device=latents.z.device)
    both = (latents.present[:, first] & latents.present[:, second]).T
    found = distance(latents.z[first], latents.z[second])
    return (found * both).sum() / both.sum().clamp(min=1)


def _gaussian_divergence(one: Tensor, other: Tensor) -> Tensor:
    dim = one.shape[1]
    means, factors = [], []
    for rows in (one, other):
        centred = rows - rows.mean(0)
        identity = torch.eye(dim, dtype=rows.dtype, device=rows.device)
        covariance = (centred.T @ centred + dim * identity) / (len(rows) + dim)
        means.append(rows.mean(0))
        factors.append(torch.linalg.cholesky(covariance))
    log_ratio = 2.0 * (factors[1].diagonal().log().sum() - factors[0].diagonal().log().sum())
    gap = torch.cat([factors[0], (means[1] - means[0]).unsqueeze(1)], 1)
    trace_and_distance = torch.linalg.solve_triangular(factors[1], gap, upper=False).square().sum()
    value: Tensor = 0.5 * (log_ratio - dim + trace_and_distance) / dim
    return value
