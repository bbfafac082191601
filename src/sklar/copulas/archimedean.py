r"""What the Archimedean families share: exchangeable modalities and parameters that measure strength.

$C(u) = \psi(\sum_j \phi(u_j))$ with generator $\psi$ and inverse $\phi$. The margin of any modalities is
the same family with the same parameters.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Self

import torch
from jaxtyping import Float
from torch import Size, Tensor
from torch.distributions import constraints

from sklar.copulas.analytic import Slopes, analytic_density, density_of_columns
from sklar.copulas.base import Copula
from sklar.copulas.columns import Column, Points
from sklar.copulas.estimation import mean_kendall_tau
from sklar.copulas.independence import Independence
from sklar.copulas.spearman import exchangeable_spearman_rho
from sklar.copulas.unconstrained import capped, softplus_inverse, uncapped
from sklar.special import softplus


class Archimedean(Copula):
    r"""An exchangeable family.

    Inside, each parameter is a ``strength``: its distance from where it adds no dependence. In float32
    theta = 1.0001 stores theta - 1 with a relative error of 6e-4; the strength does not.

    Attributes:
        strengths: (\*batch, parameters), one tensor of all, which is one node for gradients to pass.
    """

    strengths: Tensor

    def __init__(
        self, strengths: Float[Tensor, "*batch parameter"], dim: int, validate_args: bool | None
    ) -> None:
        self.strengths = strengths
        super().__init__(dim, strengths.shape[:-1], validate_args)

    @classmethod
    def from_strengths(
        cls, strengths: Float[Tensor, "*batch parameter"], dim: int, validate_args: bool | None = None
    ) -> Self:
        """The member with these strengths, which are known to be in its domain."""
        copula = cls.__new__(cls)
        Archimedean.__init__(copula, strengths, dim, validate_args)
        return copula

    def marginal(self, indices: Sequence[int]) -> Copula:
        """The same family and parameters in fewer dimensions."""
        self._check_indices(indices)
        if len(indices) == 1:
            return Independence(1, self.batch_shape, self._validate_args)
        return self.from_strengths(self.strengths, len(indices), self._validate_args)

    def expand(self, batch_shape: Size | Sequence[int], _instance: object = None) -> Self:
        """The same copula with a larger batch shape."""
        wider = self.strengths.expand(*batch_shape, -1)
        return self.from_strengths(wider, self.dim, self._validate_args)

    def spearman_rho(self) -> Tensor:
        r"""$12\int\int C(u, v)\,du\,dv - 3$ of a pair, by quadrature in normal scores."""
        pair = self.from_strengths(self.strengths.unsqueeze(-2), 2, validate_args=False)
        return exchangeable_spearman_rho(pair)

    @classmethod
    @abstractmethod
    def _kernel(
        cls, parameters: Sequence[Tensor], columns: Points, slopes: bool
    ) -> tuple[Tensor, Slopes | None]:
        """Log density and its derivatives in the strengths and the logs; see ``analytic.Kernel``."""

    @abstractmethod
    def _log_h(self, target: Sequence[Column], given: Sequence[Column]) -> tuple[Tensor, Tensor]:
        """(log h, log(1-h)) of the targets' joint conditional CDF; with nothing given, their CDF."""

    def _log_density(self, columns: Sequence[Column]) -> Tensor:
        return density_of_columns(self._kernel, (self.strengths,), columns)

    def _log_density_at(self, log_u: Tensor, log_sf: Tensor | None) -> Tensor:
        return analytic_density(self._kernel, (self.strengths,), log_u, log_sf)

    def _conditional_log_cdf(
        self, target: Mapping[int, Column], given: Mapping[int, Column]
    ) -> tuple[Tensor, Tensor]:
        return self._log_h(tuple(target.values()), tuple(given.values()))

    def _log_cdf(self, columns: Sequence[Column]) -> Tensor:
        return self._log_h(columns, ())[0]

    def _like(self) -> Tensor:
        return self.strengths


