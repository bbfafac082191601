"""The Rosenblatt transform of several mixtures in one pass, with its derivative in closed form."""

import math
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from sklar.special import log_ndtr_both

_ROOT_HALF = math.sqrt(0.5)
_LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)

Transformed = tuple[Tensor, Tensor, Tensor]
"""log u and log(1 - u), (m, n, d), and the log density of each row, (m, n)."""


def rosenblatt(
    z: Float[Tensor, "m n d"],
    log_weights: Float[Tensor, "m k #n"],
    loc: Float[Tensor, "m k d"],
    scale: Float[Tensor, "m k d"],
    separate: bool = False,
) -> tuple[Float[Tensor, "m n d"], Float[Tensor, "m n d"], Float[Tensor, "m n"]]:
    r"""Uniforms $u_{j} = \sum_k w_{kj} \Phi(t_{kj})$ and the log density of m mixtures at n rows each.

    :math:`t_{kj} = (z_j - \mu_{kj}) / s_{kj}` and
    :math:`w_{kj} \propto \pi_k \prod_{i<j} N(z_i; \mu_{ki}, s_{ki})`. With
    :math:`a_{kj} = \log w_{kj}` before it is normalised, the derivative is

    .. math:: \partial \log u_j = \sum_k w_{kj} \phi(t_{kj}) / u_j \, \partial t_{kj}
              + \sum_k w_{kj} (\Phi(t_{kj}) / u_j - 1) \, \partial a_{kj},

    and :math:`\partial a_{kj} = \partial \log \pi_k + \sum_{i<j} \partial \log N_{ki}` is a cumulative sum
    from the right. At the sizes of a training batch the number of operations is the cost, so one pass
    serves all mixtures and both results.

    Args:
        z: Rows of every mixture.
        log_weights: Normalised log weights; n = 1 where all rows share them.
        loc: Means.
        scale: Standard deviations.
        separate: The uniforms then differentiate in z only and the density in the mixtures only
            ("inference functions for margins").

    Returns:
        log u, log(1 - u) and the log density in nats.
    """
    arguments = (z, log_weights, loc, scale)
    if z.device.type == "cpu":  # looking at the values would make an accelerator wait
        *values, shallow = _Rosenblatt.apply(*arguments, separate)  # type: ignore[no-untyped-call]
        if shallow:
            return values[0], values[1], values[2]
    return in_logs(*arguments, separate)


def in_logs(
    z: Tensor, log_weights: Tensor, loc: Tensor, scale: Tensor, separate: bool = False
) -> Transformed:
    """The same with logs throughout: exact where u underflows, differentiable any number of times."""
    if not separate:
        return _in_logs(z, log_weights, loc, scale)
    log_u, log_sf, _ = _in_logs(z, log_weights.detach(), loc.detach(), scale.detach())
    return log_u, log_sf, _in_logs(z.detach(), log_weights, loc, scale)[2]


def _in_logs(z: Tensor, log_weights: Tensor, loc: Tensor, scale: Tensor) -> Transformed:
    _, log_w, below, above, log_density = parts(z, log_weights, loc, scale)
    log_prob = (log_weights + log_density.sum(-1)).logsumexp(1)
    below, above = (log_w + below).logsumexp(1), (log_w + above).logsumexp(1)
    # The sums are exact where small; the larger is one minus the smaller, and never above one.
    left = below < above
    small = torch.where(left, below, above)
    large = torch.log1p(-small.exp())
    return torch.where(left, small, large), torch.where(left, large, small), log_prob


