"""What a run is: frozen settings, unknown keys refused, every default visible, one hash."""

import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError, field_validator

from sklar.data.view import View
from sklar.errors import UserError, nearest
from sklar.models import MODELS, AnyConfig
from sklar.training.calibration import CalibrationConfig
from sklar.training.presets import merge, preset
from sklar.training.reference import REFERENCES, GradientBoostingConfig, LogisticRegressionConfig


class TrainingConfig(BaseModel):
    """Settings of the optimisation; the same for every model that is compared."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_epochs: int = Field(default=10, ge=1)
    patience: int = Field(default=3, ge=1)
    batch_size: int = Field(default=128, ge=2)
    """Rows of a batch, of all devices together: what is learned does not depend on their number."""
    accumulate: int = Field(default=1, ge=1)
    """Batches whose gradients are averaged into one step."""
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of AdamW's moments; without weight decay it is Adam."""
    schedule: Literal["onecycle", "constant", "plateau"] = "onecycle"
    """"plateau" halves the rate when the validation task loss has not fallen for ten epochs."""
    copula_learning_rate: float = Field(default=0.1, ge=0)
    """Learning rate of the copula's parameters, as a factor of the rest."""
    temperature: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """T of the released code: the task loss is multiplied by exp(T * epoch), at most 1000."""
    clip: float | None = Field(default=1.0, gt=0)
    draws: int = Field(default=20, ge=1)
    """Draws of the missing latents that a prediction averages."""
    ensemble: int = Field(default=1, ge=1)
    """Models that differ by their seed, whose probabilities are averaged; references do not depend on one."""
    validation_draws: int = Field(default=2, ge=1)
    censoring: Literal["complete", "ipcw"] = "complete"
    class_weight: Literal["none", "balanced"] | dict[str, PositiveFloat] = "none"
    """Factor of a training row's loss by its class; "balanced" makes all classes weigh alike."""
    strict: bool = False
    """Stop when latents collapse or explode (`sklar.alignment.ailments`) instead of warning."""
    accelerator: str = "auto"
    devices: int = Field(default=1, ge=1)
    """Processes of each machine, one device each; batches are dealt among all."""
    nodes: int = Field(default=1, ge=1)
    """Machines; a launcher such as torchrun or srun starts the processes of more than one."""
    strategy: Literal["auto", "ddp"] = "auto"
    """How processes train together; "auto" is "ddp" as soon as there are several."""
    precision: Literal["32", "bf16", "fp16"] = "32"
    """"bf16" and "fp16" are mixed: encoders compute in them, weights, alignment and losses in float32."""
    compile: bool = False
    """Compile the encoders' networks with `torch.compile`: needs a C++ compiler, and a minute or more."""
    cache_encodings: bool = True
    """Run frozen pretrained encoders once, and keep what they make beside the run."""
    num_workers: int = Field(default=0, ge=0)
    """Processes that read batches ahead; a batch is an array index, which seldom needs any."""
    pin_memory: bool = False
    """Read batches into page-locked memory, from which copies to a GPU do not wait."""
    logger: Literal["none", "csv", "tensorboard", "wandb", "mlflow"] = "none"
    """A tracker beside history.csv, from its own package; the network only if that package uses it."""

    @field_validator("precision", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        return str(value) if value == 32 else value  # as YAML reads it


AnyModelConfig = Annotated[
    AnyConfig | GradientBoostingConfig | LogisticRegressionConfig, Field(discriminator="name")
]


class RunConfig(BaseModel):
    """Everything that decides a run, apart from the data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: AnyModelConfig
    data: View = View()
    training: TrainingConfig = TrainingConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    seed: int = 0
    preset: str = "default"
    """The key of `sklar.training.presets.PRESETS` that the other values started from; a record only."""

    @property
    def hash(self) -> str:
        """SHA-256 of the resolved settings."""
        return content_hash(self.model_dump(mode="json"))

    def to_yaml(self) -> str:
        """The resolved settings, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    @classmethod
    def from_yaml(cls, text: str) -> "RunConfig":
        """Read what `to_yaml` wrote."""
        return _validate(yaml.safe_load(text))


def content_hash(tree: Any) -> str:
    """SHA-256 of plain values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def resolve(model: str, settings: Iterable[str] = (), /, **base: Any) -> RunConfig:
    """The configuration of a model by name, with ``a.b=c`` settings applied on top of ``base``.

    Args:
        model: Key of `sklar.models.MODELS` or `REFERENCES`.
        settings: Such as ``training.max_epochs=3``; values are YAML.
        base: Sections given as keyword arguments, such as ``seed=1`` or ``preset="paper"``.

    Raises:
        UserError: Unknown model, preset or key (with the nearest valid one), or a value outside its domain.
    """
    known = [*MODELS, *REFERENCES]
    if model not in known:
        raise UserError(f"no model {model!r}; choose one of {', '.join(known)}{nearest(model, known)}")
    tree: dict[str, Any] = merge({"model": {"name": model}}, base)
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator:
            raise UserError(f"--set takes KEY=VALUE, such as training.max_epochs=3; got {setting!r}")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"--set {key}: {value!r} is not a YAML value ({error})") from error
        branch: Any = parsed
        for part in reversed(key.strip().split(".")):
            branch = {part: branch}
        tree = merge(tree, branch)
    tree = merge(preset(str(tree.get("preset", "default")), model), tree)
    if tree["model"].get("name") != model:
        raise UserError(f"model.name is {model!r} here; train {tree['model'].get('name')!r} by its own name")
    return _validate(tree)


def _validate(tree: Any) -> RunConfig:
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise UserError("; ".join(_explain(item) for item in error.errors())) from error


def _explain(item: Any) -> str:
    keys, section = _place(item["loc"])
    key = ".".join(keys)
    if item["type"] == "extra_forbidden":
        valid = sorted(section.model_fields)
        near = nearest(keys[-1], valid, prefix=".".join([*keys[:-1], ""]))
        return f"{key} is unknown{near} (valid here: {', '.join(valid)})"
    if item["type"] == "missing":
        return f"{key} is required: --set {key}=..."
    if item["type"] == "union_tag_invalid":
        tag, kind = str(item["ctx"]["tag"]), item["ctx"]["discriminator"].strip("'")
        valid = [name.strip(" '") for name in item["ctx"]["expected_tags"].split(",")]
        return f"no {key}.{kind} {tag!r}; choose one of {', '.join(valid)}{nearest(tag, valid)}"
    return f"{key} = {item['input']!r}: {item['msg']}"


def _place(location: Iterable[int | str]) -> tuple[list[str], type[BaseModel]]:
    """The keys of a location, as users type them, and the section that should hold the last one."""
    keys: list[str] = []
    section: type[BaseModel] = RunConfig
    inner: Any = RunConfig  # what the keys so far lead to
    tagged = ""  # how the alternatives there are told apart
    for part in map(str, location):
        if tagged:  # the tag of an alternative, which users never type
            tags = {tag: m for m in get_args(inner) for tag in get_args(m.model_fields[tagged].annotation)}
            inner, tagged = tags[part], ""
            continue
        keys.append(part)
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            continue  # within a value: the section stays
        section = inner
        field = section.model_fields.get(part)
        inner = field.annotation if field else None
        tagged = str(field.discriminator) if field and field.discriminator else ""
    return keys, section
