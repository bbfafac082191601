"""What a run's model answers when modalities of test rows are hidden from it."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from sklar.data.loading import PreparedDataset, loader
from sklar.data.outcome import event_columns, labelled
from sklar.data.store import PreparedData
from sklar.runs.run import Run
from sklar.training.predict import BATCH


class MaskedRows:
    """The labelled rows of a split, for the functions of `sklar.evaluation` that hide modalities.

    ``predict`` and ``draw`` are what `stress_curve`, `coalitions` and `interval_coverage` ask for.

    Args:
        run: A finished run of a model; references keep none.
        data: A prepared folder with the same modalities.
        split: Which rows.
        draws: Draws of the missing latents, by default those of the configuration.
        seed: Of the draws, by default that of the run.
        matched: Only rows that have every modality.

    Attributes:
        y: (N,) labels, 0 or 1; of K outputs (N, K) 0, 1 or NaN, a class against the rest.
        present: (N, M) which modalities were observed.
        ids: (N,) row names.
        groups: (N,) names of what was sampled.
        weight: (N,) weights for censoring.
        modalities: Names of the M columns.
        outputs: Names of the K labels or classes; empty where there is one event.

    Raises:
        UserError: The run is a reference model.
        DataError: The folder has other modalities.
    """

    def __init__(
        self,
        run: Run,
        data: PreparedData,
        split: str = "test",
        draws: int | None = None,
        seed: int | None = None,
        matched: bool = False,
    ) -> None:
        model, self._calibration, self._interval = run.model, run.calibration, run.intervals
        self._last: tuple[bytes, NDArray[np.float64]] = (b"", np.empty(0))
        own, documents = run.ready(data)
        rows = own.rows(split, matched=matched)
        rows = rows[labelled(own.target[rows])]
        batches = loader(PreparedDataset(own, rows, documents), BATCH)
        with torch.no_grad():
            self._ask = [(model.answers(batch), len(batch)) for batch in batches]
        self._draws = draws or run.config.training.draws
        self._seed = run.config.seed if seed is None else seed
        events = event_columns(own.schema, own.target[rows])
        self.outputs = () if own.schema.task == "binary" else own.schema.outputs
        self.y = events if self.outputs else events[:, 0].astype(np.int64)
        self.present = own.present[rows]
        self.ids, self.groups, self.weight = own.ids[rows], own.groups[rows], own.weight[rows]
        self.modalities = own.modalities

    def draw(self, present: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(S, N) or (S, N, K) probabilities of S draws, when the model sees ``present`` (N, M).

        S is 1 for a model that draws nothing.
        """
        found = self._answers(present)
        return found if self._calibration is None else self._calibration.recalibration(found)

    def predict(self, present: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(N,) or (N, K) probabilities, averaged over the draws, when the model sees ``present`` (N, M)."""
        found = np.asarray(self._answers(present).mean(0))
        return found if self._calibration is None else self._calibration.recalibration(found)

    def interval(
        self, present: NDArray[np.bool_], level: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(N,) or (N, K) ends of the imputation interval of a level, as it is reported.

        Raises:
            EvaluationError: The run's intervals are calibrated, and not for this level.
        """
        samples = self._answers(present)
        low, high = np.quantile(samples, ((1 - level) / 2, (1 + level) / 2), axis=0)
        p = np.asarray(samples.mean(0))
        if self._interval is not None:
            low, high = self._interval.widen(level, p, low, high, present)
        if self._calibration is None:
            return low, high
        return self._calibration.ends(p, low), self._calibration.ends(p, high)

    def _answers(self, present: NDArray[np.bool_]) -> NDArray[np.float64]:
        """What the model says itself; the last answer is kept, since a mask is asked about several times."""
        key = np.packbits(present).tobytes()
        if self._last[0] != key:
            self._last = (key, self._asked(present))
        return self._last[1]

    @torch.no_grad()
    def _asked(self, present: NDArray[np.bool_]) -> NDArray[np.float64]:
        parts = torch.split(torch.from_numpy(present.copy()), [rows for _, rows in self._ask])
        found = torch.cat(
            [
                answer(seen, self._draws, Generator().manual_seed(self._seed)).double().cpu()
                for (answer, _), seen in zip(self._ask, parts, strict=True)
            ],
            dim=1,
        )
        return np.asarray((found if self.outputs else found.squeeze(-1)).numpy())
