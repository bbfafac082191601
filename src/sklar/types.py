"""The nouns of sklar: what a batch holds, what a model returns, what an evaluation says.

Missing is a mask: a batch carries ``present`` (B, M), and the content of an absent modality is
whatever the collate function put there. Nothing downstream may depend on it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

TaskName = Literal["binary", "multilabel", "multiclass"]
"""What a target is: one event; several that may occur together; one of several classes."""


@dataclass(frozen=True)
class _Rows:
    """A record of tensors that share their first axis, the rows of a batch."""

    def rows(self, index: Tensor) -> Self:
        """The rows that ``index`` (integers, or one boolean per row) selects."""
        return self._map(lambda tensor: tensor[index])

    def to(self, device: torch.device | str) -> Self:
        """A copy on ``device``; from pinned memory without waiting for it."""
        return self._map(_mover(device))

    def pin_memory(self) -> Self:
        """A copy in page-locked memory."""
        return self._map(lambda tensor: tensor.pin_memory())

    def blank(self, absent: Tensor) -> Self:
        """A copy in which the content of the ``absent`` rows (B,) is zero or false."""
        return self._map(lambda tensor: _blanked(tensor, absent.view(-1, *[1] * (tensor.ndim - 1))))

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        return replace(
            self, **{f.name: change(t) for f in fields(self) if (t := getattr(self, f.name)) is not None}
        )

    def __len__(self) -> int:
        first: Tensor = getattr(self, fields(self)[0].name)
        return len(first)


@dataclass(frozen=True)
class Series(_Rows):
    """Regularly binned or irregular time series.

    Attributes:
        values: (B, T, C) model-ready channels, the first V of them the values of the V observed variables;
            unobserved cells hold what the data layer filled in.
        valid: (B, T) true where the step exists; false is padding.
        observed: (B, T, V) true where variable v was measured, or None when it is not known.
        times: (B, T) time of each step relative to the prediction time, in the schema's unit.
    """

    values: Float[Tensor, "b t c"]
    valid: Bool[Tensor, "b t"]
    observed: Bool[Tensor, "b t v"] | None = None
    times: Float[Tensor, "b t"] | None = None


@dataclass(frozen=True)
class Image(_Rows):
    """One image per row.

    Attributes:
        pixels: (B, C, H, W), normalised.
        times: (B, 1) time of the image relative to the prediction time, in the schema's unit.
    """

    pixels: Float[Tensor, "b c h w"]
    times: Float[Tensor, "b 1"] | None = None


@dataclass(frozen=True)
class Documents(_Rows):
    """Up to N tokenised documents per row.

    Attributes:
        ids: (B, N, L) token ids.
        attention: (B, N, L) true where a token exists.
        valid: (B, N) true where a document exists.
        times: (B, N) time of each document relative to the prediction time, in the schema's unit.
        strength: (B, N, L) how far each token's vector has gone from that of padding (0) to its own (1), on a
            straight line; None is 1 everywhere.
    """

    ids: Int[Tensor, "b n l"]
    attention: Bool[Tensor, "b n l"]
    valid: Bool[Tensor, "b n"]
    times: Float[Tensor, "b n"] | None = None
    strength: Float[Tensor, "b n l"] | None = None


@dataclass(frozen=True)
class Table(_Rows):
    """Numeric and categorical columns.

    Attributes:
        numeric: (B, P) standardised; gaps hold zero.
        observed: (B, P) true where the number is known.
        categories: (B, Q) level codes from 1; zero is a gap.
        strength: (B, Q) how far each category's vector has gone from that of a gap (0) to its level's (1), on
            a straight line; None is 1 everywhere.
    """

    numeric: Float[Tensor, "b p"]
    observed: Bool[Tensor, "b p"]
    categories: Int[Tensor, "b q"]
    strength: Float[Tensor, "b q"] | None = None


@dataclass(frozen=True)
class Encoding(_Rows):
    """What the frozen part of an encoder makes of an input, in the place of that input.

    Attributes:
        x: (B, L, C) tokens or (B, C, H, W) maps.
        valid: (B, L) true where a token exists; None when all do.
        times: Those of the input.
    """

    x: Float[Tensor, "b *shape"]
    valid: Bool[Tensor, "b l"] | None = None
    times: Float[Tensor, "b l"] | None = None


Input = Series | Image | Documents | Table | Encoding


def _blanked(tensor: Tensor, absent: Tensor) -> Tensor:
    # runtimes of exported models have no conditional fill of truth values
    return tensor & ~absent if tensor.dtype == torch.bool else tensor.masked_fill(absent, 0)


def _mover(device: torch.device | str) -> Callable[[Tensor], Tensor]:
    # only copies to an accelerator are ordered before what reads them; a copy to the host is read at once
    ahead = torch.device(device).type != "cpu"
    return lambda tensor: tensor.to(device, non_blocking=ahead)


@dataclass(frozen=True)
class Batch:
    """M modalities of B rows, and which of them are there.

    Attributes:
        inputs: One container per modality, in the order of the modalities.
        present: (B, M) true where the modality was observed.
        target: (B,) 0 or 1, or the class from 0; (B, K) 0 or 1 of K labels. NaN is unknown.
        ids: (B,) positions of the rows in the prepared index.
        groups: (B,) codes of the group (patient, matched set) that a row belongs to.
        weight: (B,) sampling weights for the task loss and the metrics.
    """

    inputs: Mapping[str, Input]
    present: Bool[Tensor, "b m"]
    target: Float[Tensor, "b *k"] | None = None
    ids: Int[Tensor, " b"] | None = None
    groups: Int[Tensor, " b"] | None = None
    weight: Float[Tensor, " b"] | None = None

    def __post_init__(self) -> None:
        rows, modalities = self.present.shape
        if modalities != len(self.inputs):
            raise ValueError(
                f"present has {modalities} columns for {len(self.inputs)} modalities "
                f"({', '.join(self.inputs)}); it needs one column per modality, in the same order"
            )
        for name, item in self.inputs.items():
            if len(item) != rows:
                raise ValueError(
                    f"modality {name!r} has {len(item)} rows, present has {rows}; they must agree"
                )

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names in the order of the columns of ``present``."""
        return tuple(self.inputs)

    def has(self, name: str) -> Bool[Tensor, " b"]:
        """(B,) whether the modality ``name`` was observed."""
        return self.present[:, self.modalities.index(name)]

    def only(self, names: Sequence[str]) -> "Batch":
        """The batch with some of its modalities, in the order of ``names``."""
        columns = [self.modalities.index(name) for name in names]
        return replace(
            self, inputs={name: self.inputs[name] for name in names}, present=self.present[:, columns]
        )

    def rows(self, index: Tensor) -> "Batch":
        """The rows that ``index`` selects."""
        return self._map(lambda tensor: tensor[index], lambda item: item.rows(index))

    def to(self, device: torch.device | str) -> "Batch":
        """A copy on ``device``; from pinned memory without waiting for it."""
        return self._map(_mover(device), lambda item: item.to(device))

    def pin_memory(self) -> "Batch":
        """A copy in page-locked memory, which is what a `DataLoader` calls with ``pin_memory``."""
        return self._map(lambda tensor: tensor.pin_memory(), lambda item: item.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor], change_input: Callable[[Input], Input]) -> "Batch":
        rest: dict[str, Any] = {
            name: change(tensor)
            for name in ("present", "target", "ids", "groups", "weight")
            if (tensor := getattr(self, name)) is not None
        }
        return replace(self, inputs={name: change_input(item) for name, item in self.inputs.items()}, **rest)

    def __len__(self) -> int:
        return len(self.present)


