"""Several outputs of a known truth: learned better than chance, and near the best possible prediction."""

from pathlib import Path

import numpy as np
import pytest

from sklar import runs
from sklar.data.simulate import Scenario, write_simulation
from sklar.evaluation import Macro, auroc, one_vs_rest
from sklar.training.config import resolve

SETTINGS = (
    "model.encoders.dim=16",
    "model.encoders.table.hidden=16",
    "training.max_epochs=12",
    "training.patience=12",
    "training.learning_rate=0.01",
    "calibration.method=logistic",
)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"labels": 2}, {"classes": 3, "prevalence": (0.5, 0.3, 0.2)}], ids=str)
def test_several_outputs_come_near_the_best_possible_prediction(options: dict, tmp_path: Path) -> None:
    scenario = Scenario(
        rows=6000,
        modalities={"one": "table", "two": "table"},
        rank=2,
        missing=0.3,
        fractions=(0.6, 0.2, 0.2),
        **options,
    )
    data, done = write_simulation(tmp_path / "data", scenario)
    run = runs.train(resolve("cm2", SETTINGS), data, tmp_path / "run")
    found, truth = run.predictions("test"), done.truth
    test = truth.rows("test")
    labels = truth.labels[test]
    y = labels.astype(float) if labels.ndim == 2 else one_vs_rest(labels, 3)
    reached, best = Macro(auroc)(y, found.probability), truth.auroc("bayes")
    assert best > 0.75
    assert reached > best - 0.03
    far = np.abs(found.probability - truth.bayes[test]).mean()
    assert far < 0.08  # of probabilities, which recalibration made honest
