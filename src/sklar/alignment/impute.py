"""Latents for absent modalities.

``conditional`` draws the missing latents given the observed ones through the copula; ``unconditional``
draws from the missing modality's own mixture (the paper's formula); ``zero`` puts the mean of a
standardised latent. Missing at random is assumed: given what is observed, absence says nothing more
about the missing content.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from sklar.alignment.patterns import patterns
from sklar.copulas import Copula
from sklar.special import log1mexp, ndtri_log

if TYPE_CHECKING:
    from sklar.alignment.joint import CopulaAlignment

Pair = tuple[Tensor, Tensor]
"""log u and log(1 - u)."""

QUARTILES = 1.3489795003921634
"""Distance between the quartiles of the standard normal distribution."""


@dataclass(frozen=True)
class Imputed:
    """Completed latents of S draws.

    Attributes:
        latents: Per modality (S, B, d); observed rows repeat their latent in every draw.
        spread: Per modality (B, d) conditional spread of the imputed normal scores: the distance of
            the quartiles given the observed modalities, 1 where they say nothing, 0 in observed rows.
    """

    latents: Mapping[str, Float[Tensor, "s b d"]]
    spread: Mapping[str, Float[Tensor, "b d"]]


def conditional(
    joint: "CopulaAlignment",
    z: Mapping[str, Tensor],
    present: Tensor,
    draws: int,
    generator: Generator | None,
) -> Imputed:
    """Draw the missing given the observed: conditional quantiles of noise, then back to latents.

    Several missing modalities are drawn one after the other, each draw joining the conditions of the
    next. Rows with nothing observed get unconditional draws. No gradient flows through the draws.
    """
    return _draw(joint, z, present, draws, generator, use_observed=True)


def unconditional(
    joint: "CopulaAlignment",
    z: Mapping[str, Tensor],
    present: Tensor,
    draws: int,
    generator: Generator | None,
) -> Imputed:
    """Draw each missing latent from its own mixture, whatever was observed."""
    return _draw(joint, z, present, draws, generator, use_observed=False)


def zero(
    joint: "CopulaAlignment",
    z: Mapping[str, Tensor],
    present: Tensor,
    draws: int,
    generator: Generator | None,
) -> Imputed:
    """Put zeros, the mean of a standardised latent, in every draw."""
    latents = {name: value.expand(draws, -1, -1) for name, value in z.items()}
    absent = {name: ~present[:, c : c + 1] for c, name in enumerate(joint.modalities)}
    return Imputed(latents, {name: absent[name].to(z[name]).expand_as(z[name]) for name in z})


Imputation = Callable[["CopulaAlignment", Mapping[str, Tensor], Tensor, int, Generator | None], Imputed]

IMPUTATIONS: dict[str, Imputation] = {
    "conditional": conditional,
    "unconditional": unconditional,
    "zero": zero,
}


def _draw(
    joint: "CopulaAlignment",
    z: Mapping[str, Tensor],
    present: Tensor,
    draws: int,
    generator: Generator | None,
    use_observed: bool,
) -> Imputed:
    latents = {name: value.expand(draws, -1, -1).clone() for name, value in z.items()}
    spread = {name: torch.zeros_like(value) for name, value in z.items()}
    with torch.no_grad():
        copula = joint.imputation_copula()
        for rows, columns in patterns(present):
            observed = {c: _uniforms(joint, c, z, rows) for c in columns} if use_observed else {}
            given = dict(observed)
            for column in (c for c in range(len(joint.modalities)) if c not in columns):
                name = joint.modalities[column]
                like = z[name]
                # -log of a uniform is exponential: never 0, and exact in the tail
                noise = like.new_empty(draws, len(rows), like.shape[1]).exponential_(generator=generator)
                pair = copula.conditional_quantile(-noise, column, given, log1mexp(noise))
                latents[name][:, rows] = joint.margin(name).inverse_rosenblatt(*pair)
                spread[name][rows] = _spread(copula, column, observed, like[rows])
                if use_observed:
                    given[column] = pair
    return Imputed(latents, spread)


def _uniforms(joint: "CopulaAlignment", column: int, z: Mapping[str, Tensor], rows: Tensor) -> Pair:
    name = joint.modalities[column]
    return joint.margin(name).rosenblatt(z[name][rows])


def _spread(copula: Copula, column: int, given: Mapping[int, Pair], like: Tensor) -> Tensor:
    if not given:
        return torch.ones_like(like)
    low, high = (
        ndtri_log(*copula.conditional_quantile(torch.full_like(like, q).log(), column, given))
        for q in (0.25, 0.75)
    )
    return (high - low) / QUARTILES
