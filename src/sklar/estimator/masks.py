"""What a run's model answers for a cohort in memory when it sees some of the modalities."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from sklar.data.cohort import Cohort
from sklar.data.loading import PreparedDataset, loader
from sklar.runs import Run
from sklar.training.predict import BATCH
from sklar.types import Batch


class MaskedCohort:
    """The rows of a cohort, encoded once per question.

    Args:
        run: A finished run of a model.
        cohort: Patients, read with the run's schema.

    Attributes:
        present: (N, M) which modalities were observed.
        ids: (N,) row names.
    """

    def __init__(self, run: Run, cohort: Cohort) -> None:
        data, documents = run.patients(cohort)
        self._run = run
        self._batches: list[Batch] = list(loader(PreparedDataset(data, None, documents), BATCH))
        self._known: dict[bytes, NDArray[np.float64]] = {}
        self.present, self.ids = data.present, data.ids

    def batches(self) -> list[Batch]:
        """The rows on the model's device."""
        device = next(self._run.model.parameters()).device
        return [batch.to(device) for batch in self._batches]

    def output(self, place: int, present: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(N,) probabilities of one output."""
        return self.predict(present)[:, place]

    @torch.no_grad()
    def predict(self, present: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(N, K) probabilities, averaged over the draws, when the model sees ``present`` (N, M)."""
        key = present.tobytes()
        if key not in self._known:
            answers, start = [], 0
            for batch in self.batches():
                seen = torch.from_numpy(present[start : start + len(batch)].copy()).to(batch.present.device)
                generator = Generator().manual_seed(self._run.config.seed)
                draws = self._run.config.training.draws
                own = self._run.model.predict_proba(replace(batch, present=seen), draws, generator)
                answers.append(own.double().cpu().numpy())
                start += len(batch)
            self._known[key] = np.concatenate(answers)
        return self._known[key]
