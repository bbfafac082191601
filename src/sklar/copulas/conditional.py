"""The distribution of some modalities given the others."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from sklar.copulas.base import Copula
from sklar.copulas.columns import Observed
from sklar.special import log1mexp


class ConditionalCopula(Distribution):
    """U_rest given U_S = u_S; events are the other modalities in increasing order.

    Its margins are not uniform. The batch shape is that of the copula broadcast with the given values.

    Attributes:
        copula: The joint.
        given: Index of a known modality to log u, or to the pair (log u, log(1-u)).
        rest: Indices of the events.
    """

    support = constraints.independent(constraints.unit_interval, 1)  # type: ignore[no-untyped-call]
    has_rsample = True

    def __init__(self, copula: Copula, given: Mapping[int, Observed]) -> None:
        self.copula, self.given = copula, dict(given)
        self.rest = tuple(i for i in range(copula.dim) if i not in self.given)
        if not self.rest:
            raise ValueError(f"all {copula.dim} modalities are given; none is left to have a distribution.")
        shapes = [_log_u(value).shape for value in self.given.values()]
        batch = torch.broadcast_shapes(copula.batch_shape, *shapes)  # type: ignore[no-untyped-call]
        super().__init__(batch, Size([len(self.rest)]), validate_args=False)

    def log_prob(self, value: Float[Tensor, "*batch rest"]) -> Float[Tensor, "*batch"]:
        """Log conditional density at u."""
        return self.log_density(value.log(), torch.log1p(-value))

    def log_density(
        self, log_u: Float[Tensor, "*batch rest"], log_sf: Float[Tensor, "*batch rest"] | None = None
    ) -> Float[Tensor, "*batch"]:
        """Log conditional density, log c(u) - log c_S(u_S)."""
        joint = self.copula.log_density(*self._join(log_u, log_sf))
        if not self.given:
            return joint
        known = [_pair(value) for value in self.given.values()]
        known_u = torch.stack(torch.broadcast_tensors(*[pair[0] for pair in known]), dim=-1)  # type: ignore[no-untyped-call]
        known_sf = torch.stack(torch.broadcast_tensors(*[pair[1] for pair in known]), dim=-1)  # type: ignore[no-untyped-call]
        return joint - self.copula.marginal(tuple(self.given)).log_density(known_u, known_sf)

    def cdf(self, value: Float[Tensor, "*batch rest"]) -> Float[Tensor, "*batch"]:
        """P(U_rest <= u | U_S)."""
        joined = self._join(value.log(), torch.log1p(-value))
        return self.copula.conditional_log_cdf(joined[0], self.rest, tuple(self.given), joined[1])[0].exp()

    def sample(self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        """Draw u without gradient."""
        with torch.no_grad():
            return self.rsample(sample_shape, generator)

    def rsample(self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None) -> Tensor:
        """Draw u with pathwise gradients in the parameters and the given values."""
        return self.rsample_log(sample_shape, generator).exp()

    def rsample_log(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Float[Tensor, "*sample_batch rest"]:
        """Draw log u with pathwise gradients in the parameters and the given values."""
        return self.rsample_both(sample_shape, generator)[0]

    def rsample_both(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "*sample_batch rest"], Float[Tensor, "*sample_batch rest"]]:
        """Draw (log u, log(1-u)): the pair keeps both tails exact on the way back to latents."""
        like = self.copula._like()
        shape = Size((*sample_shape, *self.batch_shape))
        known, drawn = dict(self.given), []
        for index in self.rest:
            noise = torch.empty(shape, dtype=like.dtype, device=like.device).exponential_(generator=generator)
            pair = self.copula.conditional_quantile(-noise, index, known)
            known[index] = pair
            drawn.append(pair)
        return torch.stack([p[0] for p in drawn], dim=-1), torch.stack([p[1] for p in drawn], dim=-1)

    def _join(self, log_u: Tensor, log_sf: Tensor | None) -> tuple[Tensor, Tensor]:
        """All modalities in order, given and asked."""
        asked = {
            index: _pair(log_u[..., i] if log_sf is None else (log_u[..., i], log_sf[..., i]))
            for i, index in enumerate(self.rest)
        }
        pairs = [asked[i] if i in asked else _pair(self.given[i]) for i in range(self.copula.dim)]
        both = torch.broadcast_tensors(*[part for pair in pairs for part in pair])  # type: ignore[no-untyped-call]
        return torch.stack(both[0::2], dim=-1), torch.stack(both[1::2], dim=-1)


def _log_u(value: Observed) -> Tensor:
    return value[0] if isinstance(value, tuple) else value


def _pair(value: Observed) -> tuple[Tensor, Tensor]:
    return value if isinstance(value, tuple) else (value, log1mexp(-value))
