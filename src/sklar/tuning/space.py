"""What is searched: per model the settings that vary, and between which values."""

from collections.abc import Mapping
from dataclasses import dataclass

from sklar.errors import UserError, nearest
from sklar.models import MODELS
from sklar.training.reference import REFERENCES

Value = float | int | str


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Value, ...]


@dataclass(frozen=True)
class Range:
    """A number between two ends, uniform on its logarithm."""

    low: float
    high: float


Space = Mapping[str, Choice | Range]

_NETWORK: Space = {
    "training.learning_rate": Range(3e-4, 1e-2),
    "training.weight_decay": Range(1e-4, 1e-1),
    "model.dropout": Choice((0.0, 0.1, 0.2, 0.3, 0.5)),
    "model.encoders.dim": Choice((32, 64, 128)),
}

_CM2: Space = {
    "model.alignment.weight": Range(1e-2, 1.0),
    "model.alignment.family": Choice(("gaussian", "student_t", "frank")),
    "model.alignment.components": Choice((1, 2, 3, 4)),
    "model.modality_dropout": Choice((0.0, 0.1, 0.2, 0.3)),
}

_TREES: Space = {
    "model.learning_rate": Range(0.01, 0.3),
    "model.leaves": Choice((7, 15, 31, 63)),
    "model.min_leaf": Choice((5, 10, 20, 50)),
    "model.l2": Range(0.01, 10.0),
}

_PAPER: Space = {
    "model.dropout": Choice((0.0, 0.1, 0.2, 0.3)),
    "training.learning_rate": Choice((1e-4, 5e-5, 1e-5)),
}
"""Appendix E.1 of the paper, for every model."""

_PAPER_CM2: Space = {
    "model.alignment.components": Choice((1, 2, 3, 4, 5, 6)),
    "training.temperature": Choice((0.001, 0.005, 0.01, 0.05, 0.08)),
    "model.alignment.weight": Choice((1e-5, 5e-6, 1e-6)),
}
"""Appendix E.1, K, temperature and lambda."""

SPACES: Mapping[str, Mapping[str, Space]] = {
    "default": {name: {**_NETWORK, **(_CM2 if name == "cm2" else {})} for name in MODELS}
    | {"gradient_boosting": _TREES},
    "paper": {name: {**_PAPER, **(_PAPER_CM2 if name == "cm2" else {})} for name in MODELS},
}
"""Spaces by name and model; those of one name give every model the same kind of freedom."""


def space(name: str, model: str) -> Space:
    """The space of a model.

    Raises:
        UserError: No such space or model, or the model has nothing to search in it.
    """
    if name not in SPACES:
        raise UserError(f"no space {name!r}; choose one of {', '.join(SPACES)}{nearest(name, SPACES)}")
    known = [*MODELS, *REFERENCES]
    if model not in known:
        raise UserError(f"no model {model!r}; choose one of {', '.join(known)}{nearest(model, known)}")
    if model not in SPACES[name]:
        raise UserError(
            f"{model} has nothing to search in the space {name!r}: sklar train chooses what it has by itself"
        )
    return SPACES[name][model]
