"""The joint of all modalities' latents: mixtures for the margins, a copula per coordinate between them."""

from collections.abc import Mapping
from typing import Literal, cast, final

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn

from sklar.alignment.impute import GRADIENTS, IMPUTATIONS, Gradient, Imputed, Request
from sklar.alignment.noise import Noise
from sklar.alignment.patterns import patterns
from sklar.alignment.refit import ESTIMATES, Estimator, estimator
from sklar.copulas import FAMILIES, Copula, LearnedCopula
from sklar.marginals import GaussianMixture, MixtureMarginal, rosenblatt_together


@final
class CopulaAlignment(nn.Module):
    r"""A vector copula over the latents of M modalities.

    Each latent z_m goes through the Rosenblatt transform of its Gaussian mixture f_m, which gives d
    independent uniforms, and coordinate j of all modalities is coupled by a copula:

    .. math:: \log q(z_1, \dots, z_M) = \sum_m \log f_m(z_m) + \sum_j \log c(u_{1j}, \dots, u_{Mj})

    This is normalised and has exactly the margins f_m (a vector copula, Fan & Henry 2023, with
    Rosenblatt's transform for their ranks; for K > 1 it depends on the order of the coordinates). The
    paper's C(F_1(z_1), F_2(z_2)) with vector-valued z_m is not a joint distribution:
    docs/deviations.md, entry 1.

    Args:
        dims: Modality to the width of its latent; all widths must agree, since coordinates are coupled.
        family: Key of `sklar.copulas.FAMILIES`.
        components: K, the mixture components of each margin.
        pit: How a vector becomes uniforms; "rosenblatt".
        weight: lambda, on the scale of the mean over coordinates.
        routing: "ifm" (inference functions for margins) shows detached latents to the margins'
            likelihood and detached margins to the copula term, so that the likelihood cannot collapse
            the latents; "joint" lets every gradient through.
        parameters: "shared" by all coordinates, or one set "per_coordinate".
        estimate: Copula parameters that imputation uses: running "moments" of the latents (learned
            parameters lag behind them), a "fit" to the last complete rows, or the "learned" ones.
        init_tau: Kendall's tau to start from; at independence the alignment has no gradient.
        max_tau: Smooth cap of tau, since the term is unbounded as dependence becomes perfect.
        warmup: Rows to see before the mixtures are initialised from a cache of latents; until then
            each margin is standard normal.
        cache: Rows that the cache holds.

    Raises:
        ValueError: Unknown family or option, fewer than two modalities, unequal widths.
    """

    cached: Tensor
    cached_present: Tensor
    seen: Tensor

    def __init__(
        self,
        dims: Mapping[str, int],
        family: str = "gaussian",
        components: int = 3,
        pit: Literal["rosenblatt"] = "rosenblatt",
        *,
        weight: float = 0.1,
        routing: Literal["ifm", "joint"] = "ifm",
        parameters: Literal["shared", "per_coordinate"] = "shared",
        estimate: Literal["moments", "fit", "learned"] = "moments",
        init_tau: float = 0.35,
        max_tau: float | None = 0.95,
        warmup: int = 4096,
        cache: int = 1024,
    ) -> None:
        super().__init__()
        _check("family", family, FAMILIES)
        _check("pit", pit, ("rosenblatt",))
        _check("routing", routing, ("ifm", "joint"))
        _check("parameters", parameters, ("shared", "per_coordinate"))
        _check("estimate", estimate, ESTIMATES)
        if len(dims) < 2:
            raise ValueError(f"alignment needs at least two modalities, got {len(dims)} ({', '.join(dims)})")
        if len(set(dims.values())) > 1:
            raise ValueError(f"coordinates are coupled one by one, so widths must agree; got {dict(dims)}")
        dim = next(iter(dims.values()))
        batch_shape = (dim,) if parameters == "per_coordinate" else ()
        self.modalities = tuple(dims)
        self.family = family
        self.dim = dim
        self.weight = weight
        self.routing = routing
        self.estimate = estimate
        self.warmup = warmup
        self.margins = nn.ModuleDict({name: MixtureMarginal(dim, components) for name in dims})
        self.copula = LearnedCopula(family, len(dims), batch_shape, init_tau=init_tau, max_tau=max_tau)
        self.estimator = estimator(estimate, family, len(dims), dim, batch_shape, init_tau)
        self.register_buffer("cached", torch.zeros(cache, len(dims), dim))
        self.register_buffer("cached_present", torch.zeros(cache, len(dims), dtype=torch.bool))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def loss(self, z: Mapping[str, Float[Tensor, "b d"]], present: Bool[Tensor, "b m"]) -> dict[str, Tensor]:
        """Named terms to add to the task loss.

        ``copula`` is -lambda times the log copula density, mean over coordinates and over rows with at
        least two modalities, each row by the copula's margin over what it has; ``margins`` is the
        mixtures' negative log-likelihood per coordinate over present rows, summed over modalities. Rows
        need no label. In training the latents also move the running moments, and after the warm-up the
        mixtures are initialised from the last ones.
        """
        log_u, log_sf, log_prob = self._transform(z)
        log_density = self._log_density(log_u, log_sf, present)
        paired = present.sum(1) >= 2
        copula = log_density.sum() / paired.sum().clamp(min=1)  # zero when no row has a pair
        if self.training:
            cast(Estimator, self.estimator).update(log_u.detach(), log_sf.detach(), present)
            self._remember(z, present)
        rows = present.T
        nll = -(log_prob * rows).sum(1) / (rows.sum(1).clamp(min=1) * self.dim)
        return {"copula": -self.weight * copula, "margins": nll.sum()}

    def log_density(
        self, z: Mapping[str, Float[Tensor, "b d"]], present: Bool[Tensor, "b m"]
    ) -> Float[Tensor, " b"]:
        """Log copula density of each row, mean over coordinates; 0 with fewer than two modalities."""
        return self._log_density(*self.uniforms(z), present)

    def log_prob(
        self, z: Mapping[str, Float[Tensor, "b d"]], present: Bool[Tensor, "b m"] | None = None
    ) -> Float[Tensor, " b"]:
        """Log density of the present latents of each row under the joint, in nats."""
        if present is None:
            first = z[self.modalities[0]]
            present = torch.ones(len(first), len(self.modalities), dtype=torch.bool, device=first.device)
        margins = torch.stack([self.margin(name).log_prob(z[name]) for name in self.modalities], 1)
        return torch.where(present, margins, 0.0).sum(1) + self.dim * self.log_density(z, present)

    def uniforms(
        self, z: Mapping[str, Float[Tensor, "b d"]]
    ) -> tuple[Float[Tensor, "b d m"], Float[Tensor, "b d m"]]:
        """Pseudo-observations: log u and log(1 - u) of every coordinate and modality.

        Under "ifm" routing the mixtures are detached here.
        """
        log_u, log_sf, _ = self._transform(z)
        return log_u, log_sf

    def _transform(self, z: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Log u and log(1 - u), (B, d, M), and the log density of each latent, (M, B)."""
        margins = [self.margin(name) for name in self.modalities]
        latents = [z[name] for name in self.modalities]
        log_u, log_sf, log_prob = rosenblatt_together(margins, latents, self.routing == "ifm")
        return log_u.movedim(0, -1), log_sf.movedim(0, -1), log_prob

    def margin(self, name: str, detach: bool = False) -> GaussianMixture:
        """The mixture of one modality; standard normal until it is initialised."""
        module = cast(MixtureMarginal, self.margins[name])
        if not bool(module.initialised):
            like = module.loc.detach()[:1]
            return GaussianMixture(like.new_zeros(1), torch.zeros_like(like), torch.ones_like(like))
        mixture: GaussianMixture = module()
        if detach:
            return GaussianMixture(mixture.logits.detach(), mixture.loc.detach(), mixture.scale.detach())
        return mixture

    def imputation_copula(self) -> Copula:
        """The copula that imputation draws from: see ``estimate``."""
        return cast(Estimator, self.estimator).copula(self.copula())

    def impute(
        self,
        z: Mapping[str, Float[Tensor, "b d"]],
        present: Bool[Tensor, "b m"],
        method: str = "conditional",
        noise: Noise | None = None,
        *,
        draws: int = 1,
        generator: Generator | None = None,
        gradient: Gradient = "none",
        tokens: Float[Tensor, "m d"] | None = None,
    ) -> Imputed:
        """Fill the latents of absent modalities; see `sklar.alignment.impute`.

        Args:
            z: Per modality the latents; those of absent ones are not read.
            present: Which of them are there.
            method: Key of `sklar.alignment.IMPUTATIONS`.
            noise: Where randomness comes from; by default ``draws`` draws with noise of each row's own.
            draws: S.
            generator: Of the noise.
            gradient: What imputed latents differentiate in, see `sklar.alignment.Request`.
            tokens: What "learned" puts.

        Raises:
            ValueError: Unknown method, a gradient that it has not, or fewer than one draw.
        """
        _check("method", method, IMPUTATIONS)
        _check(f"gradient of {method}", gradient, GRADIENTS.get(method, ("none",)))
        request = Request(z, present, noise or Noise(draws, generator), gradient, tokens)
        return IMPUTATIONS[method](self, request)

    def _log_density(self, log_u: Tensor, log_sf: Tensor, present: Tensor) -> Tensor:
        out = log_u.new_zeros(len(log_u))
        copula = self.copula()
        for rows, columns in patterns(present):
            if len(columns) < 2:
                continue
            margin = copula if len(columns) == len(self.modalities) else copula.marginal(columns)
            own = (part.movedim(-1, 0) for part in (log_u, log_sf))  # modalities first, as they lie in memory
            if len(rows) < len(out) or len(columns) < len(self.modalities):
                own = (part[list(columns)][:, rows] for part in own)
            values = margin.log_density(*(part.movedim(0, -1) for part in own))
            out = out.index_copy(0, rows, values.mean(1))
        return out

    @torch.no_grad()
    def _remember(self, z: Mapping[str, Tensor], present: Tensor) -> None:
        before, size = int(self.seen), len(self.cached)
        if before >= self.warmup:
            return
        stacked = torch.stack([z[name] for name in self.modalities], 1)[-size:]
        slots = (before + torch.arange(len(stacked), device=stacked.device)) % size
        self.cached[slots] = stacked.to(self.cached.dtype)
        self.cached_present[slots] = present[-size:]
        self.seen += len(present)
        if int(self.seen) >= self.warmup:
            for column, name in enumerate(self.modalities):
                rows = self.cached[self.cached_present[:, column], column]
                cast(MixtureMarginal, self.margins[name]).initialise(rows)
            self.cached.zero_()


def _check(option: str, value: str, valid: object) -> None:
    names = list(valid)  # type: ignore[call-overload]
    if value not in names:
        raise ValueError(f"{option} must be one of {', '.join(names)}; got {value!r}")
