"""One backbone per modality, walked together, ending in latents of one width."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast, final

from jaxtyping import Bool, Float
from torch import Tensor, nn

from sklar.encoders.base import Backbone, Feature
from sklar.types import Batch

Absent = Literal["skip", "zero_input"]
"""Whether backbones run on present rows only, or on all with zeros for the absent ones."""

Projection = Literal["always", "where_needed", "never"]
"""Which pooled vectors go through a linear map into the latent space."""


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
        pooled: Per pooled modality (B, out_dim); zeros for absent rows under ``absent="skip"``.
        latents: Per pooled modality (B, width), see `Encoders.widths`; zeros for absent rows.
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
        projection: A linear map into d dimensions "always", only "where_needed" (a backbone of another
            width), or "never": then latents are as wide as their backbones.
        stops: Modalities that are walked so many stages and not pooled; what would follow is removed.

    Attributes:
        widths: Width of the latents of each pooled modality.
    """

    def __init__(
        self,
        backbones: Mapping[str, Backbone],
        dim: int,
        absent: Absent = "skip",
        projection: Projection = "always",
        stops: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.modalities = tuple(backbones)
        self.backbones = nn.ModuleDict(dict(backbones))
        self.stops = {name: len(backbone.widths) for name, backbone in backbones.items()} | dict(stops or {})
        for name, stage in (stops or {}).items():
            backbones[name].stop(stage)
        pooled = {name: b.out_dim for name, b in backbones.items() if name not in (stops or {})}
        projected = {
            name: width
            for name, width in pooled.items()
            if projection == "always" or (projection == "where_needed" and width != dim)
        }
        self.projections = nn.ModuleDict(
            {
                name: nn.Linear(width, dim) if name in projected else nn.Identity()
                for name, width in pooled.items()
            }
        )
        self.widths = {name: dim if name in projected else width for name, width in pooled.items()}
        self.dim = dim
        self.absent = absent

    def backbone(self, name: str) -> Backbone:
        """The backbone of a modality."""
        return cast(Backbone, self.backbones[name])

    def forward(self, batch: Batch, exchanges: Sequence[Exchange] = ()) -> Encoded:
        """Walk all backbones to the end, stopping for each exchange at its stages."""
        require(batch, self.modalities)
        starts = {name: self._begin(batch, name) for name in self.modalities}
        begun = {name: start for name, start in starts.items() if start is not None}
        features = {name: feature for name, (feature, _) in begun.items()}
        done = {name: stages for name, (_, stages) in begun.items()}

        def advance(name: str, stop: int) -> None:
            if stop < done[name]:
                raise ValueError(
                    f"{name!r} is read after {stop} stages of its encoder; the encoding is what {done[name]} "
                    "make: give the input itself"
                )
            features[name] = self.backbone(name).advance(features[name], done[name], stop)
            done[name] = stop

        for exchange in exchanges:
            here = [name for name in exchange.at if name in features]
            for name in here:
                advance(name, exchange.at[name])
            features.update(exchange({name: features[name] for name in here}, batch.present))
        for name in features:
            advance(name, self.stops[name])

        pooled = {name: self._pool(batch, features, name) for name in self.projections}
        latents = {
            # neither the projection's bias nor a blank input must make absent rows non-zero
            name: project(pooled[name]) * batch.has(name).unsqueeze(1)
            for name, project in self.projections.items()
        }
        return Encoded(features, pooled, latents, batch.present)

    def _begin(self, batch: Batch, name: str) -> tuple[Feature, int] | None:
        has, item = batch.has(name), batch.inputs[name]
        if self.absent == "zero_input":
            return self.backbone(name).begin(item.blank(~has), None)
        rows = has.nonzero().squeeze(1)
        if not len(rows):
            return None
        return self.backbone(name).begin(item, None if len(rows) == len(batch) else rows)

    def _pool(self, batch: Batch, features: Mapping[str, Feature], name: str) -> Tensor:
        backbone = self.backbone(name)
        if name not in features:
            return next(self.parameters()).new_zeros(len(batch), backbone.out_dim)
        return backbone.pool(features[name])


def require(batch: Batch, modalities: tuple[str, ...]) -> None:
    """Check that a batch has the modalities that a model was built for.

    Raises:
        ValueError: Others, or another order.
    """
    if batch.modalities != modalities:
        raise ValueError(
            f"the batch has modalities {', '.join(batch.modalities)}; this model was built for "
            f"{', '.join(modalities)}, in that order"
        )
