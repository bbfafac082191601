"""Interleaved attention over irregular clinical modalities (Zhang, Li, Chen, Yan & Petzold 2023)."""

from collections.abc import Mapping
from typing import Literal, Self, cast, final

import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from sklar.encoders import EncoderConfig, Feature, InputShape, SeriesShape
from sklar.models.base import FusionModel
from sklar.models.crossing import Crossing
from sklar.models.interpolation import TimeAttention, TimeEmbedding, Window, times_of
from sklar.models.sequences import Reading, Sequences
from sklar.types import Batch, Output, Series

Gating = Literal["patient", "step", "feature"]
"""What has a gate of its own: a row, each of its steps, or each feature of these."""


class InterleavedConfig(BaseModel):
    """Settings of Interleaved; the sizes are the published ones.

    Attributes:
        encoders: One section per kind of input; ``dim`` has no effect.
        series: The regular view reads series "raw" as published, or the states of their "backbone".
        gate: What mixes the irregular and the regular view of a series.
        queries: Q, times at which all modalities are read, evenly over the window of the series.
        dim: Width of the streams.
        heads: Of the attention among streams, a divisor of ``dim``.
        layers: Of it.
        embedding: Width of the embedding of times.
        time_heads: Of the attention over time, a divisor of ``embedding``.
        dropout: Of the streams and before the classifier.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["interleaved"] = "interleaved"
    encoders: EncoderConfig = EncoderConfig()
    series: Reading = "raw"
    gate: Gating = "patient"
    queries: int = Field(default=24, ge=1)
    dim: int = Field(default=128, ge=1)
    heads: int = Field(default=8, ge=1)
    layers: int = Field(default=3, ge=1)
    embedding: int = Field(default=64, ge=2)
    time_heads: int = Field(default=8, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for heads, width in (("heads", "dim"), ("time_heads", "embedding")):
            if getattr(self, width) % getattr(self, heads):
                raise ValueError(
                    f"{heads} ({getattr(self, heads)}) must divide {width} ({getattr(self, width)})"
                )
        return self


@final
class Interleaved(FusionModel):
    """Every modality becomes a stream on one grid of times; streams attend to each other, layer by layer.

    A series is read irregularly, by attention over the times at which each variable was observed, and
    regularly, as filled in at the step nearest to each query; a gate mixes both. Tokens of other modalities
    are read by attention over their times, those without times stand at the prediction time. The last
    query's states of all streams are classified; those of absent modalities are zero, and nothing reads them.

    Args:
        shapes: Of every modality's input.
        config: Settings.
        outputs: K.
    """

    grid: Tensor

    def __init__(self, shapes: Mapping[str, InputShape], config: InterleavedConfig, outputs: int = 1) -> None:
        super().__init__()
        self.modalities = tuple(shapes)
        self.dim = config.dim
        self.sequences = Sequences(shapes, config.encoders, config.series, untimed="pooled")
        self.register_buffer("grid", torch.linspace(0, 1, config.queries), persistent=False)
        self.window = Window()
        self.clock = TimeEmbedding(config.embedding)
        self.views = nn.ModuleDict(
            {
                name: TwoViews(shape.variables, self.sequences.widths[name], config)
                if isinstance(shape, SeriesShape)
                else TimeAttention(
                    self.sequences.widths[name], config.dim, config.embedding, config.time_heads
                )
                for name, shape in shapes.items()
            }
        )
        self.crossing = Crossing(
            self.modalities, config.queries, config.dim, config.heads, config.layers, config.dropout
        )
        wide = len(shapes) * config.dim
        self.inner, self.outer = nn.Linear(wide, wide), nn.Linear(wide, wide)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(wide, outputs)

    def forward(self, batch: Batch) -> Output:
        features = self.sequences(batch)
        self._extend(batch, features)
        queries = self.clock(self.grid)
        streams = {
            name: self._stream(batch, name, features[name], queries)
            if name in features
            else queries.new_zeros(len(batch), len(queries), self.dim)
            for name in self.modalities
        }
        present = {name: batch.has(name) for name in self.modalities}
        read = self.crossing(streams, present)
        last = {name: read[name][:, -1] * present[name].unsqueeze(1) for name in self.modalities}
        h = torch.cat(list(last.values()), 1)
        h = h + self.outer(self.dropout(torch.relu(self.inner(h))))
        return Output(self.classifier(h), last, {}, {})

    def _extend(self, batch: Batch, features: Mapping[str, Feature]) -> None:
        """Let the window cover the series, or all that has times where there is none."""
        names = [name for name in self.sequences.series or self.modalities if name in features]
        masks = [features[name].tokens()[1] for name in names]
        self.window.extend(
            (times_of(batch.inputs[name], there), there) for name, there in zip(names, masks, strict=True)
        )

    def _stream(
        self, batch: Batch, name: str, feature: Feature, queries: Float[Tensor, "q e"]
    ) -> Float[Tensor, "b q d"]:
        tokens, there = feature.tokens()
        times = self.window(times_of(batch.inputs[name], there))
        view = self.views[name]
        if isinstance(view, TwoViews):
            item = cast(Series, batch.inputs[name])
            mixed: Tensor = view(item, tokens, there, times, self.grid, queries, self.clock(times))
            return mixed
        read: Tensor = view(queries, self.clock(times), tokens, there.unsqueeze(2).expand_as(tokens))
        return read


@final
class TwoViews(nn.Module):
    """A series on a grid of times: attention over what was observed, and what was filled in, gated.

    Args:
        variables: V, the first channels of the series' values.
        channels: Of the regular view.
        config: Settings of the model.
    """

    def __init__(self, variables: int, channels: int, config: InterleavedConfig) -> None:
        super().__init__()
        dim = config.dim
        self.variables = variables
        self.level = config.gate
        self.irregular = TimeAttention(2 * variables, dim, config.embedding, config.time_heads)
        self.regular = nn.Linear(channels, dim, bias=False)
        hidden, gate = nn.Linear(2 * dim, dim), nn.Linear(dim, dim if config.gate == "feature" else 1)
        for layer in (hidden, gate):
            nn.init.xavier_normal_(layer.weight)
        self.gate = nn.Sequential(nn.Dropout(config.dropout), hidden, nn.ReLU(), gate)

    def forward(
        self,
        series: Series,
        tokens: Float[Tensor, "b t c"],
        there: Bool[Tensor, "b t"],
        times: Float[Tensor, "b t"],
        grid: Float[Tensor, " q"],
        queries: Float[Tensor, "q e"],
        keys: Float[Tensor, "b t e"],
    ) -> Float[Tensor, "b q d"]:
        """The mixture of both views at the grid's times; ``tokens`` are what the regular view reads."""
        values = series.values[..., : self.variables]
        observed = there.unsqueeze(2).expand_as(values)
        if series.observed is not None:
            observed = observed & series.observed
        both = torch.cat([values, observed.to(values.dtype)], 2)
        irregular = self.irregular(queries, keys, both, torch.cat([observed, observed], 2))
        distance = (times.unsqueeze(1) - grid.unsqueeze(1)).abs()
        nearest = distance.masked_fill(~there.unsqueeze(1), torch.inf).argmin(2)
        steps = self.regular(tokens)
        regular = steps.gather(1, nearest.unsqueeze(2).expand(-1, -1, steps.shape[2]))
        views = torch.cat([irregular, regular], 2)
        if self.level == "patient":
            views = views.amax(1, keepdim=True)
        gate = torch.sigmoid(self.gate(views))
        mixed: Tensor = gate * irregular + (1 - gate) * regular
        return mixed
