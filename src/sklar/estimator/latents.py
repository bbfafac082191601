"""The vectors that a model fuses, with those of absent modalities drawn from its joint."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from sklar.alignment import Noise
from sklar.data.cohort import Cohort
from sklar.data.loading import PreparedDataset, loader
from sklar.errors import UserError
from sklar.models import Ensemble
from sklar.runs import Run
from sklar.training.predict import BATCH


@torch.no_grad()
def impute_latents(run: Run, cohort: Cohort, draws: int, seed: int) -> dict[str, NDArray[np.float32]]:
    """Per modality (S, N, d) latents: observed ones repeat, absent ones are draws given the observed.

    Args:
        run: A finished run of a model with a joint.
        cohort: Patients, read with the run's schema.
        draws: S.
        seed: Of the draws.

    Raises:
        UserError: The model has no joint, or is an ensemble, whose members' latents are not comparable.
    """
    model = run.model
    if isinstance(model, Ensemble):
        raise UserError("the latents of an ensemble's members are not comparable; train with ensemble=1")
    if model.joint is None:
        raise UserError(f"fusion {run.config.model.name!r} has no joint to draw latents from; cm2 has one")
    data, documents = run.patients(cohort)
    device = model.device
    parts = []
    for own in loader(PreparedDataset(data, None, documents), BATCH):
        batch, noise = own.to(device), Noise(draws, Generator().manual_seed(seed), shared=True)
        completed = model.joint.impute(model(batch).latents, batch.present, "conditional", noise)
        parts.append({name: latent.cpu().numpy() for name, latent in completed.latents.items()})
    return {name: np.concatenate([part[name] for part in parts], axis=1) for name in model.modalities}
