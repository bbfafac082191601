"""A trained model as one function of tensors: inputs, presence mask and noise to probabilities."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sklar.encoders import Encoders, ImageShape, InputShape, SeriesShape, TextShape
from sklar.errors import UserError
from sklar.export.completion import completion
from sklar.export.dense import dense
from sklar.models import CM2, DAFT, MMTM, Ensemble, FusionModel
from sklar.types import Batch, Documents, Image, Input, Series, Table

PRESENT, NOISE, PROBABILITY = "present", "noise", "probability"

EXPORTABLE = ("cm2", "daft", "late", "medfuse", "mmtm", "single", "unified")
"""Models that need no branch on which rows are there."""


@dataclass(frozen=True)
class Port:
    """One tensor of a graph.

    Attributes:
        name: As the runtime calls it.
        dtype: "float32", "int64" or "bool".
        shape: Sizes after the first axis, which is the batch.
        codes: Of integers, the number of values along the last axis, or of each of its columns.
    """

    name: str
    dtype: Literal["float32", "int64", "bool"]
    shape: tuple[int, ...]
    codes: tuple[int, ...] = ()


class Answer(nn.Module, ABC):
    """Probabilities of one model.

    Attributes:
        noise: (M, d) of the noise it draws with; None when it draws nothing.
    """

    noise: tuple[int, int] | None

    @abstractmethod
    def forward(self, batch: Batch, noise: Float[Tensor, "s m d"] | None) -> Float[Tensor, "s b k"]:
        """Of S draws, or of one."""


@final
class Plain(Answer):
    """Of a model that draws nothing."""

    def __init__(self, model: FusionModel) -> None:
        super().__init__()
        self.model = model
        self.noise = None

    def forward(self, batch: Batch, noise: Tensor | None) -> Tensor:
        return self.model.probability(self.model(batch).logits).unsqueeze(0)


@final
class Completed(Answer):
    """Of CM²: encode, normalise, complete, fuse."""

    def __init__(self, model: CM2) -> None:
        super().__init__()
        self.completion = completion(model)
        self.encoders, self.normalise = model.encoders, model.normalise
        self.model = model
        self.model.alignment = None  # type: ignore[assignment]  # what it says is in the completion
        draws = self.completion.draws
        self.noise = (len(model.modalities), model.encoders.dim) if draws else None

    def forward(self, batch: Batch, noise: Tensor | None) -> Tensor:
        z = self.model.latents(batch)
        imputed = self.completion(z, batch.present, noise)
        return self.model.probability(self.model.fuse(imputed, batch.present))


@final
class Graph(nn.Module):
    """Tensors in the order of ``ports``, then the mask, then the noise if any, to (S, B, K) probabilities.

    S counts the draws of all members of an ensemble, one member after the other.

    Args:
        model: In evaluation mode; it is copied.
        shapes: Of every modality's input.
        documents: Per text the number of documents and of tokens that the graph reads.
        steps: Per series the number of steps.

    Attributes:
        ports: The tensors.
        noise: (E, M, d): members, modalities, coordinates; None where nothing is drawn.

    Raises:
        UserError: The model, or its copula family, cannot be exported.
    """

    def __init__(
        self,
        model: FusionModel,
        shapes: Mapping[str, InputShape],
        documents: Mapping[str, tuple[int, int]],
        steps: Mapping[str, int],
    ) -> None:
        super().__init__()
        members = cast(Sequence[FusionModel], model.members) if isinstance(model, Ensemble) else [model]
        self.members = nn.ModuleList(_answer(member) for member in members)
        first = cast(Answer, self.members[0])
        self.noise = None if first.noise is None else (len(members), *first.noise)
        self.shapes = dict(shapes)
        self.ports = tuple(
            port for name, shape in shapes.items() for port in _ports(name, shape, documents, steps)
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Of all inputs, in order."""
        drawn = () if self.noise is None else (NOISE,)
        return (*(port.name for port in self.ports), PRESENT, *drawn)

    def batch(self, given: Mapping[str, Tensor]) -> Batch:
        """The batch that the tensors stand for."""
        present: Bool[Tensor, "b m"] = given[PRESENT]
        return Batch({name: _input(name, shape, given) for name, shape in self.shapes.items()}, present)

    def forward(self, *tensors: Tensor) -> Float[Tensor, "s b k"]:
        given = dict(zip(self.names, tensors, strict=True))
        batch, noise = self.batch(given), given.get(NOISE)
        parts = [
            member(batch, None if noise is None else noise[:, index])
            for index, member in enumerate(self.members)
        ]
        return torch.cat(parts)


def _answer(model: FusionModel) -> Answer:
    name = next((key for key in EXPORTABLE if type(model).__name__.lower() == key), None)
    if name is None:
        raise UserError(
            f"{type(model).__name__} chooses its operations by which rows are there, so it cannot be "
            f"exported; these can: {', '.join(EXPORTABLE)}"
        )
    exchanging = isinstance(model, DAFT | MMTM)
    if exchanging and any(isinstance(m, Encoders) and m.absent == "skip" for m in model.modules()):
        raise UserError(
            f"{name} with model.absent=skip exchanges features of the rows that are there, so it cannot be "
            "exported: train it with model.absent=zero_input"
        )
    copied = dense(model)
    return Completed(copied) if isinstance(copied, CM2) else Plain(copied)


def _ports(
    name: str,
    shape: InputShape,
    documents: Mapping[str, tuple[int, int]],
    steps: Mapping[str, int],
) -> tuple[Port, ...]:
    if isinstance(shape, SeriesShape):
        return (
            Port(f"{name}_values", "float32", (steps[name], shape.channels)),
            Port(f"{name}_observed", "bool", (steps[name], shape.variables)),
        )
    if isinstance(shape, ImageShape):
        return (Port(f"{name}_pixels", "float32", (shape.channels, shape.height, shape.width)),)
    if isinstance(shape, TextShape):
        return (
            Port(f"{name}_ids", "int64", documents[name], (shape.tokens,)),
            Port(f"{name}_attention", "bool", documents[name]),
        )
    return (
        Port(f"{name}_numeric", "float32", (shape.numeric,)),
        Port(f"{name}_observed", "bool", (shape.numeric,)),
        Port(f"{name}_categories", "int64", (len(shape.levels),), tuple(own + 1 for own in shape.levels)),
    )


def _input(name: str, shape: InputShape, given: Mapping[str, Tensor]) -> Input:
    if isinstance(shape, SeriesShape):
        values = given[f"{name}_values"]
        valid = torch.ones_like(values[..., 0], dtype=torch.bool)
        return Series(values, valid, given[f"{name}_observed"])
    if isinstance(shape, ImageShape):
        return Image(given[f"{name}_pixels"])
    if isinstance(shape, TextShape):
        attention = given[f"{name}_attention"]
        return Documents(given[f"{name}_ids"], attention, attention.any(2))
    own = (given[f"{name}_{field}"] for field in ("numeric", "observed", "categories"))
    return Table(*own)
