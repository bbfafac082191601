"""The log densities as one would first write them: (n, M) layout, logsumexp, autograd.

The same stable formulas as the library's, so that a difference in time is a difference in how, not in what.
"""

import math

import torch
from torch import Tensor

from sklar.special import log1mexp, log_expm1_ratio, log_neg_log1mexp, ndtri_log

STIRLING = [[1.0], [1.0, 1.0], [1.0, 3.0, 1.0], [1.0, 7.0, 6.0, 1.0]]


def gumbel(log_u: Tensor, theta: Tensor) -> Tensor:
    d, eta = log_u.shape[-1], theta - 1.0
    x = -log_u
    l = x.log()  # noqa: E741 - the name in the formula
    log_w = torch.logsumexp(theta * l, -1) / theta
    poly = torch.logsumexp(_outer_terms(eta, log_w, d), -1)
    return (theta * (l - log_w[:, None])).sum(-1) + poly - log_w.exp() + (x - l).sum(-1)


def _outer_terms(eta: Tensor, log_w: Tensor, d: int) -> Tensor:
    """Log of b_k w^k, k = 1 .. d."""
    row = [torch.ones_like(eta)]
    for n in range(1, d):
        grown = [(n * eta + n - k) * row[k - 1] for k in range(1, n + 1)]
        row = [grown[0], *[row[k - 2] + grown[k - 1] for k in range(2, n + 1)], torch.ones_like(eta)]
    return torch.stack([b.log() + k * log_w for k, b in enumerate(row, 1)], -1)


def clayton(log_u: Tensor, theta: Tensor) -> Tensor:
    d, x = log_u.shape[-1], -log_u
    top, index = x.max(-1, keepdim=True)
    share = x * torch.exp(theta * (x - top) + log_expm1_ratio(theta * x))
    q = share.sum(-1) - share.gather(-1, index)[:, 0]
    others = x.sum(-1) - top[:, 0]
    constant = torch.log1p(torch.arange(1, d, dtype=log_u.dtype) * theta).sum()
    log_rest = torch.log1p(theta * q)
    return constant + others - log_rest / theta + theta * (x - top).sum(-1) - d * log_rest


def frank(log_u: Tensor, theta: Tensor) -> Tensor:
    d, u, s = log_u.shape[-1], log_u.exp(), -torch.expm1(log_u)
    g = log_expm1_ratio(theta)
    log_r = log_u + log_expm1_ratio(theta * u) - g
    log_r_sf = -theta * u + s.log() + log_expm1_ratio(theta * s) - g
    log_p = torch.log(-torch.expm1(-theta))
    log_h = log_p + log_r.sum(-1)
    h = log_h.exp()
    partial = torch.logsumexp(log_r_sf + log_r.cumsum(-1) - log_r, -1)
    log_rest = torch.where(h < 0.5, torch.log1p(-h.clamp(max=0.5)), torch.logaddexp(-theta, log_p + partial))
    log_eulerian = torch.zeros_like(h) if d == 2 else torch.log1p(h)
    return -(d - 1) * g - theta * u.sum(-1) + log_eulerian - d * log_rest


def joe(log_u: Tensor, theta: Tensor) -> Tensor:
    d, alpha = log_u.shape[-1], 1.0 / theta
    log_s = log1mexp(-log_u)
    reach = torch.exp(theta.log() + log_neg_log1mexp(log_s))  # -theta log(1-u)
    log_r = reach.log() + log_expm1_ratio(reach)
    log_h = log_r.sum(-1)
    top = log_s.max(-1, keepdim=True).values
    excess = torch.logsumexp(theta * (log_s - top) + log_r.cumsum(-1) - log_r, -1)
    log_rest = theta * top[:, 0] + excess
    terms = []
    for k in range(d):
        rising = sum((torch.log(i - alpha) for i in range(1, k + 1)), torch.zeros_like(alpha))
        terms.append(math.log(STIRLING[d - 1][k]) + rising + k * log_h + (d - 1 - k) * log_rest)
    series = torch.logsumexp(torch.stack(terms, -1), -1)
    steep = theta * (log_s - top).sum(-1) - log_s.sum(-1) + top[:, 0]
    return (d - 1) * theta.log() + steep - (d - alpha) * excess + series


def amh(log_u: Tensor, theta: Tensor) -> Tensor:
    d, s = log_u.shape[-1], -torch.expm1(log_u)
    log_bottom = torch.log1p(-theta * s)
    h = theta * torch.exp((log_u - log_bottom).sum(-1))
    eulerian = 1.0 + h if d == 2 else 1.0 + 4.0 * h + h * h
    constant = (d + 1) * torch.log1p(-theta)
    return constant - 2.0 * log_bottom.sum(-1) + torch.log(eulerian) - (d + 1) * torch.log1p(-h)


def bb1(log_u: Tensor, theta: Tensor, delta: Tensor) -> Tensor:
    d, x = log_u.shape[-1], -log_u
    log_y = torch.log(torch.expm1(theta * x))
    log_t = torch.logsumexp(delta * log_y, -1)
    log_w = log_t / delta
    orders = torch.arange(1, d + 1, dtype=log_u.dtype)
    inverse = 1.0 / theta
    slopes = (
        torch.stack([sum(torch.log(inverse + i) for i in range(k)) for k in range(1, d + 1)])
        - (orders + inverse) * torch.log1p(log_w.exp())[:, None]
    )
    series = torch.logsumexp(_outer_terms(delta - 1.0, log_w, d) + slopes, -1)
    jacobian = theta.log() + (theta + 1.0) * x  # log |phi'(u)|
    return (delta * log_y - log_t[:, None] - log_y + jacobian).sum(-1) + series


def gaussian(log_u: Tensor, correlation: Tensor) -> Tensor:
    z = ndtri_log(log_u)
    normal = torch.distributions.MultivariateNormal(torch.zeros_like(correlation[0]), correlation)
    return normal.log_prob(z) - torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)


NAIVE = {
    "gumbel": gumbel,
    "clayton": clayton,
    "frank": frank,
    "joe": joe,
    "amh": amh,
    "bb1": bb1,
    "gaussian": gaussian,
}
