"""How the latents of validation rows fit the joint that a model learned, in aggregates without any row."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from sklar.alignment import CopulaAlignment, Noise, shuffled
from sklar.data.loading import Encodings, PreparedDataset, Tokens, loader
from sklar.data.store import PreparedData
from sklar.models import FusionModel
from sklar.runs.folder import to_json
from sklar.training.files import write
from sklar.training.predict import BATCH

LATENTS = "latents.json"
FEWEST = 40
"""Rows from which aggregates are given: no bin of rows then holds fewer than two."""
BINS, QUANTILES = 20, 20
"""Bins of the uniforms; quantiles, at the middles of as many slices, of everything else."""
_MOST, _DRAWS = 2000, 20
"""Rows that are looked at, and draws of each hidden latent."""
_LEVEL = 0.9
"""Of the interval over draws whose coverage is told."""


def keep_latents(
    folder: Path,
    model: FusionModel,
    data: PreparedData,
    documents: Mapping[str, Tokens],
    seed: int,
    encodings: Encodings | None = None,
) -> None:
    """Write ``latents.json``, where the model has a joint and the validation rows are not too few.

    Of more than two thousand validation rows so many are drawn.

    Args:
        folder: The run folder.
        model: In evaluation mode.
        data: The folder, with the statistics that the model was trained with.
        documents: Token ids and mask of every text modality.
        seed: Of the draws.
        encodings: See `sklar.data.loading.PreparedDataset`.
    """
    rows = data.rows("valid")
    if len(rows) > _MOST:
        rows = np.sort(np.random.default_rng(seed).choice(rows, _MOST, replace=False))
    if model.joint is not None and len(rows) >= FEWEST:
        found = _latents(model, PreparedDataset(data, rows, documents, encodings=encodings))
        write(folder / LATENTS, to_json(latent_record(model.joint, *found, seed)))


@torch.no_grad()
def latent_record(
    joint: CopulaAlignment, z: Mapping[str, Float[Tensor, "n d"]], present: Bool[Tensor, "n m"], seed: int
) -> dict[str, Any]:
    """The content of ``latents.json``.

    ``uniforms`` has per modality the share of
    pseudo-observations in each bin of (0, 1), all coordinates together. ``log_density`` has quantiles over
    rows of the log copula density, mean over coordinates, of true pairs and of pairs shuffled within a
    pattern of presence. ``imputed`` judges each modality on complete rows, where it is hidden and drawn given
    the others: quantiles of the drawn and of the real coordinates, the correlation of their conditional
    centre with the truth, and how often the central 90 % of the draws holds it.

    Args:
        joint: What was fitted.
        z: Per modality (N, d) latents.
        present: (N, M).
        seed: Of the draws.
    """
    complete = present.all(1)
    return {
        "rows": len(present),
        "complete": int(complete.sum()),
        "uniforms": _uniforms(joint, z, present),
        "log_density": _densities(joint, z, present),
        "imputed": _imputed(joint, {name: own[complete] for name, own in z.items()}, seed),
    }


@torch.no_grad()
def _latents(model: FusionModel, dataset: PreparedDataset) -> tuple[dict[str, Tensor], Tensor]:
    device = model.device
    parts, masks = [], []
    for batch in loader(dataset, BATCH):
        there = batch.to(device)
        parts.append(model(there).latents)
        masks.append(there.present)
    return {name: torch.cat([part[name] for part in parts]) for name in model.modalities}, torch.cat(masks)


def _uniforms(
    joint: CopulaAlignment, z: Mapping[str, Float[Tensor, "n d"]], present: Bool[Tensor, "n m"]
) -> dict[str, list[float]]:
    log_u, _ = joint.uniforms(z, present)
    found = {}
    for column, name in enumerate(joint.modalities):
        own = present[:, column]
        if int(own.sum()) >= FEWEST:
            u = log_u[own, :, column].exp().double()
            found[name] = (torch.histc(u, BINS, 0, 1) / u.numel()).tolist()
    return found


def _densities(
    joint: CopulaAlignment, z: Mapping[str, Float[Tensor, "n d"]], present: Bool[Tensor, "n m"]
) -> dict[str, list[float]]:
    found = {}
    for name, (latents, mask) in {"true": (z, present), "shuffled": shuffled(z, present)}.items():
        paired = mask.sum(1) >= 2
        if int(paired.sum()) < FEWEST:
            return {}
        found[name] = _quantiles(joint.log_density(latents, mask)[paired])
    return found


def _imputed(
    joint: CopulaAlignment, z: Mapping[str, Float[Tensor, "n d"]], seed: int
) -> dict[str, dict[str, Any]]:
    rows = len(next(iter(z.values())))
    if rows < FEWEST:
        return {}
    found = {}
    for column, name in enumerate(joint.modalities):
        real = z[name].double()
        present = torch.ones(rows, len(joint.modalities), dtype=torch.bool, device=real.device)
        present[:, column] = False
        noise = Noise(_DRAWS, Generator().manual_seed(seed))
        imputed = joint.impute(z, present, "conditional", noise)
        drawn = imputed.latents[name].double()
        tails = torch.tensor([(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], dtype=real.dtype, device=real.device)
        low, high = drawn.quantile(tails, dim=0)
        found[name] = {
            "real": _quantiles(real),
            "drawn": _quantiles(drawn),
            "correlation": _correlation(imputed.centre[name].double(), real),
            "level": _LEVEL,
            "coverage": float(((low <= real) & (real <= high)).double().mean()),
        }
    return found


def _quantiles(values: Tensor) -> list[float]:
    levels = (np.arange(QUANTILES) + 0.5) / QUANTILES
    found: list[float] = np.quantile(values.double().cpu().numpy(), levels).tolist()
    return found


def _correlation(one: Float[Tensor, "n d"], other: Float[Tensor, "n d"]) -> float:
    """Pearson's, over rows, mean over the coordinates in which both vary; 0 where none does."""
    a, b = one - one.mean(0), other - other.mean(0)
    size = a.norm(dim=0) * b.norm(dim=0)
    varies = size > 0
    return float(((a * b).sum(0)[varies] / size[varies]).mean()) if bool(varies.any()) else 0.0
