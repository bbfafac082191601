"""How far an exported model is from the one it was made of, on the same inputs, masks and noise."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import cast, final

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from sklar.alignment import Noise
from sklar.export.graph import NOISE, PRESENT, Graph, Port
from sklar.models import CM2, Ensemble, FusionModel
from sklar.types import Batch

ROWS, DRAWS, MOST_MASKS = 64, 4, 127
"""Made-up rows per mask, draws, and masks that are looked at (all of them up to seven modalities)."""


@final
@dataclass(frozen=True)
class Given(Noise):
    """Noise that is handed in: (S, d) uniforms of one modality after the other."""

    queue: Iterator[Tensor] = field(default_factory=lambda: iter(()))

    def _independent(self, like: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        own = next(self.queue).unsqueeze(1)
        return own.log(), torch.log1p(-own)


def masks(modalities: int) -> list[tuple[bool, ...]]:
    """Which modalities are present, in every combination but none at all."""
    return [own for own in product((True, False), repeat=modalities) if any(own)][:MOST_MASKS]


def examples(graph: Graph, modalities: int, seed: int = 0) -> dict[str, Tensor]:
    """Made-up tensors for every port: as many rows for each mask, no patient among them."""
    generator = Generator().manual_seed(seed)
    present = torch.tensor(masks(modalities)).repeat_interleave(ROWS, 0)
    made = {port.name: _content(port, len(present), generator) for port in graph.ports}
    made[PRESENT] = present
    if graph.noise is not None:
        made[NOISE] = uniforms(graph.noise, DRAWS, generator)
    return {name: made[name] for name in graph.names}


def uniforms(shape: tuple[int, int, int], draws: int, generator: Generator) -> Float[Tensor, "s e m d"]:
    """Uniform numbers strictly between 0 and 1."""
    numbers = torch.rand(draws, *shape, generator=generator, dtype=torch.float64)
    return numbers.clamp(2**-24, 1 - 2**-24).float()  # what float32 keeps from rounding to 0 or 1


@torch.no_grad()
def graph_answers(graph: Graph, tensors: Mapping[str, Tensor]) -> Float[Tensor, "s b k"]:
    """What the graph says, by the operations that are exported.

    torch has a fused kernel for transformer layers in inference, which no exported program calls.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        found: Tensor = graph(*tensors.values())
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return found


@torch.no_grad()
def answers(model: FusionModel, batch: Batch, noise: Tensor | None) -> Float[Tensor, "s b k"]:
    """What the model itself says, drawing with the given noise (S, E, M, d)."""
    members = cast(Sequence[FusionModel], model.members) if isinstance(model, Ensemble) else [model]
    return torch.cat(
        [_answers(own, batch, None if noise is None else noise[:, i]) for i, own in enumerate(members)]
    )


def _answers(model: FusionModel, batch: Batch, noise: Tensor | None) -> Tensor:
    if not isinstance(model, CM2) or noise is None:
        return model.predict_draws(batch)
    method = model.config.imputation
    imputed = model.alignment.impute(
        model.latents(batch),
        batch.present,
        method,
        Given(len(noise), queue=iter(noise.unbind(1))),
        # the graph draws every modality by the quantile of its mixture
        gradient="pathwise" if method == "unconditional" else "none",
    )
    return model.probability(model.fuse(imputed, batch.present))


def difference(one: Tensor, other: Tensor) -> float:
    """The largest between two arrays of probabilities; infinite where one is not a number."""
    gap = (one.double() - other.double()).abs()
    return float(gap.nan_to_num(torch.inf, torch.inf, torch.inf).max())


def _content(port: Port, rows: int, generator: Generator) -> Tensor:
    shape = (rows, *port.shape)
    if port.dtype == "float32":
        return torch.randn(shape, generator=generator)
    if port.dtype == "int64":
        count = torch.tensor(port.codes).expand(shape[-1])
        return (torch.rand(shape, generator=generator) * count).long()
    if not port.name.endswith("_attention"):
        return torch.rand(shape, generator=generator) < 0.6
    # documents of any length, of which all but the first may be missing
    length = 1 + (torch.rand((*shape[:2], 1), generator=generator) * shape[2]).long()
    there = torch.rand((*shape[:2], 1), generator=generator) < 0.6
    there[:, 0] = True
    mask: Tensor = (torch.arange(shape[2]) < length) & there
    return mask


def by_name(graph: Graph, tensors: Mapping[str, Tensor], rows: slice) -> dict[str, Tensor]:
    """Some rows of all tensors; the noise, which all rows share, whole."""
    return {name: own if name == NOISE else own[rows] for name, own in tensors.items()}
