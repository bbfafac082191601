"""Streams of equal length that attend to themselves and to each other, layer by layer."""

from collections.abc import Mapping
from math import sqrt
from typing import cast, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sklar.models.attention import Attention

FEED_FORWARD = 4
"""Width inside a feed-forward layer, as a multiple of the streams' width."""


@final
class Crossing(nn.Module):
    """Layers of self-attention, cross-attention from every other stream, and a feed-forward network.

    All streams share one table of learned positions. Cross-attention is averaged over the streams that are
    there: an absent one is no source. Every branch is normalised before it is applied, and a last norm ends
    each stream.

    Args:
        names: Of the streams.
        steps: Their length.
        dim: Their width, a multiple of ``heads``.
        heads: Of the attention.
        layers: Number of layers.
        dropout: Of embeddings, attention weights and branches.
    """

    def __init__(
        self, names: tuple[str, ...], steps: int, dim: int, heads: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.scale = sqrt(dim)
        self.positions = nn.Parameter(torch.randn(steps, dim) * 0.02)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(_Layer(names, dim, heads, dropout) for _ in range(layers))
        self.norms = nn.ModuleDict({name: nn.LayerNorm(dim) for name in names})
        for module in self.layers.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(
        self, streams: Mapping[str, Float[Tensor, "b t d"]], present: Mapping[str, Bool[Tensor, " b"]]
    ) -> dict[str, Float[Tensor, "b t d"]]:
        """The streams after all layers; what an absent one holds is of no meaning."""
        x = {name: self.dropout(self.scale * own + self.positions) for name, own in streams.items()}
        for layer in self.layers:
            x = layer(x, present)
        return {name: self.norms[name](own) for name, own in x.items()}


@final
class _Layer(nn.Module):
    def __init__(self, names: tuple[str, ...], dim: int, heads: int, dropout: float) -> None:
        super().__init__()

        def attention() -> Attention:
            return Attention(dim, dim, heads, dim // heads, bias=True, dropout=dropout)

        self.norms = nn.ModuleDict(
            {name: nn.ModuleList(nn.LayerNorm(dim) for _ in range(3)) for name in names}
        )
        self.own = nn.ModuleDict({name: attention() for name in names})
        self.others = nn.ModuleDict(
            {name: nn.ModuleDict({other: attention() for other in names if other != name}) for name in names}
        )
        self.feed = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Linear(dim, FEED_FORWARD * dim),
                    nn.ReLU(),
                    nn.Dropout(dropout),
                    nn.Linear(FEED_FORWARD * dim, dim),
                )
                for name in names
            }
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: dict[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        x = {name: own + self.dropout(self._attend(name, own)) for name, own in x.items()}
        normed = {name: self._norm(name, 1)(own) for name, own in x.items()}
        x = {name: own + self.dropout(self._cross(name, normed, present)) for name, own in x.items()}
        return {
            name: own + self.dropout(self.feed[name](self._norm(name, 2)(own))) for name, own in x.items()
        }

    def _norm(self, name: str, branch: int) -> nn.Module:
        return cast(nn.ModuleList, self.norms[name])[branch]

    def _attend(self, name: str, own: Tensor) -> Tensor:
        normed = self._norm(name, 0)(own)
        read: Tensor = self.own[name](normed, normed)
        return read

    def _cross(self, name: str, normed: dict[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        total, sources = torch.zeros_like(normed[name]), torch.zeros_like(present[name], dtype=torch.long)
        for other, attend in cast(nn.ModuleDict, self.others[name]).items():
            there = present[other]
            total = total + attend(normed[name], normed[other]) * there[:, None, None]
            sources = sources + there
        return total / sources.clamp(min=1)[:, None, None]  # without a source: zero
