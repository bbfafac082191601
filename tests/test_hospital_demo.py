"""The hospital demo: raw tables, images and reports to a comparison beside the best that is possible."""

import json

import pytest
from typer.testing import CliRunner

from sklar import PreparedData
from sklar.cli import app
from sklar.errors import UserError
from sklar.experiments import hospital

MODELS = {"cm2", "unified", "late", *hospital.SINGLES, "gradient_boosting", "logistic_regression"}


def test_every_run_shares_seed_and_optimisation_and_only_cm2_takes_model_settings():
    chosen = hospital.configurations(3, ["training.max_epochs=2", "model.encoders.dim=32"])
    assert set(chosen) == MODELS
    assert {config.seed for config in chosen.values()} == {3}
    assert len({config.training.model_dump_json() for config in chosen.values()}) == 1
    assert {name for name, config in chosen.items() if getattr(config.model, "encoders", None)} >= {
        "cm2",
        "late",
    }
    assert chosen["cm2"].model.encoders.dim == 32
    assert chosen["late"].model.encoders.dim == 64


def test_a_simulated_hospital_has_no_censoring():
    done = CliRunner().invoke(app, ["demo", "--hospital", "--censoring", "ipcw"])
    assert isinstance(done.exception, UserError)
    assert "followed to its end" in str(done.exception)


@pytest.mark.slow
def test_the_demo_compares_models_beside_the_best_that_is_possible(tmp_path):
    arguments = ["demo", "--hospital", "--out", str(tmp_path), "--subsample", "400", "--json"]
    done = CliRunner().invoke(app, [*arguments, "--set", "training.max_epochs=2"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout.splitlines()[-1])
    assert set(said["models"]) == MODELS
    best = said["best_possible"]
    assert best["bayes"] < best["complete"]
    for name in MODELS:  # nobody sees the end of a stay: a window that is too long would
        assert said["models"][name]["auroc"]["value"] < best["complete"] + 0.05
    assert said["models"]["gradient_boosting"]["auroc"]["value"] > 0.65
    assert "simulated" in (tmp_path / "report.html").read_text()
    data = PreparedData.open(tmp_path / "data")
    assert list(data.schema.modalities) == list(hospital.SINGLES)
    assert not data.manifest.restricted
    assert 0.5 < data.manifest.presence["cxr"] < 0.7
