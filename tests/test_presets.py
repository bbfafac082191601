"""Presets expand to explicit settings, any of which may be overridden."""

import math
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from batches import SHAPES, SOME, some_batch
from cohorts import TINY, small_cohort
from sklar import runs
from sklar.alignment import UnitLength
from sklar.cli import app
from sklar.errors import UserError
from sklar.models import CM2, CM2Config, create
from sklar.training.adapter import task_factor
from sklar.training.config import RunConfig, resolve
from sklar.training.presets import PRESETS

named = pytest.mark.parametrize("name", sorted(set(PRESETS) - {"default"}))


def values(config: RunConfig) -> dict[str, object]:
    """Settings by dotted path."""
    out: dict[str, object] = {}

    def walk(prefix: str, branch: object) -> None:
        if isinstance(branch, dict):
            for key, value in branch.items():
                walk(f"{prefix}.{key}" if prefix else key, value)
        else:
            out[prefix] = branch

    walk("", yaml.safe_load(config.to_yaml()))
    return out


def test_the_paper_preset_is_what_the_paper_says() -> None:
    found = values(resolve("cm2", preset="paper"))
    wanted = {
        "preset": "paper",
        "model.encoders.series.kind": "lstm",
        "model.encoders.series.layers": 2,
        "model.encoders.series.summaries": False,
        "model.encoders.image.kind": "resnet34",
        "model.encoders.text.hidden": 312,
        "model.encoders.text.layers": 4,
        "model.alignment.components": 3,
        "model.alignment.weight": 1e-6,
        "model.alignment.scale": "sum",
        "model.alignment.average": "paired",
        "model.alignment.family": "frank",
        "model.alignment.pit": "kendall",
        "model.alignment.objective_sign": "correct",
        "model.imputation": "unconditional",
        "model.imputation_gradient": "stratified",
        "model.modality_dropout": 0,
        "model.mark_imputed": False,
        "model.discount_imputed": False,
        "model.linear_path": False,
        "model.fusion.kind": "lstm",
        "model.fusion.layers": 2,
        "model.dropout": 0.3,
        "training.temperature": 0.001,
        "training.learning_rate": 1e-4,
        "training.betas": [0.9, 0.999],
        "training.weight_decay": 0,
        "training.schedule": "constant",
        "training.max_epochs": 100,
        "training.patience": 15,
        "training.batch_size": 32,
    }
    assert {key: found[key] for key in wanted} == wanted


def test_the_released_preset_is_what_the_code_does() -> None:
    found = values(resolve("cm2", preset="released"))
    wanted = {
        "model.normalise": "unit",
        "model.alignment.pit": "official",
        "model.alignment.family": "gumbel",
        "model.alignment.components": 3,
        "model.alignment.average": "paired",
        "model.imputation": "skip",
        "model.fusion.layers": 1,
        "model.fusion.hidden": 512,
        "training.betas": [0.9, 0.9],
        "training.schedule": "plateau",
        "training.temperature": 1e-4,
    }
    assert {key: found[key] for key in wanted} == wanted


def test_ours_is_the_default_and_no_preset_at_all() -> None:
    assert resolve("cm2") == resolve("cm2", preset="default")
    assert resolve("cm2").preset == "default"


@named
def test_a_preset_may_be_named_in_the_settings(name: str) -> None:
    assert resolve("cm2", [f"preset={name}"]) == resolve("cm2", preset=name)


@named
def test_settings_go_on_top_of_a_preset_and_survive_yaml(name: str) -> None:
    config = resolve("cm2", ["model.alignment.components=2", "training.max_epochs=7"], preset=name, seed=3)
    assert values(config)["model.alignment.components"] == 2
    assert (config.training.max_epochs, config.training.batch_size, config.seed) == (7, 32, 3)
    assert RunConfig.from_yaml(config.to_yaml()) == config


def test_presets_that_do_not_exist_or_do_not_apply_are_refused() -> None:
    with pytest.raises(UserError, match="no preset 'papers'; choose one of default, paper, released"):
        resolve("cm2", preset="papers")
    with pytest.raises(UserError, match="preset 'paper' describes cm2, not medfuse"):
        resolve("medfuse", preset="paper")


def test_the_command_line_expands_a_preset(tmp_path: Path) -> None:
    arguments = ["train", "cm2", "--preset", "paper", "--print-config"]
    shown = CliRunner().invoke(app, [*arguments, "--data", str(tmp_path), "--out", str(tmp_path / "run")])
    assert yaml.safe_load(shown.stdout) == yaml.safe_load(resolve("cm2", preset="paper").to_yaml())


@named
def test_a_preset_trains_end_to_end(name: str, tmp_path: Path) -> None:
    data = small_cohort(tmp_path / "data", rows=200)
    small = ["training.max_epochs=2", "model.alignment.warmup=100", "model.fusion.hidden=8"]
    run = runs.train(resolve("cm2", [*TINY, *small], preset=name), data, tmp_path / "run")
    probability = run.predictions("test").probability
    assert ((probability > 0) & (probability < 1)).all()


@named
def test_a_preset_keeps_its_promises_in_a_step(name: str) -> None:
    config = resolve("cm2", ["model.encoders.dim=8", "model.fusion.hidden=8"], preset=name).model
    assert isinstance(config, CM2Config)
    model = create(SHAPES, config).train()
    assert isinstance(model, CM2)
    batch = some_batch(SOME.repeat(2, 1))
    output = model(batch)
    objective = model.objective(output, batch.target)
    objective.total.backward()
    assert torch.isfinite(objective.total)


@pytest.mark.parametrize(
    ("temperature", "epoch", "wanted"),
    [(0.0, 50, 1.0), (0.001, 0, 1.0), (0.05, 20, math.e), (0.08, 1000, 1000.0), (10.0, 10**6, 1000.0)],
)
def test_the_temperature_multiplies_the_task_loss_up_to_a_thousand(
    temperature: float, epoch: int, wanted: float
) -> None:
    assert task_factor(temperature, epoch) == pytest.approx(wanted)


def test_unit_length_is_of_present_rows() -> None:
    z, present = torch.randn(6, 4), torch.arange(6) < 4
    norm = UnitLength()(z, present).norm(dim=1)
    torch.testing.assert_close(norm, present.float())


def test_a_plateau_schedule_and_other_betas_reach_the_optimiser(tmp_path: Path) -> None:
    data = small_cohort(tmp_path / "data", rows=200)
    settings = [*TINY, "training.schedule=plateau", "training.betas=[0.9,0.9]", "training.max_epochs=1"]
    runs.train(resolve("medfuse", settings), data, tmp_path / "run")
    state = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert tuple(state["optimizer_states"][0]["param_groups"][0]["betas"]) == (0.9, 0.9)
    assert state["lr_schedulers"][0]["patience"] == 10
