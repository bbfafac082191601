"""What a target is: the loss of its logits and the probabilities that they stand for."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from sklar import processes
from sklar.types import TaskName

Loss = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], Tensor]


@dataclass(frozen=True)
class Task:
    """A kind of target.

    Attributes:
        loss: (logits (B, K), target, weight (B,) or None, rows (B,) or None) to a scalar. A NaN target is
            unlabelled; the mean is over labelled entries, weighted; zero, with a graph, without any.
        probability: Logits (..., K) to probabilities.
        entries: (logits (B, K), target) to the losses whose mean ``loss`` is, (B, K) or (B, 1), and which of
            them are labelled.
    """

    loss: Loss
    probability: Callable[[Tensor], Tensor]
    entries: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def masked_bce(
    logits: Float[Tensor, "b k"],
    target: Float[Tensor, "b *k"],
    weight: Float[Tensor, " b"] | None = None,
    rows: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """Weighted mean binary cross-entropy over labelled entries; zero, with a graph, when there is none."""
    return _mean(*_bce(logits, target), weight, rows)


def masked_cross_entropy(
    logits: Float[Tensor, "b k"],
    target: Float[Tensor, " b"],
    weight: Float[Tensor, " b"] | None = None,
    rows: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """Weighted mean cross-entropy over labelled rows; classes count from 0.

    Raises:
        ValueError: Not one class per row, or a class that is no whole number from 0 to K - 1.
    """
    return _mean(*_cross_entropy(logits, target), weight, rows)


def _mean(loss: Tensor, known: Tensor, weight: Tensor | None, rows: Tensor | None) -> Tensor:
    if rows is not None:
        known = known & rows.unsqueeze(1)
    share = known.to(loss.dtype)
    if weight is not None:
        share = share * weight.unsqueeze(1)
    # the weights of stratified draws carry a gradient, which the losses' own weight argument would refuse
    return processes.mean((loss * share).sum(), share.sum())


def _bce(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if target.numel() != logits.numel() or len(target) != len(logits):
        raise _unfit(logits, target, f"{tuple(logits.shape)}, one label per output")
    target = target.reshape(logits.shape)
    known = ~target.isnan()
    wanted = torch.where(known, target, 0.0)
    return functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none"), known


def _cross_entropy(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if target.shape != logits.shape[:1]:
        raise _unfit(logits, target, f"({len(logits)},), one class per row")
    known = ~target.isnan()
    label = torch.where(known, target, 0.0)
    if bool(((label < 0) | (label >= logits.shape[1]) | (label != label.floor())).any()):
        raise ValueError(
            f"a class is a whole number from 0 to {logits.shape[1] - 1}; targets reach from "
            f"{float(label.min()):g} to {float(label.max()):g}: a model needs as many outputs as classes"
        )
    loss = functional.cross_entropy(logits, label.long(), reduction="none")
    return loss.unsqueeze(1), known.unsqueeze(1)


def _unfit(logits: Tensor, target: Tensor, wanted: str) -> ValueError:
    return ValueError(
        f"the target has shape {tuple(target.shape)} for logits of shape {tuple(logits.shape)}; it must be "
        f"{wanted}: build the model with as many outputs as the data have, or choose another task"
    )


def _softmax(logits: Tensor) -> Tensor:
    return logits.softmax(-1)


TASKS: dict[TaskName, Task] = {
    "binary": Task(masked_bce, torch.sigmoid, _bce),
    "multilabel": Task(masked_bce, torch.sigmoid, _bce),
    "multiclass": Task(masked_cross_entropy, _softmax, _cross_entropy),
}
"""Every kind of target by name: one event; several that may occur together; one of several classes."""
