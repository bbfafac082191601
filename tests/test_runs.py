"""A run is a folder: complete or visibly not, resumable to the bit, and enough to predict from."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from cohorts import OWN, TINY, small_cohort
from sklar import runs
from sklar.data.store import PreparedData
from sklar.errors import DataError, UserError
from sklar.evaluation import auroc
from sklar.models import MODELS
from sklar.training.config import RunConfig, resolve
from sklar.training.reference import REFERENCES
from waiting import PATIENCE, wait_until

FILES = {
    "best.safetensors",
    "config.yaml",
    "copulas.json",
    "data.json",
    "env.json",
    "history.csv",
    "intervals.json",
    "last.ckpt",
    "latents.json",
    "metrics.json",
    "predictions_test.parquet",
    "predictions_valid.parquet",
    "subgroups.parquet",
    "tokenizers",
    "weights.json",
}

CM2_SETTINGS = (*TINY, "model.alignment.warmup=400", "training.max_epochs=6")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return small_cohort(tmp_path_factory.mktemp("cohort") / "data", rows=800)


@pytest.fixture(scope="module")
def finished(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    return runs.train(resolve("cm2", CM2_SETTINGS), data, tmp_path_factory.mktemp("runs") / "cm2")


def tiny(model: str, *more: str) -> RunConfig:
    one = ["model.modality=labs"] if model == "single" else []
    return resolve(model, [*TINY, *OWN.get(model, ()), *one, *more])


def test_a_finished_run_holds_its_files_and_nothing_half_written(finished: runs.Run) -> None:
    assert {path.name for path in finished.path.iterdir()} == FILES


def test_metrics_say_what_was_fitted(finished: runs.Run) -> None:
    metrics = finished.metrics
    assert metrics["model"] == "cm2"
    assert metrics["parameters"] == sum(p.numel() for p in finished.model.parameters())
    assert set(metrics["alignment"]) == {
        "kendall_tau",
        "kendall_tau_imputation",
        "log_density_shuffled",
        "log_density_true",
    }
    assert metrics["copula"]["modalities"] == ["labs", "notes", "table"]
    assert np.shape(metrics["copula"]["parameters"]["correlation"]) == (3, 3)


def test_the_model_learns_and_its_alignment_sees_the_pairs(finished: runs.Run) -> None:
    p = finished.predictions("test")
    assert auroc(p.target, p.probability) > 0.75  # severity drives everything: far above chance
    alignment = finished.metrics["alignment"]
    assert alignment["log_density_true"] > alignment["log_density_shuffled"]


def test_intervals_are_wider_where_something_is_missing(finished: runs.Run) -> None:
    p = finished.predictions("test")
    complete = p.present.all(1)
    assert (p.low <= p.probability).all()
    assert (p.probability <= p.high).all()
    np.testing.assert_array_equal(p.low[complete], p.high[complete])
    assert (p.high[~complete] > p.low[~complete]).all()


def test_intervals_reach_beyond_the_draws_which_are_kept_by_name(finished: runs.Run) -> None:
    p, reach = finished.predictions("test"), finished.intervals
    assert reach is not None
    assert p.drawn_low is not None
    assert p.drawn_high is not None
    assert reach.patterns.tolist() == [
        [bool(code & 4), bool(code & 2), bool(code & 1)] for code in range(1, 7)
    ]
    low, high = reach.widen(0.95, p.probability, p.drawn_low, p.drawn_high, p.present)
    np.testing.assert_array_equal((p.low, p.high), (low, high))
    valid = finished.predictions("valid")
    assert reach.rows == valid.present.all(1).sum()
    assert (p.high - p.low).mean() > (p.drawn_high - p.drawn_low).mean()


def test_an_opened_run_predicts_what_it_stored(finished: runs.Run, data: PreparedData) -> None:
    again = runs.Run.open(finished.path).predict(data, "test")
    stored = finished.predictions("test")
    np.testing.assert_array_equal(again.ids, stored.ids)
    np.testing.assert_allclose(again.probability, stored.probability, rtol=1e-6)


def test_new_data_are_read_with_the_statistics_of_the_run(
    finished: runs.Run, data: PreparedData, tmp_path: Path
) -> None:
    other = small_cohort(tmp_path / "other", seed=5)
    mine = replace(other, manifest=replace(other.manifest, statistics=data.manifest.statistics))
    assert other.manifest.statistics != data.manifest.statistics
    theirs = finished.predict(other).probability
    np.testing.assert_allclose(theirs, finished.predict(mine).probability, rtol=1e-6)


def test_predictions_survive_their_file(finished: runs.Run, tmp_path: Path) -> None:
    before = finished.predictions("test")
    runs.write_predictions(tmp_path / "p.parquet", before)
    after = runs.read_predictions(tmp_path / "p.parquet")
    for name, value in vars(before).items():
        np.testing.assert_array_equal(getattr(after, name), value)
    assert pq.read_schema(tmp_path / "p.parquet").names[:7] == [
        "id",
        "group",
        "target",
        "weight",
        "probability",
        "low",
        "high",
    ]


@pytest.mark.parametrize("model", sorted({*MODELS, *REFERENCES} - {"cm2"}))
def test_every_model_trains_end_to_end(model: str, data: PreparedData, tmp_path: Path) -> None:
    config = resolve(model) if model in REFERENCES else tiny(model)
    run = runs.train(config, data, tmp_path / "run")
    p = run.predictions("test")
    assert np.isfinite(p.probability).all()
    assert auroc(p.target, p.probability) > 0.5
    if model in REFERENCES:
        with pytest.raises(UserError, match="keeps predictions and no weights"):
            run.predict(data)
    else:
        np.testing.assert_allclose(run.predict(data, "test").probability, p.probability, rtol=1e-5)


def test_ctrl_c_ends_with_a_way_to_go_on(data: PreparedData, tmp_path: Path) -> None:
    out = tmp_path / "run"
    # a shell starts what runs in its background deaf to Ctrl-C, and that is inherited
    hearing = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{hearing}; from sklar.cli import main; main()", "train", "medfuse"]
    command += ["--data", str(data.path), "--out", str(out), "--set", "training.max_epochs=500"]
    command += ["--set", "training.patience=500"]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
    try:
        wait_until((out / "last.ckpt").exists, "an epoch is kept", process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()  # where it did not end
    assert process.returncode == 130
    assert b"--resume" in errors
    assert b"Traceback" not in errors
    assert not (out / "metrics.json").exists()


def test_an_existing_folder_is_kept_refused_or_reused(
    finished: runs.Run, data: PreparedData, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="is finished: pass --resume"):
        runs.train(finished.config, data, finished.path)
    before = (finished.path / "metrics.json").stat().st_mtime_ns
    runs.train(finished.config, data, finished.path, resume=True)
    assert (finished.path / "metrics.json").stat().st_mtime_ns == before
    with pytest.raises(
        UserError, match=r"another configuration \(model.alignment.warmup is 400 there, 4096 here\): choose"
    ):
        runs.train(tiny("cm2"), data, finished.path, resume=True)
    other = small_cohort(tmp_path / "other", seed=9)
    with pytest.raises(UserError, match="another data: choose another --out"):
        runs.train(finished.config, other, finished.path, resume=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="is not a run folder"):
        runs.train(finished.config, data, tmp_path / "mine", resume=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def test_a_folder_that_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not a run folder: it has no config\.yaml"):
        runs.Run.open(tmp_path)


def test_data_with_other_modalities_are_refused(
    finished: runs.Run, data: PreparedData, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished.path, folder)
    content = json.loads((folder / "data.json").read_text())
    content["schema"]["modalities"]["labs"]["variables"] = ["x", "z"]
    (folder / "data.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="other modalities than"):
        runs.Run.open(folder).predict(data)


def test_weights_are_not_pickled(finished: runs.Run) -> None:
    torch.load(finished.path / "last.ckpt", weights_only=True)  # raises on anything but plain types
    assert json.loads((finished.path / "weights.json").read_text())["model"]["source"] == "scratch"


def test_a_modality_that_training_never_sees_is_refused(data: PreparedData, tmp_path: Path) -> None:
    positions = data.positions.copy()
    positions[data.rows("train"), 1] = -1
    changed = replace(data)
    changed.__dict__["positions"] = positions  # what a folder without these notes would say
    with pytest.raises(DataError, match="'notes' is absent in every training row: remove it from the schema"):
        runs.train(tiny("cm2"), changed, tmp_path / "run")
