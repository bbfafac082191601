"""Modules that read M tokens and return one vector."""

from typing import final

from jaxtyping import Float
from torch import Tensor, nn


@final
class LSTMFusion(nn.Module):
    """An LSTM over the tokens in a fixed modality order; its last hidden state is the fused vector.

    Every token is read, imputed ones included: nothing is packed or shortened. (The released code of
    the paper shortens the sequence, so that its imputed vectors never reach the classifier.)

    Args:
        dim: Width of the tokens.
        hidden: Width of the fused vector.
        layers: Stacked layers; the paper says two.
        dropout: Between layers.
    """

    def __init__(self, dim: int, hidden: int, layers: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dim, hidden, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        self.out_dim = hidden

    def forward(self, tokens: Float[Tensor, "b m d"]) -> Float[Tensor, "b hidden"]:
        """The last hidden state."""
        states, _ = self.lstm(tokens)
        last: Tensor = states[:, -1]
        return last
