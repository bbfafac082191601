"""A model that encodes every row, absent ones as blanks: the same answers without a branch on the data."""

import copy
from typing import cast, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sklar.encoders import Backbone, BertText, Encoders, Feature
from sklar.models import FusionModel
from sklar.types import Documents, Input


def dense(model: FusionModel) -> FusionModel:
    """A copy whose encoders run on all rows, whatever is present."""
    copied = copy.deepcopy(model).eval()
    for module in list(copied.modules()):
        if isinstance(module, Encoders):
            module.absent = "zero_input"
            for name, backbone in module.backbones.items():
                if isinstance(backbone, BertText):
                    module.backbones[name] = DenseText(backbone)
    return copied


@final
class DenseText(Backbone):
    """A text backbone that encodes all documents of a batch, those that do not exist as one blank token.

    Args:
        own: The backbone.
    """

    def __init__(self, own: BertText) -> None:
        super().__init__()
        self.own = own
        self.widths, self.out_dim, self.timed = own.widths, own.out_dim, own.timed

    def start(self, item: Input, rows: Int[Tensor, " n"] | None) -> Feature:
        documents = cast(Documents, item)
        count, length = documents.ids.shape[1:]
        blank = ~documents.valid.unsqueeze(2) & (torch.arange(length, device=documents.ids.device) == 0)
        mask = (documents.attention | blank).flatten(0, 1)
        states = self.own.bert(input_ids=documents.ids.flatten(0, 1), attention_mask=mask.long())
        vectors = self.own.vectors(states.last_hidden_state, mask)
        x = vectors.reshape(-1, count, vectors.shape[1]) * documents.valid.unsqueeze(2)
        return Feature(x, documents.valid, None, len(documents))

    def step(self, stage: int, feature: Feature) -> Feature:
        return self.own.step(stage, feature)

    def pool(self, feature: Feature) -> Float[Tensor, "b out"]:
        return self.own.pool(feature)

    def parts(self) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(f"own.{name}" for name in part) for part in self.own.parts())
