"""DrFuse (Yao et al. 2024): what modalities share and what is their own, weighed per label."""

from collections.abc import Mapping
from functools import partial
from math import log, sqrt
from typing import Literal, final

import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from sklar import processes
from sklar.encoders import Backbone, EncoderConfig, Fork, InputShape, backbones, require
from sklar.errors import UserError
from sklar.models.attach import hub_and_others
from sklar.models.base import FusionModel
from sklar.models.tasks import TASKS
from sklar.types import Batch, Head, Objective, Output

SHARED = "shared"
"""The branch, and the head, of what the modalities have in common."""


class DrFuseConfig(BaseModel):
    """Settings of DrFuse.

    Attributes:
        encoders: One section per kind of input; every modality has two branches.
        hub: The modality whose shared vector each other one is pulled to; the first by default.
        jsd: "onesided" is the published divergence of the shared vectors read as probabilities, "bernoulli"
            adds the same for their complements, which makes it the Jensen-Shannon divergence.
        head_weight: Of the losses of each modality's own prediction and of the shared one.
        shared_weight: Of the divergence.
        distinct_weight: Of the cosine between shared and own vectors.
        ranking_weight: Of the rule that better predictors get more attention.
        dropout: Before every classifier.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["drfuse"] = "drfuse"
    encoders: EncoderConfig = EncoderConfig()
    hub: str | None = None
    jsd: Literal["onesided", "bernoulli"] = "onesided"
    head_weight: float = Field(default=1.0, ge=0)
    shared_weight: float = Field(default=1.0, ge=0)
    distinct_weight: float = Field(default=1.0, ge=0)
    ranking_weight: float = Field(default=1.0, ge=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)


@final
class DrFuse(FusionModel):
    """Each encoder forks into a shared and an own branch; attention per label weighs what they say.

    The shared vectors of the modalities that are there are pooled into one. Attention over the own vectors
    and the pooled one gives a vector per label. A divergence pulls the shared vectors of a row together, a
    cosine pushes own from shared ones, and a ranking loss gives more attention to what predicts better.

    Args:
        shapes: Of every modality's input, two or more.
        config: Settings.
        outputs: K.

    Raises:
        UserError: A single modality, an unknown hub, or a modality of the name "shared".
    """

    def __init__(self, shapes: Mapping[str, InputShape], config: DrFuseConfig, outputs: int = 1) -> None:
        super().__init__()
        self.modalities = tuple(shapes)
        self.hub, _ = hub_and_others(self.modalities, config.hub, "drfuse", "model.hub")
        if SHARED in shapes:
            raise UserError(f"drfuse calls its common vector {SHARED!r}: give that modality another name")
        self.config = config
        dim = self.dim = config.encoders.dim

        def make(name: str) -> Backbone:
            return backbones({name: shapes[name]}, config.encoders)[name]

        self.forks = nn.ModuleDict({name: Fork(partial(make, name), (SHARED, "own"), dim) for name in shapes})
        self.projector = nn.Sequential(
            nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim), nn.ReLU(), nn.Linear(dim, dim)
        )
        self.attention = LabelAttention(dim, outputs)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(dim, outputs)
        self.heads = nn.ModuleDict({name: nn.Linear(dim, outputs) for name in shapes})
        self.shared_head = nn.Linear(dim, outputs)

    def forward(self, batch: Batch) -> Output:
        shared, own = self._encode(batch)
        pooled = pool_logits(shared, batch.present)
        tokens = torch.cat([own, pooled.unsqueeze(1)], 1)
        there = functional.pad(batch.present, (0, 1), value=True)  # the pooled one always is
        features, attention = self.attention(tokens, there)
        logits = (self.dropout(features) * self.classifier.weight).sum(2) + self.classifier.bias
        weight = self.config.head_weight
        heads = {
            name: Head(head(self.dropout(own[:, column])), batch.has(name), weight)
            for column, (name, head) in enumerate(self.heads.items())
        }
        heads[SHARED] = Head(self.shared_head(self.dropout(pooled)), batch.present.any(1), weight)
        penalties = {
            "shared": self.config.shared_weight * self._divergence(shared, batch.present),
            "distinct": self.config.distinct_weight * _mean(cosine(shared, own), batch.present).sum(),
        }
        latents = {name: own[:, column] for column, name in enumerate(self.modalities)}
        return Output(logits, latents, heads, penalties, attention=attention)

    def objective(
        self,
        output: Output,
        target: Float[Tensor, "b *k"],
        weight: Float[Tensor, " b"] | None = None,
    ) -> Objective:
        """The losses of all predictions, the penalties, and the ranking of the attention weights."""
        base = super().objective(output, target, weight)
        ranking = self.config.ranking_weight * self._ranking(output, target, weight)
        return Objective(base.total + ranking, {**base.terms, "ranking": ranking})

    def _encode(self, batch: Batch) -> tuple[Float[Tensor, "b m d"], Float[Tensor, "b m d"]]:
        """Shared and own vectors; zeros for absent rows, which are not encoded."""
        require(batch, self.modalities)
        shared, own = [], []
        for name, fork in self.forks.items():
            rows = batch.has(name).nonzero().squeeze(1)
            if len(rows):
                vectors = fork(batch.inputs[name], None if len(rows) == len(batch) else rows)
            else:
                vectors = dict.fromkeys(
                    (SHARED, "own"), self.classifier.weight.new_zeros(len(batch), self.dim)
                )
            shared.append(self.projector(vectors[SHARED]))
            own.append(vectors["own"])
        there = batch.present.unsqueeze(2)
        return torch.stack(shared, 1) * there, torch.stack(own, 1) * there

    def _divergence(self, shared: Float[Tensor, "b m d"], present: Bool[Tensor, "b m"]) -> Float[Tensor, ""]:
        """Of the hub from each other modality; without the hub, of every pair that a row has."""
        hub = self.modalities.index(self.hub)
        first, second = torch.triu_indices(
            len(self.modalities), len(self.modalities), 1, device=shared.device
        )
        with_hub = (first == hub) | (second == hub)
        both = present[:, first] & present[:, second] & (with_hub | ~present[:, hub, None])
        found = divergence(shared[:, first], shared[:, second])
        if self.config.jsd == "bernoulli":
            found = found + divergence(-shared[:, first], -shared[:, second])
        return _mean(found, both).sum()

    def _ranking(
        self, output: Output, target: Tensor, weight: Float[Tensor, " b"] | None
    ) -> Float[Tensor, ""]:
        """How far attention contradicts the order of the predictions' losses, mean over pairs of tokens."""
        attention = output.attention
        assert attention is not None, "the output is one of this model"
        entries = [TASKS[self.task].entries(head.logits.detach(), target) for head in output.heads.values()]
        loss = torch.stack([value for value, _ in entries], 2)
        known = entries[0][1]
        there = torch.stack([output.heads[name].present for name in output.heads], 1)
        there[:, -1] = there[:, :-1].sum(1) > 1  # of one modality the shared vector says nothing else
        first, second = torch.triu_indices(there.shape[1], there.shape[1], 1, device=there.device)
        sign = torch.where(loss[..., first] < loss[..., second], 1.0, -1.0)
        wrong = torch.relu(-sign * (attention[..., first] - attention[..., second]))
        counted = (known.unsqueeze(2) & (there[:, first] & there[:, second]).unsqueeze(1) & (wrong > 0)).to(
            wrong.dtype
        )
        if weight is not None:
            counted = counted * weight[:, None, None]
        return processes.mean((wrong * counted).sum((0, 1)), counted.sum((0, 1))).mean()


