"""Backbones as lists of stages over one currency, the `Feature`.

A backbone is walked stage by stage, so that models which exchange information half-way
(MMTM, DAFT) or share a trunk (DrFuse) need nothing of the backbone but its stages.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sklar.encoders.pretrained import Loaded
from sklar.types import Encoding, Input

Place = Literal["early", "late", "fork", "tokens"]
"""A named number of stages, see `Backbone.tap`."""


@dataclass(frozen=True)
class Feature:
    """What flows between the stages of a backbone: N present rows out of a batch of B.

    Attributes:
        x: (N, L, C) tokens or (N, C, H, W) maps.
        valid: (N, L) true where a token exists; None when all do.
        rows: (N,) positions of the rows in the batch; None when all B rows are there.
        batch: B.
        context: (N, S) side information that the stages carry unchanged to the pool.
    """

    x: Float[Tensor, "n *shape"]
    valid: Bool[Tensor, "n l"] | None
    rows: Int[Tensor, " n"] | None
    batch: int
    context: Float[Tensor, "n s"] | None = None

    def squeeze(self) -> Float[Tensor, "b c"]:
        """Channel means over the valid tokens or the pixels; zeros for absent rows."""
        if self.x.ndim == 4:
            return self.scatter(self.x.mean((2, 3)))
        if self.valid is None:
            return self.scatter(self.x.mean(1))
        mask = self.valid.unsqueeze(-1)
        return self.scatter((self.x * mask).sum(1) / mask.sum(1).clamp(min=1))  # a row has >= 1 token

    def affine(self, scale: Float[Tensor, "b c"], shift: Float[Tensor, "b c"] | None = None) -> Self:
        """Channel-wise ``scale * x + shift`` with one scale per row and channel."""
        x = self._spread(scale) * self.x
        return replace(self, x=x if shift is None else x + self._spread(shift))

    def tokens(self) -> tuple[Float[Tensor, "b l c"], Bool[Tensor, "b l"]]:
        """(B, L, C) tokens and which of them exist; all of an absent row are missing."""
        x = self.x.flatten(2).transpose(1, 2) if self.x.ndim == 4 else self.x
        valid = self.valid if self.valid is not None else x.new_ones(x.shape[:2], dtype=torch.bool)
        return self.scatter(x), self.scatter(valid)

    def scatter(self, present: Tensor) -> Tensor:
        """Put (N, ...) values of the present rows into (B, ...); zeros elsewhere."""
        if self.rows is None:
            return present
        out = present.new_zeros((self.batch, *present.shape[1:]))
        return out.index_copy(0, self.rows, present)

    def _spread(self, per_channel: Tensor) -> Tensor:
        own = per_channel if self.rows is None else per_channel[self.rows]
        return own[:, :, None, None] if self.x.ndim == 4 else own[:, None, :]


class Backbone(nn.Module, ABC):
    """An encoder of one modality as an ordered list of stages.

    Attributes:
        widths: Channels after each stage.
        out_dim: Width of the pooled vector.
        frozen: Names of the parts that do not learn.
        fixed: How many stages, from the first, are frozen together with `start`, so that equal inputs have
            equal features after them; None when `start` or no more than a part of it is frozen.
        timed: Whether the tokens at ``tap("tokens")`` are what `Input.times` are the times of.
        loaded: Where pretrained weights came from; None from scratch.
    """

    widths: tuple[int, ...]
    out_dim: int
    frozen: tuple[str, ...] = ()
    fixed: int | None = None
    timed: bool = False
    loaded: Loaded | None = None

    @abstractmethod
    def start(self, item: Input, rows: Int[Tensor, " n"] | None) -> Feature:
        """The input of stage 0, for the given rows of the batch (all when None)."""

    @abstractmethod
    def step(self, stage: int, feature: Feature) -> Feature:
        """Run one stage."""

    @abstractmethod
    def pool(self, feature: Feature) -> Float[Tensor, "b out"]:
        """(B, out_dim) from the output of the last stage; zeros for absent rows."""

    @abstractmethod
    def parts(self) -> tuple[tuple[str, ...], ...]:
        """Names of the submodules and parameters that `start`, each stage and `pool` use, in that order."""

    def advance(self, feature: Feature, start: int, stop: int) -> Feature:
        """Run the stages ``start`` to ``stop - 1``."""
        for stage in range(start, stop):
            feature = self.step(stage, feature)
        return feature

    def tap(self, where: Place) -> int:
        """How many stages have run at a named place.

        "early" is after the first, "late" and "tokens" after the last, "fork" before the last. A backbone
        that means something else by them overrides this.
        """
        stages = len(self.widths)
        return {"early": 1, "late": stages, "tokens": stages, "fork": stages - 1}[where]

    def drop(self, parts: Iterable[int]) -> None:
        """Remove entries of `parts` that will never run, so that no parameter is registered in vain."""
        names = self.parts()
        for name in (name for part in parts for name in names[part]):
            owner, _, leaf = name.rpartition(".")
            setattr(self.get_submodule(owner), leaf, None)

    def stop(self, stage: int) -> None:
        """Remove what only later stages and `pool` use: the feature after ``stage`` stages is the result."""
        self.drop(range(stage + 1, len(self.widths) + 2))

    def begin(self, item: Input, rows: Int[Tensor, " n"] | None) -> tuple[Feature, int]:
        """The feature of the given rows to go on from, and how many stages it has run.

        Raises:
            ValueError: An `Encoding` for a backbone without a frozen part.
        """
        if not isinstance(item, Encoding):
            return self.start(item, rows), 0
        if self.fixed is None:
            raise ValueError("an encoding stands for the frozen part of a backbone; nothing of this one is")
        chosen = item if rows is None else item.rows(rows)
        return Feature(chosen.x, chosen.valid, rows, len(item)), self.fixed

    def least(self, feature: Feature) -> Feature:
        """What `pool` needs of the output of the last stage, and pools to the same."""
        return feature

    def settings(self) -> str:
        """What beside their weights decides the output of the frozen parts."""
        return type(self).__name__

    def digest(self) -> str:
        """A hash of the frozen parts: their weights and `settings`."""
        found = hashlib.sha256(self.settings().encode())
        for part in self.frozen:
            for name, tensor in self.get_submodule(part).state_dict().items():
                found.update(f"{part}.{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                found.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        return found.hexdigest()

    def compile_parts(self) -> None:
        """Compile the modules of `parts`, for any number of rows.

        What lies between them chooses rows by presence, where graphs break. Recurrent layers have kernels of
        their own.
        """
        modules = dict(self.named_modules())
        for name in (name for names in self.parts() for name in names):
            part = modules.get(name)
            if part is not None and not isinstance(part, nn.RNNBase | nn.ModuleList):
                part.compile(dynamic=True)

    def freeze(self, *parts: str, fixed: int | None = None) -> None:
        """Keep the named submodules as they are: no gradients, no dropout, no new batch statistics.

        Args:
            parts: Names.
            fixed: See the attribute.
        """
        self.frozen, self.fixed = parts, fixed
        for part in parts:
            self.get_submodule(part).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all parts but the frozen ones, which stay in evaluation mode."""
        super().train(mode)
        for name, module in self.named_modules():
            if name in self.frozen:
                module.eval()
        return self
