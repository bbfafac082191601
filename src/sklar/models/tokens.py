"""Tokens of observed and imputed latents: marked, and the imputed ones discounted by how loose they are."""

from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sklar.alignment import Imputed


@final
class Tokens(nn.Module):
    r"""What the fusion reads of each modality.

    An observed token is its latent. Of an imputed one, with draw z, centre c and spread s per coordinate,

    .. math:: t = c + g \odot (z - c), \qquad g = \sigma(a - b \odot s)

    with learned a and b per modality and coordinate: where the observed modalities say little, a draw is
    mostly noise and g falls, so that the fusion is not taught to ignore the modality itself. To every token
    is added a learned vector for observed or imputed, and to imputed ones another in proportion to their
    spread.

    Args:
        modalities: M.
        dim: d.
        mark: Whether to add the learned vectors.
        gate: Whether imputed tokens are gated; otherwise such a token is the draw.
    """

    def __init__(self, modalities: int, dim: int, mark: bool = True, gate: bool = True) -> None:
        super().__init__()
        self.mark, self.gate = nn.ParameterDict(), nn.ParameterDict()
        if mark:
            self.mark["observed"] = nn.Parameter(torch.randn(modalities, dim) * 0.02)
            self.mark["imputed"] = nn.Parameter(torch.randn(modalities, dim) * 0.02)
            self.mark["spread"] = nn.Parameter(torch.zeros(modalities, dim))
        if gate:  # .95 of a draw that is certain, .73 of one about which nothing is known, to begin with
            self.gate["level"] = nn.Parameter(torch.full((modalities, dim), 3.0))
            self.gate["slope"] = nn.Parameter(torch.full((modalities, dim), 2.0))

    def forward(self, imputed: Imputed, present: Bool[Tensor, "b m"]) -> Float[Tensor, "s b m d"]:
        """Tokens of completed latents."""
        tokens = torch.stack(list(imputed.latents.values()), 2)
        spread = torch.stack(list(imputed.spread.values()), 1)
        observed = present.unsqueeze(2)
        if self.gate:
            centre = torch.stack(list(imputed.centre.values()), 1)
            gate = torch.sigmoid(self.gate["level"] - self.gate["slope"] * spread)
            tokens = torch.where(observed, tokens, centre + gate * (tokens - centre))
        if self.mark:
            loose = self.mark["imputed"] + spread * self.mark["spread"]
            tokens = tokens + torch.where(observed, self.mark["observed"], loose)
        return tokens
