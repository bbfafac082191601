"""Running rank correlations of the latents."""

from typing import final

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from sklar.alignment.uniforms import Uniforms
from sklar.copulas import Copula, Independence

SHIFTS = 4
"""Rows that each row is compared with."""

MARGIN = 1e-3
"""Distance of an estimated tau from the ends of a family's range."""


@final
class RunningTau(nn.Module):
    """Exponentially weighted Kendall's tau of every pair of modalities over jointly present rows.

    tau is the average sign of (x_i - x_j)(y_i - y_j), here over rows a few places apart in a batch: unbiased
    whatever the dependence and whatever the margins, so that inverting a family's tau is consistent for it.
    (The tau that a correlation of normal scores implies is right for elliptical dependence only.)

    Args:
        modalities: M.
        batch_shape: () for one matrix, (d,) for one per coordinate.
        init_tau: Where every pair starts.
        momentum: Weight of the newest batch.
    """

    tau: Tensor

    def __init__(
        self, modalities: int, batch_shape: tuple[int, ...], init_tau: float, momentum: float = 0.02
    ) -> None:
        super().__init__()
        self.register_buffer("tau", torch.full((*batch_shape, modalities, modalities), init_tau))
        self.momentum = momentum

    @torch.no_grad()
    def update(self, uniforms: Uniforms, present: Bool[Tensor, "b m"]) -> None:
        """Move tau towards that of a batch; pairs that never occur in it stay."""
        score = uniforms.log_u - uniforms.log_sf  # increasing in u, and tells both tails apart
        rows = "dmn" if self.tau.ndim == 3 else "mn"
        total = torch.zeros_like(self.tau)
        count = total.new_zeros(present.shape[1], present.shape[1])
        for shift in range(1, min(SHIFTS, len(present) - 1) + 1):
            there = (present & present.roll(shift, 0)).to(total.dtype)
            signs = torch.sign(score - score.roll(shift, 0)).to(total.dtype) * there.unsqueeze(1)
            total += torch.einsum(f"bdm,bdn->{rows}", signs, signs)
            count += there.T @ there
        cells = count * (1 if self.tau.ndim == 3 else score.shape[1])
        step = self.momentum * (count > 0)
        self.tau.add_(step * (total / cells.clamp(min=1) - self.tau))

    def copula(self, like: Copula) -> Copula:
        """The member of the family of ``like`` with the average tau of all pairs, moved inside its range."""
        if isinstance(like, Independence):
            return like
        first, second = torch.triu_indices(like.dim, like.dim, offset=1)
        tau = self.tau[..., first, second].mean(-1)
        low, high = like.tau_range
        # a family without negative dependence answers it with almost none, and none of them reaches 1
        return type(like).from_tau(tau.clamp(low + MARGIN, high - MARGIN), like.dim)
