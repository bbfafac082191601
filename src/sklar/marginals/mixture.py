"""The arithmetic of Gaussian mixtures with diagonal covariance.

Everything is in logs, so that densities, CDFs and their gradients are finite at 30 standard deviations
and 512 dimensions in single precision.
"""

from collections.abc import Sequence
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from sklar.marginals.inverse import invert_rosenblatt
from sklar.special import log1mexp, log_ndtr_both, log_normal_density, ndtri_log


@final
class GaussianMixture:
    r"""$f(z) = \sum_k \pi_k \prod_j N(z_j; \mu_{kj}, s_{kj}^2)$ in d dimensions, K components.

    Args:
        logits: (K,) log weights up to a constant, or (\*batch, K) for weights per row.
        loc: (K, d) means.
        scale: (K, d) standard deviations.
    """

    def __init__(
        self,
        logits: Float[Tensor, "*batch component"],
        loc: Float[Tensor, "component d"],
        scale: Float[Tensor, "component d"],
    ) -> None:
        if logits.shape[-1] != loc.shape[0] or loc.shape != scale.shape:
            raise ValueError(
                f"a mixture needs logits (..., K), loc (K, d) and scale (K, d), got "
                f"{tuple(logits.shape)}, {tuple(loc.shape)} and {tuple(scale.shape)}."
            )
        self.logits, self.loc, self.scale = logits, loc, scale

    @property
    def components(self) -> int:
        """K."""
        return self.loc.shape[0]

    @property
    def dim(self) -> int:
        """Dimension d."""
        return self.loc.shape[1]

    @property
    def mean(self) -> Float[Tensor, "*batch d"]:
        """Mean of each coordinate."""
        return self.logits.softmax(-1) @ self.loc

    @property
    def stddev(self) -> Float[Tensor, "*batch d"]:
        """Standard deviation of each coordinate."""
        second = self.logits.softmax(-1) @ (self.scale**2 + self.loc**2)
        return torch.sqrt(second - self.mean**2)

    def log_prob(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """Log density in nats."""
        weights = [weight.squeeze(-1) for weight in self._log_weights()]
        terms = [density.sum(-1) for density in self._log_densities(self._standardise(z))]
        return _mix(weights, terms)

    def log_cdf(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """Log marginal CDF of each coordinate on its own."""
        return self.marginal_cdf(z)[0]

    def log_sf(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """Log of one minus the marginal CDF of each coordinate."""
        return self.marginal_cdf(z)[1]

    def marginal_cdf(
        self, z: Float[Tensor, "*batch d"]
    ) -> tuple[Float[Tensor, "*batch d"], Float[Tensor, "*batch d"]]:
        """(:meth:`log_cdf`, :meth:`log_sf`) in one pass."""
        return _mixed_cdf(self._log_weights(), self._standardise(z))

    def rosenblatt(
        self, z: Float[Tensor, "*batch d"]
    ) -> tuple[Float[Tensor, "*batch d"], Float[Tensor, "*batch d"]]:
        r"""Sends z to d independent uniforms, as (log u, log(1-u)).

        $u_j = \sum_k w_{kj} \Phi(t_{kj})$, the CDF of $z_j$ given $z_{<j}$: the weights are
        $w_{kj} \propto \pi_k \prod_{i<j} N(z_i; \mu_{ki}, s_{ki})$, one exclusive cumulative sum.
        For K > 1 the result depends on the order of the coordinates.

        References:
            Rosenblatt (1952), Remarks on a multivariate transformation.
        """
        scores = self._standardise(z)
        return _mixed_cdf(self._conditional_log_weights(scores), scores)

    def inverse_rosenblatt(
        self,
        log_u: Float[Tensor, "*batch d"],
        log_sf: Float[Tensor, "*batch d"] | None = None,
        grad: Literal["pathwise", "none"] = "pathwise",
    ) -> Float[Tensor, "*batch d"]:
        """The z with ``rosenblatt(z) = (log_u, log_sf)``.

        K = 1 has the closed form loc + scale * quantile. For K > 1 see `invert_rosenblatt`: one safeguarded
        Newton step of all coordinates per iteration, typically 20 to 50 of them, to rounding.

        Args:
            log_u: Log uniforms strictly between 0 and 1.
            log_sf: log(1-u), for u that ``log_u`` cannot tell from one.
            grad: ``"pathwise"`` differentiates in u and the parameters. It is exact for K = 1. For K > 1
                it takes z_<j as constant when it differentiates z_j: cheap, biased by what the omitted
                dependence contributes; the exact gradient needs a triangular d x d solve per row.
                ``"none"`` gives z without gradient.
        """
        if log_sf is None:
            log_sf = log1mexp(-log_u)
        if grad == "none":
            with torch.no_grad():
                return self._inverse(log_u, log_sf)
        return self._inverse(log_u, log_sf)

    def rsample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Float[Tensor, "*sample_batch d"]:
        """Draw z with the gradient of :meth:`inverse_rosenblatt` (``"pathwise"``) in the parameters."""
        shape = (*sample_shape, *self.logits.shape[:-1], self.dim)
        noise = torch.empty(shape, dtype=self.loc.dtype, device=self.loc.device)
        return self.inverse_rosenblatt(-noise.exponential_(generator=generator))

    def sample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Float[Tensor, "*sample_batch d"]:
        """Draw z without gradient: a component, then its normal."""
        with torch.no_grad():
            shape = (*sample_shape, *self.logits.shape[:-1])
            weights = self.logits.softmax(-1).expand(*shape, self.components)
            flat = weights.reshape(-1, self.components)
            chosen = torch.multinomial(flat, 1, generator=generator).reshape(shape)
            noise = torch.empty((*shape, self.dim), dtype=self.loc.dtype, device=self.loc.device)
            return self.loc[chosen] + self.scale[chosen] * noise.normal_(generator=generator)

    # One tensor per component: unrolled arithmetic is several times faster than a component axis.

    def _standardise(self, z: Tensor) -> list[Tensor]:
        return [(z - loc) / scale for loc, scale in zip(self.loc, self.scale, strict=True)]

    def _log_densities(self, scores: Sequence[Tensor]) -> list[Tensor]:
        logs = self.scale.log()
        return [log_normal_density(t) - log_scale for t, log_scale in zip(scores, logs, strict=True)]

    def _log_weights(self) -> list[Tensor]:
        """K tensors (*batch, 1)."""
        return [weight.unsqueeze(-1) for weight in self.logits.log_softmax(-1).unbind(-1)]

    def _conditional_log_weights(self, scores: Sequence[Tensor]) -> list[Tensor]:
        """K tensors (*batch, d): log P(component | z_<j)."""
        prior = self._log_weights()
        if len(prior) == 1:
            return prior
        densities = self._log_densities(scores)
        # Only differences between components count; small ones keep their digits over 512 coordinates.
        best = densities[0].detach()
        for density in densities[1:]:
            best = torch.maximum(best, density.detach())
        start = torch.zeros_like(best[..., :1])
        joint = [
            weight + torch.cat([start, (density - best)[..., :-1]], dim=-1).cumsum(-1)
            for weight, density in zip(prior, densities, strict=True)
        ]
        total = _log_add(joint)
        return [value - total for value in joint]

    def _inverse(self, log_u: Tensor, log_sf: Tensor) -> Tensor:
        if self.components == 1:
            return self.loc[0] + self.scale[0] * ndtri_log(log_u, log_sf)
        shape = (log_u + log_sf + self.logits[..., :1]).shape  # all three broadcast
        differentiated = torch.is_grad_enabled()
        with torch.no_grad():
            weights = self.logits.log_softmax(-1).expand(*shape[:-1], -1).reshape(-1, self.components).T
            flat = (part.expand(shape).reshape(-1, self.dim) for part in (log_u, log_sf))
            z = invert_rosenblatt(weights, self.loc.unsqueeze(1), self.scale.unsqueeze(1), *flat).reshape(
                shape
            )
        if not differentiated:
            return z
        # One Newton step on the log odds of u, of value zero, z held constant: the implicit gradient.
        scores = self._standardise(z)
        conditional = self._conditional_log_weights(scores)
        log_cdf, log_above = _mixed_cdf(conditional, scores)
        with torch.no_grad():
            log_pdf = _mix(conditional, self._log_densities(scores))
            slope = torch.exp(log_pdf - log_cdf - log_above)
            gap = log_cdf - log_above
        return z - ((log_cdf - log_above - gap) - (log_u - log_sf - (log_u - log_sf).detach())) / slope


def _mixed_cdf(weights: Sequence[Tensor], scores: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(log u, log(1-u)) of sum_k w_k Phi(t_k)."""
    both = [log_ndtr_both(t) for t in scores]
    if len(both) == 1:
        return both[0]
    below, above = _mix(weights, [pair[0] for pair in both]), _mix(weights, [pair[1] for pair in both])
    # The sums are exact where small; the larger is one minus the smaller, and never above one.
    is_below = below < above
    small = torch.where(is_below, below, above)
    large = torch.log1p(-small.exp())
    return torch.where(is_below, small, large), torch.where(is_below, large, small)


def _mix(weights: Sequence[Tensor], terms: Sequence[Tensor]) -> Tensor:
    return _log_add([weight + term for weight, term in zip(weights, terms, strict=True)])


def _log_add(terms: Sequence[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = torch.logaddexp(total, term)
    return total
