"""Fusion models behind one interface, and how to build one from its configuration."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from sklar.encoders import InputShape, build
from sklar.errors import UserError
from sklar.models.base import FusionModel
from sklar.models.cm2 import CM2, AlignmentConfig, CM2Config
from sklar.models.daft import DAFT, DAFTConfig
from sklar.models.drfuse import DrFuse, DrFuseConfig
from sklar.models.ensemble import Ensemble
from sklar.models.fusion import FUSIONS, FusionConfig
from sklar.models.interleaved import Interleaved, InterleavedConfig
from sklar.models.late import Late, LateConfig
from sklar.models.lsmt import LSMT, LSMTConfig
from sklar.models.medfuse import MedFuse, MedFuseConfig
from sklar.models.mmtm import MMTM, MMTMConfig
from sklar.models.single import Single, SingleConfig
from sklar.models.tasks import TASKS, Task, masked_bce, masked_cross_entropy
from sklar.models.unified import Unified, UnifiedConfig
from sklar.types import TaskName

MODELS: dict[str, type[FusionModel]] = {
    "cm2": CM2,
    "daft": DAFT,
    "drfuse": DrFuse,
    "interleaved": Interleaved,
    "late": Late,
    "lsmt": LSMT,
    "medfuse": MedFuse,
    "mmtm": MMTM,
    "single": Single,
    "unified": Unified,
}
"""Every fusion model by name."""

AnyConfig = (
    CM2Config
    | DAFTConfig
    | DrFuseConfig
    | InterleavedConfig
    | LateConfig
    | LSMTConfig
    | MedFuseConfig
    | MMTMConfig
    | SingleConfig
    | UnifiedConfig
)
"""Settings of every fusion model."""

ModelConfig = Annotated[AnyConfig, Field(discriminator="name")]
"""The same, told apart by ``name``."""


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
        UserError: A model names a modality that the data lack, has only one where it needs two, or the number
            of outputs does not suit the task.
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
        case DAFTConfig():
            return DAFT(shapes, config, outputs)
        case DrFuseConfig():
            return DrFuse(shapes, config, outputs)
        case InterleavedConfig():
            return Interleaved(shapes, config, outputs)
        case LateConfig():
            return Late(build(shapes, config.encoders), config, outputs)
        case LSMTConfig():
            return LSMT(shapes, config, outputs)
        case MMTMConfig():
            return MMTM(shapes, config, outputs)
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
    "DAFT",
    "FUSIONS",
    "LSMT",
    "MMTM",
    "MODELS",
    "TASKS",
    "AlignmentConfig",
    "AnyConfig",
    "CM2Config",
    "DAFTConfig",
    "DrFuse",
    "DrFuseConfig",
    "Ensemble",
    "FusionConfig",
    "FusionModel",
    "Interleaved",
    "InterleavedConfig",
    "LSMTConfig",
    "Late",
    "LateConfig",
    "MMTMConfig",
    "MedFuse",
    "MedFuseConfig",
    "ModelConfig",
    "Single",
    "SingleConfig",
    "Task",
    "Unified",
    "UnifiedConfig",
    "create",
    "masked_bce",
    "masked_cross_entropy",
]
