"""What frozen encoders make of a folder, kept beside runs so that they run once."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from sklar.data.folder import PRIVATE
from sklar.data.loading import PreparedDataset, Tokens
from sklar.data.schema import Augmentation, Schema
from sklar.data.store import PreparedData
from sklar.encoders import Backbone, Encoders, Exchange
from sklar.models import FusionModel
from sklar.training.files import own_part, sweep
from sklar.types import Input

ENCODINGS = ".encodings"
"""Hidden, in the folder that holds the runs."""

BATCH = 128
"""Rows that are encoded at a time; always the same, so that what is made anew has the same bits."""

FORMAT = 1
"""Part of every key: to be raised when equal encoders begin to make something else."""


@dataclass(frozen=True)
class Fixed:
    """An encoder that need not run in training.

    Attributes:
        backbone: With a frozen part.
        pooled: Whether the model reads nothing of it but the pooled vector.
    """

    backbone: Backbone
    pooled: bool


def fixed(make: Callable[[], FusionModel], schema: Schema) -> dict[str, Fixed]:
    """The modalities whose encoders begin with a frozen part that makes the same of a row in every epoch.

    That takes pretrained weights, pictures without changes in training, and a model that encodes present rows
    only and reads an encoder where its frozen part ends, or later: blocks between encoders (MMTM, DAFT) and
    encoders that fork (DrFuse) read them earlier.

    Args:
        make: A new model, which is not trained; torch's random state stays as it is.
        schema: Of the data.
    """
    with torch.random.fork_rng(devices=[]):
        model = make()
    banks = [module for module in model.modules() if isinstance(module, Encoders)]
    if len(banks) != 1 or any(isinstance(module, Exchange) for module in model.modules()):
        return {}
    (bank,) = banks
    changing = {name for name, image in schema.images.items() if image.augmentation != Augmentation()}
    backbones = {name: bank.backbone(name) for name in bank.modalities if name not in changing}
    return {
        name: Fixed(backbone, pooled=name in bank.projections)
        for name, backbone in backbones.items()
        if bank.absent == "skip"
        and backbone.loaded is not None
        and backbone.fixed is not None
        and backbone.fixed <= bank.stops[name]
    }


def kept(
    encoders: Mapping[str, Fixed],
    data: PreparedData,
    documents: Mapping[str, Tokens],
    tokens: Mapping[str, str],
    folder: Path,
    device: torch.device,
) -> dict[str, NDArray[np.float32]]:
    """The encodings of every modality with a fixed encoder, mapped from disk; made when they are not there.

    Args:
        encoders: As `fixed` finds them; they are moved to ``device``.
        data: The folder.
        documents: Token ids and mask of every text modality.
        tokens: Per text modality the hash of what decides its tokens.
        folder: Where encodings are kept.
        device: Where they are made.
    """
    out = {}
    sweep(folder)
    for name, encoder in encoders.items():
        path = folder / f"{_key(encoder, data, name, tokens.get(name))}.npy"
        if not path.is_file():
            folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
            _make(path, encoder, PreparedDataset(data, documents=documents), name, device)
        out[name] = cast(NDArray[np.float32], np.load(path, mmap_mode="r", allow_pickle=False))
    return out


def _key(encoder: Fixed, data: PreparedData, name: str, tokens: str | None) -> str:
    """A hash of weights, settings, what is kept of the feature, and the rows with their content."""
    rows = hashlib.sha256("\n".join(data.ids_of(name).tolist()).encode()).hexdigest()
    backbone = encoder.backbone
    parts = [FORMAT, backbone.digest(), backbone.fixed, encoder.pooled, data.hash, name, rows, tokens]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def _make(path: Path, encoder: Fixed, dataset: PreparedDataset, name: str, device: torch.device) -> None:
    """Write the encodings of the rows that have a modality: complete under the name, or absent.

    Runs that start together write the same.
    """
    rows = np.flatnonzero(dataset.data.present[:, dataset.data.modalities.index(name)])
    encoder.backbone.to(device).eval()
    chunks = (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))
    with own_part(path) as temporary, temporary.open("wb") as stream:
        for number, chunk in enumerate(chunks):
            x = _encoded(encoder, dataset.item(name, chunk).to(device))
            if not number:
                header = {"descr": x.dtype.str, "fortran_order": False, "shape": (len(rows), *x.shape[1:])}
                np.lib.format.write_array_header_1_0(stream, header)
            stream.write(x.tobytes())


@torch.no_grad()
def _encoded(encoder: Fixed, item: Input) -> NDArray[np.float32]:
    backbone = encoder.backbone
    feature = backbone.advance(backbone.start(item, None), 0, cast(int, backbone.fixed))
    x = (backbone.least(feature) if encoder.pooled else feature).x
    return cast(NDArray[np.float32], x.float().cpu().contiguous().numpy())
