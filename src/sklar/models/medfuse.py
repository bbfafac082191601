"""MedFuse (Hayat, Geras & Shamout 2022): an LSTM over the latents of the modalities that are there."""

from typing import Literal, final

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from sklar.encoders import EncoderConfig, Encoders
from sklar.models.base import FusionModel
from sklar.models.fusion import last_state
from sklar.types import Batch, Output


class MedFuseConfig(BaseModel):
    """Settings of MedFuse; ``hidden`` None means twice the latent width, as published."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["medfuse"] = "medfuse"
    encoders: EncoderConfig = EncoderConfig()
    hidden: int | None = Field(default=None, ge=1)
    layers: int = Field(default=1, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    missing: Literal["skip", "learned"] = "skip"


@final
class MedFuse(FusionModel):
    """Tokens in modality order; the last hidden state is classified.

    With ``missing="skip"`` absent modalities shorten the sequence, so a row equals an LSTM over exactly
    its own tokens, and one without any is classified from a zero state; with "learned" a trained vector
    stands in and all M tokens are read.
    """

    def __init__(self, encoders: Encoders, config: MedFuseConfig, outputs: int = 1) -> None:
        super().__init__()
        self.modalities = encoders.modalities
        self.encoders = encoders
        self.missing = config.missing
        hidden = config.hidden or 2 * encoders.dim
        self.lstm = nn.LSTM(encoders.dim, hidden, config.layers, batch_first=True)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(hidden, outputs)
        if config.missing == "learned":
            self.tokens = nn.Parameter(torch.zeros(len(self.modalities), encoders.dim))

    def forward(self, batch: Batch) -> Output:
        latents = self.encoders(batch).latents
        tokens = torch.stack(list(latents.values()), 1)
        present = batch.present
        if self.missing == "learned":
            tokens = torch.where(present.unsqueeze(2), tokens, self.tokens)
            present = torch.ones_like(present)
        state = last_state(self.lstm, tokens, present)
        return Output(self.classifier(self.dropout(state)), latents, {}, {})