def parts(
    z: Tensor, log_weights: Tensor, loc: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """What the sums are made of: t, log w, log Phi(t), log Phi(-t) and log N, each (m, k, n, d)."""
    t, density = _densities(z, loc, scale)
    relative = density - density.amax(1, keepdim=True).detach()
    log_w = (log_weights.unsqueeze(-1) + _sum_before(relative)).log_softmax(1)
    below, above = log_ndtr_both(t)
    return t, log_w, below, above, density - _LOG_SQRT_2PI


def _densities(z: Tensor, loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Scores t and log N + log sqrt(2 pi), both (m, k, n, d)."""
    per_scale = scale.reciprocal().unsqueeze(2)
    t = (z.unsqueeze(1) - loc.unsqueeze(2)) * per_scale
    return t, torch.addcmul(per_scale.log(), t, t, value=-0.5)


def _sum_before(values: Tensor) -> Tensor:
    """Exclusive cumulative sum along the last axis, not as a difference of sums: small terms keep digits."""
    return torch.cat([torch.zeros_like(values[..., :1]), values[..., :-1].cumsum(-1)], -1)


def _shares(log_weights: Tensor, density: Tensor) -> Tensor:
    """w: a softmax over components, of which only differences count; torch's takes three times as long."""
    logs = log_weights.unsqueeze(-1) + _sum_before(density - density.amax(1, keepdim=True))
    terms = (logs - logs.amax(1, keepdim=True)).exp_()
    return terms.div_(terms.sum(1, keepdim=True))


def _posterior(joint: Tensor) -> tuple[Tensor, Tensor]:
    """Shares (m, k, n) of the components in their sum, and its log (m, n), in half the steps of logsumexp."""
    top = joint.amax(1, keepdim=True)
    share = (joint - top).exp_()
    whole = share.sum(1, keepdim=True)
    return share.div_(whole), (top + whole.log()).squeeze(1)


@final
class _Rosenblatt(torch.autograd.Function):
    """In probabilities, a third of the cost of their logs; the caller falls back where they underflow."""

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, log_weights: Tensor, loc: Tensor, scale: Tensor, separate: bool
    ) -> tuple[Tensor, Tensor, Tensor, bool]:
        ctx.set_materialize_grads(False)
        t, density = _densities(z, loc, scale)
        joint = log_weights + density.sum(-1)
        share, log_prob = _posterior(joint)
        w = torch.ones_like(t) if t.shape[1] == 1 else _shares(log_weights, density)
        scaled = t * _ROOT_HALF
        above, below = torch.erfc(scaled).mul_(0.5), torch.erfc(scaled.neg_()).mul_(0.5)
        u, sf = (w * below).sum(1), (w * above).sum(1)
        small = torch.minimum(u, sf)
        shallow = bool(small.amin() > 1e8 * torch.finfo(u.dtype).tiny) if u.numel() else True
        ctx.separate = separate
        ctx.save_for_backward(z, log_weights, loc, scale, t, w, below, above, u, sf, share)
        # between tensors of numbers: a choice by a mask costs twelve times a product
        left = torch.lt(u, sf, out=torch.empty_like(u))
        log_small, log_large = small.log(), torch.log1p(-small)
        log_u, log_sf = torch.lerp(log_large, log_small, left), torch.lerp(log_small, log_large, left)
        return log_u, log_sf, log_prob - z.shape[-1] * _LOG_SQRT_2PI, shallow

    @staticmethod
    def backward(
        ctx: Any, by_u: Tensor | None, by_sf: Tensor | None, by_prob: Tensor | None, _: None
    ) -> tuple[Tensor | None, ...]:
        z, log_weights, loc, scale, t, w, below, above, u, sf, share = ctx.saved_tensors
        grads = (by_u, by_sf, by_prob)
        if torch.is_grad_enabled():  # someone differentiates the derivative
            return *_differentiable(ctx, (z, log_weights, loc, scale), grads), None
        for_z, for_mixtures = ctx.needs_input_grad[0], any(ctx.needs_input_grad[1:4])
        per_scale = scale.reciprocal()
        total_z: list[Tensor] = []
        total_mixtures: list[tuple[Tensor, Tensor, Tensor]] = []
        if by_u is not None or by_sf is not None:
            by_u = torch.zeros_like(u) if by_u is None else by_u
            by_sf = torch.zeros_like(u) if by_sf is None else by_sf
            per_u, per_sf = (by_u / u).unsqueeze(1), (by_sf / sf).unsqueeze(1)
            normal = torch.addcmul(t.new_full((), -_LOG_SQRT_2PI), t, t, value=-0.5).exp_()
            by_t = normal.mul_(w).mul_(per_u - per_sf)
            by_weight = None
            if t.shape[1] > 1:
                pull = torch.addcmul(-(by_u + by_sf).unsqueeze(1), per_u, below)
                by_weight = torch.addcmul(pull, per_sf, above).mul_(w)
                upto = by_weight.cumsum(-1)
                after = upto[..., -1:] - upto  # turning it around twice would take twice as long
                by_t = by_t.addcmul_(t, after, value=-1.0)
            by_t = by_t.mul_(per_scale.unsqueeze(2))
            if for_z:
                total_z.append(by_t.sum(1))
            if for_mixtures and not ctx.separate:
                weight = torch.zeros_like(share) if by_weight is None else by_weight.sum(-1)
                by_scale = -(by_t * t).sum(2)
                if by_weight is not None:
                    by_scale = by_scale - after.sum(2) * per_scale
                total_mixtures.append((weight, -by_t.sum(2), by_scale))
        if by_prob is not None and (for_mixtures or not ctx.separate):
            share = share * by_prob.unsqueeze(1)  # (m, k, n)
            if for_z and not ctx.separate:
                total_z.append(-(share.unsqueeze(-1) * t * per_scale.unsqueeze(2)).sum(1))
            if for_mixtures:
                first = (share.unsqueeze(2) @ t).squeeze(2)
                second = (share.unsqueeze(2) @ (t * t)).squeeze(2)
                count = share.sum(2, keepdim=True)
                total_mixtures.append((share, first * per_scale, (second - count) * per_scale))
        by_z = sum(total_z[1:], total_z[0]) if total_z else None
        if not total_mixtures:
            return by_z, None, None, None, None
        weight, by_loc, by_scale = (sum(parts[1:], parts[0]) for parts in zip(*total_mixtures, strict=True))
        return by_z, weight.sum_to_size(log_weights.shape), by_loc, by_scale, None


def _differentiable(
    ctx: Any, arguments: tuple[Tensor, ...], grads: tuple[Tensor | None, ...]
) -> tuple[Tensor | None, ...]:
    """The derivative through `in_logs`, which can be differentiated again."""
    z, log_weights, loc, scale = arguments
    values = in_logs(z, log_weights, loc, scale, ctx.separate)
    wanted = [argument for argument, need in zip(arguments, ctx.needs_input_grad, strict=False) if need]
    pairs = [(value, grad) for value, grad in zip(values, grads, strict=True) if grad is not None]
    outputs, cotangents = zip(*pairs, strict=True)
    found = iter(torch.autograd.grad(outputs, wanted, cotangents, create_graph=True, allow_unused=True))
    return tuple(next(found) if need else None for need in ctx.needs_input_grad[:4])
