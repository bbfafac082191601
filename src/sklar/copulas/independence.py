"""Independence: log c = 0."""

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Size, Tensor

from sklar.copulas.base import Copula
from sklar.copulas.columns import Column
from sklar.special import log1mexp


class Independence(Copula):
    """The copula of independent modalities, C(u) = prod u; of dimension one, the uniform distribution."""

    name = "independence"
    tau_range = (0.0, 0.0)
    arg_constraints = {}  # noqa: RUF012 - the base class declares it without ClassVar
    _smallest_dim = 1

    def __init__(
        self, dim: int = 2, batch_shape: Sequence[int] = (), validate_args: bool | None = None
    ) -> None:
        super().__init__(dim, Size(batch_shape), validate_args)

    def marginal(self, indices: Sequence[int]) -> "Independence":
        """Independence of fewer modalities."""
        self._check_indices(indices)
        return Independence(len(indices), self.batch_shape, self._validate_args)

    def expand(self, batch_shape: Size | Sequence[int], _instance: object = None) -> Self:
        """The same copula with a larger batch shape."""
        return type(self)(self.dim, Size(batch_shape), self._validate_args)

    def kendall_tau(self) -> Tensor:
        """Zero."""
        return torch.zeros(self.batch_shape)

    def parameters(self) -> dict[str, Tensor]:
        return {}

    def spearman_rho(self) -> Tensor:
        """Zero."""
        return torch.zeros(self.batch_shape)

    def tail_dependence(self) -> tuple[Tensor, Tensor]:
        """Zero and zero."""
        return torch.zeros(self.batch_shape), torch.zeros(self.batch_shape)

    @classmethod
    def from_tau(cls, tau: float | Tensor, dim: int) -> Self:
        """Independence, for tau = 0 only."""
        tau = torch.as_tensor(tau)
        if bool((tau != 0).any()):
            raise ValueError(
                f"Independence has tau = 0, got {tau.tolist()}; every other family reaches some tau."
            )
        return cls(dim, tau.shape)

    @classmethod
    def estimate(cls, log_u: Tensor, log_sf: Tensor | None = None) -> Self:
        """Independence; there is nothing to estimate."""
        return cls(log_u.shape[-1], log_u.shape[1:-1])

    @classmethod
    def raw_size(cls, dim: int) -> int:
        """No parameter."""
        return 0

    @classmethod
    def from_raw(cls, raw: Tensor, dim: int, max_tau: float | None) -> Self:
        """Independence with the batch shape of ``raw``."""
        return cls(dim, raw.shape[:-1], validate_args=False)

    def to_raw(self, max_tau: float | None) -> Tensor:
        """No number."""
        return torch.zeros((*self.batch_shape, 0))

    def _log_density(self, columns: Sequence[Column]) -> Tensor:
        shape = torch.broadcast_shapes(self.batch_shape, columns[0].log_u.shape)  # type: ignore[no-untyped-call]
        return torch.zeros(shape, dtype=columns[0].log_u.dtype, device=columns[0].log_u.device)

    def _log_cdf(self, columns: Sequence[Column]) -> Tensor:
        total = columns[0].log_u
        for column in columns[1:]:
            total = total + column.log_u
        return total

    def _conditional_log_cdf(
        self, target: Mapping[int, Column], given: Mapping[int, Column]
    ) -> tuple[Tensor, Tensor]:
        columns = tuple(target.values())
        if len(columns) == 1:
            return columns[0].log_u, columns[0].survival()
        log_h = self._log_cdf(columns)
        return log_h, log1mexp(-log_h)

    def _conditional_quantile(
        self, w: Column, target: int, given: Mapping[int, Column]
    ) -> tuple[Tensor, Tensor]:
        shape = torch.broadcast_shapes(w.log_u.shape, *[column.log_u.shape for column in given.values()])  # type: ignore[no-untyped-call]
        return w.log_u.expand(shape), w.survival().expand(shape)

    def _like(self) -> Tensor:
        return torch.empty(())
