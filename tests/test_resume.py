"""Interrupted at any moment and resumed, a run is the run that was not; what cannot go on says why."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as lightning
import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from batches import SHAPES, SOME, some_batch
from batches import TINY as TINY_ENCODERS
from cohorts import TINY, small_cohort
from sklar import runs
from sklar.data.loading import EpochBatches
from sklar.data.store import PreparedData
from sklar.errors import DataError, TrainingError, UserError
from sklar.models import MedFuseConfig, create
from sklar.training import files
from sklar.training.config import TrainingConfig, resolve
from sklar.training.fit import fit

SETTINGS = (
    *TINY,
    "training.max_epochs=8",
    "training.patience=1",
    "training.schedule=constant",
    "model.alignment.warmup=100",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return small_cohort(tmp_path_factory.mktemp("cohort") / "data", rows=160)


@pytest.fixture(scope="module")
def finished(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    return runs.train(resolve("cm2", SETTINGS), data, tmp_path_factory.mktemp("runs") / "cm2")


@pytest.fixture
def copied(finished: runs.Run, tmp_path: Path) -> Path:
    """The finished run as if predictions had not been made yet."""
    shutil.copytree(finished.path, tmp_path / "run")
    (tmp_path / "run" / "metrics.json").unlink()
    return tmp_path / "run"


def assert_same(one: runs.Run, other: runs.Run) -> None:
    before, after = (load_file(run.path / "best.safetensors") for run in (one, other))
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=0, msg=name)
    for name in ("history.csv", "copulas.json", "config.yaml", "data.json", "weights.json"):
        assert (one.path / name).read_text() == (other.path / name).read_text(), name
    for split in ("valid", "test"):
        for name, value in vars(one.predictions(split)).items():
            np.testing.assert_array_equal(getattr(other.predictions(split), name), value)
    spent = {"seconds": 0, "peak_memory": {}}  # of the machine, not of the result
    assert one.metrics | spent == other.metrics | spent
    assert {path.name for path in one.path.iterdir()} == {path.name for path in other.path.iterdir()}


DIE = """
import os, signal, sys
from sklar.cli import main
from sklar.training.adapter import Adapter
import pytorch_lightning, sklar.runs

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def at(owner, name, moment):
    original = getattr(owner, name)
    def replaced(*arguments, **named):
        if moment(*arguments):
            die()
        return original(*arguments, **named)
    setattr(owner, name, replaced)

def half(trainer, path):
    if trainer.current_epoch == 2:
        path.write_bytes(b"half of it")
        return True

