"""LSMT (Khader et al. 2023): one Transformer over all modalities' tokens, series through a Perceiver."""

from collections.abc import Mapping
from math import log
from typing import Literal, final

import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from sklar.encoders import EncoderConfig, Feature, InputShape
from sklar.models.attention import Attention
from sklar.models.base import FusionModel
from sklar.models.perceiver import Perceiver, PerceiverConfig
from sklar.models.sequences import Reading, Sequences
from sklar.types import Batch, Output


class LSMTConfig(BaseModel):
    """Settings of LSMT; the sizes are the published ones.

    Attributes:
        encoders: One section per kind of input; ``dim`` has no effect.
        series: The Perceivers read series "raw" as published, or the states of their "backbone".
        perceiver: See `PerceiverConfig`.
        width: Of the tokens.
        heads: Of the Transformer's attention.
        head_width: Of each head.
        mlp: Width inside its feed-forward layers.
        layers: Of the Transformer.
        attention_dropout: Of the Perceivers' attention.
        dropout: Before the classifier.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["lsmt"] = "lsmt"
    encoders: EncoderConfig = EncoderConfig()
    series: Reading = "raw"
    perceiver: PerceiverConfig = PerceiverConfig()
    width: int = Field(default=384, ge=2, multiple_of=2)
    heads: int = Field(default=4, ge=1)
    head_width: int = Field(default=128, ge=1)
    mlp: int = Field(default=384, ge=1)
    layers: int = Field(default=4, ge=1)
    attention_dropout: float = Field(default=0.1, ge=0, lt=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)


@final
class LSMT(FusionModel):
    """A class token, the tokens of images, documents and tables, and what Perceivers make of series.

    Pre-norm Transformer layers attend among the tokens that are there; the class token's state is classified.
    Sinusoidal positions count these tokens, so that neither padding nor an absent modality has an influence.

    Args:
        shapes: Of every modality's input.
        config: Settings.
        outputs: K.
    """

    def __init__(self, shapes: Mapping[str, InputShape], config: LSMTConfig, outputs: int = 1) -> None:
        super().__init__()
        self.modalities = tuple(shapes)
        self.sequences = Sequences(shapes, config.encoders, config.series)
        self.perceivers = nn.ModuleDict(
            {
                name: Perceiver(self.sequences.widths[name], config.perceiver, config.attention_dropout)
                for name in self.sequences.series
            }
        )
        self.order = (*(name for name in shapes if name not in self.perceivers), *self.perceivers)
        self.embed = nn.ModuleDict(
            {
                name: nn.Linear(
                    config.perceiver.width if name in self.perceivers else self.sequences.widths[name],
                    config.width,
                )
                for name in shapes
            }
        )
        self.start = nn.Parameter(torch.randn(config.width))
        self.layers = nn.ModuleList(
            _Layer(config.width, config.heads, config.head_width, config.mlp) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.width, outputs)

    def forward(self, batch: Batch) -> Output:
        tokens, there, latents = self._tokens(batch)
        states = tokens + sinusoids(there.cumsum(1) - 1, tokens.shape[2]).to(tokens.dtype)
        for layer in self.layers:
            states = layer(states, there)
        return Output(self.classifier(self.dropout(self.norm(states[:, 0]))), latents, {}, {})

    def _tokens(
        self, batch: Batch
    ) -> tuple[Float[Tensor, "b s w"], Bool[Tensor, "b s"], dict[str, Float[Tensor, "b w"]]]:
        """The sequence, which of it is there, and the mean token of each modality."""
        features = self.sequences(batch)
        tokens = [self.start.expand(len(batch), 1, -1)]
        there = [batch.present.new_ones(len(batch), 1)]
        means = {}
        for name in self.order:
            if name not in features:  # no row has it
                means[name] = self.start.new_zeros(len(batch), len(self.start))
                continue
            own, valid = self._embedded(name, features[name])
            tokens.append(own)
            there.append(valid)
            count = valid.sum(1, keepdim=True).clamp(min=1)  # an absent row's mean is zero
            means[name] = (own * valid.unsqueeze(2)).sum(1) / count
        latents = {name: means[name] for name in self.modalities}
        return torch.cat(tokens, 1), torch.cat(there, 1), latents

    def _embedded(self, name: str, feature: Feature) -> tuple[Tensor, Tensor]:
        if name in self.perceivers:
            valid = feature.valid
            if valid is None:
                valid = feature.x.new_ones(feature.x.shape[:2], dtype=torch.bool)
            latents = self.perceivers[name](feature.x, valid)
            feature = Feature(latents, None, feature.rows, feature.batch)
        tokens, valid = feature.tokens()
        return self.embed[name](tokens), valid


@final
class _Layer(nn.Module):
    def __init__(self, width: int, heads: int, head_width: int, mlp: int) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend = Attention(width, width, heads, head_width)
        self.expand, self.reduce = nn.Linear(width, mlp), nn.Linear(mlp, width)

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        own = self.before(x)
        x = x + self.attend(own, own, there)
        out: Tensor = x + self.reduce(functional.gelu(self.expand(self.between(x))))
        return out


def sinusoids(position: Tensor, width: int) -> Float[Tensor, "*n w"]:
    """Sines and cosines of positions in turn, at wavelengths from 2 pi to 20,000 pi (Vaswani et al. 2017)."""
    rates = torch.exp(torch.arange(0, width, 2, device=position.device) * (-log(10_000.0) / width))
    angle = position.unsqueeze(-1) * rates
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)
