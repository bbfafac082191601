"""Training on a GPU: in both precisions, and as on the CPU."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cohorts import TINY, small_cohort
from sklar import runs
from sklar.data.store import PreparedData
from sklar.training.config import resolve

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"),
    pytest.mark.filterwarnings("default"),  # what drivers say is not ours
]

SETTINGS = (*TINY, "training.max_epochs=2", "model.alignment.warmup=100", "model.modality_dropout=0")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return small_cohort(tmp_path_factory.mktemp("cohort") / "data", rows=400)


def trained(data: PreparedData, out: Path, *more: str) -> runs.Run:
    return runs.train(resolve("cm2", [*SETTINGS, *more]), data, out)


def test_two_epochs_on_a_gpu_are_about_those_on_the_cpu(data: PreparedData, tmp_path: Path) -> None:
    here = trained(data, tmp_path / "cpu", "training.accelerator=cpu")
    there = trained(data, tmp_path / "gpu", "training.accelerator=gpu", "training.pin_memory=true")
    assert there.metrics["epochs"] == 2
    # noise is drawn by another generator, so that only the level agrees
    before, after = (run.metrics["validation"] for run in (here, there))
    assert after["valid_task"] == pytest.approx(before["valid_task"], rel=0.25)
    assert after["valid_auroc"] == pytest.approx(before["valid_auroc"], abs=0.1)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_two_epochs_in_half_precision(precision: str, data: PreparedData, tmp_path: Path) -> None:
    run = trained(data, tmp_path / "run", "training.accelerator=gpu", f"training.precision={precision}")
    predictions = run.predictions("test")
    assert np.isfinite(predictions.probability).all()
    assert run.metrics["validation"]["valid_auroc"] > 0.6
    assert all(p.dtype == torch.float32 for p in run.model.parameters())


def test_a_run_on_a_gpu_predicts_the_same_on_the_cpu(data: PreparedData, tmp_path: Path) -> None:
    run = trained(data, tmp_path / "run", "training.accelerator=gpu")
    again = runs.Run.open(run.path).predict(data, "test")
    np.testing.assert_allclose(again.probability, run.predictions("test").probability, atol=1e-4)
