"""Residual networks for images, walked stage by stage."""

from dataclasses import replace
from typing import Literal, cast, final

from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional
from transformers import ResNetConfig, ResNetModel

from sklar.encoders.attention import without_dropout
from sklar.encoders.base import Backbone, Feature, Place
from sklar.encoders.pretrained import fill
from sklar.types import Image, Input
from sklar.weights import SCRATCH

Four = tuple[int, int, int, int]

SIZES: dict[str, tuple[Literal["basic", "bottleneck"], Four, Four]] = {
    "resnet18": ("basic", (64, 128, 256, 512), (2, 2, 2, 2)),
    "resnet34": ("basic", (64, 128, 256, 512), (3, 4, 6, 3)),
    "resnet50": ("bottleneck", (256, 512, 1024, 2048), (3, 4, 6, 3)),
}
"""Block, widths and depths of the published networks (He et al. 2016, Table 1)."""

FIELDS = {"layer_type": "kind", "hidden_sizes": "widths", "depths": "depths"}
"""Fields of a configuration of transformers, and the settings that decide them."""

REDUCTION = 4
"""How much narrower a bottleneck is inside."""


class ResNetImageConfig(BaseModel):
    """Settings of the residual image backbone; ``widths`` and ``depths`` are those of ``kind`` by default.

    ``pretrained`` is ``scratch``, a name that `sklar.weights` keeps, or a path: a folder of transformers, or
    safetensors with the names of torchvision.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["resnet18", "resnet34", "resnet50"] = "resnet18"
    widths: Four | None = None
    depths: Four | None = None
    dropout: float = Field(default=0.1, ge=0, lt=1)
    pretrained: str = SCRATCH
    freeze: bool = False

    @model_validator(mode="after")
    def _possible(self) -> "ResNetImageConfig":
        block, widths, depths = self.sizes
        if min(widths) < 1 or min(depths) < 1:
            raise ValueError(f"widths and depths are at least 1, got {widths} and {depths}")
        if block == "bottleneck" and any(width % REDUCTION for width in widths):
            raise ValueError(f"widths of {self.kind} are multiples of {REDUCTION}, got {widths}")
        return self

    @property
    def sizes(self) -> tuple[Literal["basic", "bottleneck"], Four, Four]:
        """Block, widths and depths of the four residual stages."""
        block, widths, depths = SIZES[self.kind]
        return block, self.widths or widths, self.depths or depths


@final
class ResNetImage(Backbone):
    """A ResNet without its head: stem, then four stages of residual blocks; the feature is the pixels' mean.

    Maps stay (N, C, H, W) between the stages. A single row has no batch statistics: in training, a batch with
    one present image is normalised by the running statistics and leaves them as they are.

    Args:
        channels: C of the images.
        config: Settings.

    References:
        He, Zhang, Ren & Sun (2016), Deep residual learning for image recognition; the stride of a bottleneck
        is in its 3 x 3 convolution, as in the common implementations.
    """

    def __init__(self, channels: int, config: ResNetImageConfig) -> None:
        super().__init__()
        block, widths, depths = config.sizes
        stem = widths[0] if block == "basic" else widths[0] // REDUCTION
        self.network = ResNetModel(
            ResNetConfig(
                num_channels=channels,
                embedding_size=stem,
                hidden_sizes=list(widths),
                depths=list(depths),
                layer_type=block,
            )
        )
        _normalise_single_rows(self.network)
        self.loaded = fill(self.network, config.pretrained, "encoders.image", FIELDS)
        self.channels = channels
        self.dropout = nn.Dropout(config.dropout)
        self.widths = (stem, *widths)
        self.out_dim = widths[-1]
        if config.freeze:
            self.freeze("network", fixed=len(self.widths))

    def start(self, item: Input, rows: Int[Tensor, " n"] | None) -> Feature:
        pixels = cast(Image, item).pixels
        if pixels.shape[1] != self.channels:
            raise ValueError(
                f"images have {pixels.shape[1]} channels; this encoder was built for {self.channels}"
            )
        return Feature(pixels if rows is None else pixels[rows], None, rows, len(pixels))

    def step(self, stage: int, feature: Feature) -> Feature:
        run = self.network.embedder if stage == 0 else self.network.encoder.stages[stage - 1]
        return Feature(run(feature.x), None, feature.rows, feature.batch)

    def parts(self) -> tuple[tuple[str, ...], ...]:
        stages = (f"network.encoder.stages.{k}" for k in range(len(self.widths) - 1))
        return (), ("network.embedder",), *((name,) for name in stages), ()

    def tap(self, where: Place) -> int:
        """A fork shares the stem only, as published (Yao et al. 2024)."""
        return 1 if where == "fork" else super().tap(where)

    def settings(self) -> str:
        return without_dropout(self.network)

    def least(self, feature: Feature) -> Feature:
        return replace(feature, x=feature.x.mean((2, 3), keepdim=True))

    def pool(self, feature: Feature) -> Float[Tensor, "b out"]:
        return feature.scatter(self.dropout(feature.x.mean((2, 3))))


@final
class RowBatchNorm(nn.BatchNorm2d):
    """Batch normalisation that takes the running statistics where the batch is a single row."""

    def forward(self, input: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:  # noqa: A002
        if self.training and len(input) == 1:
            return functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(input)


def _normalise_single_rows(network: nn.Module) -> None:
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, RowBatchNorm(child.num_features, eps=child.eps))
