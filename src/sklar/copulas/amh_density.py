r"""The density of Ali, Mikhail and Haq's family and its slopes.

With $\kappa = 1 - \theta$, odds $\sigma = \theta/\kappa$, $D_j = \kappa + \theta u_j$, $r_j = u_j/D_j$,
$q_j = 1 - r_j$, $p = \prod r_j$, $h = \theta p$ and Eulerian polynomials A,
$\log c = \log A_M(h) - 2\sum\log D_j - (M+1)\log(1 + \sigma(1-p))$.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sklar.copulas.analytic import Slopes
from sklar.copulas.arithmetic import Parameter, as_numbers, constants, log, moderate
from sklar.copulas.columns import Column, Points, total, total_of_all
from sklar.copulas.frank_density import eulerian_numbers, polynomial, survival
from sklar.special import anywhere

# Odds between these leave 1 - h, which is at least kappa, all its digits but one.
_LOWEST, _HIGHEST = -0.4, 8.0
_FEW = 16  # modalities, up to which the product of D_j does not underflow for these odds


def amh_kernel(parameters: Sequence[Tensor], columns: Points, slopes: bool) -> tuple[Tensor, Slopes | None]:
    """See ``analytic.Kernel``; the parameter is the odds."""
    (odds,), (number,) = parameters, as_numbers(parameters)
    if len(columns) <= _FEW and moderate(number, _LOWEST, _HIGHEST):
        value, found = _moderate_kernel(number, columns.u, slopes)
    else:
        value, found = _general_kernel(odds, columns, slopes)
    if not slopes:
        return value, None
    by_odds, by_u = found
    # The density is flat next to u = 1, where log(1-u) would have more to tell.
    return value, Slopes((by_odds,), by_u, torch.zeros_like(by_u) if columns.has_log_sf else [])


def _moderate_kernel(odds: Parameter, u: Tensor, slopes: bool) -> tuple[Tensor, list[Tensor]]:
    """From h alone: 1 + sigma (1-p) is (1-h)/kappa, and dlog r_j / dlog u_j = kappa/D_j = 1 - theta r_j."""
    d, kappa = len(u), 1.0 / (1.0 + odds)
    theta, numbers = odds * kappa, eulerian_numbers(d)
    rest, slope, one, offset, inner, inner_slope, outer, outer_slope, twice = constants(
        u,
        *(kappa, theta, 1.0, (d + 1) * log(kappa)),
        *(kappa * (kappa + theta * d), -kappa * theta, (d - 1) * kappa, -2.0 * kappa, 2.0 * theta),
    )
    down = slope * u + rest
    ratio = u / down
    p, log_down = ratio.prod(0), torch.log(down.prod(0))
    h = slope * p
    left, a = one - h, polynomial(numbers, h)
    value = torch.sub(torch.sub(torch.log(a), log_down, alpha=2), torch.log(left), alpha=d + 1) + offset
    if not slopes:
        return value, []
    spread, per_left = total_of_all(ratio), torch.reciprocal(left)
    by_h = polynomial([k * number for k, number in enumerate(numbers) if k > 0], h) / a
    by_h = torch.add(by_h, per_left, alpha=d + 1)
    pull = h * by_h
    by_odds = torch.addcmul(outer_slope * spread + outer, by_h * p, inner_slope * spread + inner)
    by_u = pull - ratio * (slope * pull + twice)
    return value, [by_odds, by_u]


def _general_kernel(odds: Tensor, columns: Points, slopes: bool) -> tuple[Tensor, list[Tensor]]:
    """The same as a sum of logs of sums of positive terms."""
    d, u, log_sf = len(columns), columns.u, columns.log_sf
    kappa = 1.0 / (1.0 + odds)
    theta = odds * kappa
    per_down = 1.0 / (kappa + theta * u)
    # Only where theta is near -1 is the density small enough to show the digits of 1-u.
    plain = log_sf is None and (d > 2 or not anywhere(odds < 0))
    q = (1.0 - u if plain else survival(Column(columns.log_u, log_sf))) * (kappa * per_down)
    p, lost, overlap = product_and_rest((u * per_down).unbind(0), q.unbind(0))
    g, h, numbers = 1.0 + odds * lost, theta * p, eulerian_numbers(d)
    # For two modalities A is 1 + h, which vanishes at theta = -1, u = v = 1; this keeps its digits.
    a = 1.0 + theta - theta * lost if d == 2 else polynomial(numbers, h)
    value = torch.log(a) + 2.0 * total(torch.log(per_down).unbind(0)) - (d + 1) * torch.log(g)
    if not slopes:
        return value, []
    spread = total(q.unbind(0))
    growth = polynomial([k * number for k, number in enumerate(numbers) if k > 0], h) / a
    moved = p * kappa + h * spread  # (1 + odds) dh / dodds
    by_odds = (growth * moved - (d - 1) * spread) * kappa + (d + 1) * overlap / g
    pull = h * growth + (d + 1) * odds * p / g
    return value, [by_odds, kappa * (pull + 2.0) * per_down - 2.0]


def product_and_rest(r: Sequence[Tensor], q: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The product of r, one minus it, and by how much the sum of q = 1 - r exceeds that; nothing cancels."""
    product, lost, overlap = r[0], q[0], torch.zeros_like(q[0])
    for value, other in zip(r[1:], q[1:], strict=True):
        overlap = overlap + lost * other
        lost = lost + product * other
        product = product * value
    return product, lost, overlap
