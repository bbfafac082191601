"""Fusion models behind one interface, and how to build one from its configuration."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from sklar.encoders import InputShape, build
from sklar.errors import UserError
from sklar.models.base import FusionModel, masked_bce
from sklar.models.cm2 import CM2, AlignmentConfig, CM2Config
from sklar.models.late import Late, LateConfig
from sklar.models.medfuse import MedFuse, MedFuseConfig
from sklar.models.single import Single, SingleConfig
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


def create(shapes: Mapping[str, InputShape], config: ModelConfig, outputs: int = 1) -> FusionModel:
    """The model that ``config`` describes, for modalities of the given shapes.

    Raises:
        UserError: A single-modality model names a modality that the data lack.
    """
    match config:
        case CM2Config():
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
    "MODELS",
    "AlignmentConfig",
    "CM2Config",
    "FusionModel",
    "Late",
    "LateConfig",
    "MedFuse",
    "MedFuseConfig",
    "ModelConfig",
    "Single",
    "SingleConfig",
    "Unified",
    "UnifiedConfig",
    "create",
    "masked_bce",
]
