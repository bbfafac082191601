"""The inverse of a mixture's Rosenblatt transform, all coordinates at once."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from sklar.special import ndtri_log

_ROOT_HALF = math.sqrt(0.5)
_NORMAL = 1.0 / math.sqrt(2.0 * math.pi)


def invert_rosenblatt(
    log_weights: Float[Tensor, "component #n"],
    loc: Float[Tensor, "component #n d"],
    scale: Float[Tensor, "component #n d"],
    log_u: Float[Tensor, "n d"],
    log_sf: Float[Tensor, "n d"],
) -> Float[Tensor, "n d"]:
    r"""The z of each row with $\sum_k w_{kj} \Phi((z_j - \mu_{kj}) / s_{kj}) = u_j$ for every j.

    The weights :math:`w_{kj}` depend on z_<j, so the system is triangular. Every iteration takes one
    safeguarded Newton step of all coordinates for the weights that the current z implies: coordinates
    settle from the left, typically in 20 to 60 iterations, and rows that have settled leave. Parameters may
    differ by row. The step is on the log of the smaller tail, which is exact however small; whatever the
    weights, the solution lies between the components' own quantiles, so a bisection bracket always
    exists. No gradient.
    """
    quantile = ndtri_log(log_u, log_sf)
    z = torch.empty_like(quantile)
    sign = torch.where(log_u < log_sf, 1.0, -1.0).to(z)
    goal = torch.minimum(log_u, log_sf)
    ends = loc + scale * quantile
    low, high = ends.amin(0), ends.amax(0)
    x = (log_weights.exp().unsqueeze(2) * ends).sum(0)
    inner = (low, high, torch.zeros_like(ends))
    rows = torch.arange(len(z), device=z.device)
    epsilon = torch.finfo(z.dtype).eps
    # probabilities themselves serve while they are normal numbers, and cost a tenth of their logs
    deep = bool((goal < 0.9 * math.log(torch.finfo(z.dtype).tiny)).any())
    # settling is left to right: d rounds of a full bisection cannot be exceeded, and never come near
    for _ in range(z.shape[1] * 60):
        lower, upper, before = inner
        weight, step, gap = _newton(x, log_weights, loc, scale, sign, goal, deep)
        small = (step.abs() <= 16 * epsilon * (1 + x.abs())) | (gap.abs() <= 16 * epsilon)
        moved = (weight - before).abs().amax(0) > 64 * epsilon
        fresh = moved | (upper - lower <= 8 * epsilon * (1 + x.abs()))
        lower, upper = torch.where(fresh, low, lower), torch.where(fresh, high, upper)
        below = sign * gap < 0
        lower, upper = torch.where(below, x, lower), torch.where(below, upper, x)
        jump = x - step
        inside = (jump > lower) & (jump < upper)
        x = torch.where(small, x, torch.where(inside, jump, 0.5 * (lower + upper)))
        active = ~small.all(1)
        left = int(active.sum())
        if left <= len(rows) // 2:
            z[rows[~active]] = x[~active]
            if not left:
                return z
            rows, x, sign, goal = rows[active], x[active], sign[active], goal[active]
            low, high, lower, upper = low[active], high[active], lower[active], upper[active]
            weight = weight[:, active]
            log_weights, loc, scale = (
                part[:, active] if part.shape[1] > 1 else part for part in (log_weights, loc, scale)
            )
        inner = (lower, upper, weight)
    z[rows] = x
    return z


def _newton(
    x: Tensor, log_weights: Tensor, loc: Tensor, scale: Tensor, sign: Tensor, goal: Tensor, deep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (K, n, d) at x, the Newton step on the log tail, and the gap that it closes."""
    t = (x - loc) / scale
    density = -0.5 * t.square() - scale.log()
    # only differences between components count; small ones keep their digits over many coordinates
    relative = density - density.amax(0)
    joint = torch.cat([torch.zeros_like(relative[..., :1]), relative[..., :-1]], 2).cumsum(2)
    log_weight = (joint + log_weights.unsqueeze(2)).log_softmax(0)
    weight = log_weight.exp()
    if deep:
        log_tail = (log_weight + torch.special.log_ndtr(sign * t)).logsumexp(0)
        inverse_hazard = (log_tail - (log_weight + density).logsumexp(0)).exp() / _NORMAL
    else:
        tail = 0.5 * (weight * torch.special.erfc(-_ROOT_HALF * sign * t)).sum(0)
        log_tail = tail.log()
        inverse_hazard = tail / (_NORMAL * (weight * density.exp()).sum(0))
    gap = log_tail - goal
    # between components that lie far apart the slope underflows: an infinite step means bisection
    step = torch.where(torch.isinf(inverse_hazard), torch.inf, gap * inverse_hazard)
    return weight, sign * step, gap
