"""DAFT (Pölsterl, Wolf & Wachinger 2021): one modality's features are rescaled and shifted by the others."""

from collections.abc import Callable, Mapping
from typing import Literal, cast, final

import torch
from jaxtyping import Bool
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from sklar.encoders import Absent, EncoderConfig, Encoders, Exchange, Feature, InputShape, backbones
from sklar.models.attach import hub_and_others, stages, widths
from sklar.models.base import FusionModel
from sklar.types import Batch, Output

Activation = Literal["linear", "tanh", "sigmoid"]


class DAFTConfig(BaseModel):
    """Settings of DAFT.

    Attributes:
        encoders: One section per kind of input; ``dim`` has no effect, the vector keeps its backbone's width.
        target: The modality that is modulated and predicts; the first by default. An image modulated by a
            table is the original, series modulated by an image the variant that CM² compares with.
        place: Where in the target's backbone: after its first layer, or at its end.
        after: Where the conditions are read.
        activation: Of the scale.
        residual: Multiply by 1 + scale, which begins near the identity; published is the scale alone.
        absent: "zero_input" encodes blank inputs as published; "skip" encodes present rows only.
        dropout: Before the classifier.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["daft"] = "daft"
    encoders: EncoderConfig = EncoderConfig()
    target: str | None = None
    place: Literal["early", "late"] = "early"
    after: Literal["last", "every"] = "last"
    activation: Activation = "linear"
    residual: bool = False
    absent: Absent = "zero_input"
    dropout: float = Field(default=0.1, ge=0, lt=1)


def _linear(scale: Tensor) -> Tensor:
    return scale


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "linear": _linear,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


@final
class Affine(Exchange):
    r"""Scale and shift the channels of a target by a small network of both modalities' channel means.

    .. math:: (\alpha, \beta) = V\,\mathrm{relu}(U [s_{condition}, s_{target}]), \qquad
              x_{target} \leftarrow \alpha \odot x_{target} + \beta

    without biases, through ``int((16 + channels of the condition) / 7)`` hidden units.

    Args:
        condition: Modality that is read only.
        target: Modality that is modulated.
        at: Both, to the number of stages that have run.
        channels: Of both there.
        activation: Of the scale.
        residual: Whether the scale is an addition to one.
    """

    def __init__(
        self,
        condition: str,
        target: str,
        at: Mapping[str, int],
        channels: Mapping[str, int],
        activation: Activation = "linear",
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.at = dict(at)
        self.condition, self.target = condition, target
        self.activation = ACTIVATIONS[activation]
        self.residual = residual
        hidden = int((16 + channels[condition]) / 7)
        self.squeeze = nn.Linear(channels[condition] + channels[target], hidden, bias=False)
        self.expand = nn.Linear(hidden, 2 * channels[target], bias=False)
        self.width = channels[condition]

    def forward(self, features: Mapping[str, Feature], present: Bool[Tensor, "b m"]) -> Mapping[str, Feature]:
        if self.target not in features:
            return {}
        target = features[self.target]
        condition = (
            features[self.condition].squeeze()
            if self.condition in features
            else self.squeeze.weight.new_zeros(len(present), self.width)  # no row has it
        )
        both = torch.cat([condition, target.squeeze()], 1)
        scale, shift = self.expand(torch.relu(self.squeeze(both))).chunk(2, 1)
        scale = self.activation(scale)
        return {self.target: target.affine(1 + scale if self.residual else scale, shift)}


@final
class DAFT(FusionModel):
    """A classifier of the target modality, whose features the others modulate, one block after the other.

    The others have no other way to the prediction.

    Args:
        shapes: Of every modality's input, two or more.
        config: Settings.
        outputs: K.

    Raises:
        UserError: A single modality, or an unknown target.
    """

    def __init__(self, shapes: Mapping[str, InputShape], config: DAFTConfig, outputs: int = 1) -> None:
        super().__init__()
        self.modalities = tuple(shapes)
        self.target, conditions = hub_and_others(self.modalities, config.target, "daft", "model.target")
        made = backbones(shapes, config.encoders)
        here = {self.target: made[self.target].tap(config.place)}
        self.exchanges = nn.ModuleList(
            Affine(name, self.target, at, widths(made, at), config.activation, config.residual)
            for name in conditions
            for stage in stages(made[name], config.after, name)
            for at in [{name: stage} | here]
        )
        ends = {name: len(made[name].widths) for name in conditions}
        self.encoders = Encoders(made, config.encoders.dim, config.absent, "never", ends)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(made[self.target].out_dim, outputs)

    def forward(self, batch: Batch) -> Output:
        encoded = self.encoders(batch, cast(list[Exchange], list(self.exchanges)))
        pooled = encoded.pooled[self.target]
        return Output(self.classifier(self.dropout(pooled)), encoded.latents, {}, {})
