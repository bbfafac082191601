"""One backbone per modality, walked together, ending in latents of one width."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sklar.encoders.base import Backbone, Feature
from sklar.types import Batch


class Exchange(nn.Module, ABC):
    """A block that lets modalities modulate each other at given stages.

    Attributes:
        at: Modality to the number of its stages that have run when the block is called.
    """

    at: Mapping[str, int]

    @abstractmethod
    def forward(self, features: Mapping[str, Feature], present: Bool[Tensor, "b m"]) -> Mapping[str, Feature]:
        """Replace the features of the modalities in ``at``."""


@dataclass(frozen=True)
class Encoded:
    """What the encoders make of a batch.

    Attributes:
        features: Per modality the output of the last stage; modalities without a present row lack.
        pooled: Per modality (B, out_dim); zeros for absent rows.
        latents: Per modality (B, d); zeros for absent rows.
        present: (B, M).
    """

    features: Mapping[str, Feature]
    pooled: Mapping[str, Tensor]
    latents: Mapping[str, Float[Tensor, "b d"]]
    present: Bool[Tensor, "b m"]


@final
class Encoders(nn.Module):
    """A bank of backbones with a projection of each modality into d dimensions.

    Absent content never enters: with ``absent="skip"`` a backbone runs on present rows only, so that
    neither batch statistics nor compute see the others; with ``"zero_input"`` it runs on all rows,
    the absent ones blanked to zeros here (the compared systems MMTM and DAFT do that).

    Args:
        backbones: One per modality; their order is the order of the modalities.
        dim: d, the latent width.
        absent: What happens to absent rows.
    """

    def __init__(
        self, backbones: Mapping[str, Backbone], dim: int, absent: Literal["skip", "zero_input"] = "skip"
    ) -> None:
        super().__init__()
        self.modalities = tuple(backbones)
        self.backbones = nn.ModuleDict(dict(backbones))
        self.projections = nn.ModuleDict({name: nn.Linear(b.out_dim, dim) for name, b in backbones.items()})
        self.dim = dim
        self.absent = absent

    def backbone(self, name: str) -> Backbone:
        """The backbone of a modality."""
        return cast(Backbone, self.backbones[name])

    def forward(self, batch: Batch, exchanges: Sequence[Exchange] = ()) -> Encoded:
        """Walk all backbones to the end, stopping for each exchange at its stages."""
        if batch.modalities != self.modalities:
            raise ValueError(
                f"the batch has modalities {', '.join(batch.modalities)}; this model was built for "
                f"{', '.join(self.modalities)}, in that order"
            )
        features = {name: f for name in self.modalities if (f := self._start(batch, name)) is not None}
        done = dict.fromkeys(features, 0)

        def advance(name: str, stop: int) -> None:
            features[name] = self.backbone(name).advance(features[name], done[name], stop)
            done[name] = stop

        for exchange in exchanges:
            here = [name for name in exchange.at if name in features]
            for name in here:
                advance(name, exchange.at[name])
            features.update(exchange({name: features[name] for name in here}, batch.present))
        for name in features:
            advance(name, len(self.backbone(name).widths))

        pooled = {name: self._pool(batch, features, name) for name in self.modalities}
        latents = {
            # the projection's bias must not make absent rows non-zero
            name: self.projections[name](pooled[name]) * batch.has(name).unsqueeze(1)
            for name in self.modalities
        }
        return Encoded(features, pooled, latents, batch.present)

    def _start(self, batch: Batch, name: str) -> Feature | None:
        has, item = batch.has(name), batch.inputs[name]
        if self.absent == "zero_input":
            return self.backbone(name).start(item.blank(~has), None)
        rows = has.nonzero().squeeze(1)
        if not len(rows):
            return None
        return self.backbone(name).start(item, None if len(rows) == len(batch) else rows)

    def _pool(self, batch: Batch, features: Mapping[str, Feature], name: str) -> Tensor:
        backbone = self.backbone(name)
        if name not in features:
            weight = cast(nn.Linear, self.projections[name]).weight
            return torch.zeros(len(batch), backbone.out_dim, device=weight.device, dtype=weight.dtype)
        return backbone.pool(features[name])
