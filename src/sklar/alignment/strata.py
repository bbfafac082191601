"""One draw from every component of a mixture, weighted by the component's probability."""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sklar.alignment.noise import Noise

if TYPE_CHECKING:
    from sklar.alignment.joint import CopulaAlignment

MOST_STRATA = 81
"""Combinations of components that a stratified draw may have: three components, four missing modalities."""


def stratified(
    joint: "CopulaAlignment", present: Bool[Tensor, "b m"], noise: Noise
) -> tuple[list[Float[Tensor, "s n d"]], Float[Tensor, "s b"]]:
    r"""Unconditional draws of all absent latents from every combination of components, and their weights.

    $E[h(z)] = \sum_k \pi_k E[h(\mu_k + s_k \varepsilon)]$ term by term, so that the average of a loss with
    these weights is unbiased, and so is its gradient in means and scales (pathwise) and weights (exact).
    A row with q absent modalities has K^q combinations; rows with fewer repeat theirs, the weight shared.

    Returns:
        Per modality the (S, n, d) draws of the rows that lack it, and (S, B) weights that sum to one.

    Raises:
        ValueError: More combinations than `MOST_STRATA`.
    """
    absent = [(~there).nonzero().squeeze(1) for there in present.T]
    pairs = zip(joint.modalities, absent, strict=True)
    mixtures = [joint.margin(name, present[rows]) for name, rows in pairs]
    components = mixtures[0].components
    most = int((~present).sum(1).max())
    count = components**most
    if count > MOST_STRATA:
        raise ValueError(
            f"{components} components and {most} missing modalities make {count} strata, more than "
            f"{MOST_STRATA}: use gradient 'pathwise', which costs one draw"
        )
    rank = (~present).cumsum(1) - 1  # which of its row's absent modalities this one is
    stratum = torch.arange(count, device=present.device).unsqueeze(1)
    log_weight = mixtures[0].logits.new_zeros(count, len(present))
    drawn = []
    for column, mixture in enumerate(mixtures):
        rows = absent[column]
        chosen = stratum // components ** rank[rows, column] % components
        own = Noise(count, noise.generator).normal(mixture.loc, len(rows))
        drawn.append(mixture.loc[chosen] + mixture.scale[chosen] * own)
        own_weights = mixture.logits.log_softmax(-1).expand(len(rows), -1)
        at = torch.arange(len(rows), device=rows.device)
        log_weight = log_weight.index_add(1, rows, own_weights[at, chosen])
    # each combination of a row with fewer absent modalities occurs this often
    repeats = components ** (most - (~present).sum(1))
    return drawn, log_weight.exp() / repeats
