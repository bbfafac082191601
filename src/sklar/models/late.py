"""Late fusion: the average of the logits of independent single-modality models."""

from dataclasses import replace
from typing import Literal, final

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from sklar.encoders import EncoderConfig, Encoders
from sklar.models.base import FusionModel
from sklar.types import Batch, Head, Objective, Output


class LateConfig(BaseModel):
    """Settings of late fusion."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["late"] = "late"
    encoders: EncoderConfig = EncoderConfig()
    dropout: float = Field(default=0.1, ge=0, lt=1)


@final
class Late(FusionModel):
    """The average of single-modality logits over what is present; nothing interacts.

    Each modality's encoder and head learn from their own loss, on the rows that have the modality; the
    average itself is not trained. A row without any modality gets a logit of zero.
    """

    def __init__(self, encoders: Encoders, config: LateConfig, outputs: int = 1) -> None:
        super().__init__()
        self.modalities = encoders.modalities
        self.encoders = encoders
        self.dropout = nn.Dropout(config.dropout)
        self.heads = nn.ModuleDict({name: nn.Linear(encoders.dim, outputs) for name in self.modalities})

    def forward(self, batch: Batch) -> Output:
        latents = self.encoders(batch).latents
        heads = {
            name: Head(head(self.dropout(latents[name])), batch.has(name))
            for name, head in self.heads.items()
        }
        logits = torch.stack([head.logits for head in heads.values()], 1)
        mask = batch.present.unsqueeze(2)
        mean = (logits * mask).sum(1) / mask.sum(1).clamp(min=1)  # no modality: zero
        return Output(mean, latents, heads, {})

    def objective(
        self,
        output: Output,
        target: Float[Tensor, "b *k"],
        weight: Float[Tensor, " b"] | None = None,
    ) -> Objective:
        """The heads' losses; the loss of the average is reported without gradient."""
        return super().objective(replace(output, logits=output.logits.detach()), target, weight)
