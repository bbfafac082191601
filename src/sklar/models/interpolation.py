"""Observations at any times, read at given ones by attention over time (Shukla & Marlin 2021: mTAND)."""

from collections.abc import Iterable
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sklar import processes
from sklar.types import Documents, Encoding, Image, Input, Series


@final
class TimeEmbedding(nn.Module):
    """One linear function of time and sines of others.

    Args:
        dim: Number of functions.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 1)
        self.periodic = nn.Linear(1, dim - 1)

    def forward(self, times: Float[Tensor, "*n"]) -> Float[Tensor, "*n e"]:
        """Their values."""
        column = times.unsqueeze(-1)
        return torch.cat([self.linear(column), self.periodic(column).sin()], -1)


@final
class TimeAttention(nn.Module):
    r"""Every channel's weighted mean over the times at which it was observed, per head, then a linear map.

    .. math:: \hat x_{hqc} = \frac{\sum_k m_{kc} e^{s_{hqk}} x_{kc}}{\sum_k m_{kc} e^{s_{hqk}}}

    The scores s depend on times only, so that numerator and denominator are one matrix product each. A
    channel that was never observed is zero.

    Args:
        channels: C.
        dim: Width of the result.
        embedding: Width of the times' embedding, a multiple of ``heads``.
        heads: Number of heads.
    """

    def __init__(self, channels: int, dim: int, embedding: int = 64, heads: int = 8) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(embedding, embedding)
        self.key = nn.Linear(embedding, embedding)
        self.out = nn.Linear(heads * channels, dim)

    def forward(
        self,
        queries: Float[Tensor, "q e"],
        keys: Float[Tensor, "b k e"],
        values: Float[Tensor, "b k c"],
        observed: Bool[Tensor, "b k c"],
    ) -> Float[Tensor, "b q d"]:
        """The map of the means at each query time."""
        mask = observed.to(values.dtype)
        weights = self.weights(queries, keys, observed.any(2))
        above = torch.einsum("bhqk,bkc->bqhc", weights, mask * values)
        below = torch.einsum("bhqk,bkc->bqhc", weights, mask)
        mean: Tensor = self.out((above / torch.where(below > 0, below, 1.0)).flatten(2))
        return mean

    def weights(
        self, queries: Float[Tensor, "q e"], keys: Float[Tensor, "b k e"], there: Bool[Tensor, "b k"]
    ) -> Float[Tensor, "b h q k"]:
        """Weights of the observation times, up to a factor per query; the largest is one."""
        query = self.query(queries).unflatten(1, (self.heads, -1))
        key = self.key(keys).unflatten(2, (self.heads, -1))
        scores = torch.einsum("qhw,bkhw->bhqk", query, key) / query.shape[-1] ** 0.5
        hidden = ~there[:, None, None, :]
        largest = scores.detach().masked_fill(hidden, -torch.inf).amax(-1, keepdim=True)
        some = largest > -torch.inf
        weights: Tensor = (scores - torch.where(some, largest, 0.0)).masked_fill(hidden, -torch.inf).exp()
        return weights


@final
class Window(nn.Module):
    """Time mapped so that what training has seen runs from 0 to 1.

    The span is that of all observation times in training batches; before the first one, times stay as they
    are. Times outside are mapped outside.
    """

    low: Tensor
    high: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.tensor(torch.inf))
        self.register_buffer("high", torch.tensor(-torch.inf))

    def extend(self, seen: Iterable[tuple[Float[Tensor, "b k"], Bool[Tensor, "b k"]]]) -> None:
        """Widen the span to the times that are there, in all processes; in training only."""
        if not self.training:
            return
        low, high = self.low, self.high
        for times, there in seen:
            low = torch.minimum(low, times.masked_fill(~there, torch.inf).amin())
            high = torch.maximum(high, times.masked_fill(~there, -torch.inf).amax())
        spans = processes.gather(torch.stack([low, high]).unsqueeze(0))
        self.low.copy_(spans[:, 0].amin())
        self.high.copy_(spans[:, 1].amax())

    def forward(self, times: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        """Mapped times."""
        origin = torch.where(self.low.isfinite(), self.low, 0.0)
        return (times.to(origin.dtype) - origin) / torch.where(self.high > self.low, self.high - origin, 1.0)


def times_of(item: Input, there: Bool[Tensor, "b k"]) -> Float[Tensor, "b k"]:
    """Times of an input's tokens; where it has none, steps end at the prediction time, and the rest is there.

    Args:
        item: The input.
        there: (B, K) which tokens exist.
    """
    if isinstance(item, Series | Documents | Image | Encoding) and item.times is not None:
        return item.times
    if isinstance(item, Series):
        return (there.cumsum(1) - there.sum(1, keepdim=True)).float()
    return torch.zeros(there.shape, device=there.device)
