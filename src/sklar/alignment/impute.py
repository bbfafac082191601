"""Latents for absent modalities.

``conditional`` draws the missing latents given the observed ones through the copula; ``mean`` puts their
conditional mean; ``unconditional`` draws from the missing modality's own mixture (the paper's formula);
``zero`` puts the mean of a standardised latent, ``learned`` a trained token, and ``skip`` leaves the token
out. Missing at random is assumed: given what is observed, absence says nothing more about the missing
content.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sklar.alignment.noise import Noise, Pair, fixed_points
from sklar.alignment.patterns import patterns
from sklar.alignment.strata import stratified
from sklar.copulas import Copula
from sklar.marginals import GaussianMixture, inverse_rosenblatt_together
from sklar.special import ndtri_log

if TYPE_CHECKING:
    from sklar.alignment.joint import CopulaAlignment

QUARTILES = 1.3489795003921634
"""Distance between the quartiles of the standard normal distribution."""

MEAN_POINTS = 32
"""Points over which a conditional mean is averaged."""

Gradient = Literal["none", "pathwise", "total", "stratified"]

GRADIENTS: dict[str, tuple[Gradient, ...]] = {
    "conditional": ("none", "pathwise", "total"),
    "mean": ("none", "pathwise", "total"),
    "unconditional": ("none", "pathwise", "stratified"),
}
"""Gradients that a method offers; the others have only "none"."""


@dataclass(frozen=True)
class Request:
    """What to impute, and how.

    Attributes:
        z: Per modality (B, d) latents.
        present: (B, M) which of them are there.
        noise: S draws of noise.
        gradient: "none": imputed latents are constants. "pathwise": they carry the exact gradient in the
            mixtures, the copula and the observed latents. "total": their centre and spread carry it too, so
            that a prediction's derivative in its inputs is complete. "stratified" (unconditional): one draw
            from every component, weighted by the component's probability; its gradient includes the weights.
        tokens: (M, d) what "learned" puts.
    """

    z: Mapping[str, Float[Tensor, "b d"]]
    present: Bool[Tensor, "b m"]
    noise: Noise = field(default_factory=Noise)
    gradient: Gradient = "none"
    tokens: Float[Tensor, "m d"] | None = None


@dataclass(frozen=True)
class Imputed:
    """Completed latents of S draws.

    Attributes:
        latents: Per modality (S, B, d); observed rows repeat their latent in every draw.
        centre: Per modality (B, d) the middle of the imputed latents: every coordinate at its conditional
            median. Zero in observed rows.
        spread: Per modality (B, d) conditional spread of the imputed normal scores: the distance of
            the quartiles given the observed modalities, 1 where they say nothing, 0 in observed rows.
        read: (B, M) tokens that a fusion reads: all of them, unless absent ones are skipped.
        weight: (S, B) probability of each draw of a stratified one; None where all count the same.
    """

    latents: Mapping[str, Float[Tensor, "s b d"]]
    centre: Mapping[str, Float[Tensor, "b d"]]
    spread: Mapping[str, Float[Tensor, "b d"]]
    read: Bool[Tensor, "b m"]
    weight: Float[Tensor, "s b"] | None = None


def conditional(joint: "CopulaAlignment", request: Request) -> Imputed:
    """Draw the missing given the observed: conditional quantiles of noise, then back to latents.

    In evaluation the noise of a modality's coordinates is correlated as its latents are, unless the
    alignment has it independent (`sklar.alignment.coordinates`). Several missing modalities are drawn one
    after the other, each draw joining the conditions of the next. Rows with nothing observed get
    unconditional draws.
    """
    absent = _absent(joint, request)
    # a factorisation, which complete rows need not wait for
    factors = joint.noise_factors() if any(map(len, absent.values())) else None
    uniforms = []
    for column, (name, rows) in enumerate(absent.items()):
        factor = None if factors is None else factors[column]
        log_w, log_w_sf = request.noise.uniform(request.z[name], len(rows), factor)
        # the centre is one more draw, of noise that is 1/2 everywhere
        half = torch.full_like(log_w[:1], -math.log(2))
        uniforms.append((torch.cat([log_w, half]), torch.cat([log_w_sf, half])))
    drawn, spread = _through_the_copula(joint, request, absent, uniforms)
    middle = [own[-1] if request.gradient == "total" else own[-1].detach() for own in drawn]
    return _complete(request, absent, [own[:-1] for own in drawn], middle, spread)


def mean(joint: "CopulaAlignment", request: Request) -> Imputed:
    """Put the conditional mean of the missing latents given the observed.

    An average over fixed low-discrepancy points and their mirrors (`fixed_points`), which is exact for a
    Gaussian copula with one mixture component, where a closed form exists.
    """
    absent = _absent(joint, request)
    points = fixed_points(MEAN_POINTS, len(joint.modalities), joint.dim)
    uniforms = []
    for column, (name, rows) in enumerate(absent.items()):
        own = points[:, column, None].repeat(1, len(rows), 1)
        uniforms.append((own.log().to(request.z[name]), torch.log1p(-own).to(request.z[name])))
    drawn, spread = _through_the_copula(joint, request, absent, uniforms)
    middle = [own.mean(0) for own in drawn]
    return _complete(request, absent, [own.unsqueeze(0) for own in middle], middle, spread)


def unconditional(joint: "CopulaAlignment", request: Request) -> Imputed:
    """Draw each missing latent from its own mixture, whatever was observed."""
    absent = _absent(joint, request)
    mixtures = _mixtures(joint, request, absent)
    pairs = zip(mixtures, absent.values(), strict=True)
    middle = [own.mean.detach().expand(len(rows), -1) for own, rows in pairs]
    if request.gradient == "stratified":
        drawn, weight = stratified(joint, request.present, request.noise)
        return _complete(request, absent, drawn, middle, weight=weight)
    drawn = []
    for mixture, (name, rows) in zip(mixtures, absent.items(), strict=True):
        like, noise = request.z[name], request.noise
        if request.gradient == "pathwise":
            pair = noise.uniform(like, len(rows))
            drawn.append(mixture.inverse_rosenblatt(*pair))
            continue
        with torch.no_grad():
            chosen = noise.choice(mixture.logits.softmax(-1), like, len(rows))
            drawn.append(mixture.loc[chosen] + mixture.scale[chosen] * noise.normal(like, len(rows)))
    return _complete(request, absent, drawn, middle)


def zero(joint: "CopulaAlignment", request: Request) -> Imputed:
    """Put zeros, the mean of a standardised latent."""
    absent = _absent(joint, request)
    middle = [torch.zeros_like(request.z[name][rows]) for name, rows in absent.items()]
    return _complete(request, absent, [own.unsqueeze(0) for own in middle], middle)


def learned(joint: "CopulaAlignment", request: Request) -> Imputed:
    """Put one trained token per modality."""
    if request.tokens is None:
        raise ValueError(
            f"learned imputation puts tokens of shape ({len(joint.modalities)}, {joint.dim}); pass tokens="
        )
    absent = _absent(joint, request)
    pairs = zip(request.tokens, absent.values(), strict=True)
    middle = [token.expand(len(rows), -1) for token, rows in pairs]
    return _complete(request, absent, [own.unsqueeze(0) for own in middle], middle)


def skip(joint: "CopulaAlignment", request: Request) -> Imputed:
    """Leave absent tokens out: a fusion does not read them."""
    return replace(zero(joint, request), read=request.present)


Imputation = Callable[["CopulaAlignment", Request], Imputed]

IMPUTATIONS: dict[str, Imputation] = {
    "conditional": conditional,
    "unconditional": unconditional,
    "mean": mean,
    "zero": zero,
    "learned": learned,
    "skip": skip,
}


def _absent(joint: "CopulaAlignment", request: Request) -> dict[str, Tensor]:
    """Positions of the rows that lack each modality."""
    return {name: (~request.present[:, c]).nonzero().squeeze(1) for c, name in enumerate(joint.modalities)}


def _mixtures(
    joint: "CopulaAlignment", request: Request, absent: Mapping[str, Tensor]
) -> list[GaussianMixture]:
    """The mixture of each modality for the rows that lack it."""
    return [joint.margin(name, request.present[rows]) for name, rows in absent.items()]


def _complete(
    request: Request,
    absent: Mapping[str, Tensor],
    drawn: Sequence[Tensor],
    middle: Sequence[Tensor],
    spread: Sequence[Tensor] | None = None,
    weight: Tensor | None = None,
) -> Imputed:
    """Put (S or 1, n, d) draws, (n, d) centres and spreads of the absent rows beside the observed ones."""
    draws = request.noise.draws if weight is None else len(weight)
    latents, centres, spreads = {}, {}, {}
    for index, (name, rows) in enumerate(absent.items()):
        z = request.z[name]
        own = drawn[index].expand(draws, -1, -1)
        # observed rows keep their gradient
        latents[name] = z.expand(draws, -1, -1).index_copy(1, rows, own)
        blank = torch.zeros_like(z, requires_grad=False)
        centres[name] = blank.index_copy(0, rows, middle[index])
        loose = torch.ones_like(middle[index]) if spread is None else spread[index]
        if request.gradient != "total":
            loose = loose.detach()
        spreads[name] = blank.index_copy(0, rows, loose)
    return Imputed(latents, centres, spreads, torch.ones_like(request.present), weight)


def _through_the_copula(
    joint: "CopulaAlignment", request: Request, absent: Mapping[str, Tensor], uniforms: list[Pair]
) -> tuple[list[Tensor], list[Tensor]]:
    """Latents (S, n, d) of conditional quantiles of (S, n, d) uniforms, and their spread (n, d)."""
    with torch.set_grad_enabled(torch.is_grad_enabled() and request.gradient in ("pathwise", "total")):
        spread = _condition(joint, request, absent, uniforms)
        mixtures = _mixtures(joint, request, absent)
        if not torch.is_grad_enabled():
            return inverse_rosenblatt_together(mixtures, uniforms), spread
        parts = zip(mixtures, uniforms, strict=True)
        return [mixture.inverse_rosenblatt(*pair) for mixture, pair in parts], spread


def _condition(
    joint: "CopulaAlignment", request: Request, absent: Mapping[str, Tensor], uniforms: list[Pair]
) -> list[Tensor]:
    """Turn independent uniforms into conditional ones, in place, one pattern of presence after the other."""
    copula = joint.imputation_copula()
    observed = [joint.margin(name, request.present).rosenblatt(request.z[name]) for name in joint.modalities]
    spread = [torch.ones_like(request.z[name][rows]) for name, rows in absent.items()]
    place = (~request.present).cumsum(0) - 1  # position of a row among the absent ones of each modality
    for rows, columns in patterns(request.present):
        if not columns:
            continue
        given = {c: (observed[c][0][rows], observed[c][1][rows]) for c in columns}
        drawn = dict(given)
        for column in (c for c in range(len(absent)) if c not in columns):
            at = place[rows, column]
            log_w, log_w_sf = uniforms[column]
            pair = copula.conditional_quantile(log_w[:, at], column, drawn, log_w_sf[:, at])
            log_w[:, at], log_w_sf[:, at] = pair
            drawn[column] = pair
            with torch.set_grad_enabled(torch.is_grad_enabled() and request.gradient == "total"):
                spread[column][at] = _spread(copula, column, given)
    return spread


def _spread(copula: Copula, column: int, given: Mapping[int, Pair]) -> Tensor:
    """(n, d) distance of the conditional quartiles on the scale of normal scores."""
    log_w = next(iter(given.values()))[0].new_tensor([0.25, 0.75]).log()
    pair = copula.conditional_quantile(log_w[:, None, None], column, given)
    low, high = ndtri_log(*pair)
    distance: Tensor = (high - low) / QUARTILES
    return distance