class OneParameter(Archimedean):
    """An Archimedean family whose Kendall tau determines it."""

    def __init__(self, strength: Tensor, dim: int, validate_args: bool | None) -> None:
        super().__init__(strength.unsqueeze(-1), dim, validate_args)

    @property
    def strength(self) -> Tensor:
        """Distance from independence; positive, zero at independence."""
        return self.strengths[..., 0]

    @classmethod
    @abstractmethod
    def from_strength(
        cls, strength: Float[Tensor, "*batch"], dim: int, validate_args: bool | None = None
    ) -> Self:
        """The member at a given distance from independence."""

    @classmethod
    @abstractmethod
    def strength_of_tau(cls, tau: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """The strength with Kendall's tau ``tau``, which is inside ``tau_range``."""

    @classmethod
    def from_tau(cls, tau: float | Tensor, dim: int) -> Self:
        """The member of the family with Kendall's tau ``tau``."""
        tau = torch.as_tensor(tau)
        low, high = cls._tau_bounds(dim)
        if not bool(((tau > low) & (tau < high)).all()):
            raise ValueError(
                f"{cls.__name__} reaches Kendall's tau between {low:g} and {high:g} for {dim} modalities, "
                f"got {tau.tolist()}. {cls._advice}"
            )
        return cls.from_strength(cls.strength_of_tau(tau), dim)

    _advice: str

    @classmethod
    def _tau_bounds(cls, dim: int) -> tuple[float, float]:
        return cls.tau_range

    @classmethod
    def estimate(cls, log_u: Tensor, log_sf: Tensor | None = None) -> Self:
        """Inverts the average over pairs of the sample's Kendall tau, moved inside the family's range.

        Exactly consistent for the family, whatever its shape; ranks need no precision near one.
        """
        score = log_u.detach() if log_sf is None else (log_u - log_sf).detach()
        low, high = cls._tau_bounds(log_u.shape[-1])
        tau = mean_kendall_tau(score.unbind(-1))
        # An estimate outside the range becomes the nearest member that is not degenerate.
        margin = 1e-3 * (high - low)
        return cls.from_tau(tau.clamp(low + margin, high - margin), log_u.shape[-1])

    @classmethod
    def raw_size(cls, dim: int) -> int:
        """One."""
        return 1

    @classmethod
    def from_raw(cls, raw: Tensor, dim: int, max_tau: float | None) -> Self:
        """Strength 1 / (1 / softplus(raw) + 1 / limit): smooth, and exact near independence."""
        strengths = softplus(raw)
        if max_tau is not None:
            strengths = capped(strengths, cls._limit(max_tau, raw))
        return cls.from_strengths(strengths, dim, validate_args=False)

    def to_raw(self, max_tau: float | None) -> Tensor:
        """The inverse of :meth:`from_raw`."""
        strengths = self.strengths.detach()
        if max_tau is not None:
            strengths = uncapped(strengths, self._limit(max_tau, strengths))
        return softplus_inverse(strengths)

    @classmethod
    def _limit(cls, max_tau: float, like: Tensor) -> Tensor:
        return _strength_limit(cls, max_tau, like.dtype, like.device)


class FromOne(OneParameter):
    """A family of upper tail dependence whose theta is at least 1, where it is independence.

    Args:
        theta: Parameter.
        dim: Number of modalities.
        eta: theta - 1 instead, when precision next to independence matters.
        validate_args: Whether to check the parameter and every argument.
    """

    arg_constraints = {"theta": constraints.greater_than_eq(1.0)}  # type: ignore[no-untyped-call]  # noqa: RUF012

    def __init__(
        self,
        theta: float | Float[Tensor, "*batch"] | None = None,
        dim: int = 2,
        *,
        eta: float | Float[Tensor, "*batch"] | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if (theta is None) == (eta is None):
            raise ValueError(f"{type(self).__name__} takes theta or eta = theta - 1, and one of them only.")
        strength = torch.as_tensor(eta) if eta is not None else torch.as_tensor(theta) - 1.0
        if validate_args is not False:
            self._check_eta(strength.detach())
        super().__init__(strength, dim, validate_args)

    @classmethod
    @abstractmethod
    def _check_eta(cls, eta: Tensor) -> None:
        """Refuse an eta outside the domain, with the value and the family that would serve."""

    @property
    def eta(self) -> Tensor:
        """Theta - 1, the distance from independence."""
        return self.strength

    @property
    def theta(self) -> Tensor:
        """The parameter of the formula."""
        return 1.0 + self.strength

    @classmethod
    def from_strength(cls, strength: Tensor, dim: int, validate_args: bool | None = None) -> Self:
        """The member with theta = 1 + strength."""
        return cls(dim=dim, eta=strength, validate_args=validate_args)

    @classmethod
    def _tau_bounds(cls, dim: int) -> tuple[float, float]:
        return (-1e-30, 1.0)  # independence itself belongs to the family

    def tail_dependence(self) -> tuple[Tensor, Tensor]:
        """(0, 2 - 2^(1/theta))."""
        upper = -2.0 * torch.expm1(-math.log(2.0) * self.eta / self.theta)
        return torch.zeros_like(upper), upper

    def parameters(self) -> dict[str, Tensor]:
        return {"theta": self.theta}


@lru_cache  # every step of a training asks for the same one
def _strength_limit(
    family: type[OneParameter], max_tau: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    return family.strength_of_tau(torch.tensor(max_tau, dtype=torch.float64)).to(device, dtype)
