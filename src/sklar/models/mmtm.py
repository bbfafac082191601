"""MMTM (Joze, Shaban, Iuzzolino & Koishida 2020): modalities excite each other's channels half-way."""

from collections.abc import Mapping
from typing import Literal, cast, final

import torch
from jaxtyping import Bool
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from sklar.encoders import Absent, EncoderConfig, Encoders, Exchange, Feature, InputShape, backbones
from sklar.errors import UserError
from sklar.models.attach import After, hub_and_others, stages, widths
from sklar.models.base import FusionModel
from sklar.types import Batch, Head, Output


class MMTMConfig(BaseModel):
    """Settings of MMTM.

    Attributes:
        encoders: One section per kind of input; ``dim`` has no effect, vectors keep their backbones' widths.
        hub: The modality that exchanges with every other one, at its place "early"; the first by default.
        after: Where the others take part.
        ratio: Of the squeezed channels to twice the bottleneck.
        gain: Largest gain of a channel; 2 makes a gate of one half the identity.
        absent: "zero_input" encodes blank inputs as published; "skip" encodes present rows only.
        head_weight: Of each modality's own loss; 0 leaves the heads out.
        dropout: Before every classifier.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["mmtm"] = "mmtm"
    encoders: EncoderConfig = EncoderConfig()
    hub: str | None = None
    after: After = "last"
    ratio: float = Field(default=4.0, gt=0)
    gain: Literal[1, 2] = 1
    absent: Absent = "zero_input"
    head_weight: float = Field(default=1.0, ge=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)


@final
class Excitation(Exchange):
    r"""Squeeze each modality to its channel means, mix them, and gate every channel by the mixture.

    .. math:: h = \mathrm{relu}(W [s_1, \dots, s_m] + b), \qquad
              x_m \leftarrow g\,\sigma(W_m h + b_m) \odot x_m

    Args:
        at: Modality to the number of its stages that have run.
        channels: Of each modality there.
        ratio: r; h has ``int(2 * sum of channels / r)`` entries.
        gain: g.

    Raises:
        UserError: Nothing is left of h.
    """

    def __init__(
        self, at: Mapping[str, int], channels: Mapping[str, int], ratio: float = 4.0, gain: float = 1.0
    ) -> None:
        super().__init__()
        self.at = dict(at)
        self.channels = dict(channels)
        self.gain = gain
        total = sum(channels.values())
        hidden = int(2 * total / ratio)
        if hidden < 1:
            raise UserError(f"model.ratio is {ratio:g}; with {total} channels it must be at most {2 * total}")
        self.squeeze = nn.Linear(total, hidden)
        self.excite = nn.ModuleDict({name: nn.Linear(hidden, width) for name, width in channels.items()})

    def forward(self, features: Mapping[str, Feature], present: Bool[Tensor, "b m"]) -> Mapping[str, Feature]:
        squeezed = [
            features[name].squeeze()
            if name in features
            else self.squeeze.weight.new_zeros(len(present), width)  # no row has it
            for name, width in self.channels.items()
        ]
        hidden = torch.relu(self.squeeze(torch.cat(squeezed, 1)))
        return {
            name: feature.affine(self.gain * torch.sigmoid(self.excite[name](hidden)))
            for name, feature in features.items()
        }


@final
class MMTM(FusionModel):
    """Backbones whose channels excite each other, a classifier on all pooled vectors, and one per modality.

    The hub and each other modality meet in a block of their own, in the order of the modalities. The joint
    classifier reads the hub's vector, mapped to the width of the widest other one, beside the others'.

    Args:
        shapes: Of every modality's input, two or more.
        config: Settings.
        outputs: K.

    Raises:
        UserError: A single modality, an unknown hub, or a stage that a backbone lacks.
    """

    def __init__(self, shapes: Mapping[str, InputShape], config: MMTMConfig, outputs: int = 1) -> None:
        super().__init__()
        self.modalities = tuple(shapes)
        self.hub, self.others = hub_and_others(self.modalities, config.hub, "mmtm", "model.hub")
        made = backbones(shapes, config.encoders)
        places = [
            {other: stage, self.hub: made[self.hub].tap("early")}
            for other in self.others
            for stage in stages(made[other], config.after, other)
        ]
        self.exchanges = nn.ModuleList(
            Excitation(at, widths(made, at), config.ratio, config.gain) for at in places
        )
        self.encoders = Encoders(made, config.encoders.dim, config.absent, "never")
        pooled = self.encoders.widths
        self.dropout = nn.Dropout(config.dropout)
        self.head_weight = config.head_weight
        self.heads = nn.ModuleDict(
            {name: nn.Linear(width, outputs) for name, width in pooled.items() if config.head_weight}
        )
        widest = max(pooled[other] for other in self.others)
        self.widen = nn.Linear(pooled[self.hub], widest)
        self.classifier = nn.Linear(widest + sum(pooled[other] for other in self.others), outputs)

    def forward(self, batch: Batch) -> Output:
        encoded = self.encoders(batch, cast(list[Exchange], list(self.exchanges)))
        pooled = {name: self.dropout(vector) for name, vector in encoded.pooled.items()}
        joint = torch.cat([self.widen(pooled[self.hub]), *(pooled[other] for other in self.others)], 1)
        heads = {
            name: Head(head(pooled[name]), batch.has(name), self.head_weight)
            for name, head in self.heads.items()
        }
        return Output(self.classifier(joint), encoded.latents, heads, {})
