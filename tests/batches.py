"""Tiny batches of three modalities, for tests of encoders and models."""

import torch
from torch import Generator, Tensor

from sklar.encoders import EncoderConfig, InputShape, SeriesShape, TableShape, TextShape
from sklar.types import Batch, Documents, Series, Table

STEPS, VARIABLES, TOKENS, DOCUMENTS, LENGTH = 5, 3, 20, 2, 6

SHAPES: dict[str, InputShape] = {
    "labs": SeriesShape(3 * VARIABLES, VARIABLES),
    "notes": TextShape(TOKENS, 0),
    "table": TableShape(3, (2, 4)),
}

TINY = EncoderConfig.model_validate(
    {
        "dim": 6,
        "series": {"hidden": 5},
        "text": {
            "hidden": 8,
            "layers": 1,
            "heads": 2,
            "intermediate": 8,
            "out_dim": 7,
            "vocabulary": TOKENS,
            "length": LENGTH,
        },
        "table": {"hidden": 5, "knots": 3, "embedding": 2},
    }
)


def some_batch(present: Tensor, seed: int = 0, target: Tensor | None = None) -> Batch:
    """Random content in every cell, absent modalities included: nothing may depend on those."""
    rows = len(present)
    g = Generator().manual_seed(seed)
    observed = torch.rand(rows, STEPS, VARIABLES, generator=g) < 0.6
    lengths = torch.randint(2, LENGTH + 1, (rows, DOCUMENTS, 1), generator=g)
    ids = torch.randint(1, TOKENS, (rows, DOCUMENTS, LENGTH), generator=g)
    attention = torch.arange(LENGTH) < lengths
    documents_valid = torch.ones(rows, DOCUMENTS, dtype=torch.bool)
    documents_valid[:, 1] = torch.rand(rows, generator=g) < 0.5
    known = torch.rand(rows, 3, generator=g) < 0.7
    inputs = {
        "labs": Series(
            torch.randn(rows, STEPS, 3 * VARIABLES, generator=g),
            torch.ones(rows, STEPS, dtype=torch.bool),
            observed,
            torch.arange(STEPS).float().repeat(rows, 1),
        ),
        "notes": Documents(ids * attention, attention & documents_valid.unsqueeze(2), documents_valid),
        "table": Table(
            torch.randn(rows, 3, generator=g) * known,
            known,
            torch.stack(
                [torch.randint(0, 3, (rows,), generator=g), torch.randint(0, 5, (rows,), generator=g)], 1
            ),
        ),
    }
    if target is None:
        target = (torch.rand(rows, generator=g) < 0.5).float()
    return Batch(inputs, present, target, torch.arange(rows), torch.arange(rows), torch.ones(rows))


def with_noise_in_absent(batch: Batch, seed: int = 7) -> Batch:
    """The same batch with other content in absent modalities."""
    other = some_batch(batch.present, seed)
    inputs = {}
    for name, item in batch.inputs.items():
        fields = {}
        for key, value in vars(item).items():
            if value is None:
                continue
            mask = batch.has(name).view(-1, *[1] * (value.ndim - 1))
            fields[key] = torch.where(mask, value, getattr(other.inputs[name], key))
        inputs[name] = type(item)(**fields)
    return Batch(inputs, batch.present, batch.target, batch.ids, batch.groups, batch.weight)


ALL = torch.ones(8, 3, dtype=torch.bool)

SOME = torch.tensor(
    [[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]], dtype=torch.bool
)
