"""How the coordinates of each latent vary together, for draws that vary as latents do."""

from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sklar.special import anywhere

RIDGE = 1e-3
"""Added to the variances: latents of low rank keep a factor, and a constant coordinate is uncorrelated."""


@final
class CoordinateMoments(nn.Module):
    r"""Exponentially weighted second moments of each modality's standardised latents.

    The copula couples coordinate j of all modalities, and says nothing of two coordinates of one modality.
    Encoders repeat themselves, though: of 64 coordinates few directions carry all variance. Noise that is
    independent between coordinates would average out in whatever sums over them. With

    .. math:: e = L \epsilon, \qquad L L^T = \mathrm{corr}(z_m)

    for the latents $z_m$ of modality m, every coordinate is drawn as before, and together they vary as those
    of a latent do. That is the joint conditional law if latents are normal and all modalities have the same
    correlation between coordinates (a Kronecker covariance).

    Args:
        modalities: M.
        dim: d.
        momentum: Weight of the newest batch.
    """

    product: Tensor

    def __init__(self, modalities: int, dim: int, momentum: float = 0.02) -> None:
        super().__init__()
        self.register_buffer("product", torch.eye(dim).repeat(modalities, 1, 1))
        self.momentum = momentum

    @torch.no_grad()
    def update(self, latents: Float[Tensor, "m b d"], present: Bool[Tensor, "b m"]) -> None:
        """Move the moments towards those of a batch; a modality that no row has stays."""
        own = latents.to(self.product.dtype)
        if anywhere(~present):  # a choice costs a third of this update
            own = torch.where(present.T.unsqueeze(2), own, 0.0)
        count = present.sum(0)[:, None, None]
        step = self.momentum * (count > 0)
        self.product.mul_(1 - step).baddbmm_(own.mT, own * (step / count.clamp(min=1)))

    def factor(self) -> Float[Tensor, "m d d"]:
        """Lower triangular L per modality, whose rows have length one."""
        ridged = self.product + RIDGE * torch.eye(self.product.shape[-1], device=self.product.device)
        scale = ridged.diagonal(dim1=1, dim2=2).rsqrt()
        factor: Tensor = torch.linalg.cholesky(ridged * scale.unsqueeze(1) * scale.unsqueeze(2)).contiguous()
        return factor
