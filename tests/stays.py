"""Tiny hospital stays (series, image, notes) and tiny settings of every model, for the combined contract."""

from dataclasses import replace
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Generator, Tensor

from sklar.encoders import EncoderConfig, ImageShape, InputShape, SeriesShape, TextShape
from sklar.models import FusionModel, ModelConfig, TaskName, create
from sklar.types import Batch, Documents, Image, Input, Series

STEPS, VALUES, MASKS, TOKENS, DOCUMENTS, LENGTH, SIDE = 5, 3, 2, 20, 2, 6, 32

STAYS: dict[str, InputShape] = {
    "ehr": SeriesShape(VALUES + MASKS, VALUES),
    "cxr": ImageShape(3, SIDE, SIDE),
    "note": TextShape(TOKENS, 0),
}

SETS = {"ehr+cxr": ("ehr", "cxr"), "ehr+note": ("ehr", "note"), "ehr+cxr+note": ("ehr", "cxr", "note")}

SERIES: dict[str, dict[str, Any]] = {
    "lstm": {"kind": "lstm", "hidden": 6, "layers": 2, "summaries": False},
    "transformer": {
        "kind": "transformer",
        "hidden": 6,
        "heads": 2,
        "intermediate": 8,
        "positions": 8,
        "summaries": False,
    },
}

IMAGES: dict[str, dict[str, Any]] = {
    "resnet": {"kind": "resnet18", "widths": (4, 6, 6, 8), "depths": (1, 1, 1, 1)},
    "vit": {"kind": "vit", "hidden": 6, "layers": 4, "heads": 2, "intermediate": 8, "patch": 16},
}

COMBINATIONS = [
    (names, series, image)
    for names in SETS
    for series in SERIES
    for image in (IMAGES if "cxr" in names else ["resnet"])
]
"""Every set of modalities with every backbone that it uses."""

PAIRED = [
    (names, series, image)
    for names, series, image in COMBINATIONS
    if "cxr" not in names or (series, image) in zip(SERIES, IMAGES, strict=True)
]
"""Those of them in which every backbone stands once."""

PERCEIVER = {"latents": 3, "width": 4, "depth": 2, "cross_width": 4, "heads": 2, "head_width": 2}

MODELS_TINY: dict[str, dict[str, Any]] = {
    "cm2": {"alignment": {"warmup": 1, "components": 2}},
    "daft": {},
    "drfuse": {},
    "interleaved": {"dim": 8, "heads": 2, "layers": 1, "embedding": 4, "time_heads": 2, "queries": 4},
    "late": {},
    "lsmt": {"perceiver": PERCEIVER, "width": 6, "heads": 2, "head_width": 3, "mlp": 6, "layers": 2},
    "medfuse": {},
    "mmtm": {},
    "single": {"modality": "ehr"},
    "unified": {},
}
"""Small settings of every model; models that may read series raw do so with the LSTM's combinations only."""


def encoders(series: str = "lstm", image: str = "resnet", dim: int = 6) -> EncoderConfig:
    text = {
        "hidden": 8,
        "layers": 1,
        "heads": 2,
        "intermediate": 8,
        "out_dim": 7,
        "vocabulary": TOKENS,
        "length": LENGTH,
    }
    return EncoderConfig.model_validate(
        {"dim": dim, "series": SERIES[series], "image": IMAGES[image], "text": text}
    )


def shapes(names: str) -> dict[str, InputShape]:
    return {name: STAYS[name] for name in SETS[names]}


def tiny_model(
    model: str,
    names: str = "ehr+cxr+note",
    series: str = "lstm",
    image: str = "resnet",
    outputs: int = 1,
    task: TaskName = "binary",
    seed: int = 0,
    **settings: Any,
) -> FusionModel:
    reading = {"series": "backbone"} if model in ("lsmt", "interleaved") and series == "transformer" else {}
    config: ModelConfig = TypeAdapter(ModelConfig).validate_python(
        {"name": model, "encoders": encoders(series, image), **MODELS_TINY[model], **reading, **settings}
    )
    torch.manual_seed(seed)
    return create(shapes(names), config, outputs, task)


def stays(present: Tensor, names: str = "ehr+cxr+note", seed: int = 0, outputs: int = 1) -> Batch:
    """Random content everywhere, absent modalities included; series of several lengths."""
    rows = len(present)
    g = Generator().manual_seed(seed)
    observed = torch.rand(rows, STEPS, VALUES, generator=g) < 0.7
    valid = torch.arange(STEPS) < torch.randint(2, STEPS + 1, (rows, 1), generator=g)
    words = torch.arange(LENGTH) < torch.randint(2, LENGTH + 1, (rows, DOCUMENTS, 1), generator=g)
    there = torch.rand(rows, DOCUMENTS, generator=g) < 0.6
    there[:, 0] = True
    every: dict[str, Input] = {
        "ehr": Series(
            torch.randn(rows, STEPS, VALUES + MASKS, generator=g),
            valid,
            observed & valid.unsqueeze(2),
            torch.arange(STEPS).float().repeat(rows, 1) - STEPS,
        ),
        "cxr": Image(torch.randn(rows, 3, SIDE, SIDE, generator=g), -torch.rand(rows, 1, generator=g)),
        "note": Documents(
            torch.randint(1, TOKENS, (rows, DOCUMENTS, LENGTH), generator=g) * words,
            words & there.unsqueeze(2),
            there,
            -STEPS * torch.rand(rows, DOCUMENTS, generator=g),
        ),
    }
    target = (torch.rand(rows, outputs, generator=g) < 0.5).float()
    own = {name: every[name] for name in SETS[names]}
    return Batch(own, present, target.squeeze(1) if outputs == 1 else target, torch.arange(rows))


def noisy(batch: Batch, names: str, seed: int = 7) -> Batch:
    """The batch with other content in absent modalities."""
    other = stays(batch.present, names, seed)

    def mixed(name: str, item: Input) -> Input:
        has = batch.has(name)
        fields = {
            key: torch.where(has.view(-1, *[1] * (own.ndim - 1)), own, getattr(other.inputs[name], key))
            for key, own in vars(item).items()
            if own is not None
        }
        return type(item)(**fields)

    return replace(batch, inputs={name: mixed(name, item) for name, item in batch.inputs.items()})


def patterns(names: str, repeats: int = 1) -> Tensor:
    """Every subset of the modalities but none, and all of them once more."""
    count = len(SETS[names])
    codes = torch.arange(1, 2**count)
    subsets = (codes.unsqueeze(1) >> torch.arange(count) & 1).bool()
    return torch.cat([subsets, torch.ones(1, count, dtype=torch.bool)]).repeat(repeats, 1)


def longer(batch: Batch, steps: int = 3, documents: int = 2) -> Batch:
    """The batch with padded steps and documents behind what it has, of random content."""
    inputs: dict[str, Input] = {}
    for name, item in batch.inputs.items():
        if isinstance(item, Series):
            item = _padded(item, steps, {"values": 3.0, "times": 9.0})
        elif isinstance(item, Documents):
            item = _padded(item, documents, {"ids": 1, "times": 9.0})
        inputs[name] = item
    return replace(batch, inputs=inputs)


def _padded(item: Any, more: int, fill: dict[str, float]) -> Any:
    fields = {
        key: torch.cat([own, own.new_full((len(own), more, *own.shape[2:]), fill.get(key, 0))], 1)
        for key, own in vars(item).items()
        if own is not None
    }
    return type(item)(**fields)