@final
class LabelAttention(nn.Module):
    """One query per row, a key per token and label, one value per token.

    Args:
        dim: d.
        labels: K.
    """

    def __init__(self, dim: int, labels: int) -> None:
        super().__init__()
        self.labels = labels
        self.project = nn.Linear(dim, (2 + labels) * dim)

    def forward(
        self, tokens: Float[Tensor, "b t d"], there: Bool[Tensor, "b t"]
    ) -> tuple[Float[Tensor, "b k d"], Float[Tensor, "b k t"]]:
        """A vector per label, and the weights of the tokens in it: zero for those that are not there."""
        parts = self.project(tokens).unflatten(2, (2 + self.labels, -1))
        queries, values, keys = parts[:, :, 0], parts[:, :, 1], parts[:, :, 2:]
        share = there.to(tokens.dtype)
        query = (queries * share.unsqueeze(2)).sum(1) / share.sum(1, keepdim=True)  # at least one token
        scores = torch.einsum("bd,btkd->bkt", query, keys) / sqrt(tokens.shape[2])
        weights = scores.masked_fill(~there.unsqueeze(1), -torch.inf).softmax(2)
        return weights @ values, weights


def pool_logits(logits: Float[Tensor, "b m d"], present: Bool[Tensor, "b m"]) -> Float[Tensor, "b d"]:
    r"""The logit of the mean probability over the modalities that are there; zero where there is none.

    .. math:: \log\sum_m \sigma(h_m) - \log\sum_m \sigma(-h_m)
    """
    counted = (present | ~present.any(1, keepdim=True)).unsqueeze(2)  # absent vectors are zero
    yes, no = (
        functional.logsigmoid(side).masked_fill(~counted, -torch.inf).logsumexp(1)
        for side in (logits, -logits)
    )
    return yes - no


def divergence(one: Float[Tensor, "*b d"], other: Float[Tensor, "*b d"]) -> Float[Tensor, "*b"]:
    r"""Half of $\sum_j p \log(p / a) + q \log(q / a)$ with $p, q = \sigma(h)$ and $a$ their mean, in nats."""
    log_p, log_q = functional.logsigmoid(one), functional.logsigmoid(other)
    log_mean = torch.logaddexp(log_p, log_q) - log(2)
    both = log_p.exp() * (log_p - log_mean) + log_q.exp() * (log_q - log_mean)
    return both.sum(-1) / 2


def cosine(one: Float[Tensor, "*b d"], other: Float[Tensor, "*b d"]) -> Float[Tensor, "*b"]:
    """Size of the cosine between vectors; zero where one of them is zero."""
    return functional.cosine_similarity(one, other, dim=-1).abs()


def _mean(values: Float[Tensor, "b n"], rows: Bool[Tensor, "b n"]) -> Float[Tensor, " n"]:
    """Column means over the rows that count; zero without any."""
    return processes.mean((values * rows).sum(0), rows.sum(0))
