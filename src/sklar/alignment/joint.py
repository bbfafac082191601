"""The joint of all modalities' latents: mixtures for the margins, a copula per coordinate between them."""

import warnings
from collections.abc import Mapping
from typing import Literal, cast, final

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn

from sklar import processes
from sklar.alignment.coordinates import CoordinateMoments
from sklar.alignment.impute import GRADIENTS, IMPUTATIONS, Gradient, Imputed, Request
from sklar.alignment.noise import Noise
from sklar.alignment.official import Official
from sklar.alignment.options import check_choice, check_combination, check_range, width
from sklar.alignment.patterns import patterns
from sklar.alignment.pit import PITS
from sklar.alignment.refit import ESTIMATES, Estimator, estimator
from sklar.alignment.terms import TERMS, decorrelation
from sklar.alignment.uniforms import Latents, Pit, Uniforms
from sklar.copulas import FAMILIES, Copula, Gaussian, LearnedCopula
from sklar.marginals import GaussianMixture, MixtureMarginal, rosenblatt_together
from sklar.marginals.mixture import moments


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

    Imputation draws from this joint whatever ``pit`` and ``term`` train the encoders, with the copula's
    parameters read from the latents themselves: mixtures and moments are always fitted.

    Args:
        dims: Modality to the width of its latent; all widths must agree, since coordinates are coupled.
        family: Key of `sklar.copulas.FAMILIES`.
        components: K, the mixture components of each margin. Standardised latents are close to one normal
            each, and with K = 1 imputation is exact and cheap.
        pit: How a vector becomes uniforms, key of `sklar.alignment.PITS`.
        term: What aligns the encoders, key of `sklar.alignment.TERMS`.
        weight: lambda, the weight of the term; 0.1 to 1 is useful on the scale of the mean over coordinates.
        scale: The copula term and, under "joint" routing, the margins' likelihood are means over
            coordinates, or "sum" as in the paper, both times lambda.
        average: The term is a mean over all "rows", to which those without two modalities add nothing, as in
            a likelihood: where pairs are few they weigh little beside the task, and are not learned by heart.
            Or over "paired" rows only, whatever their number.
        objective_sign: "as_printed" is the paper's objective to the letter, in which the margins' likelihood
            has the opposite sign: minimising it diverges. It exists so that a test can show this.
        routing: "ifm" (inference functions for margins) shows detached latents to the margins'
            likelihood and detached margins to the copula term, so that the likelihood cannot collapse
            the latents; "joint" lets every gradient through.
        decorrelation: Weight of the penalty on correlated coordinates within a modality.
        parameters: "shared" by all coordinates, or one set "per_coordinate".
        mixture_weights: "global", one vector per modality, or "amortized", an MLP with softmax of which
            *other* modalities the row has. Weights that read z itself would leave no density; presence is
            known before z, so the joint is a density given the pattern, and a missing modality's weights are
            defined.
        heads: q, the learned projections of ``pit="head"``.
        estimate: Copula parameters that imputation uses: running "moments" of the latents (learned
            parameters lag behind them), a "fit" to the last complete rows, or the "learned" ones.
        noise: Of the coordinates of a conditional draw in evaluation: "correlated" as the latents
            are, which leaves the law of each coordinate, or "independent", which averages out where they
            repeat each other. In training it is independent, which keeps an imputed token near its centre.
        init_tau: Kendall's tau to start from; at independence the alignment has no gradient.
        max_tau: Smooth cap of tau, since the term is unbounded as dependence becomes perfect.
        warmup: Rows to see before the mixtures are initialised from a cache of latents; until then
            each margin is standard normal.
        cache: Rows that the cache holds.

    Raises:
        ValueError: Unknown family or option, a number out of its range, fewer than two modalities, unequal
            widths, or options that exclude each other.
    """

    cached: Tensor
    cached_present: Tensor
    seen: Tensor
    seen_present: Tensor
    pit: Pit

    def __init__(
        self,
        dims: Mapping[str, int],
        family: str = "gaussian",
        components: int = 1,
        pit: str = "rosenblatt",
        *,
        term: str = "copula",
        weight: float = 0.3,
        scale: Literal["mean", "sum"] = "mean",
        average: Literal["rows", "paired"] = "rows",
        objective_sign: Literal["correct", "as_printed"] = "correct",
        routing: Literal["ifm", "joint"] = "ifm",
        decorrelation: float = 0.0,
        parameters: Literal["shared", "per_coordinate"] = "shared",
        mixture_weights: Literal["global", "amortized"] = "global",
        heads: int = 1,
        estimate: Literal["moments", "fit", "learned"] = "moments",
        noise: Literal["correlated", "independent"] = "correlated",
        init_tau: float = 0.35,
        max_tau: float | None = 0.95,
        warmup: int = 4096,
        cache: int = 1024,
    ) -> None:
        super().__init__()
        names, dim = tuple(dims), width(dims)
        check_choice("family", family, FAMILIES)
        check_choice("pit", pit, PITS)
        check_choice("term", term, TERMS)
        check_choice("scale", scale, ("mean", "sum"))
        check_choice("average", average, ("rows", "paired"))
        check_choice("objective_sign", objective_sign, ("correct", "as_printed"))
        check_choice("routing", routing, ("ifm", "joint"))
        check_choice("parameters", parameters, ("shared", "per_coordinate"))
        check_choice("mixture_weights", mixture_weights, ("global", "amortized"))
        check_choice("estimate", estimate, ESTIMATES)
        check_choice("noise", noise, ("correlated", "independent"))
        check_range("components", components, 1)
        check_range("heads", heads, 1, dim)
        check_range("weight (lambda)", weight, 0)
        check_range("decorrelation", decorrelation, 0)
        check_range("warmup", warmup, 1)
        check_range("cache", cache, components)
        check_combination(
            pit=pit, term=term, dim=dim, components=components, routing=routing, estimate=estimate
        )
        context = len(dims) - 1 if mixture_weights == "amortized" else 0
        self.modalities, self.family, self.dim = names, family, dim
        self.term, self.weight, self.scale, self.decorrelation = term, weight, scale, decorrelation
        self.objective_sign, self.routing, self.estimate = objective_sign, routing, estimate
        self.average = average
        self.amortized, self.warmup = bool(context), warmup
        self.margins = nn.ModuleDict({name: MixtureMarginal(dim, components, context) for name in dims})
        self.pit = PITS[pit](len(dims), dim, components, heads)
        if isinstance(self.pit, Official):
            self.pit.evaluate(family)
        own = parameters == "per_coordinate"
        self.copula = LearnedCopula(
            family, len(dims), (self.pit.coordinates,) if own else (), init_tau=init_tau, max_tau=max_tau
        )
        if term != "copula" or pit == "official":
            self.copula.requires_grad_(False)  # nothing trains it
        batch_shape = (dim,) if own else ()
        self.estimator = estimator(estimate, family, len(dims), dim, batch_shape, init_tau)
        self.coordinates = CoordinateMoments(len(dims), dim) if noise == "correlated" else None
        self.register_buffer("cached", torch.zeros(cache, len(dims), dim))
        self.register_buffer("cached_present", torch.zeros(cache, len(dims), dtype=torch.bool))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.register_buffer("seen_present", torch.zeros(len(dims), dtype=torch.long))
        self._told_of_no_pairs = False

    def loss(self, z: Mapping[str, Float[Tensor, "b d"]], present: Bool[Tensor, "b m"]) -> dict[str, Tensor]:
        """Named terms to add to the task loss; rows need no label.

        Under the name of ``term`` (none for "none"), lambda times the alignment; for "copula" that is minus
        the log copula density, mean over coordinates and over rows (see ``average``), each row by the
        copula's margin over what it has. ``margins`` is the mixtures' negative log-likelihood per
        coordinate over present rows, summed over modalities, and ``decorrelation`` the penalty if it has a
        weight. In training the latents also move the running moments, and after the warm-up the mixtures are
        initialised from the last ones. Of processes that train together, each sees the rows of all.
        """
        if self.training:
            z = {name: processes.gather(z[name]) for name in self.modalities}
            present = processes.gather(present)
        latents = self._latents(z, present)
        uniforms = self.pit(latents)
        terms = {}
        if self.term != "none":
            share = self._share(latents) * self.weight
            terms[self.term] = share * TERMS[self.term](self, latents, uniforms)
        terms["margins"] = self._margins(latents, uniforms)
        if self.decorrelation:
            terms["decorrelation"] = self.decorrelation * decorrelation(latents.z, present)
        if self.training:
            cast(Estimator, self.estimator).update(latents.uniforms, present)
            if self.coordinates is not None:
                self.coordinates.update(_standardised(latents), present)
            self._remember(latents)
            self._tell_of_no_pairs(latents)
            if isinstance(self.pit, Official):
                self.copula.assign(self.pit.copula())  # theta, for whoever reports the dependence
        return terms

    def log_density(
        self, z: Mapping[str, Float[Tensor, "b d"]], present: Bool[Tensor, "b m"]
    ) -> Float[Tensor, " b"]:
        """Log copula density of each row, mean over coordinates; 0 with fewer than two modalities."""
        latents = self._latents(z, present)
        if isinstance(self.pit, Official):
            return self.pit.log_density(latents)
        return self.log_density_of(self.pit(latents), present)

    def log_prob(
        self, z: Mapping[str, Float[Tensor, "b d"]], present: Bool[Tensor, "b m"] | None = None
    ) -> Float[Tensor, " b"]:
        """Log density of the present latents of each row under the joint, in nats.

        Raises:
            ValueError: The ``pit`` does not give a density.
        """
        if not self.pit.density:
            raise ValueError(
                "these uniforms are no part of a density (sklar.alignment.pit says which are): log_density "
                "gives the copula's part. pit='rosenblatt' has a density for any d and K"
            )
        present = self._present(z, present)
        latents = self._latents(z, present)
        margins = torch.where(present, latents.log_prob.T, 0.0).sum(1)
        return margins + self.pit.coordinates * self.log_density_of(self.pit(latents), present)

    def uniforms(
        self, z: Mapping[str, Float[Tensor, "b d"]], present: Bool[Tensor, "b m"] | None = None
    ) -> tuple[Float[Tensor, "b q m"], Float[Tensor, "b q m"]]:
        """Pseudo-observations: log u and log(1 - u) of every modality, q per row as ``pit`` says.

        Under "ifm" routing they have no gradient in the mixtures.
        """
        found = self.pit(self._latents(z, self._present(z, present)))
        return found.log_u, found.log_sf

    def log_density_of(self, uniforms: Uniforms, present: Bool[Tensor, "b m"]) -> Float[Tensor, " b"]:
        """Log copula density of uniforms, mean over their q coordinates, by patterns of presence."""
        out = uniforms.log_u.new_zeros(len(present))
        # under other terms the learned copula stays where it started; that of the latents is to be reported
        copula = self.copula() if self.term == "copula" else self.imputation_copula()
        points = [uniforms.scores] if isinstance(copula, Gaussian) else uniforms.modalities_first
        for rows, columns in patterns(present):
            if len(columns) < 2:
                continue
            margin = copula if len(columns) == len(self.modalities) else copula.marginal(columns)
            own = points
            if len(rows) < len(out) or len(columns) < len(self.modalities):
                own = [part[list(columns)][:, rows] for part in points]
            density = margin.log_density_of_scores if isinstance(margin, Gaussian) else margin.log_density
            means = density(*(part.movedim(0, -1) for part in own)).mean(1)
            out = means if len(rows) == len(out) else out.index_copy(0, rows, means)
        return out

    def margin(self, name: str, present: Bool[Tensor, "b m"] | None = None) -> GaussianMixture:
        """The mixture of one modality; standard normal until it is initialised.

        Amortized weights are those of rows with these modalities, by default of rows that have all others.
        """
        module = self._module(name)
        mixture: GaussianMixture = module(self._context(name, present)) if self.amortized else module()
        if bool(module.initialised):
            return mixture
        if not any(bool(self._module(other).initialised) for other in self.modalities):
            return mixture.standard()
        like = mixture.loc.detach()  # beside fitted mixtures, of their shape
        return GaussianMixture(mixture.logits.detach(), torch.zeros_like(like), torch.ones_like(like))

    def imputation_copula(self) -> Copula:
        """The copula that imputation draws from: see ``estimate``."""
        return cast(Estimator, self.estimator).copula(self.copula())

    def noise_factors(self) -> Float[Tensor, "m d d"] | None:
        """What correlates the noise of conditional draws, see `CoordinateMoments`; None for independence."""
        return None if self.training or self.coordinates is None else self.coordinates.factor()

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
        check_choice("method", method, IMPUTATIONS)
        check_choice(f"gradient of {method}", gradient, GRADIENTS.get(method, ("none",)))
        request = Request(z, present, noise or Noise(draws, generator), gradient, tokens)
        return IMPUTATIONS[method](self, request)

    def _latents(self, z: Mapping[str, Tensor], present: Tensor) -> Latents:
        own = present if self.amortized else None
        mixtures = [self.margin(name, own) for name in self.modalities]
        separate = self.routing == "ifm"
        values = [z[name] for name in self.modalities]
        log_u, log_sf, log_prob = rosenblatt_together(mixtures, values, separate)
        return Latents(
            torch.stack(values),
            present,
            [mixture.detach() for mixture in mixtures] if separate else mixtures,
            log_u.movedim(0, -1),
            log_sf.movedim(0, -1),
            log_prob,
        )

    def _present(self, z: Mapping[str, Tensor], present: Tensor | None) -> Tensor:
        if present is not None:
            return present
        first = z[self.modalities[0]]
        return torch.ones(len(first), len(self.modalities), dtype=torch.bool, device=first.device)

    def _context(self, name: str, present: Tensor | None) -> Tensor:
        """(B, M - 1) whether a row has each of the other modalities."""
        column = self.modalities.index(name)
        if present is None:
            return self.cached.new_ones(len(self.modalities) - 1)
        return torch.cat([present[:, :column], present[:, column + 1 :]], 1).to(self.cached.dtype)

    def _margins(self, latents: Latents, uniforms: Uniforms) -> Tensor:
        rows = latents.present.T
        count = rows.sum(1).clamp(min=1)
        nll = -((latents.log_prob * rows).sum(1) / (count * self.dim)).sum()
        if self.scale == "sum" and self.routing == "joint":
            nll = nll * (self.dim * self.weight)
        if uniforms.log_prob is not None:
            nll = nll - ((uniforms.log_prob * rows).sum(1) / count).sum()
        return -nll if self.objective_sign == "as_printed" else nll

    def _share(self, latents: Latents) -> Tensor | float:
        """Of the rows, those that the term is about: what turns its mean over these into one over all."""
        return 1.0 if self.average == "paired" else latents.paired.float().mean()

    @torch.no_grad()
    def _remember(self, latents: Latents) -> None:
        """Fill the cache; after the warm-up, fit every margin that has rows enough and is not fitted."""
        waiting = [name for name in self.modalities if not bool(self._module(name).initialised)]
        if not waiting:
            return
        size, rows = len(self.cached), latents.z.movedim(0, 1)
        slots = (self.seen + torch.arange(min(len(rows), size), device=rows.device)) % size
        self.cached[slots] = rows[-size:].to(self.cached.dtype)
        self.cached_present[slots] = latents.present[-size:]
        self.seen += len(rows)
        self.seen_present += latents.present.sum(0)
        if int(self.seen) < self.warmup:
            return
        for name in waiting:
            column = self.modalities.index(name)
            if not int(self.seen_present[column]):
                raise ValueError(
                    f"none of the first {int(self.seen)} training rows has {name!r}, so it can be "
                    "neither aligned nor imputed: leave it out, or raise alignment.warmup if it is that rare"
                )
            own = self.cached[self.cached_present[:, column], column]
            module = self._module(name)
            if len(own) >= len(module.logits):
                module.initialise(own)
        if all(bool(self._module(name).initialised) for name in self.modalities):
            columns = zip(self.modalities, self.cached.unbind(1), strict=True)
            self.pit.fit(self._latents(dict(columns), self.cached_present))
            self.cached.zero_()
        processes.agree(self)  # the first start of each fit is drawn at random

    def _module(self, name: str) -> MixtureMarginal:
        return cast(MixtureMarginal, self.margins[name])

    def _tell_of_no_pairs(self, latents: Latents) -> None:
        paired = latents.paired
        if self._told_of_no_pairs or len(paired) < 2 or bool(paired.any()):
            return
        self._told_of_no_pairs = True
        warnings.warn(
            f"a batch of {len(paired)} rows has none with two modalities: such batches align nothing, "
            "and their predictions go on. If all are like this, the modalities come from different subjects",
            stacklevel=3,
        )


@torch.no_grad()
def _standardised(latents: Latents) -> Float[Tensor, "m b d"]:
    """Latents at the mean and on the scale of their mixtures; with one component these are normal scores."""
    logits = torch.stack([own.logits for own in latents.mixtures])
    logits = logits if logits.ndim == 3 else logits.unsqueeze(1)
    loc = torch.stack([own.loc for own in latents.mixtures]).unsqueeze(1)
    scale = torch.stack([own.scale for own in latents.mixtures]).unsqueeze(1)
    mean, stddev = moments(logits.softmax(-1), loc, scale)
    return (latents.z - mean) / stddev
