"""A Perceiver (Jaegle et al. 2021): a sequence of any length is read into a fixed number of latents."""

from math import pi
from typing import final

import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from sklar.models.attention import Attention

FEED_FORWARD = 4
"""Width inside a feed-forward layer, as a multiple of the latents' width."""


class PerceiverConfig(BaseModel):
    """Settings of a Perceiver: LSMT's as published.

    Attributes:
        latents: Number of latents.
        width: Of each latent.
        depth: Blocks.
        cross_heads: Heads that read the sequence.
        cross_width: Of each of them.
        heads: Heads among the latents.
        head_width: Of each of them.
        bands: Frequencies that encode a step's position.
        highest: The highest frequency.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    latents: int = Field(default=64, ge=1)
    width: int = Field(default=128, ge=1)
    depth: int = Field(default=9, ge=1)
    cross_heads: int = Field(default=1, ge=1)
    cross_width: int = Field(default=64, ge=1)
    heads: int = Field(default=4, ge=1)
    head_width: int = Field(default=32, ge=1)
    bands: int = Field(default=6, ge=1)
    highest: float = Field(default=10.0, gt=0)


@final
class Perceiver(nn.Module):
    """Blocks in which latents read the sequence, and then each other.

    Steps that are not valid are not read, and positions count valid steps only, so that padding has no
    influence. All residual branches are normalised before they are applied.

    Args:
        channels: Of the sequence.
        config: Settings.
        dropout: Of the attention weights.
    """

    def __init__(self, channels: int, config: PerceiverConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.bands, self.highest = config.bands, config.highest
        self.latents = nn.Parameter(torch.randn(config.latents, config.width))
        read = channels + 2 * config.bands + 1
        self.blocks = nn.ModuleList(_Block(read, config, dropout) for _ in range(config.depth))

    def forward(self, x: Float[Tensor, "n t c"], valid: Bool[Tensor, "n t"]) -> Float[Tensor, "n l w"]:
        """The latents after reading each row's valid steps."""
        context = torch.cat([x, fourier(places(valid), self.bands, self.highest).to(x.dtype)], 2)
        latents = self.latents.expand(len(x), -1, -1)
        for block in self.blocks:
            latents = block(latents, context, valid)
        return latents


@final
class _Block(nn.Module):
    def __init__(self, read: int, config: PerceiverConfig, dropout: float) -> None:
        super().__init__()
        width = config.width
        self.before, self.context = nn.LayerNorm(width), nn.LayerNorm(read)
        self.cross = Attention(width, read, config.cross_heads, config.cross_width, dropout=dropout)
        self.after_cross = GatedFeedForward(width)
        self.among = nn.LayerNorm(width)
        self.attend = Attention(width, width, config.heads, config.head_width, dropout=dropout)
        self.after_attend = GatedFeedForward(width)

    def forward(self, latents: Tensor, context: Tensor, valid: Tensor) -> Tensor:
        latents = latents + self.cross(self.before(latents), self.context(context), valid)
        latents = latents + self.after_cross(latents)
        own = self.among(latents)
        latents = latents + self.attend(own, own)
        out: Tensor = latents + self.after_attend(latents)
        return out


@final
class GatedFeedForward(nn.Module):
    """Layer norm, then a hidden layer whose half gates its other half through a GELU.

    Args:
        width: Of input and output.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 2 * FEED_FORWARD * width)
        self.reduce = nn.Linear(FEED_FORWARD * width, width)

    def forward(self, x: Float[Tensor, "*b w"]) -> Float[Tensor, "*b w"]:
        """The branch to be added to ``x``."""
        value, gate = self.expand(self.norm(x)).chunk(2, -1)
        out: Tensor = self.reduce(value * functional.gelu(gate))
        return out


def places(valid: Bool[Tensor, "n t"]) -> Float[Tensor, "n t"]:
    """Where each valid step lies between the first, -1, and the last valid one, 1."""
    count = valid.sum(1, keepdim=True)
    # a single step is the first; of a row without any, nothing is read
    return 2 * (valid.cumsum(1) - 1) / (count - 1).clamp(min=1) - 1


def fourier(place: Float[Tensor, "*n"], bands: int, highest: float) -> Float[Tensor, "*n f"]:
    """Sines and cosines at evenly spaced frequencies up to half the highest, then the place itself."""
    frequencies = torch.linspace(1, highest / 2, bands, device=place.device)
    angle = place.unsqueeze(-1) * frequencies * pi
    return torch.cat([angle.sin(), angle.cos(), place.unsqueeze(-1)], -1)
