"""A model of one modality, whatever else there is: the reference row of every fusion."""

from typing import Literal, final

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from sklar.encoders import EncoderConfig, Encoders
from sklar.models.base import FusionModel
from sklar.types import Batch, Output


class SingleConfig(BaseModel):
    """Settings of a single-modality model; ``modality`` names it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["single"] = "single"
    modality: str
    encoders: EncoderConfig = EncoderConfig()
    dropout: float = Field(default=0.1, ge=0, lt=1)


@final
class Single(FusionModel):
    """Encoder and linear head of one modality; rows without it share one learned logit, their base rate.

    Args:
        encoders: A bank with exactly that modality.
        modalities: All modalities of the batches, in their order.
        config: Settings.
        outputs: K.
    """

    def __init__(
        self, encoders: Encoders, modalities: tuple[str, ...], config: SingleConfig, outputs: int = 1
    ) -> None:
        super().__init__()
        self.modalities = modalities
        self.modality = config.modality
        self.encoders = encoders
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(encoders.dim, outputs)
        self.absent = nn.Parameter(torch.zeros(outputs))

    def forward(self, batch: Batch) -> Output:
        has = batch.has(self.modality).unsqueeze(1)
        own = Batch({self.modality: batch.inputs[self.modality]}, has)
        latents = self.encoders(own).latents
        logits = self.classifier(self.dropout(latents[self.modality]))
        return Output(torch.where(has, logits, self.absent), latents, {}, {})
