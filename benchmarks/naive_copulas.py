"""The log densities as one would first write them: (n, M) layout, logsumexp, autograd.

The same stable formulas as the library's, so that a difference in time is a difference in how, not in what.
"""

import math

import torch
from torch import Tensor

from sklar.special import log1mexp, ndtri_log

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
    d = log_u.shape[-1]
    power = -theta * log_u
    log_sum = torch.logsumexp(torch.cat([power, torch.log(torch.full_like(power[:, :1], d - 1.0))], -1), -1)
    # 1 + sum(u^-theta - 1) = sum u^-theta - (d - 1)
    log_sum = log_sum + torch.log1p(-2.0 * (d - 1.0) * torch.exp(-log_sum))
    constant = sum(torch.log1p(k * theta) for k in range(d))
    return constant - (1.0 + theta) * log_u.sum(-1) - (d + 1.0 / theta) * log_sum


def frank(log_u: Tensor, theta: Tensor) -> Tensor:
    d, u = log_u.shape[-1], log_u.exp()
    log_p = torch.log(-torch.expm1(-theta))
    log_h = torch.log(-torch.expm1(-theta * u)).sum(-1) - (d - 1) * log_p
    h = log_h.exp()
    eulerian = 1.0 if d == 2 else 1.0 + h
    return (
        (d - 1) * (theta.log() - log_p)
        - theta * u.sum(-1)
        + torch.log(torch.as_tensor(eulerian))
        - d * torch.log1p(-h)
    )


def joe(log_u: Tensor, theta: Tensor) -> Tensor:
    d, alpha = log_u.shape[-1], 1.0 / theta
    log_s = log1mexp(-log_u)
    log_h = torch.log1p(-torch.exp(theta * log_s)).sum(-1)
    log_rest = log1mexp(-log_h)
    terms = []
    for k in range(d):
        rising = sum((torch.log(i - alpha) for i in range(1, k + 1)), torch.zeros_like(alpha))
        terms.append(math.log(STIRLING[d - 1][k]) + rising + k * log_h + (d - 1 - k) * log_rest)
    series = torch.logsumexp(torch.stack(terms, -1), -1)
    return (d - 1) * theta.log() + (theta - 1.0) * log_s.sum(-1) + (alpha - d) * log_rest + series


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
