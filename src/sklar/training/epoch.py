"""What an epoch adds up to, over batches and over the processes that train together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sklar import processes
from sklar.types import Batch, Objective, Output


@final
class Totals:
    """Losses of steps, weighted by their rows. They stay on their device until the epoch ends."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._sums: list[Tensor] = []

    def add(self, objective: Objective, rows: Tensor) -> None:
        """Take note of the losses of a step of so many rows, of all processes together."""
        self._names = (*objective.terms, "loss")
        values = [*objective.terms.values(), objective.total]
        self._sums.append(torch.stack([*(value.detach() for value in values), values[0].new_ones(())]) * rows)

    def means(self, stage: str) -> dict[str, float]:
        """``<stage>_<term>`` and ``<stage>_loss``, and start anew."""
        total = torch.stack(self._sums).double().sum(0, keepdim=True)
        everyone = processes.collect(total).sum(0)
        self._sums.clear()
        means = (everyone[:-1] / everyone[-1]).tolist()
        return {f"{stage}_{name}": value for name, value in zip(self._names, means, strict=True)}


@final
@dataclass(frozen=True)
class Judged:
    """Validation rows and what the model says of them.

    Attributes:
        ids: (N,) positions in the index; each once after `all`.
        target: (N,) or (N, K).
        probability: (N, K).
        weight: (N,).
        present: (N, M).
        latents: Per modality (N, d).
        losses: ``valid_<term>`` and ``valid_loss``: means over batches, weighted by their rows.
    """

    ids: Int[Tensor, " n"]
    target: Float[Tensor, "n *k"]
    probability: Float[Tensor, "n k"]
    weight: Float[Tensor, " n"]
    present: Bool[Tensor, "n m"]
    latents: Mapping[str, Float[Tensor, "n d"]]
    losses: Mapping[str, float | Tensor]

    @classmethod
    def of(cls, batch: Batch, probability: Tensor, output: Output, objective: Objective) -> "Judged":
        """One batch."""
        assert batch.target is not None, "the adapter refuses a batch without a target"
        rows, device = len(batch), batch.present.device
        return cls(
            torch.arange(rows, device=device) if batch.ids is None else batch.ids,
            batch.target,
            probability,
            torch.ones(rows, device=device) if batch.weight is None else batch.weight,
            batch.present,
            output.latents,
            {f"valid_{name}": value for name, value in objective.terms.items()}
            | {"valid_loss": objective.total},
        )

    @classmethod
    def all(cls, batches: Sequence["Judged"]) -> "Judged":
        """The rows of all batches of all processes; a row that two processes judged counts once."""
        rows = torch.tensor([len(b.ids) for b in batches], dtype=torch.float64)
        losses = {}
        for name in batches[0].losses:
            values = torch.tensor([float(b.losses[name]) for b in batches], dtype=torch.float64)
            own = torch.stack([(values * rows).sum(), rows.sum()]).to(batches[0].present.device)
            total, weight = processes.collect(own.unsqueeze(0)).sum(0).tolist()
            losses[name] = total / weight

        def whole(parts: Sequence[Tensor]) -> Tensor:
            return processes.collect(torch.cat(list(parts)))

        ids = whole([b.ids for b in batches])
        once = slice(None) if processes.count() == 1 else distinct(ids)
        return cls(
            ids[once],
            whole([b.target for b in batches])[once],
            whole([b.probability for b in batches])[once],
            whole([b.weight for b in batches])[once],
            whole([b.present for b in batches])[once],
            {name: whole([b.latents[name] for b in batches])[once] for name in batches[0].latents},
            losses,
        )


def distinct(ids: Int[Tensor, " n"]) -> Int[Tensor, " k"]:
    """Where each id occurs first, in the order of the ids."""
    order = ids.argsort(stable=True)
    ordered = ids[order]
    fresh = torch.ones_like(ordered, dtype=torch.bool)
    fresh[1:] = ordered[1:] != ordered[:-1]
    return order[fresh]
