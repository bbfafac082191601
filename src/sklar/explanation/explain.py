"""What a model's predictions of some rows were made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from sklar.data.loading import PreparedDataset, Tokens
from sklar.data.source import DataSource
from sklar.encoders import WordPiece
from sklar.errors import UserError
from sklar.evaluation import coalitions, shapley
from sklar.explanation.features import COLUMNS, Explained, features
from sklar.explanation.gradients import integrated_gradients
from sklar.models import FusionModel
from sklar.types import Batch, Documents

_TOGETHER = 64
"""Rows that are explained at once."""


@dataclass(frozen=True)
class Explanation:
    """Why R rows were predicted as they were.

    Probabilities are the model's own, before any recalibration.

    Attributes:
        ids: (R,) row names.
        modalities: M names.
        present: (R, M) which of them were observed.
        probability: (R,) prediction.
        baseline: (R,) prediction for a row of average values, blank texts and unknown categories, measured at
            the same times; see `integrated_gradients`.
        gap: (R,) by how much the contributions of a row's features miss the difference of the two.
        shapley: (R, M) share of each modality in the difference between the prediction and ``base``: its mean
            gain over all orders in which the present ones can be shown. Absent ones have none.
        base: What is predicted of a row that shows nothing: the share of events among training rows.
        features: Integrated gradients by feature, see `sklar.explanation.COLUMNS`.
    """

    ids: NDArray[np.str_]
    modalities: tuple[str, ...]
    present: NDArray[np.bool_]
    probability: NDArray[np.float64]
    baseline: NDArray[np.float64]
    gap: NDArray[np.float64]
    shapley: NDArray[np.float64]
    base: float
    features: pa.Table

    @property
    def modality_shapley(self) -> dict[str, float]:
        """Per modality its share, averaged over the rows."""
        return dict(zip(self.modalities, self.shapley.mean(0).tolist(), strict=True))


def explain(
    model: FusionModel,
    data: DataSource,
    rows: NDArray[np.integer[Any]] | Sequence[int],
    documents: Mapping[str, Tokens] | None = None,
    tokenizers: Mapping[str, WordPiece] | None = None,
    *,
    base: float,
    draws: int = 20,
    seed: int = 0,
    output: int = 0,
) -> Explanation:
    """Explain rows by integrated gradients of their features and Shapley shares of their modalities.

    Args:
        model: In evaluation mode.
        data: The rows' source, with the statistics that the model was trained with.
        rows: R positions in it, one or more.
        documents: Token ids and mask of every text modality.
        tokenizers: Of every text modality.
        base: What is predicted of a row that shows nothing, such as the share of events in training.
        draws: S, of the missing latents.
        seed: Of the draws.
        output: Which of the model's outputs.

    Raises:
        UserError: No row, or rows without any modality.
        TrainingError: The model's slopes are not finite.
    """
    chosen = np.asarray(rows, dtype=np.int64)
    if not len(chosen):
        raise UserError("no rows to explain; name at least one")
    if not data.present[chosen].any(1).all():
        blank = data.ids[chosen[~data.present[chosen].any(1)]]
        raise UserError(f"row {str(blank[0])!r} has no modality, so nothing explains it; leave it out")
    dataset = PreparedDataset(data, chosen, documents)
    starts = range(0, len(chosen), _TOGETHER)
    parts = [
        _some(model, dataset, tokenizers or {}, slice(start, start + _TOGETHER), base, draws, seed, output)
        for start in starts
    ]
    shifted = [
        part.features.set_column(0, COLUMNS.field(0), pa.array(part.features["row"].to_numpy() + start))
        for part, start in zip(parts, starts, strict=True)
    ]

    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    return Explanation(
        ids=joined("ids"),
        modalities=data.modalities,
        present=joined("present"),
        probability=joined("probability"),
        baseline=joined("baseline"),
        gap=joined("gap"),
        shapley=joined("shapley"),
        base=base,
        features=pa.concat_tables(shifted),
    )


def _some(
    model: FusionModel,
    dataset: PreparedDataset,
    tokenizers: Mapping[str, WordPiece],
    among: slice,
    base: float,
    draws: int,
    seed: int,
    output: int,
) -> Explanation:
    data, rows = dataset.data, dataset.rows[among]
    batch = dataset.__getitems__(np.arange(len(dataset))[among])
    device = model.device
    special = {
        name: torch.from_numpy(tokenizers[name].is_special(item.ids.numpy())).to(device)
        for name, item in batch.inputs.items()
        if isinstance(item, Documents)
    }
    here = batch.to(device)
    found = integrated_gradients(model, here, special, draws, seed, output)
    fields = {field: _numpy(value) for field, value in found.fields.items()}
    return Explanation(
        ids=data.ids[rows],
        modalities=data.modalities,
        present=data.present[rows],
        probability=_numpy(found.probability),
        baseline=_numpy(found.baseline),
        gap=_numpy(found.gap),
        shapley=_shapley(model, here, base, draws, seed, output),
        base=base,
        features=features(Explained(data, rows, batch, fields, tokenizers)),
    )


@torch.no_grad()
def _shapley(
    model: FusionModel, batch: Batch, base: float, draws: int, seed: int, output: int
) -> NDArray[np.float64]:
    answer = model.answers(batch)

    def predict(present: NDArray[np.bool_]) -> NDArray[np.float64]:
        drawn = answer(torch.from_numpy(present.copy()), draws, Generator().manual_seed(seed))
        return _numpy(drawn.mean(0)[:, output])

    subsets, answers = coalitions(predict, batch.present.cpu().numpy(), base)
    return np.asarray(shapley(subsets, answers).T)


def _numpy(values: Tensor) -> NDArray[np.float64]:
    return np.asarray(values.detach().double().cpu().numpy())
