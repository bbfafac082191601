"""From the shapes of the inputs and a configuration to a bank of encoders."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from sklar.encoders.bank import Absent, Encoders
from sklar.encoders.base import Backbone
from sklar.encoders.resnet import ResNetImage, ResNetImageConfig
from sklar.encoders.series import Recurrent, RecurrentConfig
from sklar.encoders.tabular import Tabular, TabularConfig
from sklar.encoders.text import BertText, BertTextConfig, PretrainedTextConfig
from sklar.encoders.transformer import SeriesTransformer, SeriesTransformerConfig
from sklar.encoders.vit import ViTImage, ViTImageConfig
from sklar.weights import SCRATCH


@dataclass(frozen=True)
class SeriesShape:
    """C channels, of which the first V are the variables with an observation mask."""

    channels: int
    variables: int


@dataclass(frozen=True)
class ImageShape:
    """C channels of H x W pixels."""

    channels: int
    height: int
    width: int


@dataclass(frozen=True)
class TextShape:
    """Size of the tokenizer's vocabulary, its padding id, and the ``config.json`` of a pretrained encoder."""

    tokens: int
    padding: int
    architecture: str | None = None


@dataclass(frozen=True)
class TableShape:
    """P numeric columns and the levels of each categorical one (gap not counted)."""

    numeric: int
    levels: tuple[int, ...]


InputShape = SeriesShape | ImageShape | TextShape | TableShape


def _series_kind(value: Any) -> Any:
    """Settings without a kind are those of a recurrent network, which used to be told apart by ``cell``."""
    if not isinstance(value, Mapping) or "kind" in value:
        return value
    return {"kind": value.get("cell", "gru"), **{key: own for key, own in value.items() if key != "cell"}}


def _image_kind(value: Any) -> Any:
    return {"kind": "resnet18", **value} if isinstance(value, Mapping) else value


def _text_kind(value: Any) -> Any:
    """Whoever names weights means the kind that has them."""
    if not isinstance(value, Mapping) or "kind" in value:
        return value
    if value.get("pretrained", SCRATCH) != SCRATCH:
        return {"kind": "pretrained", **value}
    return {"kind": "bert", **{key: own for key, own in value.items() if key != "pretrained"}}


SeriesConfig = Annotated[
    RecurrentConfig | SeriesTransformerConfig, Field(discriminator="kind"), BeforeValidator(_series_kind)
]
ImageConfig = Annotated[
    ResNetImageConfig | ViTImageConfig, Field(discriminator="kind"), BeforeValidator(_image_kind)
]

TextConfig = Annotated[
    BertTextConfig | PretrainedTextConfig, Field(discriminator="kind"), BeforeValidator(_text_kind)
]


class EncoderConfig(BaseModel):
    """Settings of the encoders: one section per kind of input, shared by modalities of that kind.

    Attributes:
        dim: Width of the latents that all modalities are mapped into, for models that have such.
        projection: Map every modality linearly, or only those whose backbone has another width.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: int = Field(default=64, ge=2)
    projection: Literal["always", "where_needed"] = "always"
    series: SeriesConfig = RecurrentConfig()
    image: ImageConfig = ResNetImageConfig()
    text: TextConfig = BertTextConfig()
    table: TabularConfig = TabularConfig()

    @property
    def freezes(self) -> bool:
        """Whether an encoder, if the data have its kind of input, keeps its weights."""
        return self.image.freeze or (isinstance(self.text, PretrainedTextConfig) and self.text.freeze)


def without_weights(config: EncoderConfig) -> EncoderConfig:
    """The same architecture from scratch: for a model whose trained weights are about to be read."""
    scratch = {"pretrained": SCRATCH}
    image = config.image.model_copy(update=scratch)
    text = config.text
    if isinstance(text, PretrainedTextConfig):
        text = text.model_copy(update=scratch)
    return config.model_copy(update={"image": image, "text": text})


def build(shapes: Mapping[str, InputShape], config: EncoderConfig, absent: Absent = "skip") -> Encoders:
    """The encoder bank for modalities of the given shapes, in their order."""
    return Encoders(backbones(shapes, config), config.dim, absent, config.projection)


def backbones(shapes: Mapping[str, InputShape], config: EncoderConfig) -> dict[str, Backbone]:
    """A backbone per modality, with weights of its own."""
    return {name: _backbone(shape, config) for name, shape in shapes.items()}


def _backbone(shape: InputShape, config: EncoderConfig) -> Backbone:
    match shape:
        case SeriesShape():
            return _series(shape, config.series)
        case ImageShape():
            return _image(shape, config.image)
        case TextShape():
            return BertText(shape.tokens, shape.padding, config.text, shape.architecture)
        case TableShape():
            return Tabular(shape.numeric, shape.levels, config.table)


def _series(shape: SeriesShape, config: RecurrentConfig | SeriesTransformerConfig) -> Backbone:
    match config:
        case RecurrentConfig():
            return Recurrent(shape.channels, shape.variables, config)
        case SeriesTransformerConfig():
            return SeriesTransformer(shape.channels, shape.variables, config)


def _image(shape: ImageShape, config: ResNetImageConfig | ViTImageConfig) -> Backbone:
    match config:
        case ResNetImageConfig():
            return ResNetImage(shape.channels, config)
        case ViTImageConfig():
            return ViTImage(shape.channels, shape.height, shape.width, config)
