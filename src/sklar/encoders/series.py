"""Recurrent backbones for time series, with per-variable summaries beside the last state."""

from itertools import pairwise
from typing import Literal, cast, final

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from sklar.encoders.base import Backbone, Feature
from sklar.types import Input, Series


class RecurrentConfig(BaseModel):
    """Settings of the recurrent series backbone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["gru", "lstm"] = "gru"
    hidden: int = Field(default=64, ge=1)
    layers: int = Field(default=1, ge=1)
    summaries: bool = True
    dropout: float = Field(default=0.1, ge=0, lt=1)


@final
class Recurrent(Backbone):
    """Stacked one-layer LSTMs or GRUs; each layer is a stage, the last valid state is the feature.

    With ``summaries``, last, mean, minimum, maximum, first, standard deviation and log count of
    every variable over its observed cells go through one hidden layer and are concatenated: they
    carry most of the signal of short clinical series. The paper's encoder is the plain two-layer LSTM.

    The first V channels of `Series.values` must be the V variables of `Series.observed`.

    Args:
        channels: C of the series.
        variables: V of the mask of observed cells.
        config: Settings.
    """

    timed = True

    def __init__(self, channels: int, variables: int, config: RecurrentConfig) -> None:
        super().__init__()
        cell = nn.LSTM if config.kind == "lstm" else nn.GRU
        widths = [channels] + [config.hidden] * config.layers
        self.layers = nn.ModuleList(
            cell(before, after, batch_first=True) for before, after in pairwise(widths)
        )
        self.channels = channels
        self.dropout = nn.Dropout(config.dropout)
        self.summary = summary_layer(variables, config.hidden) if config.summaries else None
        self.widths = tuple(widths[1:])
        self.out_dim = config.hidden * (2 if config.summaries else 1)
        for name, parameter in self.layers.named_parameters():
            if "weight_ih" in name:
                nn.init.xavier_uniform_(parameter)
            elif "weight_hh" in name:
                nn.init.orthogonal_(parameter)
            else:
                nn.init.zeros_(parameter)

    def start(self, item: Input, rows: Int[Tensor, " n"] | None) -> Feature:
        series = cast(Series, item)
        require_channels(series, self.channels)
        batch = len(series)
        if rows is not None:
            series = series.rows(rows)
        context = summarise(series).flatten(1) if self.summary is not None else None
        return Feature(series.values, series.valid, rows, batch, context)

    def step(self, stage: int, feature: Feature) -> Feature:
        states, _ = self.layers[stage](feature.x)
        return Feature(states, feature.valid, feature.rows, feature.batch, feature.context)

    def parts(self) -> tuple[tuple[str, ...], ...]:
        return (), *((f"layers.{k}",) for k in range(len(self.layers))), ("summary",)

    def pool(self, feature: Feature) -> Float[Tensor, "b out"]:
        steps = feature.x.shape[1]
        valid = feature.valid
        last = (
            feature.x[:, -1]
            if valid is None
            # position of the last valid step; padded steps after it never reach it
            else feature.x.gather(
                1,
                (torch.arange(1, steps + 1, device=valid.device) * valid)
                .amax(1)
                .sub(1)
                .clamp(min=0)  # an empty series keeps its first state
                .view(-1, 1, 1)
                .expand(-1, 1, feature.x.shape[2]),
            ).squeeze(1)
        )
        parts = [last]
        if self.summary is not None:
            parts.append(self.summary(feature.context))
        return feature.scatter(self.dropout(torch.cat(parts, 1)))


STATISTICS = ("last", "mean", "minimum", "maximum", "first", "deviation", "log_count")


def summarise(series: Series) -> Float[Tensor, "b s v"]:
    """Statistics of each variable over its observed cells, in the order of `STATISTICS`.

    A variable without an observed cell gets zeros, the training mean of a standardised channel;
    its log count of zero tells it apart.

    Returns:
        (B, 7, V).
    """
    observed = series.observed
    if observed is None:
        observed = series.valid.unsqueeze(-1).expand_as(series.values)
    seen = observed & series.valid.unsqueeze(-1)
    values = series.values[..., : seen.shape[-1]]
    count = seen.sum(1)
    some = count > 0
    at_least_one = count.clamp(min=1)  # empty variables are blanked below
    mean = (values * seen).sum(1) / at_least_one
    variance = ((values - mean.unsqueeze(1)) * seen).square().sum(1) / at_least_one
    # the root has no slope at zero, where a single cell or equal ones put it
    varies = variance > 0
    deviation = torch.where(varies, torch.where(varies, variance, 1.0).sqrt(), 0.0)
    position = torch.arange(1, seen.shape[1] + 1, device=seen.device).view(1, -1, 1)
    last = (position * seen).argmax(1, keepdim=True)
    first = seen.to(torch.uint8).argmax(1, keepdim=True)
    infinity = torch.full_like(values, float("inf"))
    statistics = (
        values.gather(1, last).squeeze(1),
        mean,
        torch.where(seen, values, infinity).amin(1),
        torch.where(seen, values, -infinity).amax(1),
        values.gather(1, first).squeeze(1),
        deviation,
        torch.log1p(count.to(values.dtype)),
    )
    return torch.stack([torch.where(some, s, torch.zeros_like(s)) for s in statistics], 1)


def summary_layer(variables: int, hidden: int) -> nn.Sequential:
    """What turns the flattened statistics of `summarise` into a part of the feature."""
    return nn.Sequential(nn.Linear(len(STATISTICS) * variables, hidden), nn.ReLU())


def require_channels(series: Series, channels: int) -> None:
    """Check that a series is as wide as its encoder.

    Raises:
        ValueError: It has another number of channels.
    """
    if series.values.shape[2] != channels:
        raise ValueError(
            f"series have {series.values.shape[2]} channels; this encoder was built for {channels}"
        )
