"""Latents for absent modalities.

``conditional`` draws the missing latents given the observed ones through the copula; ``unconditional``
draws from the missing modality's own mixture (the paper's formula); ``zero`` puts the mean of a
standardised latent. Missing at random is assumed: given what is observed, absence says nothing more
about the missing content.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from sklar.alignment.patterns import patterns
from sklar.copulas import Copula
from sklar.marginals import inverse_rosenblatt_together
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
    with torch.no_grad():
        absent = _absent(joint, present)
        uniforms, spread = [], []
        for name, rows in absent.items():
            noise = z[name].new_empty(draws, len(rows), z[name].shape[1])
            # -log of a uniform is exponential: never 0, and exact in the tail
            noise.exponential_(generator=generator)
            uniforms.append((-noise, log1mexp(noise)))
            spread.append(torch.zeros_like(z[name]).index_fill(0, rows, 1.0))
        _condition(joint, z, present, uniforms, spread)
        drawn = inverse_rosenblatt_together([joint.margin(name) for name in absent], uniforms)
    return _complete(z, absent, drawn, spread)


def unconditional(
    joint: "CopulaAlignment",
    z: Mapping[str, Tensor],
    present: Tensor,
    draws: int,
    generator: Generator | None,
) -> Imputed:
    """Draw each missing latent from its own mixture, whatever was observed. No gradient."""
    absent = _absent(joint, present)
    drawn = [joint.margin(name).sample((draws, len(rows)), generator) for name, rows in absent.items()]
    spread = [torch.zeros_like(z[name]).index_fill(0, rows, 1.0) for name, rows in absent.items()]
    return _complete(z, absent, drawn, spread)


def zero(
    joint: "CopulaAlignment",
    z: Mapping[str, Tensor],
    present: Tensor,
    draws: int,
    generator: Generator | None,
) -> Imputed:
    """Put zeros, the mean of a standardised latent, in every draw."""
    absent = _absent(joint, present)
    drawn = [z[name].new_zeros(draws, len(rows), z[name].shape[1]) for name, rows in absent.items()]
    spread = [torch.zeros_like(z[name]).index_fill(0, rows, 1.0) for name, rows in absent.items()]
    return _complete(z, absent, drawn, spread)


Imputation = Callable[["CopulaAlignment", Mapping[str, Tensor], Tensor, int, Generator | None], Imputed]

IMPUTATIONS: dict[str, Imputation] = {
    "conditional": conditional,
    "unconditional": unconditional,
    "zero": zero,
}


def _absent(joint: "CopulaAlignment", present: Tensor) -> dict[str, Tensor]:
    """Positions of the rows that lack each modality."""
    return {name: (~present[:, c]).nonzero().squeeze(1) for c, name in enumerate(joint.modalities)}


def _complete(
    z: Mapping[str, Tensor],
    absent: Mapping[str, Tensor],
    drawn: Sequence[Tensor],
    spread: Sequence[Tensor],
) -> Imputed:
    latents = {
        # observed rows keep their gradient
        name: z[name].expand(len(own), -1, -1).index_copy(1, rows, own)
        for (name, rows), own in zip(absent.items(), drawn, strict=True)
    }
    return Imputed(latents, dict(zip(absent, spread, strict=True)))


def _condition(
    joint: "CopulaAlignment",
    z: Mapping[str, Tensor],
    present: Tensor,
    uniforms: list[Pair],
    spread: list[Tensor],
) -> None:
    """Turn independent uniforms into conditional ones, in place, one pattern of presence after the other."""
    copula = joint.imputation_copula()
    observed = [joint.margin(name).rosenblatt(z[name]) for name in joint.modalities]
    place = (~present).cumsum(0) - 1  # position of a row among the absent ones of each modality
    for rows, columns in patterns(present):
        if not columns:
            continue
        given = {c: (observed[c][0][rows], observed[c][1][rows]) for c in columns}
        drawn = dict(given)
        for column in (c for c in range(present.shape[1]) if c not in columns):
            at = place[rows, column]
            log_w, log_w_sf = uniforms[column]
            pair = copula.conditional_quantile(log_w[:, at], column, drawn, log_w_sf[:, at])
            log_w[:, at], log_w_sf[:, at] = pair
            drawn[column] = pair
            spread[column][rows] = _spread(copula, column, given)


def _spread(copula: Copula, column: int, given: Mapping[int, Pair]) -> Tensor:
    """(n, d) distance of the conditional quartiles on the scale of normal scores."""
    log_w = next(iter(given.values()))[0].new_tensor([0.25, 0.75]).log()
    pair = copula.conditional_quantile(log_w[:, None, None], column, given)
    low, high = ndtri_log(*pair)
    distance: Tensor = (high - low) / QUARTILES
    return distance
