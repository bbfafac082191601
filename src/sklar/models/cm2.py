"""CM² (ICML 2025): cross-modal alignment via variational copula modelling."""

from typing import Literal, Self, final

import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import Generator, Tensor, nn

from sklar.alignment import GRADIENTS, CopulaAlignment, Gradient, Imputed, Noise, Standardise, UnitLength
from sklar.copulas import FAMILIES
from sklar.encoders import EncoderConfig, Encoders
from sklar.models.base import Answer, FusionModel
from sklar.models.fusion import FUSIONS, FusionConfig
from sklar.models.tokens import Tokens
from sklar.types import Batch, Output, Samples


class AlignmentConfig(BaseModel):
    """Settings of the copula alignment; see `sklar.alignment.CopulaAlignment`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str = "gaussian"
    components: int = Field(default=1, ge=1)
    pit: Literal["rosenblatt", "marginal", "head", "kendall", "literal", "official"] = "rosenblatt"
    term: Literal["copula", "cosine", "kl_softmax", "kl_gaussian", "none"] = "copula"
    weight: float = Field(default=0.3, ge=0)
    scale: Literal["mean", "sum"] = "mean"
    average: Literal["rows", "paired"] = "rows"
    objective_sign: Literal["correct", "as_printed"] = "correct"
    routing: Literal["ifm", "joint"] = "ifm"
    decorrelation: float = Field(default=0.0, ge=0)
    parameters: Literal["shared", "per_coordinate"] = "shared"
    mixture_weights: Literal["global", "amortized"] = "global"
    heads: int = Field(default=1, ge=1)
    estimate: Literal["moments", "fit", "learned"] = "moments"
    noise: Literal["correlated", "independent"] = "correlated"
    init_tau: float = Field(default=0.35, gt=0, lt=1)
    max_tau: float | None = Field(default=0.95, gt=0, lt=1)
    warmup: int = Field(default=4096, ge=1)

    @field_validator("family")
    @classmethod
    def _known(cls, family: str) -> str:
        if family not in FAMILIES:
            raise ValueError(f"no copula family {family!r}; choose one of {', '.join(FAMILIES)}")
        return family


class CM2Config(BaseModel):
    """Settings of CM².

    Attributes:
        encoders: One section per kind of input.
        normalise: "standardise" latents per coordinate over present rows, or give each "unit" length.
        alignment: See `AlignmentConfig`.
        imputation: What stands in for an absent latent, a key of `sklar.alignment.IMPUTATIONS`.
        imputation_gradient: What an imputed latent differentiates in, see `sklar.alignment.Request`.
        training_draws: Draws of the missing latents per row in training, over which its loss is averaged;
            "stratified" draws are one per combination of components instead.
        modality_dropout: Share of a modality's rows in which training hides it from the fusion, times the
            share of the batch's rows that have it.
        mark_imputed: Add learned vectors that say what was imputed, and how loosely.
        discount_imputed: Gate imputed tokens by their spread, see `sklar.models.tokens.Tokens`.
        fusion: See `FusionConfig`.
        linear_path: Add a linear map of all tokens to the logits.
        dropout: Before the classifier.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["cm2"] = "cm2"
    encoders: EncoderConfig = EncoderConfig()
    normalise: Literal["standardise", "unit"] = "standardise"
    alignment: AlignmentConfig = AlignmentConfig()
    imputation: Literal["conditional", "unconditional", "mean", "zero", "learned", "skip"] = "conditional"
    imputation_gradient: Gradient = "none"
    training_draws: int = Field(default=1, ge=1)
    modality_dropout: float = Field(default=0.2, ge=0, lt=1)
    mark_imputed: bool = True
    discount_imputed: bool = True
    fusion: FusionConfig = FusionConfig()
    linear_path: bool = True
    dropout: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        offered = GRADIENTS.get(self.imputation, ("none",))
        if self.imputation_gradient not in offered:
            raise ValueError(
                f"imputation_gradient {self.imputation_gradient!r} does not exist for imputation "
                f"{self.imputation!r}: choose {' or '.join(offered)}"
            )
        if self.fusion.kind == "attention" and self.encoders.dim % self.fusion.heads:
            raise ValueError(
                f"fusion.heads ({self.fusion.heads}) must divide encoders.dim ({self.encoders.dim})"
            )
        return self


