"""A search over settings: resumable, shared by workers, blind to test rows."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cohorts import TINY, small_cohort
from sklar import runs, tuning
from sklar.data.store import PreparedData
from sklar.errors import TrainingError, UserError
from sklar.models import MODELS
from sklar.training.config import resolve
from sklar.tuning import SPACES, Choice

pytest.importorskip("optuna", reason="the extra 'tune' is not installed")
pytestmark = pytest.mark.filterwarnings("default")  # Optuna marks what it may still change

FAST = (*(s for s in TINY if "dim=" not in s), "training.max_epochs=2")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return small_cohort(tmp_path_factory.mktemp("cohort") / "data", rows=240)


@pytest.mark.parametrize(("name", "model"), [(n, m) for n, spaces in SPACES.items() for m in spaces])
def test_every_end_of_every_space_is_a_configuration(name: str, model: str) -> None:
    fixed = {"single": ["model.modality=labs"]}.get(model, [])
    for end in (0, -1):
        chosen = {
            key: item.values[end] if isinstance(item, Choice) else (item.low, item.high)[end]
            for key, item in SPACES[name][model].items()
        }
        settings = [f"{key}={json.dumps(value)}" for key, value in chosen.items()]
        resolve(
            model, [*fixed, *settings], preset="paper" if (name, model) == ("paper", "cm2") else "default"
        )


def test_every_model_has_a_space() -> None:
    assert set(MODELS) <= set(SPACES["default"])
    assert set(MODELS) == set(SPACES["paper"])


def test_the_grid_is_that_of_the_paper() -> None:
    grid = {key: item.values for key, item in SPACES["paper"]["cm2"].items() if isinstance(item, Choice)}
    assert grid == {
        "model.dropout": (0.0, 0.1, 0.2, 0.3),
        "training.learning_rate": (1e-4, 5e-5, 1e-5),
        "model.alignment.components": (1, 2, 3, 4, 5, 6),
        "training.temperature": (0.001, 0.005, 0.01, 0.05, 0.08),
        "model.alignment.weight": (1e-5, 5e-6, 1e-6),
    }


def test_a_search_goes_on_and_never_sees_test_rows(data: PreparedData, tmp_path: Path) -> None:
    blind = replace(data)
    wrong = data.target.copy()
    wrong[data.rows("test")] = 1 - wrong[data.rows("test")]
    blind.__dict__["target"] = wrong
    first = tuning.tune("gradient_boosting", data, tmp_path / "a", trials=2, refit=False)
    assert (first.trials, first.run) == (2, None)
    more = tuning.tune("gradient_boosting", data, tmp_path / "a", trials=4)
    assert more.trials == 4
    assert more.value >= first.value
    assert more.run is not None
    assert more.run.metrics["validation"]["valid_auroc"] == pytest.approx(more.value)
    listed = json.loads((tmp_path / "a" / "trials.json").read_text())
    assert max(trial["valid_auroc"] for trial in listed) == more.value
    again = tuning.tune("gradient_boosting", blind, tmp_path / "b", trials=2, refit=False)
    before = tuning.tune("gradient_boosting", data, tmp_path / "c", trials=2, refit=False)
    assert (again.settings, again.value) == (before.settings, before.value)
    with pytest.raises(UserError, match="holds a search over other settings"):
        tuning.tune("gradient_boosting", data, tmp_path / "a", trials=4, seed=1)


def test_a_network_is_tuned_and_refitted(data: PreparedData, tmp_path: Path) -> None:
    found = tuning.tune("unified", data, tmp_path / "u", trials=2, settings=FAST)
    assert found.run is not None
    assert found.run.metrics["validation"]["valid_auroc"] == pytest.approx(found.value)
    assert isinstance(found.run, runs.Run)
    assert {p.name for p in (tmp_path / "u" / "trials" / "00000").iterdir()} == {"config.yaml", "history.csv"}


def test_trials_that_fail_say_why(data: PreparedData, tmp_path: Path) -> None:
    labelled = data.target.copy()
    labelled[data.rows("valid")] = np.nan
    unjudged = replace(data)
    unjudged.__dict__["target"] = labelled
    with pytest.raises(
        TrainingError, match="none of 1 trials came to an end; the first says: the validation"
    ):
        tuning.tune("unified", unjudged, tmp_path / "f", trials=1, settings=FAST)


@pytest.mark.parametrize(
    ("model", "named", "message"),
    [
        ("cm2", "papr", "no space 'papr'; choose one of default, paper; did you mean paper"),
        ("cm3", "default", "no model 'cm3'"),
        ("logistic_regression", "default", "has nothing to search"),
    ],
)
def test_unknown_spaces_are_named(model: str, named: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tuning.space(named, model)


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["journal", "sql"])
def test_workers_share_the_trials(storage: str, data: PreparedData, tmp_path: Path) -> None:
    where = str(tmp_path / "j.log") if storage == "journal" else f"sqlite:///{tmp_path}/s.db"
    command = [sys.executable, "-c", "from sklar.cli import main; main()", "tune", "gradient_boosting"]
    command += ["--data", str(data.path), "--out", str(tmp_path / "s"), "--trials", "6", "--no-refit"]
    command += ["--storage", where, "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    first = subprocess.run([*command, "--trials", "1"], env=environment, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    workers = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    ends = [worker.communicate(timeout=300)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert max(json.loads(end.splitlines()[-1])["trials"] for end in ends) in (6, 7)
