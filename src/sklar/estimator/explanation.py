"""Which modality a prediction comes from."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sklar.data.cohort import Cohort
from sklar.estimator.masks import MaskedCohort
from sklar.evaluation import coalitions, shapley
from sklar.runs import Run
from sklar.runs.patients import prior


@dataclass(frozen=True)
class Explanation:
    """Shares of N predictions, per modality, before recalibration.

    Attributes:
        ids: (N,) row names.
        modalities: Names of the M modalities.
        outputs: Names of the K outputs.
        base: (K,) what is predicted of a row that shows nothing: how often the output happened in training.
        probability: (N, K) what is predicted of each row.
        shares: (N, M, K) Shapley values: what each modality adds, on average over the orders in which
            modalities can be added; they sum to ``probability`` minus ``base``. Absent modalities add zero.
    """

    ids: NDArray[np.str_]
    modalities: tuple[str, ...]
    outputs: tuple[str, ...]
    base: NDArray[np.float64]
    probability: NDArray[np.float64]
    shares: NDArray[np.float64]

    @property
    def modality_shapley(self) -> dict[str, float]:
        """Mean absolute share of each modality, over rows and outputs."""
        size = np.abs(self.shares).mean(axis=(0, 2))
        return dict(zip(self.modalities, size.tolist(), strict=True))


def explain(run: Run, cohort: Cohort) -> Explanation:
    """Ask the model of every row with every subset of what the row has, 2^M times.

    Raises:
        EvaluationError: There are too many modalities for that.
    """
    rows, base = MaskedCohort(run, cohort), prior(run)
    shares = []
    for output, rate in enumerate(base):
        subsets, answers = coalitions(partial(rows.output, output), rows.present, float(rate))
        shares.append(shapley(subsets, answers))
    probability = rows.predict(rows.present)
    return Explanation(
        rows.ids, tuple(run.schema.modalities), run.schema.outputs, base,
        probability, np.stack(shares, axis=2).transpose(1, 0, 2),
    )  # fmt: skip
