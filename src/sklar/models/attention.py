"""Attention over tokens of which some are not there."""

from typing import final

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional


@final
class Attention(nn.Module):
    """Scaled dot-product attention of several heads, from a sequence to a context.

    A row of whose context nothing is there gets zeros, not the mean of what is hidden.

    Args:
        dim: Width of the queries' sequence, and of the result.
        context: Width of the sequence that is read.
        heads: Number of heads.
        width: Of each head.
        bias: Of the maps to queries, keys and values; the last map has one always.
        dropout: Of the attention weights.
    """

    def __init__(
        self, dim: int, context: int, heads: int, width: int, bias: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.heads = heads
        self.rate = dropout
        self.query = nn.Linear(dim, heads * width, bias=bias)
        self.key = nn.Linear(context, heads * width, bias=bias)
        self.value = nn.Linear(context, heads * width, bias=bias)
        self.out = nn.Linear(heads * width, dim)

    def forward(
        self,
        x: Float[Tensor, "b q d"],
        context: Float[Tensor, "b k c"],
        there: Bool[Tensor, "b k"] | None = None,
    ) -> Float[Tensor, "b q d"]:
        """What each query reads of the context that is there (all of it when None)."""
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(x), self.key(context), self.value(context))
        )
        rate = self.rate if self.training else 0.0
        if there is None:
            read = functional.scaled_dot_product_attention(query, key, value, dropout_p=rate)
            return self._merge(read)
        none = ~there.any(1, keepdim=True)
        mask = (there | none)[:, None, None, :]  # a row without any key reads all of them, and is blanked
        read = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=rate)
        return self._merge(read).masked_fill(none.unsqueeze(2), 0.0)

    def _merge(self, read: Float[Tensor, "b h q w"]) -> Float[Tensor, "b q d"]:
        merged: Tensor = self.out(read.transpose(1, 2).flatten(2))
        return merged
