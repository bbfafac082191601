"""Where the randomness of imputed latents comes from."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.quasirandom import SobolEngine

from sklar.special import log1mexp

Pair = tuple[Tensor, Tensor]
"""log u and log(1 - u)."""


@dataclass(frozen=True)
class Noise:
    """S draws of noise.

    In training every row has its own. In evaluation one stream is ``shared`` by all rows: what a row gets
    does not depend on which rows are beside it, in which order, or on which device, and rows are compared on
    common random numbers.

    Attributes:
        draws: S.
        generator: Of the stream; None is torch's own for noise of each row, and seed 0 for shared noise.
        shared: One stream for all rows.

    Raises:
        ValueError: Fewer than one draw.
    """

    draws: int = 1
    generator: Generator | None = None
    shared: bool = False

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"draws must be at least 1, got {self.draws}; predictions average that many")
        if self.shared and self.generator is None:
            object.__setattr__(self, "generator", Generator().manual_seed(0))

    def uniform(self, like: Float[Tensor, "b d"], rows: int) -> Pair:
        """(S, rows, d) independent uniforms as log u and log(1 - u), open to change in place."""
        # -log of a uniform is exponential: never 0, and exact in the tail
        exponential = self._fill(like, rows, like.shape[1], torch.Tensor.exponential_)
        return -exponential, log1mexp(exponential)

    def normal(self, like: Float[Tensor, "b d"], rows: int) -> Float[Tensor, "s rows d"]:
        """(S, rows, d) standard normals."""
        return self._fill(like, rows, like.shape[1], torch.Tensor.normal_)

    def choice(self, weights: Float[Tensor, "*rows k"], like: Float[Tensor, "b d"], rows: int) -> Tensor:
        """(S, rows) positions, each k with probability ``weights[..., k]``."""
        uniform = self._fill(like, rows, 1, torch.Tensor.uniform_)
        # rounding may leave the last sum below a uniform: the last component takes what is above
        return (uniform >= weights.cumsum(-1)[..., :-1]).sum(-1)

    def _fill(self, like: Tensor, rows: int, width: int, distribution: object) -> Tensor:
        device = like.device if self.generator is None else self.generator.device
        noise = torch.empty(self.draws, 1 if self.shared else rows, width, dtype=like.dtype, device=device)
        distribution(noise, generator=self.generator)  # type: ignore[operator]
        return noise.to(like.device).expand(-1, rows, -1).contiguous()


@lru_cache(maxsize=8)
def fixed_points(count: int, modalities: int, dim: int) -> Float[Tensor, "q m d"]:
    """Q points of the unit cube in M d dimensions: half of them scrambled Sobol points, half their mirrors.

    With a point and its mirror the average of anything antisymmetric about its median is exact: the
    conditional mean under a Gaussian copula and one mixture component, for one.
    """
    engine = SobolEngine(modalities * dim, scramble=True, seed=0)  # type: ignore[no-untyped-call]
    points = engine.draw(count // 2, dtype=torch.float64)
    # the engine may return 0 itself, which has no quantile
    points = points.clamp(min=2.0**-32).reshape(-1, modalities, dim)
    return torch.cat([points, 1 - points])
