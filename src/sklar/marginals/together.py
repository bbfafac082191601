"""Several mixtures of one shape, taken through their Rosenblatt transforms, or back, in one pass.

At the sizes of a training batch the cost is the number of operations, not of elements.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from sklar.marginals.inverse import invert_rosenblatt
from sklar.marginals.mixture import GaussianMixture
from sklar.marginals.transform import rosenblatt


def rosenblatt_together(
    mixtures: Sequence[GaussianMixture], z: Sequence[Float[Tensor, "n d"]], separate: bool = False
) -> tuple[Float[Tensor, "m n d"], Float[Tensor, "m n d"], Float[Tensor, "m n"]]:
    """What `GaussianMixture.rosenblatt` and `log_prob` give for each mixture and its rows.

    Args:
        mixtures: With equal K and d, all with weights per row or all without.
        z: The rows of each, equally many.
        separate: The uniforms differentiate in z only and the densities in the mixtures only.

    Returns:
        log u, log(1 - u) and the log density of each row.
    """
    log_weights = torch.stack([m.logits for m in mixtures]).log_softmax(-1)
    log_weights = log_weights.mT if log_weights.ndim == 3 else log_weights.unsqueeze(-1)
    loc, scale = torch.stack([m.loc for m in mixtures]), torch.stack([m.scale for m in mixtures])
    return rosenblatt(torch.stack(tuple(z)), log_weights, loc, scale, separate)


@torch.no_grad()
def inverse_rosenblatt_together(
    mixtures: Sequence[GaussianMixture],
    uniforms: Sequence[tuple[Float[Tensor, "s n d"], Float[Tensor, "s n d"]]],
) -> list[Float[Tensor, "s n d"]]:
    """What `GaussianMixture.inverse_rosenblatt` gives for each mixture and its (log u, log(1-u)).

    Rows of different mixtures settle side by side. No gradient.

    Args:
        mixtures: With equal K and d; weights (K,) or (n, K).
        uniforms: One pair per mixture; S is common, n is not.
    """
    if mixtures[0].components == 1:
        return [m.inverse_rosenblatt(*pair) for m, pair in zip(mixtures, uniforms, strict=True)]
    counts = [pair[0].shape[1] for pair in uniforms]
    draws = uniforms[0][0].shape[0]
    own = torch.arange(len(mixtures)).repeat_interleave(torch.tensor(counts)).to(mixtures[0].loc.device)
    member = own.repeat(draws)
    log_u, log_sf = (torch.cat([pair[i] for pair in uniforms], 1).flatten(0, 1) for i in (0, 1))
    weights = [m.logits.log_softmax(-1).expand(n, -1) for m, n in zip(mixtures, counts, strict=True)]
    z = invert_rosenblatt(
        torch.cat(weights).repeat(draws, 1).T,
        torch.stack([m.loc for m in mixtures], 1)[:, member],
        torch.stack([m.scale for m in mixtures], 1)[:, member],
        log_u,
        log_sf,
    )
    return list(z.unflatten(0, (draws, -1)).split(counts, 1))  # type: ignore[no-untyped-call]
