"""Fit a family to rows of uniforms."""

from itertools import combinations
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from sklar.copulas.ascent import maximise
from sklar.copulas.base import Copula

Family = TypeVar("Family", bound=Copula)

METHODS = ("mle", "itau")
_HALVINGS = 60
_PERFECT = 1.0 - 1e-6  # Kendall's tau that no sample with two rows in another order comes near


def fit_copula(family: type[Family], u: Float[Tensor, "n *batch modality"], method: str) -> Family:
    """See :meth:`sklar.copulas.Copula.fit`."""
    if method not in METHODS:
        raise ValueError(f"no fitting method {method!r}; there are {', '.join(METHODS)}.")
    if u.ndim < 2 or u.shape[0] < 2:
        raise ValueError(
            f"fitting needs at least 2 rows of u, (n, *batch, modality), got shape {tuple(u.shape)}."
        )
    inside = (u > 0) & (u < 1)
    if not bool(inside.all()):
        raise ValueError(
            f"u holds {u[~inside].flatten()[0].item()}; fitting needs values strictly between 0 and 1. "
            "pseudo_observations turns data into such values."
        )
    wide = u.detach().double()
    log_u, log_sf = wide.log(), torch.log1p(-wide)
    fitted = family.estimate(log_u, log_sf)
    if method == "mle":
        fitted = _climb(fitted, log_u, log_sf)
        _check_maximum(fitted, log_u, log_sf)
    return family.from_raw(fitted.to_raw(None).to(u.dtype), fitted.dim, None)


def _climb(start: Family, log_u: Tensor, log_sf: Tensor) -> Family:
    """From the start to the likeliest unconstrained parameters, for each element of the batch."""
    raw = _possible(start, log_u, log_sf)
    if raw.numel() == 0:
        return start

    def likelihood(raw: Tensor) -> Tensor:
        return start.from_raw(raw, start.dim, None).log_density(log_u, log_sf).mean(0)

    return start.from_raw(maximise(likelihood, raw), start.dim, None)


def _possible(start: Copula, log_u: Tensor, log_sf: Tensor) -> Tensor:
    """Unconstrained parameters of the start, moved towards zero until no row lies outside the support.

    Only a Clayton copula of negative theta has points without density, and its zero is independence.
    """
    raw = start.to_raw(None).detach()
    for _ in range(_HALVINGS):
        value = start.from_raw(raw, start.dim, None).log_density(log_u, log_sf).mean(0)
        impossible = value == -torch.inf
        if not bool(impossible.any()):
            break
        raw = torch.where(impossible.unsqueeze(-1), 0.5 * raw, raw)
    return raw


def _check_maximum(fitted: Copula, log_u: Tensor, log_sf: Tensor) -> None:
    """Refuse what the climb ends at where the likelihood has no maximum."""
    pairs = [fitted.marginal(pair).kendall_tau() for pair in combinations(range(fitted.dim), 2)]
    regular = torch.stack([tau.abs() < _PERFECT for tau in pairs]).all(0)
    if not bool((regular & torch.isfinite(fitted.log_density(log_u, log_sf).mean(0))).all()):
        raise ValueError(
            f"{type(fitted).__name__} has no most likely member for these u: the likelihood grows without "
            "bound. Two modalities that order the rows alike, or in reverse, carry one variable: leave one "
            'of them out, or take method="itau", which stops at the nearest member that is not degenerate.'
        )


def pseudo_observations(x: Float[Tensor, "n *batch"]) -> Float[Tensor, "n *batch"]:
    """Ranks along the first axis divided by n + 1, which lie inside (0, 1); ties share their mean rank.

    Raises:
        ValueError: x holds NaN, which has no rank.
    """
    if bool(torch.isnan(x).any()):
        raise ValueError("x holds NaN, which has no rank; drop or mask incomplete rows first.")
    columns = x.detach().double().movedim(0, -1).contiguous()
    ordered = columns.sort(dim=-1).values
    below = torch.searchsorted(ordered, columns)
    upto = torch.searchsorted(ordered, columns, right=True)
    rank = 0.5 * (below + upto + 1)
    kind = x.dtype if x.is_floating_point() else torch.get_default_dtype()
    return (rank / (x.shape[0] + 1)).movedim(-1, 0).to(kind)
