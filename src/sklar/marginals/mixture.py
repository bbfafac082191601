"""The arithmetic of Gaussian mixtures with diagonal covariance.

Everything is in logs, so that densities, CDFs and their gradients are finite at 30 standard deviations
and 512 dimensions in single precision.
"""

from collections.abc import Sequence
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from sklar.marginals.implicit import implicit
from sklar.marginals.inverse import invert_rosenblatt
from sklar.marginals.transform import rosenblatt
from sklar.special import log1mexp, log_ndtr_both, log_neg_log, log_normal_density, ndtri_log


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
        return moments(self.logits.softmax(-1), self.loc, self.scale)[1]

    def detach(self) -> "GaussianMixture":
        """The same mixture without gradient."""
        return GaussianMixture(self.logits.detach(), self.loc.detach(), self.scale.detach())

    def standard(self) -> "GaussianMixture":
        """The standard normal distribution as a mixture of one component, of the same d."""
        like = self.loc.detach()[:1]
        return GaussianMixture(like.new_zeros(1), torch.zeros_like(like), torch.ones_like(like))

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

    def joint_cdf(
        self, z: Float[Tensor, "*batch d"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
        r"""(log F, log(1-F)) of the d-variate CDF $F(z) = \sum_k \pi_k \prod_j \Phi(t_{kj})$.

        For d > 1 this is no uniform under the model: $-\log F$ of one component is the sum of d exponentials.
        Both keep their digits where F underflows, and where every Phi rounds to one.
        """
        both = [log_ndtr_both(t) for t in self._standardise(z)]
        # log of -log Phi per coordinate, then of their sum
        depth = [log_neg_log(below, above).logsumexp(-1) for below, above in both]
        log_weights = list(self.logits.log_softmax(-1).unbind(-1))
        log_cdf = _mix(log_weights, [-value.exp() for value in depth])
        return log_cdf, _mix(log_weights, [_log_complement(value) for value in depth])

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
        batch = torch.broadcast_shapes(z.shape[:-1], self.logits.shape[:-1])  # type: ignore[no-untyped-call]
        rows = z.expand(*batch, self.dim).reshape(1, -1, self.dim)
        log_u, log_sf, _ = rosenblatt(rows, self._row_weights(batch), self.loc[None], self.scale[None])
        return log_u.reshape(*batch, self.dim), log_sf.reshape(*batch, self.dim)

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
            grad: ``"pathwise"`` is the exact gradient in u and the parameters: closed form for K = 1, else
                implicit, one triangular d x d solve and d^2 numbers of memory per row, first order only.
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
        """Draw z with the exact pathwise gradient of :meth:`inverse_rosenblatt` in all parameters."""
        noise = self._noise(sample_shape)
        return self.inverse_rosenblatt(-noise.exponential_(generator=generator))

    def stratified(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "*batch component"], Float[Tensor, "*sample_batch component d"]]:
        r"""One draw of every component, to be averaged with the weights: (log weights, draws).

        $E[h(z)] = \sum_k \pi_k E[h(\mu_k + s_k \epsilon)]$, so a loss of each draw, averaged with the
        weights, has an unbiased gradient in all parameters, of less variance than one pathwise draw. It takes
        K evaluations of what reads the draws. Averaging the draws themselves would not sample the mixture.
        """
        noise = self._noise((*sample_shape, *self.logits.shape[:-1], self.components), batch=False)
        return self.logits.log_softmax(-1), self.loc + self.scale * noise.normal_(generator=generator)

    def sample(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Float[Tensor, "*sample_batch d"]:
        """Draw z without gradient: a component, then its normal."""
        with torch.no_grad():
            shape = (*sample_shape, *self.logits.shape[:-1])
            weights = self.logits.softmax(-1).expand(*shape, self.components)
            flat = weights.reshape(-1, self.components)
            chosen = torch.multinomial(flat, 1, generator=generator).reshape(shape)
            noise = self._noise(sample_shape)
            return self.loc[chosen] + self.scale[chosen] * noise.normal_(generator=generator)

    def _noise(self, sample_shape: Sequence[int], batch: bool = True) -> Tensor:
        rows = self.logits.shape[:-1] if batch else ()
        return torch.empty((*sample_shape, *rows, self.dim), dtype=self.loc.dtype, device=self.loc.device)

    def _row_weights(self, batch: Sequence[int]) -> Tensor:
        """(1, K, n) log weights of the rows of a flattened batch, n = 1 where they share them."""
        weights = self.logits.log_softmax(-1)
        if weights.ndim == 1:
            return weights.view(1, -1, 1)
        return weights.expand(*batch, -1).reshape(1, -1, self.components).mT

    # One tensor per component: unrolled arithmetic is several times faster than a component axis.

    def _standardise(self, z: Tensor) -> list[Tensor]:
        return [(z - loc) / scale for loc, scale in zip(self.loc, self.scale, strict=True)]

    def _log_densities(self, scores: Sequence[Tensor]) -> list[Tensor]:
        logs = self.scale.log()
        return [log_normal_density(t) - log_scale for t, log_scale in zip(scores, logs, strict=True)]

    def _log_weights(self) -> list[Tensor]:
        """K tensors (*batch, 1)."""
        return [weight.unsqueeze(-1) for weight in self.logits.log_softmax(-1).unbind(-1)]

    def _inverse(self, log_u: Tensor, log_sf: Tensor) -> Tensor:
        if self.components == 1:
            return self.loc[0] + self.scale[0] * ndtri_log(log_u, log_sf)
        shape = (log_u + log_sf + self.logits[..., :1]).shape  # all three broadcast
        flat = [part.expand(shape).reshape(1, -1, self.dim) for part in (log_u, log_sf)]
        arguments = (self._row_weights(shape[:-1]), self.loc[None], self.scale[None])
        with torch.no_grad():
            weights = arguments[0].expand(-1, -1, flat[0].shape[1]) if self.logits.ndim > 1 else arguments[0]
            z = invert_rosenblatt(
                weights[0], self.loc.unsqueeze(1), self.scale.unsqueeze(1), flat[0][0], flat[1][0]
            )
        if torch.is_grad_enabled():
            z = implicit(z[None], *arguments, *flat)[0]
        return z.reshape(shape)


def moments(
    weights: Float[Tensor, "*batch component"],
    loc: Float[Tensor, "*batch component d"],
    scale: Float[Tensor, "*batch component d"],
) -> tuple[Float[Tensor, "*batch d"], Float[Tensor, "*batch d"]]:
    """Mean and standard deviation of mixtures whose batches broadcast; exact far away from zero too."""
    share = weights.unsqueeze(-1)
    mean = (share * loc).sum(-2)
    away = loc - mean.unsqueeze(-2)
    return mean, (share * torch.addcmul(scale.square(), away, away)).sum(-2).sqrt()


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


def _log_complement(log_x: Tensor) -> Tensor:
    """log(1 - exp(-x)) from log x, exact where x rounds to zero."""
    tiny = log_x < -15.0  # below, 1 - exp(-x) = x up to half a unit of single precision
    return torch.where(tiny, log_x, log1mexp(torch.where(tiny, 0.0, log_x).exp()))
