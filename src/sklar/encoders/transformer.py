"""A transformer backbone for time series."""

from typing import Literal, cast, final

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from sklar.encoders.attention import heads_divide_hidden
from sklar.encoders.base import Backbone, Feature, Place
from sklar.encoders.series import require_channels, summarise, summary_layer
from sklar.types import Input, Series

REACH = 0.1
"""Positions start uniform on (-REACH, REACH)."""


class SeriesTransformerConfig(BaseModel):
    """Settings of the transformer for series; ``positions`` is the largest number of steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["transformer"] = "transformer"
    hidden: int = Field(default=64, ge=1)
    layers: int = Field(default=2, ge=1)
    heads: int = Field(default=4, ge=1)
    intermediate: int = Field(default=256, ge=1)
    positions: int = Field(default=350, ge=1)
    summaries: bool = True
    dropout: float = Field(default=0.1, ge=0, lt=1)

    _check = model_validator(mode="after")(heads_divide_hidden)


@final
class SeriesTransformer(Backbone):
    """Attention between the steps of a series; the feature is the mean over its valid steps.

    Stages: the linear embedding with learned positions, then each layer (post-norm, ReLU). Padded steps are
    never attended to. ``summaries`` are those of `Recurrent`.

    Args:
        channels: C of the series.
        variables: V of the mask of observed cells.
        config: Settings.

    References:
        The series encoder of Yao et al. (2024), DrFuse, without its fork into two branches.
    """

    timed = True

    def __init__(self, channels: int, variables: int, config: SeriesTransformerConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(channels, config.hidden)
        self.positions = nn.Parameter(torch.empty(config.positions, config.hidden).uniform_(-REACH, REACH))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                config.hidden, config.heads, config.intermediate, config.dropout, batch_first=True
            )
            for _ in range(config.layers)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.summary = summary_layer(variables, config.hidden) if config.summaries else None
        self.widths = (config.hidden,) * (1 + config.layers)
        self.out_dim = config.hidden * (2 if config.summaries else 1)

    def start(self, item: Input, rows: Int[Tensor, " n"] | None) -> Feature:
        series = cast(Series, item)
        require_channels(series, self.embed.in_features)
        batch, steps = series.valid.shape
        if steps > len(self.positions):
            raise ValueError(
                f"series have {steps} steps, the transformer has {len(self.positions)} positions: raise "
                "encoders.series.positions"
            )
        if rows is not None:
            series = series.rows(rows)
        context = summarise(series).flatten(1) if self.summary is not None else None
        return Feature(series.values, series.valid, rows, batch, context)

    def step(self, stage: int, feature: Feature) -> Feature:
        if stage == 0:
            x = self.embed(feature.x) + self.positions[: feature.x.shape[1]]
        else:
            valid = cast(Tensor, feature.valid)
            # attention without a key is not defined: an empty series attends to its first step
            first = torch.arange(valid.shape[1], device=valid.device) == 0
            hidden = ~(valid | (first & ~valid.any(1, keepdim=True)))
            x = self.layers[stage - 1](feature.x, src_key_padding_mask=hidden)
        return Feature(x, feature.valid, feature.rows, feature.batch, feature.context)

    def parts(self) -> tuple[tuple[str, ...], ...]:
        return (), ("embed", "positions"), *((f"layers.{k}",) for k in range(len(self.layers))), ("summary",)

    def tap(self, where: Place) -> int:
        """The embedding has not looked at other steps yet: "early" is after the first layer."""
        return 2 if where == "early" else super().tap(where)

    def pool(self, feature: Feature) -> Float[Tensor, "b out"]:
        parts = [feature.squeeze()]
        if self.summary is not None:
            parts.append(feature.scatter(self.summary(feature.context)))
        pooled: Tensor = self.dropout(torch.cat(parts, 1))
        return pooled
