"""What lies between a prepared folder and a model: tokenizers, token ids, and the shapes of the inputs."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sklar.data.loading import Tokens
from sklar.data.schema import Schema
from sklar.data.source import DataSource
from sklar.data.store import PreparedData
from sklar.encoders import (
    BertTextConfig,
    EncoderConfig,
    ImageShape,
    InputShape,
    PretrainedTextConfig,
    SeriesShape,
    TableShape,
    TextShape,
    WordPiece,
)
from sklar.training.tokens import cached, token_key
from sklar.weights import SCRATCH, locate


def find_weights(schema: Schema, config: EncoderConfig) -> None:
    """Look for the pretrained weights that the settings of the modalities name.

    Raises:
        UserError: They are not on this machine.
        DataError: They are broken.
    """
    text = config.text.pretrained if isinstance(config.text, PretrainedTextConfig) else SCRATCH
    for modalities, given in ((schema.images, config.image.pretrained), (schema.texts, text)):
        if modalities and given != SCRATCH:
            locate(given)


def train_tokenizers(data: PreparedData, config: EncoderConfig, folder: Path) -> dict[str, WordPiece]:
    """One tokenizer per text modality, saved in ``folder``: trained on the training split, or pretrained.

    Those that an interrupted run left there are read back.
    """
    tokenizers = {}
    for name in data.schema.texts:
        path = tokenizer_file(folder, name)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(".partial")
            _tokenizer(data, name, config).save(temporary)
            temporary.replace(path)
        tokenizers[name] = WordPiece.load(path)
    return tokenizers


def _tokenizer(data: PreparedData, name: str, config: EncoderConfig) -> WordPiece:
    match config.text:
        case PretrainedTextConfig():
            return WordPiece.pretrained(config.text.pretrained)
        case BertTextConfig():
            texts = [text for own in data.documents(name, data.rows("train")) for text in own]
            return WordPiece.train(texts, config.text.vocabulary)


def tokenizer_file(folder: Path, name: str) -> Path:
    """Where the tokenizer of a text modality lies in a run folder."""
    return folder / "tokenizers" / f"{name}.json"


def tokenise(
    data: DataSource,
    tokenizers: Mapping[str, WordPiece],
    config: EncoderConfig,
    cache: Path | None = None,
) -> dict[str, Tokens]:
    """Token ids and masks of every text modality, in the order of the index.

    Args:
        data: The folder, or a cohort in memory.
        tokenizers: Per text modality.
        config: The length at which documents are cut.
        cache: Folder where tokens of a prepared folder are kept for other runs with equal tokenizers; None
            keeps none.
    """
    return {
        name: _tokens(data, name, tokenizer, config.text.length, cache)
        for name, tokenizer in tokenizers.items()
    }


def _tokens(data: DataSource, name: str, tokenizer: WordPiece, length: int, cache: Path | None) -> Tokens:
    def make() -> Tokens:
        there = np.flatnonzero(data.present[:, data.modalities.index(name)])
        tokens = tokenizer.encode(data.documents(name, there), length)
        return tokens.ids, tokens.attention

    if cache is None or not isinstance(data, PreparedData):
        return make()
    return cached(cache, key_of_tokens(data, name, tokenizer, length), make)


def key_of_tokens(data: PreparedData, name: str, tokenizer: WordPiece, length: int) -> str:
    """A hash of what decides the tokens of a text modality."""
    return token_key(tokenizer.digest, length, f"{data.hash} {name}", data.ids_of(name))


def shapes(schema: Schema, tokenizers: Mapping[str, WordPiece]) -> dict[str, InputShape]:
    """The shape of every modality's input, in the order of the schema."""
    out: dict[str, InputShape] = {}
    for name in schema.modalities:
        if name in schema.series:
            variables = len(schema.series[name].variables)
            # the store gives each variable its value, whether it was observed, and the time since
            out[name] = SeriesShape(3 * variables, variables)
        elif name in schema.grids:
            grid = schema.grids[name]
            out[name] = SeriesShape(len(grid.columns), len(grid.values))
        elif name in schema.images:
            image = schema.images[name]
            out[name] = ImageShape(image.channels, *image.shape)
        elif name in schema.texts:
            tokenizer = tokenizers[name]
            out[name] = TextShape(tokenizer.size, tokenizer.padding, tokenizer.architecture)
        else:
            table = schema.tables[name]
            levels = tuple(len(own) for own in table.categorical.values())
            out[name] = TableShape(len(table.numeric), levels)
    return out
