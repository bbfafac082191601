"""What a target is: the loss of its logits and the probabilities that they stand for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], Tensor]

TaskName = Literal["binary", "multilabel", "multiclass"]


@dataclass(frozen=True)
class Task:
    """A kind of target.

    Attributes:
        loss: (logits (B, K), target, weight (B,) or None, rows (B,) or None) to a scalar. A NaN target is
            unlabelled; the mean is over labelled entries, weighted; zero, with a graph, without any.
        probability: Logits (..., K) to probabilities.
    """

    loss: Loss
    probability: Callable[[Tensor], Tensor]


def masked_bce(
    logits: Float[Tensor, "b k"],
    target: Float[Tensor, "b *k"],
    weight: Float[Tensor, " b"] | None = None,
    rows: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """Weighted mean binary cross-entropy over labelled entries; zero, with a graph, when there is none."""
    target = target.reshape(logits.shape)
    known = ~target.isnan()
    if rows is not None:
        known = known & rows.unsqueeze(1)
    share = known.to(logits.dtype)
    if weight is not None:
        share = share * weight.unsqueeze(1)
    wanted = torch.where(known, target, 0.0)
    # the weights of stratified draws carry a gradient, which the weight argument would refuse
    loss = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    total = share.sum()
    return (loss * share).sum() / torch.where(total > 0, total, 1.0)


def masked_cross_entropy(
    logits: Float[Tensor, "b k"],
    target: Float[Tensor, " b"],
    weight: Float[Tensor, " b"] | None = None,
    rows: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """Weighted mean cross-entropy over labelled rows; classes count from 0.

    Raises:
        ValueError: A class that is no whole number from 0 to K - 1.
    """
    known = ~target.isnan()
    label = torch.where(known, target, 0.0)
    if bool(((label < 0) | (label >= logits.shape[1]) | (label != label.floor())).any()):
        raise ValueError(
            f"a class is a whole number from 0 to {logits.shape[1] - 1}; targets reach from "
            f"{float(label.min()):g} to {float(label.max()):g}: a model needs as many outputs as classes"
        )
    share = (known if rows is None else known & rows).to(logits.dtype)
    if weight is not None:
        share = share * weight
    loss = functional.cross_entropy(logits, label.long(), reduction="none")
    total = share.sum()
    return (loss * share).sum() / torch.where(total > 0, total, 1.0)


def _softmax(logits: Tensor) -> Tensor:
    return logits.softmax(-1)


TASKS: dict[str, Task] = {
    "binary": Task(masked_bce, torch.sigmoid),
    "multilabel": Task(masked_bce, torch.sigmoid),
    "multiclass": Task(masked_cross_entropy, _softmax),
}
"""Every kind of target by name: one event; several that may occur together; one of several classes."""
