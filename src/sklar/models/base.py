"""What every fusion model promises: logits, latents and named penalties from a masked batch."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn

from sklar.alignment import CopulaAlignment
from sklar.models.tasks import TASKS
from sklar.types import Batch, Objective, Output, TaskName

Answer = Callable[[Bool[Tensor, "b m"], int, Generator | None], Float[Tensor, "s b k"]]
"""What `FusionModel.predict_draws` returns, from what the model may see of each row, S and a generator."""


class FusionModel(nn.Module, ABC):
    """A classifier over M modalities, some of which are missing.

    Attributes:
        modalities: Names in the order of the columns of ``Batch.present``.
        task: Key of `sklar.models.TASKS`: what the target is.
    """

    modalities: tuple[str, ...]
    task: TaskName = "binary"

    @property
    def joint(self) -> CopulaAlignment | None:
        """The joint of the latents, for models that learn one."""
        return next((m for m in self.children() if isinstance(m, CopulaAlignment)), None)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @abstractmethod
    def forward(self, batch: Batch) -> Output:
        """Logits, latents, auxiliary heads and penalties of a batch. Absent content never matters."""

    def objective(
        self,
        output: Output,
        target: Float[Tensor, "b *k"],
        weight: Float[Tensor, " b"] | None = None,
    ) -> Objective:
        """The task's loss of the prediction and of the heads, plus the penalties.

        Rows whose target is NaN count in the penalties only. Means are weighted by ``weight`` (B,).
        """
        loss = TASKS[self.task].loss
        terms = {"task": self._task_loss(output, target, weight)}
        for name, head in output.heads.items():
            terms[f"head_{name}"] = head.weight * loss(head.logits, target, weight, head.present)
        terms |= output.penalties
        return Objective(torch.stack(list(terms.values())).sum(), terms)

    def probability(self, logits: Float[Tensor, "*batch k"]) -> Float[Tensor, "*batch k"]:
        """Sigmoid or softmax of logits, as the task has it."""
        return TASKS[self.task].probability(logits)

    def _task_loss(self, output: Output, target: Tensor, weight: Tensor | None) -> Tensor:
        loss = TASKS[self.task].loss
        if output.samples is None:
            return loss(output.logits, target, weight, None)
        share = output.samples.weight if weight is None else output.samples.weight * weight
        repeated = target.repeat(len(share), *[1] * (target.ndim - 1))
        return loss(output.samples.logits.flatten(0, 1), repeated, share.flatten(), None)

    def predict_draws(
        self, batch: Batch, draws: int = 1, generator: Generator | None = None
    ) -> Float[Tensor, "s b k"]:
        """Probabilities of S draws of whatever the model imputes; S = 1 for models that draw nothing."""
        return self.probability(self(batch).logits).unsqueeze(0)

    def answers(self, batch: Batch) -> Answer:
        """Predictions of a batch, wherever it is, of which the model sees a part, never more than there is.

        What does not depend on the part may be computed once, here.
        """
        return lambda seen, draws, generator: self.predict_draws(
            replace(batch, present=seen).to(self.device), draws, generator
        )

    def predict_proba(
        self, batch: Batch, draws: int = 20, generator: Generator | None = None
    ) -> Float[Tensor, "b k"]:
        """Probabilities, averaged over draws of the missing latents (multiple imputation)."""
        return self.predict_draws(batch, draws, generator).mean(0)
