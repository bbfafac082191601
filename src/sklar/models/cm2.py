"""CM² (ICML 2025): cross-modal alignment via variational copula modelling."""

from collections.abc import Mapping
from typing import Literal, final

import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Generator, Tensor, nn

from sklar.alignment import CopulaAlignment, Imputed, Standardise
from sklar.copulas import FAMILIES
from sklar.encoders import EncoderConfig, Encoders
from sklar.models.base import FusionModel
from sklar.models.fusion import LSTMFusion
from sklar.types import Batch, Output


class AlignmentConfig(BaseModel):
    """Settings of the copula alignment; see `sklar.alignment.CopulaAlignment`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str = "gaussian"
    components: int = Field(default=3, ge=1)
    pit: Literal["rosenblatt"] = "rosenblatt"
    weight: float = Field(default=0.1, ge=0)
    routing: Literal["ifm", "joint"] = "ifm"
    parameters: Literal["shared", "per_coordinate"] = "shared"
    estimate: Literal["moments", "learned"] = "moments"
    init_tau: float = Field(default=0.35, gt=0, lt=1)
    max_tau: float | None = Field(default=0.95, gt=0, lt=1)
    warmup: int = Field(default=4096, ge=1)

    @field_validator("family")
    @classmethod
    def _known(cls, family: str) -> str:
        if family not in FAMILIES:
            raise ValueError(f"no copula family {family!r}; choose one of {', '.join(FAMILIES)}")
        return family


class FusionConfig(BaseModel):
    """Settings of the LSTM fusion; ``hidden`` None means the latent width."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden: int | None = Field(default=None, ge=1)
    layers: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class CM2Config(BaseModel):
    """Settings of CM²."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["cm2"] = "cm2"
    encoders: EncoderConfig = EncoderConfig()
    alignment: AlignmentConfig = AlignmentConfig()
    imputation: Literal["conditional", "unconditional", "zero"] = "conditional"
    modality_dropout: float = Field(default=0.2, ge=0, lt=1)
    mark_imputed: bool = True
    fusion: FusionConfig = FusionConfig()
    linear_path: bool = True
    dropout: float = Field(default=0.1, ge=0, lt=1)


@final
class CM2(FusionModel):
    """Encode what is present, align it through a copula, draw what is missing from the same joint, fuse.

    The latents are standardised per coordinate; fusion, alignment and imputation all read these. In
    training, ``modality_dropout`` hides present modalities from the fusion (never all of a row), so
    that it learns to read imputed tokens; hidden modalities still take part in the alignment.
    ``mark_imputed`` adds to each token a learned vector for observed or imputed, and one scaled by the
    conditional spread, so that a weakly determined token can be discounted. ``linear_path`` adds a linear map
    of all tokens, imputed ones included, to the logit of the LSTM: where risk is nearly additive over
    modalities, as on clinical tables, the LSTM alone learns that slowly.
    """

    def __init__(self, encoders: Encoders, config: CM2Config, outputs: int = 1) -> None:
        super().__init__()
        dim, names = encoders.dim, encoders.modalities
        self.modalities = names
        self.encoders = encoders
        self.standardise = nn.ModuleDict({name: Standardise(dim) for name in names})
        self.alignment = CopulaAlignment(dict.fromkeys(names, dim), **config.alignment.model_dump())
        self.imputation = config.imputation
        self.modality_dropout = config.modality_dropout
        self.marks = ImputationMarks(len(names), dim) if config.mark_imputed else None
        self.fusion = LSTMFusion(
            dim, config.fusion.hidden or dim, config.fusion.layers, config.fusion.dropout
        )
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(self.fusion.out_dim, outputs)
        self.linear = nn.Linear(len(names) * dim, outputs, bias=False) if config.linear_path else None

    def forward(self, batch: Batch) -> Output:
        z = self.latents(batch)
        present = self._hide(batch.present) if self.training else batch.present
        imputed = self.alignment.impute(z, present, self.imputation)
        logits = self.fuse(imputed, present).squeeze(0)
        return Output(logits, z, {}, self.alignment.loss(z, batch.present))

    def latents(self, batch: Batch) -> dict[str, Float[Tensor, "b d"]]:
        """Standardised latents per modality; zeros for absent rows."""
        encoded = self.encoders(batch).latents
        return {name: self.standardise[name](encoded[name], batch.has(name)) for name in self.modalities}

    def fuse(self, imputed: Imputed, present: Bool[Tensor, "b m"]) -> Float[Tensor, "s b k"]:
        """Logits of completed latents, one per draw."""
        tokens = torch.stack([imputed.latents[name] for name in self.modalities], 2)
        if self.marks is not None:
            tokens = tokens + self.marks(imputed.spread, present)
        flat = tokens.flatten(0, 1)
        logits: Tensor = self.classifier(self.dropout(self.fusion(flat)))
        if self.linear is not None:
            logits = logits + self.linear(self.dropout(flat.flatten(1)))
        return logits.reshape(*tokens.shape[:2], -1)

    def predict_draws(
        self, batch: Batch, draws: int = 1, generator: Generator | None = None
    ) -> Float[Tensor, "s b k"]:
        """Probabilities of S imputations; rows with every modality are computed once and repeated."""
        z = self.latents(batch)
        complete = batch.present.all(1)
        out = None
        for rows, count in ((complete, 1), (~complete, draws)):
            index = rows.nonzero().squeeze(1)
            if not len(index):
                continue
            own = {name: value[index] for name, value in z.items()}
            present = batch.present[index]
            imputed = self.alignment.impute(own, present, self.imputation, draws=count, generator=generator)
            probability = torch.sigmoid(self.fuse(imputed, present))
            if out is None:
                out = probability.new_empty(draws, len(batch), probability.shape[2])
            out[:, index] = probability
        assert out is not None, "a batch has at least one row"
        return out

    def _hide(self, present: Bool[Tensor, "b m"]) -> Bool[Tensor, "b m"]:
        if not self.modality_dropout:
            return present
        noise = torch.rand(present.shape, device=present.device)
        # the present modality with the largest noise always stays
        kept = torch.where(present, noise, -1.0).argmax(1, keepdim=True)
        hidden = (noise < self.modality_dropout).scatter(1, kept, False)
        return present & ~hidden


@final
class ImputationMarks(nn.Module):
    """Vectors that tell the fusion which tokens are imputed, and how loosely.

    Args:
        modalities: M.
        dim: d.
    """

    def __init__(self, modalities: int, dim: int) -> None:
        super().__init__()
        self.state = nn.Parameter(torch.randn(2, modalities, dim) * 0.02)
        self.spread = nn.Parameter(torch.zeros(modalities, dim))

    def forward(
        self, spread: Mapping[str, Float[Tensor, "b d"]], present: Bool[Tensor, "b m"]
    ) -> Float[Tensor, "b m d"]:
        """The vector to add to each token."""
        loose = torch.stack([value.mean(1) for value in spread.values()], 1).unsqueeze(2)
        return torch.where(present.unsqueeze(2), self.state[0], self.state[1]) + loose * self.spread
