"""Fusion models behind one interface, and how to build one from its configuration."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from sklar.encoders import InputShape, build
from sklar.errors import UserError
from sklar.models.base import FusionModel
from sklar.models.cm2 import CM2, AlignmentConfig, CM2Config
from sklar.models.ensemble import Ensemble
from sklar.models.fusion import FUSIONS, FusionConfig
from sklar.models.late import Late, LateConfig
from sklar.models.medfuse import MedFuse, MedFuseConfig
from sklar.models.single import Single, SingleConfig
from sklar.models.tasks import TASKS, Task, TaskName, masked_bce, masked_cross_entropy
from sklar.models.unified import Unified, UnifiedConfig

MODELS: dict[str, type[FusionModel]] = {
    "cm2": CM2,
    "late": Late,
    "medfuse": MedFuse,
    "single": Single,
    "unified": Unified,
}
"""Every fusion model by name."""

ModelConfig = Annotated[
    CM2Config | LateConfig | MedFuseConfig | SingleConfig | UnifiedConfig, Field(discriminator="name")
]


def create(
    shapes: Mapping[str, InputShape],
    config: ModelConfig,
    outputs: int = 1,
    task: TaskName = "binary",
) -> FusionModel:
    """The model that ``config`` describes, for modalities of the given shapes.

    Args:
        shapes: Of every modality's input.
        config: Settings.
        outputs: K: one for a binary target, labels of a multilabel one, classes of a multiclass one.
        task: Key of `TASKS`.

    Raises:
        UserError: A single-modality model names a modality that the data lack, CM² has only one to align, or
            the number of outputs does not suit the task.
    """
    if (task == "binary" and outputs != 1) or (task == "multiclass" and outputs < 2):
        need = "one output" if task == "binary" else "an output per class, two or more"
        raise UserError(f"a {task} target needs {need}, got {outputs}")
    model = _create(shapes, config, outputs)
    model.task = task
    return model


def _create(shapes: Mapping[str, InputShape], config: ModelConfig, outputs: int) -> FusionModel:
    match config:
        case CM2Config():
            if len(shapes) < 2:
                raise UserError(
                    f"cm2 aligns two modalities or more, the data have {len(shapes)} ({', '.join(shapes)}): "
                    "train the model 'single' with model.modality, or add a modality to the schema"
                )
            return CM2(build(shapes, config.encoders), config, outputs)
        case LateConfig():
            return Late(build(shapes, config.encoders), config, outputs)
        case MedFuseConfig():
            return MedFuse(build(shapes, config.encoders), config, outputs)
        case UnifiedConfig():
            return Unified(build(shapes, config.encoders), config, outputs)
        case SingleConfig():
            if config.modality not in shapes:
                raise UserError(f"model.modality is {config.modality!r}; name one of {', '.join(shapes)}")
            own = {config.modality: shapes[config.modality]}
            return Single(build(own, config.encoders), tuple(shapes), config, outputs)


__all__ = [
    "CM2",
    "FUSIONS",
    "MODELS",
    "TASKS",
    "AlignmentConfig",
    "CM2Config",
    "Ensemble",
    "FusionConfig",
    "FusionModel",
    "Late",
    "LateConfig",
    "MedFuse",
    "MedFuseConfig",
    "ModelConfig",
    "Single",
    "SingleConfig",
    "Task",
    "TaskName",
    "Unified",
    "UnifiedConfig",
    "create",
    "masked_bce",
    "masked_cross_entropy",
]
