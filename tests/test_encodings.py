"""What frozen encoders make of a folder: made once, kept, and no other than what they would make again."""

import json
import os
import shutil
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import pytorch_lightning
import torch
from safetensors.torch import load_file
from transformers import ResNetConfig, ResNetModel, ViTConfig, ViTModel

from cohorts import OWN
from sklar import runs, tuning
from sklar.data.frame import write
from sklar.data.loading import PreparedDataset
from sklar.data.schema import Augmentation, Image, Schema, Tabular, Text
from sklar.data.store import PreparedData
from sklar.encoders import BertText, ResNetImage, ViTImage
from sklar.errors import TrainingError
from sklar.models import MODELS, FusionModel
from sklar.runs.run import maker
from sklar.training.config import RunConfig, resolve
from sklar.training.encodings import ENCODINGS, fixed, kept
from sklar.training.inputs import key_of_tokens, tokenise, train_tokenizers
from test_pretrained_runs import bert
from test_processes import run

ROWS = 60
CPU = torch.device("cpu")
READ_EARLIER = {"daft", "drfuse", "mmtm"}
"""Models that read an encoder before its end, or encode blank inputs."""


def cohort(out: Path, **scan: Any) -> PreparedData:
    """A table, notes of two thirds and a scan of three quarters of the rows."""
    rng = np.random.default_rng(0)
    severity = rng.normal(size=ROWS)
    ids = np.array([f"p{i}" for i in range(ROWS)])
    words = np.array(["stable", "fever", "pain", "sepsis"])[np.digitize(severity, [-0.7, 0, 0.7])]
    noted, scanned = (np.sort(rng.choice(ROWS, n, replace=False)) for n in (40, 45))
    who = np.sort(np.concatenate([noted, noted[:10]]))
    grey = (rng.normal(128 + 40 * severity[:, None], 30, (ROWS, 32 * 32)).clip(0, 255)).astype(np.uint8)
    schema = Schema(
        id="id",
        label="died",
        modalities={
            "table": Tabular(numeric=("age",)),
            "notes": Text(documents=2),
            "scan": Image(height=32, width=32, **scan),
        },
    )
    subjects = {"id": ids, "died": (severity + rng.normal(size=ROWS) > 0).astype(int), "age": severity}
    texts = pa.table(
        {"id": ids[who], "text": [f"patient with {words[i]} {n % 3}" for n, i in enumerate(who)]}
    )
    pictures = pa.FixedSizeListArray.from_arrays(pa.array(grey[scanned].ravel()), 32 * 32)
    images = pa.table({"id": ids[scanned], "image": pictures})
    return write(out, schema, pa.table(subjects), texts={"notes": texts}, images={"scan": images})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return cohort(tmp_path_factory.mktemp("cohort") / "data")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    resnet = ResNetConfig(
        num_channels=1, embedding_size=4, hidden_sizes=[4, 4, 8, 8], depths=[1] * 4, layer_type="basic"
    )
    ResNetModel(resnet).save_pretrained(folder / "resnet")
    vit = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    ViTModel(ViTConfig(num_channels=1, image_size=32, patch_size=8, **vit)).save_pretrained(folder / "vit")
    return {"bert": bert(folder / "bert"), "resnet": folder / "resnet", "vit": folder / "vit"}


def settings(weights: dict[str, Path], image: str = "resnet", frozen: bool = True) -> list[str]:
    sizes: dict[str, dict[str, Any]] = {
        "resnet": {"kind": "resnet18", "widths": [4, 4, 8, 8], "depths": [1, 1, 1, 1]},
        "vit": {"kind": "vit", "hidden": 12, "layers": 2, "heads": 2, "intermediate": 16, "patch": 8},
    }
    own = {
        "model.encoders.dim": 8,
        "model.encoders.table.hidden": 8,
        "model.encoders.image": {**sizes[image], "pretrained": str(weights[image]), "freeze": frozen},
        "model.encoders.text": {"pretrained": str(weights["bert"]), "freeze": frozen, "length": 8},
        "training.max_epochs": 3,
        "training.batch_size": 16,
        "training.accelerator": "cpu",
    }
    return [f"{key}={json.dumps(value)}" for key, value in own.items()]


def config_of(model: str, more: list[str]) -> RunConfig:
    single = ["model.modality=notes"] if model == "single" else []
    return resolve(model, [*more, *single, *OWN.get(model, ())])


class Ready:
    """A model of a configuration, its tokens, and the encodings that it would train on."""

    def __init__(self, data: PreparedData, config: RunConfig, folder: Path) -> None:
        encoders = config.model.encoders
        folder.mkdir(exist_ok=True)
        tokenizers = train_tokenizers(data, encoders, folder)
        self.documents = tokenise(data, tokenizers, encoders)
        self.make = partial(self._made, maker(data.schema, tokenizers, config.model))
        self.fixed = fixed(self.make, data.schema)
        keys = {n: key_of_tokens(data, n, own, encoders.text.length) for n, own in tokenizers.items()}
        self.encodings = kept(self.fixed, data, self.documents, keys, folder / ENCODINGS, CPU)
        self.files = sorted((folder / ENCODINGS).glob("*"))

    @staticmethod
    def _made(make: Callable[[], FusionModel]) -> FusionModel:
        torch.manual_seed(0)
        return make()