@dataclass(frozen=True)
class Head:
    """A masked auxiliary prediction that the objective trains on the same target.

    Attributes:
        logits: (B, K).
        present: (B,) rows on which the prediction exists.
        weight: Factor of its loss.
    """

    logits: Float[Tensor, "b k"]
    present: Bool[Tensor, " b"]
    weight: float = 1.0


@dataclass(frozen=True)
class Samples:
    """Predictions for several completions of each row, whose losses are averaged.

    Attributes:
        logits: (S, B, K).
        weight: (S, B) of each completion; they sum to one over S.
    """

    logits: Float[Tensor, "s b k"]
    weight: Float[Tensor, "s b"]


@dataclass(frozen=True)
class Output:
    """What every fusion model returns.

    Attributes:
        logits: (B, K) of the declared prediction.
        latents: Per modality (B, d): the vectors that fusion, alignment and imputation read; rows of
            absent modalities are zero.
        heads: Auxiliary predictions.
        penalties: Named scalar losses, already weighted and masked.
        samples: Where a row was completed several times, the predictions that the task loss averages over;
            otherwise it is that of ``logits``.
        attention: (B, K, T) weights of T tokens in the prediction of each output, for models that have such.
    """

    logits: Float[Tensor, "b k"]
    latents: Mapping[str, Float[Tensor, "b d"]]
    heads: Mapping[str, Head]
    penalties: Mapping[str, Float[Tensor, ""]]
    samples: Samples | None = None
    attention: Float[Tensor, "b k t"] | None = None


@dataclass(frozen=True)
class Objective:
    """The loss to minimise and the named terms that add up to it."""

    total: Float[Tensor, ""]
    terms: Mapping[str, Float[Tensor, ""]]


@dataclass(frozen=True)
class Predictions:
    """Predicted probabilities of N rows, beside what is needed to judge them.

    Attributes:
        ids: (N,) row names.
        groups: (N,) group names; rows of one group are not independent.
        target: (N,) 0 or 1, or the class from 0; (N, K) 0 or 1 of K labels; NaN where unknown.
        probability: (N,) of one event, (N, K) of K outputs; so are ``low`` and ``high``.
        low: (N,) lower end of the imputation interval; equals ``probability`` where nothing was imputed.
        high: (N,) its upper end. The interval says what the prediction with everything may be: it spreads
            over draws of the missing latents, and over the members of an ensemble where there is one, and
            reaches beyond them as far as validation rows ask for. It is not a confidence interval.
        present: (N, M) which modalities were observed.
        modalities: Names of the columns of ``present``.
        weight: (N,) inverse probability of censoring weights, one where none apply.
        task: What the target is.
        outputs: Names of the K labels or classes; empty where there is one event.
        drawn_low: Lower end of the interval over the draws alone; None where that is the imputation interval.
        drawn_high: Its upper end.
    """

    ids: NDArray[np.str_]
    groups: NDArray[np.str_]
    target: NDArray[np.float64]
    probability: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    present: NDArray[np.bool_]
    modalities: tuple[str, ...]
    weight: NDArray[np.float64]
    task: TaskName = "binary"
    outputs: tuple[str, ...] = ()
    drawn_low: NDArray[np.float64] | None = None
    drawn_high: NDArray[np.float64] | None = None
