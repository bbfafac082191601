"""Imputation intervals that reach as far as validation rows ask for."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Generator, Tensor

from sklar.data.loading import Encodings, PreparedDataset, Tokens, loader
from sklar.data.store import PreparedData
from sklar.evaluation import ConformalInterval, fit_conformal_interval
from sklar.models import FusionModel
from sklar.types import Batch, Predictions

INTERVALS = "intervals.json"
LEVEL = 0.95
"""Of the interval beside a prediction."""
LEVELS = (0.5, 0.8, 0.9, LEVEL)
FEWEST, MOST = 40, 1000
"""Complete validation rows from which a reach is fitted, and rows that it is fitted on."""
PATTERNS = 30
"""All patterns of up to five modalities; of more, those that are most frequent in training."""
_BATCH = 512


@torch.no_grad()
def fit_intervals(
    model: FusionModel,
    data: PreparedData,
    documents: Mapping[str, Tokens],
    draws: int,
    seed: int,
    encodings: Encodings | None = None,
) -> ConformalInterval | None:
    """Ask the model about complete validation rows, once with everything and once for each pattern of gaps.

    None where such rows are fewer than forty, or where all draws agree: a model that draws nothing.

    Args:
        model: In evaluation mode.
        data: The folder, with the statistics that the model was trained with.
        documents: Token ids and mask of every text modality.
        draws: S, as predictions have them.
        seed: Of the draws, and of the rows where there are more than a thousand.
        encodings: See `sklar.data.loading.PreparedDataset`.
    """
    rows = data.rows("valid", matched=True)
    if len(rows) < FEWEST:
        return None
    if len(rows) > MOST:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST, replace=False))
    patterns = _patterns(data.present[data.rows("train")])
    full, drawn = [], []
    for batch in loader(PreparedDataset(data, rows, documents, encodings=encodings), _BATCH):
        ask = _asked(model, batch, draws, seed)
        whole = ask(np.ones(patterns.shape[1], dtype=bool))
        if len(whole) == 1:
            return None
        full.append(whole.mean(0))
        drawn.append(torch.stack([ask(own) for own in patterns]))
    samples = torch.cat(drawn, 2).numpy()
    if (samples == samples[:, :1]).all():
        return None
    return fit_conformal_interval(torch.cat(full).numpy(), samples, patterns, LEVELS)


def widened(predictions: Predictions, interval: ConformalInterval | None) -> Predictions:
    """Predictions with the calibrated interval, and the one of the draws under that name."""
    if interval is None:
        return predictions
    low, high = interval.widen(
        LEVEL, predictions.probability, predictions.low, predictions.high, predictions.present
    )
    return replace(predictions, low=low, high=high, drawn_low=predictions.low, drawn_high=predictions.high)


def _patterns(present: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(P, M) proper subsets of the modalities, none of them empty."""
    modalities = present.shape[1]
    if 2**modalities - 2 <= PATTERNS:
        every = np.array(list(product((False, True), repeat=modalities)))
        return np.asarray(every[1:-1])
    partial = present[present.any(1) & ~present.all(1)]
    found, counts = np.unique(partial, axis=0, return_counts=True)
    return np.asarray(found[np.argsort(-counts, kind="stable")[:PATTERNS]])


def _asked(
    model: FusionModel, batch: Batch, draws: int, seed: int
) -> Callable[[NDArray[np.bool_]], Float[Tensor, "s b *k"]]:
    """From which modalities (M,) the model sees of complete rows to its draws."""
    answer = model.answers(batch)

    def ask(pattern: NDArray[np.bool_]) -> Tensor:
        seen = torch.from_numpy(pattern).expand(len(batch), -1).contiguous()
        found = answer(seen, draws, Generator().manual_seed(seed)).double().cpu()
        return found.squeeze(-1) if model.task == "binary" else found

    return ask
