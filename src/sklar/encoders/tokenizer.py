"""A tokenizer that belongs to one model: trained on its training split, or taken from pretrained weights."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

from sklar.errors import DataError
from sklar.weights import CONFIG, locate

SPECIAL = PADDING, UNKNOWN, START, END, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"

_NORMALISE = normalizers.BertNormalizer(lowercase=True)
_SPLIT = pre_tokenizers.BertPreTokenizer()


@dataclass(frozen=True)
class Tokens:
    """Tokenised documents of N rows.

    Attributes:
        ids: (N, D, L) int32 token ids.
        attention: (N, D, L) true where a token exists.
    """

    ids: NDArray[np.int32]
    attention: NDArray[np.bool_]


@final
class WordPiece:
    """Lower-cased WordPiece with BERT's special tokens, or whatever pretrained weights bring along.

    Args:
        tokenizer: A fast tokenizer with a token for padding.
        padding: That token.
        architecture: Content of the ``config.json`` of the pretrained encoder that it belongs to.
    """

    def __init__(self, tokenizer: Tokenizer, padding: str = PADDING, architecture: str | None = None) -> None:
        self._tokenizer = tokenizer
        self._pad = padding
        self.architecture = architecture
        self.size: int = tokenizer.get_vocab_size()
        code = tokenizer.token_to_id(padding)
        if code is None:
            raise ValueError(f"the tokenizer has no {padding} token; WordPiece.train makes one that does")
        self.padding: int = code
        tokenizer.enable_padding(pad_id=code, pad_token=padding)
        # what it is before documents are cut: equal tokenizers have equal digests
        self.digest: str = hashlib.sha256(tokenizer.to_str().encode()).hexdigest()

    @classmethod
    def train(cls, texts: Sequence[str], vocabulary: int) -> "WordPiece":
        """Learn at most ``vocabulary`` word pieces from the given (training) texts.

        The trainer breaks ties by the order in which it met the pieces, which changes from call to call;
        naming all continuing letters beforehand makes the vocabulary a function of the texts.
        """
        words = {
            word for text in set(texts) for word, _ in _SPLIT.pre_tokenize_str(_NORMALISE.normalize_str(text))
        }
        letters = sorted({f"##{letter}" for word in words for letter in word[1:]})
        learner = _untrained(models.WordPiece(unk_token=UNKNOWN))
        learner.train_from_iterator(
            texts,
            trainers.WordPieceTrainer(
                vocab_size=max(vocabulary, len(letters) + len(SPECIAL)),
                special_tokens=[*SPECIAL, *letters],
                show_progress=False,
                continuing_subword_prefix="##",
            ),
        )
        # the letters are no special tokens of the tokenizer that is kept
        tokenizer = _untrained(models.WordPiece(vocab=learner.get_vocab(), unk_token=UNKNOWN))
        tokenizer.add_special_tokens(list(SPECIAL))
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{START} $A {END}",
            special_tokens=[(name, tokenizer.token_to_id(name)) for name in (START, END)],
        )
        return cls(tokenizer)

    @classmethod
    def pretrained(cls, given: str) -> "WordPiece":
        """The tokenizer and the architecture of pretrained weights.

        Args:
            given: A name that `sklar.weights` keeps, or a folder of transformers.

        Raises:
            UserError: There are no such weights.
            DataError: They come without a configuration or a tokenizer.
        """
        folder = locate(given).path
        if not (folder / CONFIG).is_file():
            raise DataError(f"weights {given!r} have no {CONFIG}: they are no text encoder")
        if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt", "vocab.json")):
            raise DataError(
                f"weights {given!r} have no tokenizer (tokenizer.json, vocab.txt): a text encoder reads ids "
                "that only its own tokenizer gives"
            )
        theirs = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        fast = Tokenizer.from_str(theirs.backend_tokenizer.to_str())
        return cls(fast, str(theirs.pad_token), (folder / CONFIG).read_text(encoding="utf-8"))

    @classmethod
    def load(cls, path: Path) -> "WordPiece":
        """Read a tokenizer that `save` wrote."""
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        beside = _architecture_file(path)
        architecture = beside.read_text(encoding="utf-8") if beside.is_file() else None
        padding = tokenizer.padding["pad_token"] if tokenizer.padding else PADDING
        return cls(tokenizer, padding, architecture)

    def save(self, path: Path) -> None:
        """Write one JSON file, and one beside it for the architecture of a pretrained encoder."""
        if self.architecture is not None:
            _architecture_file(path).write_text(self.architecture, encoding="utf-8")
        content = json.loads(self._tokenizer.to_str())
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")

    def pieces(self, ids: NDArray[np.integer[Any]]) -> NDArray[np.str_]:
        """The pieces of words that token ids stand for, in the shape of ``ids``."""
        distinct, place = np.unique(ids, return_inverse=True)
        texts = np.array([self._tokenizer.id_to_token(int(code)) or "" for code in distinct], dtype=np.str_)
        return texts[place].reshape(ids.shape)

    def is_special(self, ids: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
        """Which token ids are of the tokenizer (padding, start, end), not of a text."""
        added = self._tokenizer.get_added_tokens_decoder()
        return np.isin(ids, [code for code, token in added.items() if token.special])

    def longer(self, texts: Sequence[str], length: int) -> NDArray[np.bool_]:
        """(N,) whether a text has more tokens than `encode` keeps of it."""
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        found = [len(item.ids) > length for item in self._tokenizer.encode_batch(list(texts))]
        return np.array(found, dtype=np.bool_)

    def encode(self, documents: Sequence[Sequence[str]], length: int) -> Tokens:
        """Token ids of up to D documents per row, where D is the largest count; longer ones are cut.

        Args:
            documents: One list of documents per row.
            length: Most tokens of a document, the special ones included.
        """
        self._tokenizer.enable_truncation(length)
        self._tokenizer.enable_padding(pad_id=self.padding, pad_token=self._pad)
        counts = np.array([len(own) for own in documents], dtype=np.int64)
        encoded = self._tokenizer.encode_batch([text for own in documents for text in own])
        width = len(encoded[0].ids) if encoded else 1
        shape = (len(counts), int(counts.max(initial=1)), width)
        ids = np.full(shape, self.padding, dtype=np.int32)
        attention = np.zeros(shape, dtype=np.bool_)
        filled = np.arange(shape[1]) < counts[:, None]
        ids[filled] = np.array([item.ids for item in encoded], dtype=np.int32).reshape(-1, width)
        attention[filled] = np.array([item.attention_mask for item in encoded], dtype=np.bool_).reshape(
            -1, width
        )
        return Tokens(ids, attention)


def _architecture_file(tokenizer: Path) -> Path:
    return tokenizer.with_name(f"{tokenizer.stem}.config.json")


def _untrained(model: models.WordPiece) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = _NORMALISE
    tokenizer.pre_tokenizer = _SPLIT
    return tokenizer