@final
class CM2(FusionModel):
    """Encode what is present, align it through a copula, draw what is missing from the same joint, fuse.

    The latents are normalised; fusion, alignment and imputation all read these. In
    training, ``modality_dropout`` hides present modalities from the fusion (never all of a row), so
    that it learns to read imputed tokens; hidden modalities still take part in the alignment.
    ``mark_imputed`` and ``discount_imputed`` tell observed tokens from imputed ones, and firm from loose
    ones. ``linear_path`` adds a linear map of all tokens, imputed ones included, to the logit of the fusion:
    where risk is nearly additive over modalities, as on clinical tables, an LSTM alone learns that slowly.

    In evaluation the draws are shared by all rows (`sklar.alignment.Noise`): what is predicted for a row
    depends on that row, the weights and the seed only.

    Args:
        encoders: A bank with two modalities or more.
        config: Settings.
        outputs: K.
    """

    def __init__(self, encoders: Encoders, config: CM2Config, outputs: int = 1) -> None:
        super().__init__()
        dim, names = encoders.dim, encoders.modalities
        self.modalities = names
        self.encoders = encoders
        unit = config.normalise == "unit"
        self.normalise = nn.ModuleDict({name: UnitLength() if unit else Standardise(dim) for name in names})
        self.alignment = CopulaAlignment(dict.fromkeys(names, dim), **config.alignment.model_dump())
        self.config = config
        self.learned = nn.Parameter(torch.zeros(len(names), dim)) if config.imputation == "learned" else None
        self.tokens = Tokens(len(names), dim, config.mark_imputed, config.discount_imputed)
        self.fusion = FUSIONS[config.fusion.kind](len(names), dim, config.fusion)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(self.fusion.out_dim, outputs)
        self.linear = nn.Linear(len(names) * dim, outputs, bias=False) if config.linear_path else None

    def forward(self, batch: Batch) -> Output:
        z = self.latents(batch)
        with _full_precision(batch):
            return self._answer(z, batch)

    def _answer(self, z: dict[str, Tensor], batch: Batch) -> Output:
        if not self.training:
            logits = self.fuse(self._impute(z, batch.present, Noise(shared=True)), batch.present)
            return Output(logits.squeeze(0), z, {}, self.alignment.loss(z, batch.present))
        present = self._hide(batch.present)
        imputed = self._impute(z, present, Noise(self.config.training_draws), self.config.imputation_gradient)
        logits = self.fuse(imputed, present)
        penalties = self.alignment.loss(z, batch.present)
        if len(logits) == 1:
            return Output(logits.squeeze(0), z, {}, penalties)
        weight = imputed.weight
        if weight is None:
            weight = logits.new_full(logits.shape[:2], 1 / len(logits))
        mean = (logits * weight.unsqueeze(2)).sum(0)
        return Output(mean, z, {}, penalties, Samples(logits, weight))

    def latents(self, batch: Batch) -> dict[str, Float[Tensor, "b d"]]:
        """Normalised latents per modality; zeros for absent rows."""
        encoded = self.encoders(batch).latents
        with _full_precision(batch):
            return {
                name: self.normalise[name](_at_least_single(encoded[name]), batch.has(name))
                for name in self.modalities
            }

    def fuse(self, imputed: Imputed, present: Bool[Tensor, "b m"]) -> Float[Tensor, "s b k"]:
        """Logits of completed latents, one per draw."""
        tokens = self.tokens(imputed, present)
        flat = tokens.flatten(0, 1)
        read = imputed.read.repeat(len(tokens), 1)
        logits: Tensor = self.classifier(self.dropout(self.fusion(flat, read)))
        if self.linear is not None:
            logits = logits + self.linear(self.dropout((flat * read.unsqueeze(2)).flatten(1)))
        return logits.reshape(*tokens.shape[:2], -1)

    def predict_draws(
        self, batch: Batch, draws: int = 1, generator: Generator | None = None
    ) -> Float[Tensor, "s b k"]:
        """Probabilities of S imputations; rows with every modality are computed once and repeated.

        Where gradients are enabled, they are complete in the inputs, through what is imputed as well.
        """
        z = self.latents(batch)
        with _full_precision(batch):
            return self._draw(z, batch.present, draws, generator)

    def answers(self, batch: Batch) -> Answer:
        """Encodes once: the latent of a modality that is hidden is one that is absent."""
        here = batch.to(self.device)
        z = self.latents(here)

        def answer(seen: Tensor, draws: int, generator: Generator | None) -> Tensor:
            there = seen.to(self.device)
            left = {name: value * there[:, [m]] for m, (name, value) in enumerate(z.items())}
            with _full_precision(here):
                return self._draw(left, there, draws, generator)

        return answer

    def _draw(
        self, z: dict[str, Tensor], present: Tensor, draws: int, generator: Generator | None
    ) -> Float[Tensor, "s b k"]:
        complete = present.all(1)
        noise = Noise(draws, generator, shared=True)
        out = None
        for rows, own in ((complete, Noise(shared=True)), (~complete, noise)):
            index = rows.nonzero().squeeze(1)
            if not len(index):
                continue
            here = present[index]
            gradient: Gradient = "total" if self.config.imputation in ("conditional", "mean") else "none"
            imputed = self._impute({name: value[index] for name, value in z.items()}, here, own, gradient)
            probability = self.probability(self.fuse(imputed, here))
            if out is None:
                out = probability.new_empty(draws, len(present), probability.shape[2])
            out[:, index] = probability
        assert out is not None, "a batch has at least one row"
        return out

    def _impute(
        self, z: dict[str, Tensor], present: Tensor, noise: Noise, gradient: Gradient = "none"
    ) -> Imputed:
        return self.alignment.impute(
            z, present, self.config.imputation, noise, gradient=gradient, tokens=self.learned
        )

    def _hide(self, present: Bool[Tensor, "b m"]) -> Bool[Tensor, "b m"]:
        if not self.config.modality_dropout:
            return present
        noise = torch.rand(present.shape, device=present.device)
        # the present modality with the largest noise always stays
        kept = torch.where(present, noise, -1.0).argmax(1, keepdim=True)
        # what few rows have is needed in them, and its absence is known well
        rate = self.config.modality_dropout * present.to(noise.dtype).mean(0)
        hidden = (noise < rate).scatter(1, kept, False)
        return present & ~hidden


def _full_precision(batch: Batch) -> torch.autocast:
    """Mixed precision is for encoders: alignment and imputation work in logarithms far down the tails."""
    return torch.autocast(batch.present.device.type, enabled=False)


def _at_least_single(z: Tensor) -> Tensor:
    return z.float() if z.dtype in (torch.float16, torch.bfloat16) else z
