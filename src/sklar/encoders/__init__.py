"""Encoders: one backbone per modality, and the bank that walks them together."""

from sklar.encoders.bank import Encoded, Encoders, Exchange
from sklar.encoders.base import Backbone, Feature
from sklar.encoders.build import EncoderConfig, InputShape, SeriesShape, TableShape, TextShape, build
from sklar.encoders.series import Recurrent, RecurrentConfig
from sklar.encoders.tabular import Tabular, TabularConfig
from sklar.encoders.text import BertText, BertTextConfig
from sklar.encoders.tokenizer import Tokens, WordPiece

ENCODERS: dict[str, type[Backbone]] = {"series": Recurrent, "text": BertText, "table": Tabular}
"""The backbone of each kind of input."""

__all__ = [
    "ENCODERS",
    "Backbone",
    "BertText",
    "BertTextConfig",
    "Encoded",
    "EncoderConfig",
    "Encoders",
    "Exchange",
    "Feature",
    "InputShape",
    "Recurrent",
    "RecurrentConfig",
    "SeriesShape",
    "TableShape",
    "Tabular",
    "TabularConfig",
    "TextShape",
    "Tokens",
    "WordPiece",
    "build",
]
