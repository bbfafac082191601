"""Unified (Hayat, Geras & Shamout 2021): one classifier over the concatenated latents."""

from typing import Literal, final

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from sklar.encoders import EncoderConfig, Encoders
from sklar.models.base import FusionModel
from sklar.types import Batch, Head, Output


class UnifiedConfig(BaseModel):
    """Settings of Unified."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["unified"] = "unified"
    encoders: EncoderConfig = EncoderConfig()
    head_weight: float = Field(default=1.0, ge=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)


@final
class Unified(FusionModel):
    """Linear classifier on the concatenation; absent modalities contribute zeros, to no loss either.

    ``head_weight`` > 0 adds a classifier per modality, trained on the rows that have it (the "dynamic
    training" of the original); 0 is the adaptation that CM² compares with.
    """

    def __init__(self, encoders: Encoders, config: UnifiedConfig, outputs: int = 1) -> None:
        super().__init__()
        self.modalities = encoders.modalities
        self.encoders = encoders
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(len(self.modalities) * encoders.dim, outputs)
        self.head_weight = config.head_weight
        names = self.modalities if config.head_weight else ()
        self.heads = nn.ModuleDict({name: nn.Linear(encoders.dim, outputs) for name in names})

    def forward(self, batch: Batch) -> Output:
        latents = self.encoders(batch).latents
        dropped = {name: self.dropout(z) for name, z in latents.items()}
        heads = {
            name: Head(head(dropped[name]), batch.has(name), self.head_weight)
            for name, head in self.heads.items()
        }
        return Output(self.classifier(torch.cat(list(dropped.values()), 1)), latents, heads, {})
