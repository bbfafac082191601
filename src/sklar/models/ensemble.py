"""Several fitted models of one kind, predicting together."""

from collections.abc import Sequence
from typing import cast, final

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from sklar.models.base import Answer, FusionModel
from sklar.types import Batch, Output


@final
class Ensemble(FusionModel):
    """The average of its members' probabilities; it predicts and is not trained.

    Its draws are those of all members together, so that their spread holds both the imputation and the
    members' disagreement.

    Args:
        members: Fitted models for the same modalities and the same task.

    Raises:
        ValueError: There is no member.
    """

    def __init__(self, members: Sequence[FusionModel]) -> None:
        super().__init__()
        if not members:
            raise ValueError("an ensemble needs at least one member")
        self.members = nn.ModuleList(members)
        self.modalities, self.task = members[0].modalities, members[0].task

    def forward(self, batch: Batch) -> Output:
        """Logits of the average probability; the latents are the first member's."""
        outputs = [cast(Output, member(batch)) for member in self.members]
        probability = torch.stack([self.probability(output.logits) for output in outputs]).mean(0)
        logits = probability.log() if self.task == "multiclass" else torch.logit(probability)
        return Output(logits, outputs[0].latents, {}, {})

    def predict_draws(
        self, batch: Batch, draws: int = 1, generator: Generator | None = None
    ) -> Float[Tensor, "s b k"]:
        """S draws of every member, one member after the other."""
        members = cast(Sequence[FusionModel], self.members)
        return torch.cat([member.predict_draws(batch, draws, generator) for member in members])

    def answers(self, batch: Batch) -> Answer:
        """Every member encodes once."""
        members = [member.answers(batch) for member in cast(Sequence[FusionModel], self.members)]
        return lambda seen, draws, generator: torch.cat([own(seen, draws, generator) for own in members])
