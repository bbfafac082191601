"""Running moments of the latents' normal scores, for copula parameters that keep up with the encoders."""

import math
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sklar.alignment.uniforms import Uniforms
from sklar.copulas import Copula, Elliptical
from sklar.copulas.correlation import nearest_correlation

SMALLEST_EIGENVALUE = 1e-3
"""Correlations estimated pair by pair may fail to be positive definite; they are shrunk to this."""


@final
class ScoreMoments(nn.Module):
    """Exponentially weighted second moments of normal scores, pair by pair over jointly present rows.

    Learned copula parameters lag behind the latents that they couple; imputation therefore reads the
    correlation of an elliptical family from these moments (df stays the learned one).

    Args:
        modalities: M.
        batch_shape: () for one matrix, (d,) for one per coordinate.
        init_tau: Kendall's tau of the starting matrix.
        momentum: Weight of the newest batch.
    """

    product: Tensor
    square: Tensor

    def __init__(
        self, modalities: int, batch_shape: tuple[int, ...], init_tau: float, momentum: float = 0.02
    ) -> None:
        super().__init__()
        start = torch.full((modalities, modalities), math.sin(math.pi * init_tau / 2))
        start.fill_diagonal_(1.0)
        self.register_buffer("product", start.expand(*batch_shape, -1, -1).clone())
        self.register_buffer("square", torch.ones(*batch_shape, modalities, modalities))
        self.momentum = momentum

    @torch.no_grad()
    def update(self, uniforms: Uniforms, present: Bool[Tensor, "b m"]) -> None:
        """Move the moments towards those of a batch; pairs that never occur in it stay."""
        own = self.product.ndim == 3  # a matrix per coordinate
        there = present.T.to(uniforms.scores.dtype)
        scores = uniforms.scores * there.unsqueeze(-1)
        both = there @ there.T
        cells = (both if own else both * scores.shape[2]).clamp(min=1)
        if own:
            product = torch.einsum("mbd,nbd->dmn", scores, scores) / cells
            square = torch.einsum("mbd,nb->dmn", scores.square(), there) / cells
        else:
            flat = scores.flatten(1)
            product = flat @ flat.T / cells
            square = scores.square().sum(-1) @ there.T / cells
        step = self.momentum * (both > 0)
        self.product.add_(step * (product - self.product))
        self.square.add_(step * (square - self.square))

    def correlation(self) -> Float[Tensor, "*d m m"]:
        """Correlations of the scores, shrunk towards independence until positive definite."""
        r = self.product / (self.square * self.square.mT).sqrt()
        return nearest_correlation(r, SMALLEST_EIGENVALUE)

    def copula(self, like: Copula) -> Copula:
        """The elliptical copula ``like`` with the correlation that the moments say."""
        if not isinstance(like, Elliptical):
            raise TypeError(f"normal scores determine elliptical families, not {like.name}; use RunningTau")
        return like.with_correlation(self.correlation())
