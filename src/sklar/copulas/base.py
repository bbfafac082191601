"""What every copula family offers, written once in terms of a few hooks per family.

The native argument is log u: a 256-dimensional marginal CDF is near e^-220, which single precision
rounds to zero. Arithmetic runs on columns, one tensor per modality, because loops over a short last
axis are several times slower than unrolled ones.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Self

import torch
from jaxtyping import Float
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from sklar.copulas.columns import Column, Observed, Points
from sklar.copulas.inversion import invert_conditional
from sklar.special import anywhere

if TYPE_CHECKING:
    from sklar.copulas.conditional import ConditionalCopula


class Copula(Distribution, ABC):
    """A distribution on the unit cube whose margins are uniform; the last axis is modalities.

    Families are exact in any dimension. Parameters broadcast against each other and form the batch
    shape, which broadcasts against ``log_u.shape[:-1]``.

    Attributes:
        name: Key in ``FAMILIES``.
        tau_range: Open interval of Kendall's tau that the family reaches, in any dimension.
        contains_independence: Whether the member of tau = 0 is independence, with a density of one.
    """

    name: str
    tau_range: tuple[float, float] = (0.0, 1.0)
    contains_independence: bool = True
    support = constraints.independent(constraints.unit_interval, 1)  # type: ignore[no-untyped-call]
    has_rsample = True

    def __init__(self, dim: int, batch_shape: Sequence[int] = (), validate_args: bool | None = None) -> None:
        if dim < self._smallest_dim:
            raise ValueError(
                f"{type(self).__name__} needs dim >= {self._smallest_dim} (one per modality), got {dim}."
            )
        super().__init__(Size(batch_shape), Size([dim]), validate_args=validate_args)

    _smallest_dim = 2

    @property
    def dim(self) -> int:
        """Number of modalities M."""
        return int(self.event_shape[0])

    # Densities and probabilities

    def log_prob(
        self, value: Float[Tensor, "*batch modality"], eps: float | None = None
    ) -> Float[Tensor, "*batch"]:
        """Log density at u; use :meth:`log_density` where u may round to 0 or 1.

        Args:
            value: u.
            eps: Moves u into [eps, 1 - eps] first; by default nothing is moved.
        """
        self._check_u(value)
        if eps is not None:
            value = value.clamp(eps, 1.0 - eps)
        return self.log_density(value.log(), torch.log1p(-value))

    def log_density(
        self, log_u: Float[Tensor, "*batch modality"], log_sf: Float[Tensor, "*batch modality"] | None = None
    ) -> Float[Tensor, "*batch"]:
        r"""Log copula density $\log c(u_1, \dots, u_M)$ in nats.

        On the boundary of the cube the limit is returned where there is one, else -inf.

        Args:
            log_u: Log uniforms.
            log_sf: log(1-u), for coordinates so close to one that ``log_u`` rounds to zero.
        """
        self._check_log_u(log_u, log_u)
        if log_u.device.type != "cpu":  # looking at the values would make the accelerator wait
            return self._on_the_boundary(log_u, log_sf)
        value = self._log_density_at(log_u, log_sf)
        inside = math.isfinite(value.detach().sum().item())
        return value if inside else self._on_the_boundary(log_u, log_sf)

    def cdf(self, value: Float[Tensor, "*batch modality"]) -> Float[Tensor, "*batch"]:
        """C(u)."""
        self._check_u(value)
        return self.log_cdf(value.log(), torch.log1p(-value)).exp()

    def log_cdf(
        self, log_u: Float[Tensor, "*batch modality"], log_sf: Float[Tensor, "*batch modality"] | None = None
    ) -> Float[Tensor, "*batch"]:
        """Log C(u)."""
        self._check_log_u(log_u, log_u)
        return self._log_cdf(Points(log_u, log_sf))

    def conditional_log_cdf(
        self,
        log_u: Float[Tensor, "*batch modality"],
        target: int | Sequence[int],
        given: Sequence[int],
        log_sf: Float[Tensor, "*batch modality"] | None = None,
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
        r"""The h-function $h = P(U_T \le u_T \mid U_S = u_S)$ as $(\log h, \log(1-h))$.

        Args:
            log_u: All modalities; columns outside ``target`` and ``given`` are not read.
            target: One modality T, or several for their joint conditional CDF.
            given: The modalities S; empty gives the margin of T.
            log_sf: log(1-u), see :meth:`log_density`.
        """
        targets = (target,) if isinstance(target, int) else tuple(target)
        self._check_indices((*targets, *given))
        self._check_log_u(log_u, log_u[..., [*targets, *given]])
        columns = Points(log_u, log_sf)
        return self._conditional_log_cdf({i: columns[i] for i in targets}, {i: columns[i] for i in given})

    def conditional_icdf(
        self,
        log_w: Float[Tensor, "*batch"],
        target: int,
        given: Mapping[int, Observed],
        log_w_sf: Float[Tensor, "*batch"] | None = None,
    ) -> Float[Tensor, "*batch"]:
        """Log u of modality ``target`` at conditional probability w; see :meth:`conditional_quantile`."""
        return self.conditional_quantile(log_w, target, given, log_w_sf)[0]

    def conditional_quantile(
        self,
        log_w: Float[Tensor, "*batch"],
        target: int,
        given: Mapping[int, Observed],
        log_w_sf: Float[Tensor, "*batch"] | None = None,
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
        r"""Inverse of the h-function in its target: (log u, log(1-u)) with $h(u \mid u_S) = w$.

        Differentiable in ``log_w``, the given values and the parameters. Where the inverse is numeric,
        the gradient is implicit and second derivatives are refused.

        Args:
            log_w: Log conditional probability.
            target: The modality to solve for.
            given: Known modalities, each log u or the pair (log u, log(1-u)).
            log_w_sf: log(1-w), where w is too close to one for ``log_w``.
        """
        self._check_indices((target, *given))
        known = {
            i: Column(*value) if isinstance(value, tuple) else Column(value) for i, value in given.items()
        }
        if not known:
            return log_w, Column(log_w, log_w_sf).survival()
        return self._conditional_quantile(Column(log_w, log_w_sf), target, known)

    # Sampling

    def sample(self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        """Draw u without gradient."""
        with torch.no_grad():
            return self.rsample(sample_shape, generator)

    def rsample(self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        """Draw u with pathwise gradients in the parameters; u may round to one, log u never to zero."""
        return self.rsample_log(sample_shape, generator).exp()

    def rsample_log(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Float[Tensor, "*sample_batch modality"]:
        """Draw log u with pathwise gradients in the parameters."""
        drawn: dict[int, Observed] = {}
        for index in range(self.dim):
            log_w = self._log_uniform(sample_shape, generator)
            drawn[index] = self.conditional_quantile(log_w, index, drawn)
        return torch.stack([pair[0] for pair in drawn.values()], dim=-1)

    # Other distributions

    def condition(self, given: Mapping[int, Observed]) -> "ConditionalCopula":
        """The distribution of the other modalities, in increasing order, given log u of some."""
        from sklar.copulas.conditional import ConditionalCopula

        self._check_indices(tuple(given))
        return ConditionalCopula(self, given)

    @abstractmethod
    def marginal(self, indices: Sequence[int]) -> "Copula":
        """The copula of some modalities, in the order given; of one, ``Independence(1)``."""

    @abstractmethod
    def expand(self, batch_shape: Size | Sequence[int], _instance: object = None) -> Self:
        """The same copula with a larger batch shape."""

    # Dependence

    @abstractmethod
    def parameters(self) -> dict[str, Tensor]:
        """The family's own parameters by the names its constructor takes."""

    @abstractmethod
    def kendall_tau(self) -> Float[Tensor, "*batch"]:
        """Kendall's tau of a pair of modalities, averaged over pairs where they differ."""

    @abstractmethod
    def tail_dependence(self) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
        """(lower, upper) tail dependence of a pair, averaged over pairs where they differ."""

    @abstractmethod
    def spearman_rho(self) -> Float[Tensor, "*batch"]:
        """Spearman's rho of a pair of modalities, averaged over pairs where they differ."""

    @classmethod
    @abstractmethod
    def from_tau(cls, tau: float | Float[Tensor, "*batch"], dim: int) -> Self:
        """The member of the family whose pairs all have Kendall's tau ``tau``."""

    @classmethod
    @abstractmethod
    def estimate(
        cls,
        log_u: Float[Tensor, "n *batch modality"],
        log_sf: Float[Tensor, "n *batch modality"] | None = None,
    ) -> Self:
        """Moment estimate from rows of log u, without gradient; axes between rows and modality are batch."""

    @classmethod
    def fit(cls, u: Float[Tensor, "n *batch modality"], method: str = "mle") -> Self:
        """The member that describes rows of u best, computed in double precision, without gradient.

        Args:
            u: Uniforms strictly inside (0, 1), such as ``pseudo_observations(data)``; axes between rows and
                modality are fitted separately.
            method: "mle" maximises the likelihood, starting from "itau", which inverts Kendall's tau
                (:meth:`estimate`; families of several parameters add what tau leaves open).

        Raises:
            ValueError: Unknown method, fewer than two rows, u on or outside the boundary, or a likelihood
                without a maximum, as of two modalities that order the rows alike.
        """
        from sklar.copulas.fitting import fit_copula

        return fit_copula(cls, u, method)

    # Unconstrained parameters, for LearnedCopula

    @classmethod
    @abstractmethod
    def raw_size(cls, dim: int) -> int:
        """How many real numbers parametrise one copula."""

    @classmethod
    @abstractmethod
    def from_raw(cls, raw: Float[Tensor, "*batch raw"], dim: int, max_tau: float | None) -> Self:
        """The copula of unconstrained numbers, its tau smoothly below ``max_tau``."""

    @abstractmethod
    def to_raw(self, max_tau: float | None) -> Float[Tensor, "*batch raw"]:
        """The inverse of :meth:`from_raw`; dependence beyond ``max_tau`` becomes the largest allowed."""

    # Hooks of the families: columns in, one value per batch element out

    @abstractmethod
    def _log_density(self, columns: Sequence[Column]) -> Tensor: ...

    @abstractmethod
    def _log_cdf(self, columns: Sequence[Column]) -> Tensor: ...

    @abstractmethod
    def _conditional_log_cdf(
        self, target: Mapping[int, Column], given: Mapping[int, Column]
    ) -> tuple[Tensor, Tensor]: ...

    def _conditional_quantile(
        self, w: Column, target: int, given: Mapping[int, Column]
    ) -> tuple[Tensor, Tensor]:
        joint = self.marginal((*given, target))
        rest = self.marginal(tuple(given))._log_density(tuple(given.values()))
        return invert_conditional(
            lambda u: self._conditional_log_cdf({target: Column(*u)}, given),
            lambda u: joint._log_density((*given.values(), Column(*u))) - rest,
            w.log_u,
            w.survival(),
        )

    def _boundary_limit(self, columns: Sequence[Column]) -> Tensor:
        """Log density on the boundary of the cube, where the formula itself has no value."""
        return torch.full_like(columns[0].log_u, -torch.inf)

    # Shared steps

    def _log_density_at(self, log_u: Tensor, log_sf: Tensor | None) -> Tensor:
        """The density formula on whole tensors, last axis modalities."""
        return self._log_density(Points(log_u, log_sf))

    def _on_the_boundary(self, log_u: Tensor, log_sf: Tensor | None) -> Tensor:
        """The log density with the boundary's points evaluated apart from the others."""
        one = log_u == 0 if log_sf is None else torch.isinf(log_sf)
        edge = (torch.isinf(log_u) | one).any(-1, keepdim=True)
        half = -math.log(2.0)
        value = self._log_density_at(
            torch.where(edge, half, log_u), None if log_sf is None else torch.where(edge, half, log_sf)
        )
        if not anywhere(edge):
            return value
        return torch.where(edge.squeeze(-1), self._boundary_limit(Points(log_u, log_sf)), value)

    def _check_log_u(self, log_u: Tensor, read: Tensor) -> None:
        if log_u.ndim == 0 or log_u.shape[-1] != self.dim:
            raise ValueError(
                f"{type(self).__name__} has {self.dim} modalities, got log u of shape {tuple(log_u.shape)}; "
                "its last axis must be modalities. marginal(indices) gives the copula of some of them."
            )
        if self._validate_args and read.numel() and not bool(read.detach().max() <= 0):  # nor NaN
            _refuse_log_u(read.detach())

    def _check_u(self, u: Tensor) -> None:
        if self._validate_args and not bool(((u.detach() >= 0) & (u.detach() <= 1)).all()):
            bad = u.detach()[~((u.detach() >= 0) & (u.detach() <= 1))].flatten()[0].item()
            raise ValueError(f"u holds {bad}; every value must be a probability between 0 and 1.")

    def _check_indices(self, indices: Iterable[int]) -> None:
        indices = tuple(indices)
        if len(set(indices)) < len(indices) or not all(0 <= i < self.dim for i in indices):
            raise ValueError(
                f"modalities {indices} of a copula with {self.dim}: "
                f"each must be distinct and from 0 to {self.dim - 1}."
            )

    def _log_uniform(self, sample_shape: Size | Sequence[int], generator: torch.Generator | None) -> Tensor:
        return -self._exponential(Size((*sample_shape, *self.batch_shape)), generator)

    def _exponential(self, shape: Size, generator: torch.Generator | None) -> Tensor:
        like = self._like()
        return torch.empty(shape, dtype=like.dtype, device=like.device).exponential_(generator=generator)

    @abstractmethod
    def _like(self) -> Tensor:
        """A tensor whose type and device samples take."""


def _refuse_log_u(log_u: Tensor) -> None:
    if bool(torch.isnan(log_u).any()):
        raise ValueError("log u holds NaN; every value must be a log probability (at most 0).")
    raise ValueError(
        f"log u holds {log_u.max().item()}; every value must be a log probability (at most 0). Was u passed?"
    )
