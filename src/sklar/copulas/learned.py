"""A copula whose parameters are learned."""

from collections.abc import Sequence

import torch
from torch import Size, nn

from sklar.copulas.base import Copula


class LearnedCopula(nn.Module):
    r"""Holds the unconstrained parameters of a family; ``forward()`` builds the copula from them.

    Args:
        family: Key of ``FAMILIES``.
        dim: Number of modalities.
        batch_shape: ``()`` for one copula, ``(d,)`` for one per coordinate.
        init_tau: Initial Kendall's tau, at most 0.8 of the family's largest. Independence is a stationary
            point: from there the gradient of an alignment is zero.
        max_tau: Kendall's tau that no pair reaches, because a log density grows without bound as
            dependence becomes perfect; None for no cap.

    Attributes:
        raw: (\*batch_shape, raw size) the parameter.
    """

    def __init__(
        self,
        family: str,
        dim: int,
        batch_shape: Sequence[int] = (),
        init_tau: float = 0.35,
        max_tau: float | None = 0.95,
    ) -> None:
        super().__init__()
        self.family = _family(family)
        self.dim, self.max_tau = dim, max_tau
        self.batch_shape = Size(batch_shape)
        self.raw = nn.Parameter(torch.zeros(*self.batch_shape, self.family.raw_size(dim)))
        self.set_tau(min(init_tau, 0.8 * self.family.tau_range[1]))

    def forward(self) -> Copula:
        """The copula of the current parameters."""
        return self.family.from_raw(self.raw, self.dim, self.max_tau)

    def set_tau(self, tau: float) -> None:
        """Give every pair this Kendall's tau."""
        self.assign(self.family.from_tau(torch.tensor(tau, dtype=torch.float64), self.dim))

    @torch.no_grad()
    def assign(self, copula: Copula) -> None:
        """Take over the parameters of a copula of the same family, such as ``family.estimate(log_u)``.

        Dependence beyond the cap becomes the largest allowed.
        """
        if not isinstance(copula, self.family) or copula.dim != self.dim:
            raise ValueError(
                f"this copula is {self.family.name} with {self.dim} modalities, "
                f"got {copula.name} with {copula.dim}."
            )
        self.raw.copy_(copula.to_raw(self.max_tau).expand_as(self.raw))

    def extra_repr(self) -> str:
        """Family, dimension and cap."""
        return f"{self.family.name}, dim={self.dim}, max_tau={self.max_tau}"


def _family(name: str) -> type[Copula]:
    from sklar.copulas import FAMILIES

    if name not in FAMILIES:
        raise ValueError(f"no copula family {name!r}; there are {', '.join(FAMILIES)}.")
    return FAMILIES[name]
