"""Maximise many small smooth functions at once, each along its own path."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

_STEPS = 200
_HALVINGS = 60
_GRADIENT = 1e-9  # the parameters are then exact to half as many digits at least
_GAIN = 1e-4  # of what the slope promises, which a step must bring (Armijo)
_ROUNDING = 1e-14  # relative loss of value that is none


def maximise(
    function: Callable[[Tensor], Tensor], start: Float[Tensor, "*batch parameter"]
) -> Float[Tensor, "*batch parameter"]:
    r"""A local maximum of each function, by the method of Broyden, Fletcher, Goldfarb and Shanno.

    Elements of the batch share evaluations, neither directions nor step lengths: a few dozen evaluations
    serve any number of them. Where a function has no finite value a step is too long, so that walls are
    kept; where it has no maximum, the last point reached is returned.

    Args:
        function: (\*batch, parameter) to values (\*batch), each of its own parameters, differentiable.
        start: Where values are finite, in double precision.

    References:
        Nocedal and Wright (2006), Numerical Optimization, equations 6.17 and 6.20.
    """

    def evaluate(point: Tensor) -> tuple[Tensor, Tensor]:
        point = point.detach().requires_grad_()
        with torch.enable_grad():
            value = function(point)
        (slope,) = torch.autograd.grad(value.sum(), point)
        value = value.detach()
        possible = torch.isfinite(value) & torch.isfinite(slope).all(-1)
        return torch.where(possible, value, -torch.inf), torch.where(possible.unsqueeze(-1), slope, 0.0)

    point = start.detach()
    value, slope = evaluate(point)
    eye = torch.eye(point.shape[-1], dtype=point.dtype, device=point.device)
    metric = eye / slope.abs().sum(-1).clamp(min=1.0)[..., None, None]  # a first step of at most one
    moving = torch.ones_like(value, dtype=torch.bool)
    for count in range(_STEPS):
        moving = moving & (slope.abs().amax(-1) > _GRADIENT)
        if not bool(moving.any()):
            break
        step = torch.where(moving.unsqueeze(-1), (metric @ slope.unsqueeze(-1)).squeeze(-1), 0.0)
        promised, slack = (step * slope).sum(-1), _ROUNDING * (1.0 + value.abs())
        for _ in range(_HALVINGS):
            found, found_slope = evaluate(point + step)
            good = ~moving | (found >= value + _GAIN * promised - slack)
            if bool(good.all()):
                break
            shrink = torch.where(good, 1.0, 0.5)
            step, promised = step * shrink.unsqueeze(-1), promised * shrink
        moving = moving & good
        step = torch.where(moving.unsqueeze(-1), step, 0.0)
        bend = torch.where(moving.unsqueeze(-1), slope - found_slope, 0.0)
        curvature = (step * bend).sum(-1)
        curved = curvature > 0.0
        per_curvature = (1.0 / torch.where(curved, curvature, 1.0))[..., None, None]
        if count == 0:
            scale = curvature / torch.where(curved, bend.square().sum(-1), 1.0)
            metric = torch.where(curved[..., None, None], scale[..., None, None] * eye, metric)
        left = eye - per_curvature * step.unsqueeze(-1) * bend.unsqueeze(-2)
        updated = left @ metric @ left.mT + per_curvature * step.unsqueeze(-1) * step.unsqueeze(-2)
        metric = torch.where(curved[..., None, None], updated, metric)
        point, value = point + step, torch.where(moving, found, value)
        slope = torch.where(moving.unsqueeze(-1), found_slope, slope)
    return point
