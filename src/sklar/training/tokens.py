"""Token ids of a folder's texts, kept beside runs so that equal tokenizers make them once."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklar.data.folder import PRIVATE
from sklar.data.loading import Tokens
from sklar.training.files import own_part, sweep

TOKENS = ".tokens"
"""Hidden, in the folder that holds the runs."""


def token_key(tokenizer: str, length: int, data: str, ids: NDArray[np.str_]) -> str:
    """A hash of what decides the tokens: tokenizer, cut, content of the data, and rows."""
    rows = hashlib.sha256("\n".join(ids.tolist()).encode()).hexdigest()
    return hashlib.sha256(json.dumps([tokenizer, length, data, rows]).encode()).hexdigest()[:24]


def cached(folder: Path, key: str, make: Callable[[], Tokens]) -> Tokens:
    """The tokens of a key, mapped from disk; made and left there when they are not yet."""
    sweep(folder)
    paths = [folder / f"{key}.{part}.npy" for part in ("ids", "attention")]
    if not all(path.is_file() for path in paths):
        folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        for path, array in zip(paths, make(), strict=True):
            _save(path, array)
    ids, attention = (np.load(path, mmap_mode="r", allow_pickle=False) for path in paths)
    return ids, attention


def _save(path: Path, array: NDArray[Any]) -> None:
    """Complete under its name, or absent; runs that start together write the same."""
    with own_part(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)