folder, training = sys.modules["sklar.runs.folder"], sys.modules["sklar.runs.train"]
"""
MOMENTS = {
    "entering": "at(folder, 'write', lambda path, _: path.name == 'config.yaml')",
    "in the first epoch": "at(Adapter, 'training_step', lambda own, b, i: own.current_epoch == 0 and i == 1)",
    "in a later epoch": "at(Adapter, 'training_step', lambda own, b, i: own.current_epoch == 1 and i == 2)",
    "saving the state": "at(pytorch_lightning.Trainer, 'save_checkpoint', half)",
    "predicting": "at(training, 'write_predictions', lambda path, _: 'test' in path.name)",
}
"""When a process kills itself, in the order of a run: the next one goes on from there."""


def rows(out: Path) -> int:
    history = out / "history.csv"
    return len(history.read_text().splitlines()) - 1 if history.exists() else 0


@pytest.mark.slow
def test_a_run_killed_at_every_moment_equals_one_that_was_not(
    finished: runs.Run, data: PreparedData, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    command = ["train", "cm2", "--resume", "--data", str(data.path), "--out", str(out)]
    command += [part for setting in SETTINGS for part in ("--set", setting)]
    for name, moment in MOMENTS.items():
        code = f"{DIE}\n{moment}\nmain()"
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, "-c", code, *command], env=environment, timeout=300)
        assert done.returncode == -signal.SIGKILL, name
    assert not (out / "metrics.json").exists()
    with pytest.raises(DataError, match=r"not finished.*--resume"):
        runs.Run.open(out)
    with pytest.raises(UserError, match="was interrupted: pass --resume"):
        runs.train(finished.config, data, out)
    assert_same(finished, runs.train(finished.config, data, out, resume=True))


def test_a_disk_that_is_full_in_an_epoch_loses_only_that_epoch(
    finished: runs.Run, data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = lightning.Trainer.save_checkpoint

    def full(trainer: lightning.Trainer, path: Path, *args: Any) -> None:
        if trainer.current_epoch == 2:
            path.write_bytes(b"half")
            raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")
        original(trainer, path, *args)

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(lightning.Trainer, "save_checkpoint", full)
        with pytest.raises(TrainingError, match=r"last\.ckpt cannot be written .*--resume") as told:
            runs.train(finished.config, data, out)
    assert told.value.exit_code == 3
    assert not list(out.glob(".*partial"))
    files.check_checkpoint(out / "last.ckpt", finished.model)  # the state after the epoch before
    assert_same(finished, runs.train(finished.config, data, out, resume=True))


def test_a_disk_that_is_full_at_the_end_loses_no_epoch(
    finished: runs.Run, data: PreparedData, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if "predictions_test" in path.name:
            original(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(TrainingError, match=r"predictions_test\.parquet cannot be .*No space left"):
            runs.train(finished.config, data, copied, resume=True)
    assert not list(copied.glob(".*partial"))
    # it had stopped early, and does not train on
    assert_same(finished, runs.train(finished.config, data, copied, resume=True))
    assert rows(copied) < 8


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive"])
def test_a_damaged_state_is_named(
    damage: bytes, finished: runs.Run, data: PreparedData, copied: Path
) -> None:
    (copied / "last.ckpt").write_bytes(damage)
    with pytest.raises(DataError, match=r"last\.ckpt is damaged .*remove it to start again") as told:
        runs.train(finished.config, data, copied, resume=True)
    assert told.value.exit_code == 3


def test_flipped_bytes_of_a_state_are_noticed(finished: runs.Run, data: PreparedData, copied: Path) -> None:
    content = bytearray((copied / "last.ckpt").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 512] = bytes(byte ^ 0xFF for byte in content[middle : middle + 512])
    (copied / "last.ckpt").write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"last\.ckpt is damaged"):
        runs.train(finished.config, data, copied, resume=True)


def test_a_state_of_another_model_is_named(finished: runs.Run, data: PreparedData, copied: Path) -> None:
    state = torch.load(copied / "last.ckpt", weights_only=True)
    state["state_dict"]["model.classifier.weight"] = torch.zeros(1, 99)
    torch.save(state, copied / "last.ckpt")
    with pytest.raises(DataError, match=r"classifier\.weight is \(1, 99\) there and \(1, 8\) here"):
        runs.train(finished.config, data, copied, resume=True)
    torch.save({"epoch": 3}, copied / "last.ckpt")
    with pytest.raises(DataError, match="is no state of a training run: it has no state_dict"):
        runs.train(finished.config, data, copied, resume=True)


def test_a_folder_of_a_newer_version_is_refused(finished: runs.Run, data: PreparedData, copied: Path) -> None:
    environment = json.loads((copied / "env.json").read_text())
    (copied / "env.json").write_text(json.dumps(environment | {"format": 9, "sklar": "9.1"}))
    shutil.copy(finished.path / "metrics.json", copied)
    with pytest.raises(DataError, match=r"written by sklar 9\.1 in format 9; this is .*update sklar"):
        runs.Run.open(copied)
    with pytest.raises(DataError, match="update sklar"):
        runs.train(finished.config, data, copied, resume=True)


def test_settings_changed_by_hand_are_noticed(finished: runs.Run, data: PreparedData, copied: Path) -> None:
    text = (copied / "config.yaml").read_text()
    assert text.startswith(f"# sha256 of these settings: {finished.config.hash}\n")
    (copied / "config.yaml").write_text(text.replace("patience: 1", "patience: 7"))
    with pytest.raises(DataError, match=r"config\.yaml was changed after the run began"):
        runs.train(finished.config, data, copied, resume=True)
    (copied / "config.yaml").write_text("model: [")
    with pytest.raises(DataError, match=r"config\.yaml cannot be read"):
        runs.train(finished.config, data, copied, resume=True)


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("data.json", lambda run: run),
        ("env.json", lambda run: run),
        ("metrics.json", lambda run: run.metrics),
        ("predictions_test.parquet", lambda run: run.predictions("test")),
        ("best.safetensors", lambda run: run.model),
    ],
)
def test_a_damaged_file_of_a_run_is_named(
    name: str, use: Callable[[runs.Run], object], finished: runs.Run, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished.path, folder)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=f"{name}.* damaged"):
        use(runs.Run.open(folder))


def test_a_loss_that_is_not_finite_names_epoch_step_terms_and_rows(
    data: PreparedData, tmp_path: Path
) -> None:
    config = resolve("medfuse", [*TINY, "training.learning_rate=1e30", "training.schedule=constant"])
    with pytest.raises(
        TrainingError, match=r"epoch 0, step \d+ \(task nan; rows \d+, .* of the index\)"
    ) as told:
        runs.train(config, data, tmp_path / "run")
    assert "--resume" in str(told.value)
    assert not any(f"{name!s}" in str(told.value).split() for name in data.ids)


class Dying(torch.utils.data.Dataset[Any]):
    """Batches that a reading process does not survive."""

    def __getitems__(self, indices: list[int]) -> Any:
        os._exit(3)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])

    def __len__(self) -> int:
        return 8


def read_to_death(folder: Path) -> None:
    """Train on `Dying`, and say how that ended."""
    loader: DataLoader[Any] = DataLoader(Dying(), batch_sampler=EpochBatches(8, 4), num_workers=1)
    valid = DataLoader([some_batch(SOME)], batch_size=None)  # type: ignore[arg-type]
    model = create(SHAPES, MedFuseConfig(encoders=TINY_ENCODERS))
    try:
        fit(model, loader, valid, TrainingConfig(max_epochs=1), folder, 0)
    except TrainingError as error:
        os.write(1, str(error).encode())


def test_a_reading_process_that_dies_is_a_training_error(tmp_path: Path) -> None:
    # in a process of its own: torch goes on raising from its signal handler, wherever the process is then
    here = Path(__file__)
    code = f"import sys; sys.path.insert(0, {str(here.parent)!r}); from pathlib import Path; "
    code += f"import {here.stem}; {here.stem}.read_to_death(Path({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert re.search(r"a process that reads batches died.*training\.num_workers", done.stdout), done.stderr


def test_batches_read_ahead_are_the_same(finished: runs.Run, data: PreparedData, tmp_path: Path) -> None:
    config = resolve("medfuse", [*TINY, "training.max_epochs=2"])
    ahead = resolve("medfuse", [*TINY, "training.max_epochs=2", "training.num_workers=1"])
    one, other = (runs.train(c, data, tmp_path / n) for n, c in {"one": config, "two": ahead}.items())
    assert (one.path / "history.csv").read_text() == (other.path / "history.csv").read_text()


def test_mixed_precision_and_accumulation_train(data: PreparedData, tmp_path: Path) -> None:
    more = (
        "training.max_epochs=2",
        "training.precision=bf16",
        "training.accumulate=2",
        "training.logger=csv",
    )
    run = runs.train(resolve("cm2", [*SETTINGS, *more]), data, tmp_path / "run")
    assert run.metrics["validation"]["valid_auroc"] > 0.5
    assert (tmp_path / "run" / "tracker" / "metrics.csv").is_file()
    with pytest.raises(UserError, match="fp16 needs a GPU"):
        runs.train(resolve("cm2", [*SETTINGS, "training.precision=fp16"]), data, tmp_path / "half")
