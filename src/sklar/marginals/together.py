"""Several mixtures of one shape, inverted in one solve."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from sklar.marginals.inverse import invert_rosenblatt
from sklar.marginals.mixture import GaussianMixture


@torch.no_grad()
def inverse_rosenblatt_together(
    mixtures: Sequence[GaussianMixture],
    uniforms: Sequence[tuple[Float[Tensor, "s n d"], Float[Tensor, "s n d"]]],
) -> list[Float[Tensor, "s n d"]]:
    """What `GaussianMixture.inverse_rosenblatt` gives for each mixture and its (log u, log(1-u)).

    At the sizes of a training batch the cost is the number of operations, not of elements, and rows of
    different mixtures settle side by side. No gradient.

    Args:
        mixtures: With equal K and d and weights shared by all rows.
        uniforms: One pair per mixture; S is common, n is not.
    """
    if mixtures[0].components == 1:
        return [m.inverse_rosenblatt(*pair) for m, pair in zip(mixtures, uniforms, strict=True)]
    counts = [pair[0].shape[1] for pair in uniforms]
    draws = uniforms[0][0].shape[0]
    own = torch.arange(len(mixtures)).repeat_interleave(torch.tensor(counts)).to(mixtures[0].loc.device)
    member = own.repeat(draws)
    log_u, log_sf = (torch.cat([pair[i] for pair in uniforms], 1).flatten(0, 1) for i in (0, 1))
    z = invert_rosenblatt(
        torch.stack([m.logits.log_softmax(-1) for m in mixtures], 1)[:, member],
        torch.stack([m.loc for m in mixtures], 1)[:, member],
        torch.stack([m.scale for m in mixtures], 1)[:, member],
        log_u,
        log_sf,
    )
    return list(z.unflatten(0, (draws, -1)).split(counts, 1))  # type: ignore[no-untyped-call]
