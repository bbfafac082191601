"""Where the randomness of imputed latents comes from."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.quasirandom import SobolEngine

from sklar.special import log1mexp, log_ndtr_both, ndtri_log

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

    def uniform(
        self, like: Float[Tensor, "b d"], rows: int, factor: Float[Tensor, "d d"] | None = None
    ) -> Pair:
        """(S, rows, d) uniforms as log u and log(1 - u), open to change in place.

        Args:
            like: Of their dtype, device and width.
            rows: How many rows.
            factor: L, with rows of length one, of uniforms whose normal scores have the correlation L L';
                None draws them independently. Shared ones then come in pairs that mirror each other, for
                correlated noise averages out over few draws only if it cancels.
        """
        log_u, log_sf = self._independent(like, rows)
        if factor is not None:
            log_u, log_sf = log_ndtr_both(ndtri_log(log_u, log_sf) @ factor.mT)
            if self.shared:
                half = (self.draws + 1) // 2
                pair = log_u[:half], log_sf[:half]
                log_u, log_sf = torch.cat(pair)[: self.draws], torch.cat(pair[::-1])[: self.draws]
        return _for_all(log_u, rows), _for_all(log_sf, rows)

    def normal(self, like: Float[Tensor, "b d"], rows: int) -> Float[Tensor, "s rows d"]:
        """(S, rows, d) standard normals."""
        return _for_all(self._fill(like, rows, like.shape[1], torch.Tensor.normal_), rows)

    def choice(self, weights: Float[Tensor, "*rows k"], like: Float[Tensor, "b d"], rows: int) -> Tensor:
        """(S, rows) positions, each k with probability ``weights[..., k]``."""
        uniform = _for_all(self._fill(like, rows, 1, torch.Tensor.uniform_), rows)
        # rounding may leave the last sum below a uniform: the last component takes what is above
        return (uniform >= weights.cumsum(-1)[..., :-1]).sum(-1)

    def _independent(self, like: Tensor, rows: int) -> Pair:
        """Independent uniforms, for each row or for all rows at once."""
        # -log of a uniform is exponential: never 0, and exact in the tail
        exponential = self._fill(like, rows, like.shape[1], torch.Tensor.exponential_)
        return -exponential, log1mexp(exponential)

    def _fill(self, like: Tensor, rows: int, width: int, distribution: object) -> Tensor:
        device = like.device if self.generator is None else self.generator.device
        noise = torch.empty(self.draws, 1 if self.shared else rows, width, dtype=like.dtype, device=device)
        distribution(noise, generator=self.generator)  # type: ignore[operator]
        return noise.to(like.device)


def _for_all(noise: Tensor, rows: int) -> Tensor:
    return noise.expand(-1, rows, -1).contiguous()


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
