"""Modules that read M tokens, or those of them that a mask leaves, and return one vector."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import final

import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn


class FusionConfig(BaseModel):
    """Settings of a fusion.

    Attributes:
        kind: Key of `FUSIONS`.
        hidden: Width of the LSTM's state, or of the attention's feed-forward layer; None is the latent width.
        layers: Of the LSTM or the attention; the paper says two.
        heads: Of the attention; a divisor of the latent width.
        dropout: Between layers of the LSTM, and inside the attention.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = "lstm"
    hidden: int | None = Field(default=None, ge=1)
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in FUSIONS:
            raise ValueError(f"no fusion {kind!r}; choose one of {', '.join(FUSIONS)}")
        return kind


class Fusion(nn.Module, ABC):
    """Tokens in a fixed modality order to one vector; what the mask leaves out has no influence.

    Attributes:
        out_dim: Width of the vector.
    """

    out_dim: int

    @abstractmethod
    def forward(self, tokens: Float[Tensor, "b m d"], read: Bool[Tensor, "b m"]) -> Float[Tensor, "b out"]:
        """The fused vector of the tokens to be read; a fixed one where there is none."""


@final
class LSTMFusion(Fusion):
    """An LSTM over the tokens to be read; its last hidden state is the fused vector.

    Imputed tokens are read as the others are. (The released code of the paper shortens the sequence, so that
    its imputed vectors never reach the classifier.)
    """

    def __init__(self, modalities: int, dim: int, config: FusionConfig) -> None:
        super().__init__()
        self.out_dim = config.hidden or dim
        dropout = config.dropout if config.layers > 1 else 0.0
        self.lstm = nn.LSTM(dim, self.out_dim, config.layers, batch_first=True, dropout=dropout)

    def forward(self, tokens: Tensor, read: Tensor) -> Tensor:
        return last_state(self.lstm, tokens, read)


@final
class ConcatFusion(Fusion):
    """The tokens side by side; zeros for those that are not read. Nothing interacts before the classifier."""

    def __init__(self, modalities: int, dim: int, config: FusionConfig) -> None:
        super().__init__()
        self.out_dim = modalities * dim

    def forward(self, tokens: Tensor, read: Tensor) -> Tensor:
        return (tokens * read.unsqueeze(2)).flatten(1)


@final
class MeanFusion(Fusion):
    """The mean of the tokens to be read; zero where there is none."""

    def __init__(self, modalities: int, dim: int, config: FusionConfig) -> None:
        super().__init__()
        self.out_dim = dim

    def forward(self, tokens: Tensor, read: Tensor) -> Tensor:
        share = read.to(tokens.dtype).unsqueeze(2)
        mean: Tensor = (tokens * share).sum(1) / share.sum(1).clamp(min=1)  # no token: zero
        return mean


@final
class AttentionFusion(Fusion):
    """Transformer layers over a query token and those to be read; the query's state is the fused vector.

    A vector per modality is added to its token, since attention does not know the order.
    """

    def __init__(self, modalities: int, dim: int, config: FusionConfig) -> None:
        super().__init__()
        if dim % config.heads:
            raise ValueError(
                f"fusion.heads is {config.heads}; it must divide the latent width, which is {dim} "
                "(encoders.dim)"
            )
        self.out_dim = dim
        self.query = nn.Parameter(torch.randn(dim) * 0.02)
        self.place = nn.Parameter(torch.randn(modalities, dim) * 0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                dim,
                config.heads,
                config.hidden or dim,
                config.dropout,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, read: Tensor) -> Tensor:
        query = self.query.expand(len(tokens), 1, -1)
        states = torch.cat([query, tokens + self.place], 1)
        hidden = torch.cat([torch.zeros_like(read[:, :1]), ~read], 1)  # the query is always there
        for layer in self.layers:
            states = layer(states, src_key_padding_mask=hidden)
        fused: Tensor = self.norm(states[:, 0])
        return fused


FUSIONS: dict[str, Callable[[int, int, FusionConfig], Fusion]] = {
    "lstm": LSTMFusion,
    "concat": ConcatFusion,
    "mean": MeanFusion,
    "attention": AttentionFusion,
}
"""Every fusion by name; each takes (modalities, dim, config)."""


def last_state(
    lstm: nn.LSTM, tokens: Float[Tensor, "b m d"], read: Bool[Tensor, "b m"]
) -> Float[Tensor, "b hidden"]:
    """The LSTM's last hidden state over exactly the tokens to be read, in order; zero where there is none."""
    # those tokens move to the front and keep their order, the others follow
    count = read.sum(1)
    place = torch.where(read, read.cumsum(1), count.unsqueeze(1) + (~read).cumsum(1)) - 1
    states, _ = lstm(torch.zeros_like(tokens).scatter(1, place.unsqueeze(2).expand_as(tokens), tokens))
    last = (count - 1).clamp(min=0)[:, None, None].expand(-1, 1, states.shape[2])
    state: Tensor = states.gather(1, last).squeeze(1) * (count > 0).unsqueeze(1)
    return state
