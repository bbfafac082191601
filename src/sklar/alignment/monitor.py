"""Diagnostics of an alignment: does it see dependence, do the latents collapse, are the margins right."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sklar.alignment.patterns import patterns


def effective_rank(z: Float[Tensor, "n d"]) -> float:
    """Exponential of the entropy of the normalised eigenvalues of the covariance (Roy & Vetterli 2007).

    d for independent coordinates of equal variance, 1 when all coordinates carry one factor.
    """
    centred = (z - z.mean(0)).double()
    values = torch.linalg.svdvals(centred).square()
    share = values / values.sum()
    return float(torch.exp(-torch.xlogy(share, share).sum()))


def uniformity(u: Float[Tensor, "n d"]) -> float:
    """Kolmogorov-Smirnov distance of pseudo-observations to the uniform law, mean over coordinates."""
    ordered = u.double().sort(0).values
    n = len(u)
    rank = torch.arange(n + 1, dtype=torch.float64, device=u.device).unsqueeze(1) / n
    distance = torch.maximum(rank[1:] - ordered, ordered - rank[:-1]).amax(0)
    return float(distance.mean())


def shuffled(
    z: dict[str, Float[Tensor, "n d"]], present: Bool[Tensor, "n m"]
) -> tuple[dict[str, Tensor], Tensor]:
    """The same latents with the modalities of different rows put together.

    Within each pattern of presence with M or more rows, modality m is rotated by m n / M rows, so that no
    row keeps a true pair and every margin stays what it is. Smaller patterns are marked absent.
    """
    names = list(z)
    out = {name: value.clone() for name, value in z.items()}
    mask = torch.zeros_like(present)
    for rows, columns in patterns(present):
        if len(rows) < len(names):
            continue
        mask[rows] = present[rows]
        for column in columns:
            out[names[column]][rows] = z[names[column]][rows.roll(column * len(rows) // len(names))]
    return out, mask