@pytest.mark.parametrize("image", ["resnet", "vit"])
@pytest.mark.parametrize("model", MODELS)
def test_a_model_says_the_same_of_encodings(
    model: str, image: str, data: PreparedData, weights: dict[str, Path], tmp_path: Path
) -> None:
    ready = Ready(data, config_of(model, settings(weights, image)), tmp_path / "run")
    wanted = set() if model in READ_EARLIER else {"notes"} if model == "single" else {"notes", "scan"}
    assert set(ready.encodings) == wanted
    made = ready.make().eval()
    plain = PreparedDataset(data, documents=ready.documents)
    known = PreparedDataset(data, documents=ready.documents, encodings=ready.encodings)
    # absent rows of all kinds, a single row, and rows of which none has a note
    without = np.flatnonzero(~data.present[:, 1])[:5].tolist()
    for rows in (list(range(ROWS)), [3], without):
        one, other = (made(dataset.__getitems__(rows)) for dataset in (plain, known))
        # the encoders' sums run over batches of another size
        torch.testing.assert_close(other.logits, one.logits, rtol=1e-4, atol=1e-5)
        for name, value in one.latents.items():
            torch.testing.assert_close(other.latents[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("model", "scan"), [("cm2", (45, 1, 12)), ("lsmt", (45, 17, 12))])
def test_no_more_is_kept_than_is_read(
    model: str, scan: tuple[int, ...], data: PreparedData, weights: dict[str, Path], tmp_path: Path
) -> None:
    ready = Ready(data, config_of(model, settings(weights, "vit")), tmp_path / "run")
    assert ready.encodings["notes"].shape == (40, 2, 8)
    assert ready.encodings["scan"].shape == scan  # one token, or all patches beside it
    assert isinstance(ready.encodings["scan"], np.memmap)
    assert stat.S_IMODE((tmp_path / "run" / ENCODINGS).stat().st_mode) == 0o700


def test_an_encoding_where_the_input_is_needed_is_refused(
    data: PreparedData, weights: dict[str, Path], tmp_path: Path
) -> None:
    kept_ = Ready(data, config_of("cm2", settings(weights)), tmp_path / "frozen")
    batch = PreparedDataset(data, documents=kept_.documents, encodings=kept_.encodings).__getitems__(
        [0, 1, 2]
    )
    learning = Ready(data, config_of("cm2", settings(weights, frozen=False)), tmp_path / "learning")
    with pytest.raises(ValueError, match="nothing of this one is"):
        learning.make()(batch)
    every = [*settings(weights), 'model.after="every"', "model.absent=skip"]
    with pytest.raises(ValueError, match="'scan' is read after 1 stages of its encoder"):
        Ready(data, config_of("mmtm", every), tmp_path / "early").make()(batch)


def test_what_learns_or_changes_is_not_kept(
    data: PreparedData, weights: dict[str, Path], tmp_path: Path
) -> None:
    learning = Ready(data, config_of("cm2", settings(weights, frozen=False)), tmp_path / "learning")
    assert not learning.fixed
    scratch = [s for s in settings(weights) if "text" not in s] + ["model.encoders.image.pretrained=scratch"]
    assert not Ready(data, config_of("cm2", scratch), tmp_path / "scratch").fixed
    moved = cohort(tmp_path / "data", augmentation=Augmentation(flip=0.5))
    assert set(Ready(moved, config_of("cm2", settings(weights)), tmp_path / "moved").fixed) == {"notes"}


def test_a_key_knows_weights_settings_and_data_and_not_dropout(
    data: PreparedData, weights: dict[str, Path], tmp_path: Path
) -> None:
    def files(*more: str, own: PreparedData = data) -> set[str]:
        found = Ready(own, config_of("cm2", [*settings(weights), *more]), tmp_path / "run")
        return {path.name for path in found.files}

    first = files()
    assert len(first) == 2
    assert files("model.encoders.text.dropout=0.5", "model.encoders.dim=4", "training.batch_size=8") == first
    assert len(files("model.encoders.text.pooling=mean") - first) == 1
    assert len(files("model.encoders.text.length=4")) == 4
    before = len(files())
    changed = dict(weights, resnet=tmp_path / "changed")
    shutil.copytree(weights["resnet"], changed["resnet"])
    network = ResNetModel.from_pretrained(changed["resnet"])
    with torch.no_grad():
        next(network.parameters()).add_(1)
    network.save_pretrained(changed["resnet"])
    Ready(data, config_of("cm2", settings(changed)), tmp_path / "run")
    assert len(list((tmp_path / "run" / ENCODINGS).iterdir())) == before + 1


def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no encoder of notes or scans run."""

    def refuse(*_arguments: Any) -> None:
        raise AssertionError("an encoder ran")

    for backbone in (BertText, ResNetImage, ViTImage):
        monkeypatch.setattr(backbone, "start", refuse)


def test_a_run_trains_and_predicts_without_running_frozen_encoders(
    data: PreparedData, weights: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of("cm2", settings(weights))
    first = runs.train(config, data, tmp_path / "first")
    with monkeypatch.context() as patch:
        silent(patch)
        second = runs.train(config, data, tmp_path / "second")
    assert (first.path / "history.csv").read_text() == (second.path / "history.csv").read_text()
    np.testing.assert_array_equal(
        first.predictions("test").probability, second.predictions("test").probability
    )
    assert len(list((tmp_path / ENCODINGS).iterdir())) == 2
    # new rows are encoded, and those of the run come out the same
    shutil.rmtree(tmp_path / ENCODINGS)
    again = runs.Run.open(second.path).predict(data, "test").probability
    np.testing.assert_allclose(again, second.predictions("test").probability, rtol=1e-4)


def test_a_run_without_encodings_is_about_the_same(
    data: PreparedData, weights: dict[str, Path], tmp_path: Path
) -> None:
    config = config_of("cm2", settings(weights))
    plain = config_of("cm2", [*settings(weights), "training.cache_encodings=false"])
    kept_, made = (runs.train(c, data, tmp_path / n) for n, c in {"kept": config, "made": plain}.items())
    for one, other in zip(
        *(load_file(r.path / "best.safetensors").items() for r in (kept_, made)), strict=True
    ):
        torch.testing.assert_close(one[1], other[1], rtol=1e-2, atol=1e-3, msg=one[0])


def test_made_again_they_have_the_same_bits_and_a_resumed_run_too(
    data: PreparedData, weights: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of("cm2", settings(weights))
    whole = runs.train(config, data, tmp_path / "whole")
    before = {path.name: path.read_bytes() for path in (tmp_path / ENCODINGS).iterdir()}
    original = pytorch_lightning.Trainer.save_checkpoint

    def full(trainer: Any, path: Path, *arguments: Any) -> None:
        if trainer.current_epoch == 1:
            raise RuntimeError("file write failed")
        original(trainer, path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(pytorch_lightning.Trainer, "save_checkpoint", full)
        with pytest.raises(TrainingError, match="cannot be written"):
            runs.train(config, data, tmp_path / "cut")
    shutil.rmtree(tmp_path / ENCODINGS)
    resumed = runs.train(config, data, tmp_path / "cut", resume=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / ENCODINGS).iterdir()} == before
    assert (whole.path / "best.safetensors").read_bytes() == (resumed.path / "best.safetensors").read_bytes()


def test_a_full_disk_leaves_no_file_that_looks_whole(
    data: PreparedData, weights: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full)
    with pytest.raises(TrainingError, match=r"cannot be written \(No space left"):
        Ready(data, config_of("cm2", settings(weights)), tmp_path / "run")
    assert not list((tmp_path / "run" / ENCODINGS).iterdir())


def test_what_a_killed_process_left_is_removed(
    data: PreparedData, weights: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "run" / ENCODINGS
    folder.mkdir(parents=True)
    left, others = folder / ".key.npy.00000000.partial", folder / ".key.npy.11111111.partial"
    for path in (left, others):
        path.write_bytes(b"half")
    os.utime(left, (0, 0))
    Ready(data, config_of("cm2", settings(weights)), tmp_path / "run")
    assert not left.exists()
    assert others.exists()  # somebody may be writing it


@pytest.mark.filterwarnings("default")  # Optuna marks what it may still change
def test_trials_of_a_search_share_them(
    data: PreparedData, weights: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna", reason="the extra 'tune' is not installed")
    searched = ("training.max_epochs=1", "training.batch_size=16", "training.accelerator=cpu")
    frozen = tuple(
        s for s in settings(weights) if s.startswith(("model.encoders.image", "model.encoders.text"))
    )
    tuning.tune("unified", data, tmp_path / "s", trials=1, settings=(*frozen, *searched), refit=False)
    silent(monkeypatch)
    found = tuning.tune("unified", data, tmp_path / "s", trials=3, settings=(*frozen, *searched), refit=False)
    assert found.trials == 3


@pytest.mark.slow
def test_two_processes_read_what_the_first_one_made(
    data: PreparedData, weights: dict[str, Path], tmp_path: Path
) -> None:
    run(data, tmp_path / "two", {"model": "cm2", "set": [*settings(weights), "training.devices=2"]})
    assert (tmp_path / "two" / "metrics.json").is_file()
    ready = Ready(data, config_of("cm2", settings(weights)), tmp_path / "one")
    made = {path.name: np.load(path) for path in (tmp_path / ENCODINGS).iterdir()}
    assert set(made) == {path.name for path in ready.files}
    for path in ready.files:
        np.testing.assert_allclose(made[path.name], np.load(path), rtol=1e-4, atol=1e-6)
