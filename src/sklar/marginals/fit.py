"""Fit a diagonal Gaussian mixture by k-means++ and EM."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

_STARTS = 5  # one start in three ends with two centres in one cluster when components lie apart
_LLOYD_STEPS = 10
_EM_STEPS = 50
_TOLERANCE = 1e-5  # nats per row and coordinate: what EM must gain to go on
_NUDGE = 1e-2  # pooled standard deviations
_PRIOR_ROWS = 1.0  # every component starts with one row of the pooled variance, so none can shrink to a point


def fit_mixture(
    rows: Float[Tensor, "n d"], components: int, generator: torch.Generator | None = None
) -> tuple[Float[Tensor, " component"], Float[Tensor, "component d"], Float[Tensor, "component d"]]:
    """Log weights, means and standard deviations, the best of several starts; never identical components.

    References:
        Arthur and Vassilvitskii (2007), k-means++; Dempster, Laird and Rubin (1977), EM.
    """
    if len(rows) < components:
        raise ValueError(f"{components} components need at least {components} rows, got {len(rows)}.")
    if not bool(torch.isfinite(rows).all()):
        raise ValueError("latents hold NaN or infinity; leave absent rows out.")
    dtype, rows = rows.dtype, rows.double()
    centre, spread = rows.mean(0), rows.std(0, unbiased=False)
    unit = torch.where(spread > 0, spread, 1.0)
    standard = (rows - centre) / unit
    starts = [_em(standard, _lloyd(standard, components, generator)) for _ in range(_STARTS)]
    _, log_weights, loc, scale = max(starts, key=lambda start: start[0])
    loc = _apart(loc)
    return log_weights.to(dtype), (centre + unit * loc).to(dtype), (spread * scale).to(dtype)


def _lloyd(rows: Tensor, components: int, generator: torch.Generator | None) -> Tensor:
    loc = _seed(rows, components, generator)
    for _ in range(_LLOYD_STEPS):
        share = torch.nn.functional.one_hot(_distances(rows, loc).argmin(1), components).to(rows)
        counts = share.sum(0).unsqueeze(-1)
        loc = torch.where(counts > 0, share.T @ rows / counts.clamp(min=1.0), loc)
    return loc


def _seed(rows: Tensor, components: int, generator: torch.Generator | None) -> Tensor:
    """k-means++: each centre is a row drawn with probability proportional to its squared distance."""
    first = int(torch.randint(len(rows), (1,), generator=generator))
    centres = rows[first : first + 1]
    while len(centres) < components:
        gaps = _distances(rows, centres).amin(1).clamp(min=0.0).cpu()
        if float(gaps.sum()) > 0:
            chosen = rows[int(torch.multinomial(gaps, 1, generator=generator))]
        else:  # fewer distinct rows than components: a nudge keeps the components apart
            chosen = centres[-1] + 0.1 * torch.randn(rows.shape[1], generator=generator).to(rows)
        centres = torch.cat([centres, chosen.unsqueeze(0)])
    return centres


def _distances(rows: Tensor, centres: Tensor) -> Tensor:
    """(n, K) squared distances."""
    return torch.stack([((rows - centre) ** 2).sum(1) for centre in centres], dim=1)


def _em(rows: Tensor, loc: Tensor) -> tuple[float, Tensor, Tensor, Tensor]:
    """Log-likelihood a row and coordinate, and what reached it, in units of the pooled standard deviation.

    Quadratic forms are matrix products with x and x^2.
    """
    components, dim = loc.shape
    squares = rows**2
    log_weights = torch.full((components,), -math.log(components), dtype=rows.dtype, device=rows.device)
    scale = torch.ones_like(loc)
    reached = -math.inf
    for _ in range(_EM_STEPS):
        precision = scale**-2
        distance = squares @ precision.T - 2.0 * rows @ (loc * precision).T + (loc**2 * precision).sum(1)
        joint = log_weights - 0.5 * distance - scale.log().sum(1)
        total = torch.logsumexp(joint, dim=1)
        share = torch.exp(joint - total.unsqueeze(1))
        counts = share.sum(0).unsqueeze(1)
        log_weights = torch.log((counts.squeeze(1) + 1.0) / (len(rows) + components))
        first = share.T @ rows
        loc = torch.where(counts > 1e-3, first / counts.clamp(min=1e-3), loc)  # an empty component stays
        inertia = share.T @ squares - 2.0 * loc * first + loc**2 * counts
        scale = torch.sqrt((inertia.clamp(min=0.0) + _PRIOR_ROWS) / (counts + _PRIOR_ROWS))
        level = float(total.mean()) / dim
        gain, reached = level - reached, level
        if gain < _TOLERANCE:
            break
    return reached, log_weights, loc, scale


def _apart(loc: Tensor) -> Tensor:
    """Components that data without structure made equal, moved apart: equal ones learn in step for ever."""
    for k in range(1, len(loc)):
        if bool(((loc[:k] - loc[k]).abs().amax(1) < _NUDGE).any()):
            loc[k] = loc[k] + k * _NUDGE
    return loc
