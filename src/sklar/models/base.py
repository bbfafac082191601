"""What every fusion model promises: logits, latents and named penalties from a masked batch."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn
from torch.nn import functional

from sklar.alignment import CopulaAlignment
from sklar.types import Batch, Objective, Output


class FusionModel(nn.Module, ABC):
    """A classifier over M modalities, some of which are missing.

    Attributes:
        modalities: Names in the order of the columns of ``Batch.present``.
    """

    modalities: tuple[str, ...]

    @property
    def joint(self) -> CopulaAlignment | None:
        """The joint of the latents, for models that learn one."""
        return next((m for m in self.children() if isinstance(m, CopulaAlignment)), None)

    @abstractmethod
    def forward(self, batch: Batch) -> Output:
        """Logits, latents, auxiliary heads and penalties of a batch. Absent content never matters."""

    def objective(
        self,
        output: Output,
        target: Float[Tensor, "b *k"],
        weight: Float[Tensor, " b"] | None = None,
    ) -> Objective:
        """Binary cross-entropy with logits of the prediction and the heads, plus the penalties.

        Rows whose target is NaN count in the penalties only. Means are weighted by ``weight`` (B,).
        """
        terms = {"task": masked_bce(output.logits, target, weight)}
        for name, head in output.heads.items():
            terms[f"head_{name}"] = head.weight * masked_bce(head.logits, target, weight, head.present)
        terms |= output.penalties
        return Objective(torch.stack(list(terms.values())).sum(), terms)

    def predict_draws(
        self, batch: Batch, draws: int = 1, generator: Generator | None = None
    ) -> Float[Tensor, "s b k"]:
        """Probabilities of S draws of whatever the model imputes; S = 1 for models that draw nothing."""
        return torch.sigmoid(self(batch).logits).unsqueeze(0)

    def predict_proba(
        self, batch: Batch, draws: int = 20, generator: Generator | None = None
    ) -> Float[Tensor, "b k"]:
        """Probabilities, averaged over draws of the missing latents (multiple imputation)."""
        return self.predict_draws(batch, draws, generator).mean(0)


def masked_bce(
    logits: Float[Tensor, "b k"],
    target: Float[Tensor, "b *k"],
    weight: Float[Tensor, " b"] | None = None,
    rows: Bool[Tensor, " b"] | None = None,
) -> Float[Tensor, ""]:
    """Weighted mean binary cross-entropy over labelled rows; zero, with a graph, when there is none."""
    target = target.reshape(logits.shape)
    known = ~target.isnan()
    if rows is not None:
        known = known & rows.unsqueeze(1)
    share = known.to(logits.dtype)
    if weight is not None:
        share = share * weight.unsqueeze(1)
    loss = functional.binary_cross_entropy_with_logits(
        logits, torch.where(known, target, 0.0), weight=share, reduction="sum"
    )
    total = share.sum()
    return loss / torch.where(total > 0, total, 1.0)
