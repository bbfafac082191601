"""Latents on a common scale: standardised per coordinate, or of unit length."""

from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from sklar import processes


@final
class Standardise(nn.Module):
    """Zero mean and unit variance per coordinate, without affine parameters.

    In training the statistics are those of the step's present rows, with gradient: this keeps the
    encoders from inflating the copula term by drifting. With fewer than two present rows, and in
    evaluation, running statistics serve. Absent rows stay zero and enter no statistic.

    Args:
        dim: d.
        momentum: Weight of the newest batch in the running statistics.
        epsilon: Added to the variance; a constant coordinate becomes zero, not infinite.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, dim: int, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("variance", torch.ones(dim))
        self.momentum = momentum
        self.epsilon = epsilon

    def forward(self, z: Float[Tensor, "b d"], present: Bool[Tensor, " b"]) -> Float[Tensor, "b d"]:
        """Standardise the present rows."""
        mean, variance = self._moments(z, present) if self.training else (self.mean, self.variance)
        return (z - mean) * torch.rsqrt(variance + self.epsilon) * present.unsqueeze(1)

    def _moments(self, z: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        rows, mask = processes.gather(z), processes.gather(present).unsqueeze(1)
        count = int(mask.sum())
        if count < 2:
            return self.mean, self.variance
        mean = (rows * mask).sum(0) / count
        variance = ((rows - mean).square() * mask).sum(0) / count
        with torch.no_grad():
            self.mean.lerp_(mean, self.momentum)
            self.variance.lerp_(variance * (count / (count - 1)), self.momentum)
        return mean, variance


@final
class UnitLength(nn.Module):
    """Rows divided by their Euclidean norm, as the released code has it; absent rows stay zero.

    Coordinates are then about 1 / sqrt(d) in size, and nothing keeps their spread from shrinking.
    """

    def forward(self, z: Float[Tensor, "b d"], present: Bool[Tensor, " b"]) -> Float[Tensor, "b d"]:
        """Normalise the present rows."""
        return functional.normalize(z, dim=1) * present.unsqueeze(1)
