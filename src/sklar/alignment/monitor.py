"""Diagnostics of an alignment: does it see dependence, do the latents collapse, are the margins right."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sklar.alignment.patterns import patterns

RANK, SIZE = "effective_rank_", "latent_rms_"
"""Names of diagnostics, before the modality's."""
LOWEST_RANK, EPOCHS, LARGEST_SIZE = 2.0, 2, 10.0


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


@dataclass(frozen=True)
class Ailment:
    """Latents of one modality that a model cannot use.

    Attributes:
        epoch: The last of the epochs that show it.
        modality: Whose latents.
        collapsed: Whether they collapsed; else they exploded.
        value: Effective rank, or root mean square.
    """

    epoch: int
    modality: str
    collapsed: bool
    value: float

    def __str__(self) -> str:
        if self.collapsed:
            return (
                f"epoch {self.epoch}: the latents of {self.modality!r} have collapsed (effective rank "
                f"{self.value:.2f}, below {LOWEST_RANK:g} for {EPOCHS} epochs): all coordinates carry one "
                "factor. Lower alignment.weight, or raise alignment.decorrelation"
            )
        return (
            f"epoch {self.epoch}: the latents of {self.modality!r} have exploded (root mean square "
            f"{self.value:.3g} where standardised ones have 1). Lower training.learning_rate, or look for "
            "wild values in the data (sklar doctor --data DIR)"
        )


def ailments(history: Sequence[Mapping[str, float]], epoch: int) -> list[Ailment]:
    """What is wrong with the latents after the last epoch of a history of diagnostics.

    Collapse is an effective rank below 2 in the last two epochs; explosion a root mean square above 10, or
    not finite, in the last one.

    Args:
        history: One row per epoch with ``effective_rank_<modality>`` and ``latent_rms_<modality>``; latents
            of a single coordinate, which can have no higher rank, should have no rank in it.
        epoch: Number of the last row.
    """
    found = []
    last = history[-1] if history else {}
    for name, value in last.items():
        modality = name.removeprefix(RANK)
        if name.startswith(RANK) and len(history) >= EPOCHS:
            ranks = [row.get(name, math.inf) for row in history[-EPOCHS:]]
            if max(ranks) < LOWEST_RANK:
                found.append(Ailment(epoch, modality, True, value))
        modality = name.removeprefix(SIZE)
        if name.startswith(SIZE) and not value <= LARGEST_SIZE:
            found.append(Ailment(epoch, modality, False, value))
    return found
