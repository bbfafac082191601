"""Settings: resolved, frozen, hashed; unknown names are answered with the nearest valid one."""

import pytest
import yaml
from typer.testing import CliRunner

from sklar.cli import app
from sklar.errors import UserError
from sklar.models import MODELS
from sklar.training.config import RunConfig, TrainingConfig, resolve
from sklar.training.reference import REFERENCES


@pytest.mark.parametrize("model", [*MODELS, *REFERENCES])
def test_every_model_resolves_and_survives_yaml(model: str) -> None:
    settings = ["model.modality=labs"] if model == "single" else []
    config = resolve(model, settings)
    again = RunConfig.from_yaml(config.to_yaml())
    assert again == config
    assert again.hash == config.hash
    assert config.model.name == model


def test_settings_apply_in_order_and_change_the_hash() -> None:
    base = resolve("cm2")
    changed = resolve(
        "cm2", ["training.max_epochs=3", "model.alignment.family=frank", "training.max_epochs=4"]
    )
    assert changed.training.max_epochs == 4
    assert changed.model.alignment.family == "frank"  # type: ignore[union-attr]
    assert changed.hash != base.hash
    assert resolve("cm2", seed=1).hash != base.hash


def test_sections_and_settings_merge() -> None:
    config = resolve("single", ["training.patience=2"], seed=3, model={"modality": "labs"})
    assert (config.model.modality, config.training.patience, config.seed) == ("labs", 2, 3)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("cm3", [], "no model 'cm3'; choose one of cm2, .*did you mean cm2"),
        ("cm2", ["model.copla=frank"], "model.copla is unknown"),
        (
            "cm2",
            ["model.alignment.famly=frank"],
            "model.alignment.famly is unknown; did you mean model.alignment.family",
        ),
        ("cm2", ["training.max_epoch=3"], "training.max_epoch is unknown; did you mean training.max_epochs"),
        (
            "cm2",
            ["model.alignment.family=gumble"],
            "no copula family 'gumble'; choose one of independence, gumbel",
        ),
        ("cm2", ["model.alignment.weight=-1"], "model.alignment.weight = -1: .*greater than or equal to 0"),
        ("cm2", ["training.max_epochs=many"], "training.max_epochs = 'many'"),
        ("cm2", ["model.imputation=guess"], "model.imputation = 'guess': .*'conditional'"),
        ("cm2", ["training.max_epochs"], "--set takes KEY=VALUE"),
        ("cm2", ["model.name=medfuse"], "train 'medfuse' by its own name"),
        ("cm2", ["model.encoders.text.heads=3"], r"hidden \(64\) must be a multiple of heads \(3\)"),
        (
            "unified",
            ["model.encoders.image.width=3"],
            "model.encoders.image.width is unknown; did you mean model.encoders.image.widths",
        ),
        (
            "cm2",
            ["model.encoders.image.kind=resnet43"],
            "no model.encoders.image.kind 'resnet43'; choose one of resnet18, .*; did you mean resnet34",
        ),
        ("cm2", ["model.encoders.image.dropout=2"], r"model.encoders.image.dropout = 2: .*less than 1"),
        ("cm2", ["model.encoders.image.widths=[1, 2, 3, a]"], r"model.encoders.image.widths.3 = 'a'"),
        ("single", [], "model.modality is required: --set model.modality="),
        ("gradient_boosting", ["model.trees=3"], "model.trees is unknown"),
    ],
)
def test_mistakes_are_named_with_the_way_out(model: str, settings: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve(model, settings)


def test_a_configuration_is_frozen() -> None:
    config = resolve("cm2")
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3  # type: ignore[misc]


def test_the_configuration_is_printed_without_data() -> None:
    printed = CliRunner().invoke(app, ["train", "cm2", "--print-config", "--set", "training.devices=2"])
    assert printed.exit_code == 0
    tree = yaml.safe_load(printed.stdout)
    assert RunConfig.model_validate(tree) == resolve("cm2", ["training.devices=2"])
    assert set(tree["training"]) == set(TrainingConfig.model_fields)
    assert "needs --data" in str(CliRunner().invoke(app, ["train", "cm2"]).exception)
