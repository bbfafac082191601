"""Encoders: one backbone per modality, and the bank that walks them together."""

from sklar.encoders.bank import Absent, Encoded, Encoders, Exchange, require
from sklar.encoders.base import Backbone, Feature
from sklar.encoders.build import (
    EncoderConfig,
    ImageShape,
    InputShape,
    SeriesShape,
    TableShape,
    TextShape,
    backbones,
    build,
    without_weights,
)
from sklar.encoders.fork import Fork
from sklar.encoders.pretrained import Loaded
from sklar.encoders.resnet import ResNetImage, ResNetImageConfig
from sklar.encoders.series import Recurrent, RecurrentConfig
from sklar.encoders.tabular import Tabular, TabularConfig
from sklar.encoders.text import BertText, BertTextConfig, PretrainedTextConfig
from sklar.encoders.tokenizer import Tokens, WordPiece
from sklar.encoders.transformer import SeriesTransformer, SeriesTransformerConfig
from sklar.encoders.vit import ViTImage, ViTImageConfig

ENCODERS: dict[str, dict[str, type[Backbone]]] = {
    "series": {"gru": Recurrent, "lstm": Recurrent, "transformer": SeriesTransformer},
    "image": {"resnet18": ResNetImage, "resnet34": ResNetImage, "resnet50": ResNetImage, "vit": ViTImage},
    "text": {"bert": BertText, "pretrained": BertText},
    "table": {"mlp": Tabular},
}
"""The backbones of each kind of input, by the ``kind`` of their settings."""

__all__ = [
    "ENCODERS",
    "Absent",
    "Backbone",
    "BertText",
    "BertTextConfig",
    "Encoded",
    "EncoderConfig",
    "Encoders",
    "Exchange",
    "Feature",
    "Fork",
    "ImageShape",
    "InputShape",
    "Loaded",
    "PretrainedTextConfig",
    "Recurrent",
    "RecurrentConfig",
    "ResNetImage",
    "ResNetImageConfig",
    "SeriesShape",
    "SeriesTransformer",
    "SeriesTransformerConfig",
    "TableShape",
    "Tabular",
    "TabularConfig",
    "TextShape",
    "Tokens",
    "ViTImage",
    "ViTImageConfig",
    "WordPiece",
    "backbones",
    "build",
    "require",
    "without_weights",
]
