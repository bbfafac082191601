"""Ensembles of seeds: members in folders of their own, averaged when they predict, resumable."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Generator

from batches import SHAPES, SOME, some_batch
from batches import TINY as TINY_ENCODERS
from cohorts import TINY, small_cohort
from sklar import runs
from sklar.data.store import PreparedData
from sklar.evaluation import auroc
from sklar.models import CM2Config, Ensemble, MedFuseConfig, create
from sklar.training.config import resolve
from sklar.training.members import FITTED, member_seed
from waiting import wait_until

SETTINGS = (*TINY, "training.max_epochs=2", "training.ensemble=2")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return small_cohort(tmp_path_factory.mktemp("cohort") / "data", rows=400)


@pytest.fixture(scope="module")
def pair(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    return runs.train(resolve("cm2", SETTINGS), data, tmp_path_factory.mktemp("runs") / "pair")


@pytest.fixture(scope="module")
def alone(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    config = resolve("cm2", [*SETTINGS, "training.ensemble=1"])
    return runs.train(config, data, tmp_path_factory.mktemp("runs") / "alone")


def make(count: int, **settings: object) -> Ensemble:
    members = []
    for seed in range(count):
        torch.manual_seed(seed)
        config = CM2Config.model_validate({"encoders": TINY_ENCODERS, **settings})
        members.append(create(SHAPES, config))
    return Ensemble(members).eval()  # type: ignore[return-value]


def test_the_probability_is_the_average_of_the_members() -> None:
    ensemble, batch = make(3), some_batch(SOME)
    together = ensemble.predict_proba(batch, 4, Generator().manual_seed(0))
    generator = Generator().manual_seed(0)
    members = [member.predict_proba(batch, 4, generator) for member in ensemble.members]  # type: ignore[operator]
    torch.testing.assert_close(together, torch.stack(members).mean(0))


def test_the_draws_of_all_members_are_pooled() -> None:
    draws = make(3).predict_draws(some_batch(SOME), 4, Generator().manual_seed(0))
    assert draws.shape == (12, 8, 1)


def test_members_that_draw_nothing_still_disagree() -> None:
    members = []
    for seed in range(2):
        torch.manual_seed(seed)
        members.append(create(SHAPES, MedFuseConfig(encoders=TINY_ENCODERS)))
    draws = Ensemble(members).eval().predict_draws(some_batch(SOME), 4)  # type: ignore[union-attr]
    assert draws.shape == (2, 8, 1)
    assert (draws.std(0) > 0).all()


def test_the_logits_are_those_of_the_average_probability() -> None:
    ensemble, batch = make(2, imputation="zero"), some_batch(SOME)
    torch.testing.assert_close(torch.sigmoid(ensemble(batch).logits), ensemble.predict_proba(batch, 1))


def test_an_ensemble_without_members_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one member"):
        Ensemble([])


def test_members_have_folders_of_their_own(pair: runs.Run) -> None:
    names = {path.name for path in pair.path.iterdir()}
    assert {"member-1", "member-2"} <= names
    assert not names & {"best.safetensors", "last.ckpt", "history.csv"}
    for folder in (pair.path / "member-1", pair.path / "member-2"):
        assert {"best.safetensors", "last.ckpt", "history.csv", FITTED} <= {p.name for p in folder.iterdir()}
    assert [member["seed"] for member in pair.metrics["members"]] == [member_seed(0, i) for i in (0, 1)]
    assert pair.metrics["parameters"] == sum(p.numel() for p in pair.model.parameters())


def test_a_single_model_has_no_folder_of_a_member(alone: runs.Run) -> None:
    names = {path.name for path in alone.path.iterdir()}
    assert {"best.safetensors", "last.ckpt", "history.csv"} <= names
    assert not any(name.startswith("member") or name == FITTED for name in names)
    assert "members" not in alone.metrics


def test_the_first_member_is_the_run_without_an_ensemble(pair: runs.Run, alone: runs.Run) -> None:
    one = load_file(alone.path / "best.safetensors")
    other = load_file(pair.path / "member-1" / "best.safetensors")
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=0, atol=0, msg=name)
    second = load_file(pair.path / "member-2" / "best.safetensors")
    assert any(not torch.equal(second[name], value) for name, value in one.items())


def test_an_opened_ensemble_predicts_what_it_stored(pair: runs.Run, data: PreparedData) -> None:
    stored, again = pair.predictions("test"), runs.Run.open(pair.path).predict(data, "test")
    np.testing.assert_allclose(again.probability, stored.probability, rtol=1e-6)
    assert (stored.low < stored.high).all()  # two members never agree exactly, complete rows included


def test_the_reported_validation_is_that_of_the_average(pair: runs.Run) -> None:
    p = pair.predictions("valid")
    known = ~np.isnan(p.target)
    wanted = auroc(p.target[known], p.probability[known])
    assert pair.metrics["validation"]["valid_auroc"] == pytest.approx(float(wanted))


@pytest.mark.slow
def test_a_kill_in_the_second_member_costs_nothing_but_time(
    pair: runs.Run, data: PreparedData, tmp_path: Path
) -> None:
    """Two epochs finished would end the member: more epochs make room for the kill."""
    settings = [*SETTINGS, "training.max_epochs=6", "training.patience=6"]
    whole = runs.train(resolve("cm2", settings), data, tmp_path / "whole")
    out = tmp_path / "killed"
    command = [sys.executable, "-c", "from sklar.cli import main; main()", "train", "cm2"]
    command += ["--data", str(data.path), "--out", str(out)]
    for setting in settings:
        command += ["--set", setting]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    history = out / "member-2" / "history.csv"
    wait_until(
        lambda: history.exists() and len(history.read_text().splitlines()) > 2,
        "the second member has two epochs", process, every=0.005,
    )  # fmt: skip
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = (out / "member-1" / "best.safetensors").stat().st_mtime_ns
    assert (out / "member-1" / FITTED).exists()
    assert not (out / "member-2" / FITTED).exists()
    resumed = runs.train(resolve("cm2", settings), data, out, resume=True)
    assert (out / "member-1" / "best.safetensors").stat().st_mtime_ns == finished
    np.testing.assert_array_equal(
        whole.predictions("test").probability, resumed.predictions("test").probability
    )
    one, other = (json.loads((run.path / "member-2" / FITTED).read_text()) for run in (whole, resumed))
    assert one == other
