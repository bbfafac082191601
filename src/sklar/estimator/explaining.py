"""What the predictions of a cohort in memory were made from."""

import numpy as np

from sklar.data.cohort import Cohort
from sklar.explanation import Explanation, explain
from sklar.runs import Run
from sklar.runs.patients import prior


def explain_cohort(run: Run, cohort: Cohort, output: int) -> Explanation:
    """Integrated gradients of the features and Shapley shares of the modalities of every row.

    Args:
        run: A finished run of a model.
        cohort: Patients, read with the run's schema.
        output: Which of the model's outputs.

    Raises:
        UserError: A row has no modality.
    """
    data, documents = run.patients(cohort)
    return explain(
        run.model, data, np.arange(len(data.ids)), documents, run.tokenizers,
        base=float(prior(run)[output]), draws=run.config.training.draws, seed=run.config.seed, output=output,
    )  # fmt: skip
