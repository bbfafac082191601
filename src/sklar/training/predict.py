"""Probabilities and imputation intervals of the rows of a prepared folder."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from sklar.data.loading import Encodings, PreparedDataset, Tokens, loader
from sklar.data.source import DataSource
from sklar.models import FusionModel
from sklar.types import Predictions

BATCH = 512


@torch.no_grad()
def predict(
    model: FusionModel,
    data: DataSource,
    rows: NDArray[np.int64],
    documents: Mapping[str, Tokens],
    draws: int,
    seed: int,
    encodings: Encodings | None = None,
) -> Predictions:
    """Predict rows of a prepared folder, or of a cohort in memory.

    The probability averages over draws of the missing latents; low and high are the 2.5 % and 97.5 %
    quantiles of the draws. Draws follow from the seed alone: a row is predicted as if it were on its own.

    Args:
        model: In evaluation mode.
        data: The folder, with the statistics that the model was trained with.
        rows: (R,) positions among its rows.
        documents: Token ids and mask of every text modality.
        draws: S.
        seed: Of the draws.
        encodings: See `sklar.data.loading.PreparedDataset`.
    """
    device = model.device
    probability, low, high = [], [], []
    for batch in loader(PreparedDataset(data, rows, documents, encodings=encodings), BATCH):
        generator = Generator().manual_seed(seed)
        samples = model.predict_draws(batch.to(device), draws, generator).double().cpu()
        if model.task == "binary":
            samples = samples.squeeze(-1)
        probability.append(samples.mean(0))
        # float rounding may put the mean of equal draws outside them
        bounds = torch.quantile(samples, torch.tensor([0.025, 0.975], dtype=samples.dtype), dim=0)
        low.append(torch.minimum(bounds[0], probability[-1]))
        high.append(torch.maximum(bounds[1], probability[-1]))
    return of(data, rows, *(torch.cat(part).numpy() for part in (probability, low, high)))


def of(
    data: DataSource,
    rows: NDArray[np.int64],
    probability: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> Predictions:
    """Predictions (R,) or (R, K) with the names, outcomes and presence of their rows."""
    return Predictions(
        ids=data.ids[rows],
        groups=data.groups[rows],
        target=data.target[rows],
        probability=probability,
        low=low,
        high=high,
        present=data.present[rows],
        modalities=data.modalities,
        weight=data.weight[rows],
        task=data.schema.task,
        outputs=() if data.schema.task == "binary" else data.schema.outputs,
    )
