"""The inverse of a mixture's Rosenblatt transform, a block of coordinates at a time."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from sklar.special import ndtri_log

_ROOT_HALF = math.sqrt(0.5)
_NORMAL = 1.0 / math.sqrt(2.0 * math.pi)
BLOCK = 32
"""Coordinates solved together: fewer repeat more small operations, more wait longer for their left ones."""
_APPROACH = 24
"""Plain steps before safeguarded ones."""


def invert_rosenblatt(
    log_weights: Float[Tensor, "component #n"],
    loc: Float[Tensor, "component #n d"],
    scale: Float[Tensor, "component #n d"],
    log_u: Float[Tensor, "n d"],
    log_sf: Float[Tensor, "n d"],
) -> Float[Tensor, "n d"]:
    r"""The z of each row with $\sum_k w_{kj} \Phi((z_j - \mu_{kj}) / s_{kj}) = u_j$ for every j.

    The weights :math:`w_{kj}` depend on z_<j, so the system is triangular. Blocks of coordinates are solved
    from left to right; what a block says of the components enters the weights of the next. No gradient.

    Args:
        log_weights: Normalised log weights.
        loc: Means; parameters may differ by row.
        scale: Standard deviations.
        log_u: Log uniforms.
        log_sf: log(1-u).
    """
    quantile = ndtri_log(log_u, log_sf)
    z = torch.empty_like(quantile)
    sign = torch.where(log_u < log_sf, 1.0, -1.0).to(z)
    goal = torch.minimum(log_u, log_sf)
    # probabilities themselves serve while they are normal numbers, and cost a tenth of their logs
    deep = bool((goal < 0.9 * math.log(torch.finfo(z.dtype).tiny)).any())
    for start in range(0, z.shape[1], BLOCK):
        part = slice(start, start + BLOCK)
        own = (loc[..., part], scale[..., part])
        arguments = (log_weights, *own, quantile[:, part], sign[:, part])
        x = None if deep else _approach(*arguments)
        z[:, part] = _solve(*arguments, goal[:, part], deep) if x is None else x
        density = _log_density(z[:, part], *own)
        log_weights = (log_weights + (density - density.amax(0)).sum(2)).log_softmax(0)
    return z


def _approach(
    log_weights: Tensor, loc: Tensor, scale: Tensor, quantile: Tensor, sign: Tensor
) -> Tensor | None:
    """One block by plain Newton steps on the normal score of u; None if any coordinate has not settled.

    The normal score of a mixture's CDF is nearly linear, so that most blocks settle in a few steps; they take
    half the operations of safeguarded ones. Coordinates are mirrored where u > 1/2, so that all tails are
    lower.
    """
    ends = loc + scale * quantile
    mirrored = sign * ends
    low, high = mirrored.amin(0), mirrored.amax(0)
    inverse = _ROOT_HALF / scale
    shift = sign * loc * inverse
    offset = -scale.log()
    start = log_weights.unsqueeze(2).expand(-1, len(quantile), -1)
    target = -quantile.abs()
    epsilon = 16 * torch.finfo(quantile.dtype).eps
    x = sign * (log_weights.exp().unsqueeze(2) * ends).sum(0)
    for _ in range(_APPROACH):
        minus_t = torch.addcmul(shift, x, inverse, value=-1)  # -t / sqrt 2
        density = torch.addcmul(offset, minus_t, minus_t, value=-1)
        relative = density - density.amax(0)
        weight = torch.cat([start, relative[..., :-1]], 2).cumsum(2).softmax(0)
        score = torch.special.ndtri(0.5 * (weight * torch.erfc(minus_t)).sum(0))
        gap = score - target
        step = gap * torch.exp(-0.5 * score * score) / (weight * density.exp()).sum(0)
        small = (step.abs() <= torch.add(epsilon, x.abs(), alpha=epsilon)) | (gap.abs() <= epsilon)
        if bool(small.all()):
            return sign * x
        # the solution lies between the components' own quantiles; an undefined step goes to one of them
        x = torch.where(small, x, torch.fmax(torch.fmin(x - step, high), low))
    return None


def _solve(
    log_weights: Tensor, loc: Tensor, scale: Tensor, quantile: Tensor, sign: Tensor, goal: Tensor, deep: bool
) -> Tensor:
    """One block, whatever its parameters and however deep in the tails.

    Every iteration takes one safeguarded Newton step of all coordinates for the weights that the current z
    implies; coordinates settle from the left. The step is on the log of the smaller tail, which is exact
    however small; whatever the weights, the solution lies between the components' own quantiles, so a
    bisection bracket always exists. Rows that have settled leave.
    """
    ends = loc + scale * quantile
    low, high = ends.amin(0), ends.amax(0)
    x = (log_weights.exp().unsqueeze(2) * ends).sum(0)
    lower, upper, before = low, high, torch.zeros_like(ends)
    z, rows = torch.empty_like(x), torch.arange(len(x), device=x.device)
    epsilon = torch.finfo(x.dtype).eps
    # settling is left to right: as many rounds of a full bisection cannot be exceeded, and never come near
    for _ in range(x.shape[1] * 60):
        weight, step, gap = _newton(x, log_weights, loc, scale, sign, goal, deep)
        reach = epsilon * (1 + x.abs())
        small = (step.abs() <= 16 * reach) | (gap.abs() <= 16 * epsilon)
        fresh = ((weight - before).abs().amax(0) > 64 * epsilon) | (upper - lower <= 8 * reach)
        lower, upper = torch.where(fresh, low, lower), torch.where(fresh, high, upper)
        below = sign * gap < 0
        lower, upper = torch.where(below, x, lower), torch.where(below, upper, x)
        jump = x - step
        inside = (jump > lower) & (jump < upper)
        x = torch.where(small, x, torch.where(inside, jump, 0.5 * (lower + upper)))
        before, active = weight, ~small.all(1)
        left = int(active.sum())
        if left <= len(rows) // 2:
            z[rows[~active]] = x[~active]
            if not left:
                return z
            rows, x, sign, goal = rows[active], x[active], sign[active], goal[active]
            low, high, lower, upper = low[active], high[active], lower[active], upper[active]
            before = before[:, active]
            log_weights, loc, scale = (
                part[:, active] if part.shape[1] > 1 else part for part in (log_weights, loc, scale)
            )
    z[rows] = x
    return z


def _log_density(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """(K, n, d) log normal densities but for log sqrt(2 pi)."""
    return -0.5 * ((x - loc) / scale).square() - scale.log()


def _newton(
    x: Tensor, log_weights: Tensor, loc: Tensor, scale: Tensor, sign: Tensor, goal: Tensor, deep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (K, n, d) at x, the Newton step on the log tail, and the gap that it closes."""
    t = (x - loc) / scale
    density = -0.5 * t.square() - scale.log()
    # only differences between components count; small ones keep their digits over many coordinates
    relative = density - density.amax(0)
    joint = torch.cat([torch.zeros_like(relative[..., :1]), relative[..., :-1]], 2).cumsum(2)
    joint = joint + log_weights.unsqueeze(2)
    if deep:
        log_weight = joint.log_softmax(0)
        weight = log_weight.exp()
        log_tail = (log_weight + torch.special.log_ndtr(sign * t)).logsumexp(0)
        inverse_hazard = (log_tail - (log_weight + density).logsumexp(0)).exp() / _NORMAL
    else:
        weight = joint.softmax(0)
        tail = 0.5 * (weight * torch.special.erfc(-_ROOT_HALF * sign * t)).sum(0)
        log_tail = tail.log()
        inverse_hazard = tail / (_NORMAL * (weight * density.exp()).sum(0))
    gap = log_tail - goal
    # between components that lie far apart the slope underflows: an infinite step means bisection
    step = torch.where(torch.isinf(inverse_hazard), torch.inf, gap * inverse_hazard)
    return weight, sign * step, gap
