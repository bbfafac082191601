"""Vision transformers for images, walked in four groups of blocks."""

from dataclasses import replace
from itertools import pairwise
from typing import Literal, cast, final

from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import ViTConfig, ViTModel

from sklar.encoders.attention import SIZES, configuration, heads_divide_hidden, without_dropout
from sklar.encoders.base import Backbone, Feature
from sklar.encoders.pretrained import fill
from sklar.errors import UserError
from sklar.types import Image, Input
from sklar.weights import SCRATCH

GROUPS = 4
"""Stages of blocks, as a residual network has: those of the twelve-layer network are three blocks each."""


FIELDS = SIZES | {"patch_size": "patch"}
"""Fields of a configuration of transformers, and the settings that decide them."""


class ViTImageConfig(BaseModel):
    """Settings of the vision transformer; the defaults are ViT-B/16.

    ``pretrained`` is ``scratch``, a name that `sklar.weights` keeps, or a folder of transformers;
    ``checkpointing`` recomputes the blocks in the backward pass: less memory, about one and a half
    times as long.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["vit"] = "vit"
    hidden: int = Field(default=768, ge=1)
    layers: int = Field(default=12, ge=1)
    heads: int = Field(default=12, ge=1)
    intermediate: int = Field(default=3072, ge=1)
    patch: int = Field(default=16, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    pretrained: str = SCRATCH
    freeze: bool = False
    checkpointing: bool = False

    _check = model_validator(mode="after")(heads_divide_hidden)


@final
class ViTImage(Backbone):
    """A vision transformer without pooler or head; the feature is the state of the [CLS] token.

    Stages: the embedding of [CLS] and patches with their positions, then the blocks in up to four groups, the
    last one with the final layer norm. Tokens are [CLS] first, then the patches by row.

    Args:
        channels: C of the images.
        height: H of the images, a multiple of the patch size.
        width: W of the images, a multiple of the patch size.
        config: Settings.

    Raises:
        UserError: The patches do not tile the image.

    References:
        Dosovitskiy et al. (2021), An image is worth 16 x 16 words.
    """

    def __init__(self, channels: int, height: int, width: int, config: ViTImageConfig) -> None:
        super().__init__()
        if height % config.patch or width % config.patch:
            raise UserError(
                f"encoders.image.patch is {config.patch}; it must divide height and width of the images "
                f"({height} x {width}): choose another patch, or prepare images of another size"
            )
        self.network = ViTModel(
            ViTConfig(
                num_channels=channels,
                image_size=(height, width),
                patch_size=config.patch,
                **configuration(config),
            ),
            add_pooling_layer=False,
        )
        self.loaded = fill(self.network, config.pretrained, "encoders.image", FIELDS, add_pooling_layer=False)
        self.shape = (channels, height, width)
        self.checkpointing = config.checkpointing
        groups = min(GROUPS, config.layers)
        bounds = [group * config.layers // groups for group in range(groups + 1)]
        self.groups = tuple(range(first, end) for first, end in pairwise(bounds))
        self.dropout = nn.Dropout(config.dropout)
        self.widths = (config.hidden,) * (1 + len(self.groups))
        self.out_dim = config.hidden
        if config.freeze:
            self.freeze("network", fixed=len(self.widths))

    def start(self, item: Input, rows: Int[Tensor, " n"] | None) -> Feature:
        pixels = cast(Image, item).pixels
        if tuple(pixels.shape[1:]) != self.shape:
            here, built = (" x ".join(map(str, shape)) for shape in (pixels.shape[1:], self.shape))
            raise ValueError(
                f"images are {here} (channels, height, width); this encoder was built for {built}"
            )
        return Feature(pixels if rows is None else pixels[rows], None, rows, len(pixels))

    def step(self, stage: int, feature: Feature) -> Feature:
        if stage == 0:
            return Feature(self.network.embeddings(feature.x), None, feature.rows, feature.batch)
        x = feature.x
        recompute = self.checkpointing and self.training
        for layer in self.groups[stage - 1]:
            block = self._blocks[layer]
            x = checkpoint(block, x, use_reentrant=False) if recompute else block(x)
        if stage == len(self.groups):
            x = self.network.layernorm(x)
        return Feature(x, None, feature.rows, feature.batch)

    def parts(self) -> tuple[tuple[str, ...], ...]:
        blocks = next(n for n, m in self.network.named_modules() if isinstance(m, nn.ModuleList))
        groups = [tuple(f"network.{blocks}.{layer}" for layer in group) for group in self.groups]
        groups[-1] = (*groups[-1], "network.layernorm")
        return (), ("network.embeddings",), *groups, ()

    def settings(self) -> str:
        return without_dropout(self.network)

    def least(self, feature: Feature) -> Feature:
        return replace(feature, x=feature.x[:, :1])

    def pool(self, feature: Feature) -> Float[Tensor, "b out"]:
        return feature.scatter(self.dropout(feature.x[:, 0]))

    @property
    def _blocks(self) -> nn.ModuleList:
        # the only list of the network; its name differs between versions of transformers
        return next(m for m in self.network.modules() if isinstance(m, nn.ModuleList))
