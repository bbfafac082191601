"""A backbone for tables with gaps."""

from typing import cast, final

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from sklar.encoders.base import Backbone, Feature
from sklar.types import Input, Table


class TabularConfig(BaseModel):
    """Settings of the tabular backbone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden: int = Field(default=64, ge=1)
    knots: int = Field(default=8, ge=0)
    embedding: int = Field(default=8, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)


@final
class Tabular(Backbone):
    """Numbers, their gaps and embedded categories through two hidden layers; one token per row.

    Each number z enters as itself, as ``relu(z - knot)`` on a fixed grid of knots (a piecewise
    linear basis, without which a small network learns thresholds slowly), and with an indicator of
    its gap. Level 0 of a category is its gap and has an embedding of its own.

    Args:
        numeric: P, the number of numeric columns.
        levels: Levels of each categorical column, the gap not counted.
        config: Settings.
    """

    knots: Tensor

    def __init__(self, numeric: int, levels: tuple[int, ...], config: TabularConfig) -> None:
        super().__init__()
        self.register_buffer("knots", torch.linspace(-2.5, 2.5, config.knots), persistent=False)
        self.embeddings = nn.ModuleList(nn.Embedding(n + 1, config.embedding) for n in levels)
        width = numeric * (2 + config.knots) + config.embedding * len(levels)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Linear(before, config.hidden), nn.ReLU(), nn.Dropout(config.dropout))
            for before in (width, config.hidden)
        )
        self.columns = (numeric, len(levels))
        self.widths = (config.hidden, config.hidden)
        self.out_dim = config.hidden

    def start(self, item: Input, rows: Int[Tensor, " n"] | None) -> Feature:
        table = cast(Table, item)
        here = (table.numeric.shape[1], table.categories.shape[1])
        if here != self.columns:
            raise ValueError(
                f"tables have {here[0]} numeric and {here[1]} categorical columns; this encoder was built "
                f"for {self.columns[0]} and {self.columns[1]}"
            )
        batch = len(table)
        if rows is not None:
            table = table.rows(rows)
        gap = ~table.observed
        basis = torch.relu(table.numeric.unsqueeze(-1) - self.knots)
        basis = basis.masked_fill(gap.unsqueeze(-1), 0.0).flatten(1)
        parts = [table.numeric.masked_fill(gap, 0.0), gap.to(basis.dtype), basis]
        parts += [self._level(layer, table, j) for j, layer in enumerate(self.embeddings)]
        return Feature(torch.cat(parts, 1).unsqueeze(1), None, rows, batch)

    def _level(self, layer: nn.Module, table: Table, column: int) -> Float[Tensor, "n e"]:
        own: Tensor = layer(table.categories[:, column])
        if table.strength is None:
            return own
        gap = cast(nn.Embedding, layer).weight[0]
        return torch.lerp(gap.expand_as(own), own, table.strength[:, column, None])

    def step(self, stage: int, feature: Feature) -> Feature:
        return Feature(self.stages[stage](feature.x), None, feature.rows, feature.batch)

    def parts(self) -> tuple[tuple[str, ...], ...]:
        return ("embeddings",), ("stages.0",), ("stages.1",), ()

    def pool(self, feature: Feature) -> Float[Tensor, "b out"]:
        return feature.scatter(feature.x.squeeze(1))
