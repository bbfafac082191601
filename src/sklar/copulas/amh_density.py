r"""The density of Ali, Mikhail and Haq's family and its slopes.

With $\kappa = 1 - \theta$, odds $\sigma = \theta/\kappa$, $D_j = \kappa + \theta u_j$, $r_j = u_j/D_j$,
$q_j = 1 - r_j$, $p = \prod r_j$, $h = \theta p$ and Eulerian polynomials A,
$\log c = \log A_M(h) - 2\sum\log D_j - (M+1)\log(1 + \sigma(1-p))$.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from sklar.copulas.analytic import Slopes
from sklar.copulas.arithmetic import Parameter, affine, components, constants, horner, moderate
from sklar.copulas.columns import Column, Points, total, total_of_all
from sklar.copulas.frank_density import eulerian_numbers, polynomial, survival
from sklar.special import anywhere

# Odds between these leave 1 - h, which is at least kappa, all its digits but one.
_LOWEST, _HIGHEST = -0.4, 8.0
_FEW = 16  # modalities, up to which the product of D_j does not underflow for these odds


def amh_kernel(parameters: Sequence[Tensor], columns: Points, slopes: bool) -> tuple[Tensor, Slopes | None]:
    """See ``analytic.Kernel``; the parameter is the odds."""
    (number,) = components(parameters[0])
    if len(columns) <= _FEW and moderate(number, _LOWEST, _HIGHEST):
        value, found = _moderate_kernel(number, columns.u, slopes)
    else:
        value, found = _general_kernel(parameters[0][..., 0], columns, slopes)
    if not slopes:
        return value, None
    by_odds, by_u = found
    # The density is flat next to u = 1, where log(1-u) would have more to tell.
    return value, Slopes(([by_odds],), by_u, torch.zeros_like(by_u) if columns.has_log_sf else [])


def _moderate_kernel(odds: Parameter, u: Tensor, slopes: bool) -> tuple[Tensor, list[Tensor]]:
    """With 1/D_j, and g = 1 + sigma (1-p) from p itself; dlog r_j / dlog u_j = kappa/D_j = 1 - theta r_j."""
    d, kappa = len(u), 1.0 / (1.0 + odds)
    theta, (numbers, growth) = odds * kappa, _numbers(d)
    by_power = [number * theta**k for k, number in enumerate(numbers)]
    by_growth = [number * theta**k for k, number in enumerate(growth)]
    rest, most, outer, two, least, *terms = constants(
        u, kappa, 1.0 + odds, (d - 1) * kappa, 2.0 * kappa, -2.0, *by_power[:-1], *by_growth[:-1]
    )
    per_down = affine(rest, theta, u).reciprocal_()
    ratio = u * per_down
    p, per_all = ratio.prod(0), per_down.prod(0)
    a, g = horner(terms[: d - 1], by_power[-1], p), affine(most, -odds, p)
    value = torch.log(a).add_(torch.log(per_all), alpha=2).sub_(torch.log(g), alpha=d + 1)
    if not slopes:
        return value, []
    pull = horner(terms[d - 1 :], by_growth[-1], p).mul_(p).div_(a.mul_(g))  # over the odds
    steep = affine(two, theta, pull)
    by_odds = affine(outer, kappa + theta * d, pull).addcmul_(total_of_all(ratio), steep, value=-1.0)
    return value, [by_odds, torch.addcmul(least, steep, per_down)]


@lru_cache
def _numbers(d: int) -> tuple[Sequence[float], Sequence[float]]:
    """Coefficients of A and of (1-h) A' + (d+1) A, which over (1-h) A is the slope of A / (1-h)^(d+1)."""
    numbers = eulerian_numbers(d)
    powers = enumerate(zip(numbers, (*numbers[1:], 0.0), strict=True))
    return numbers, [(d + 1 - k) * number + (k + 1) * above for k, (number, above) in powers]


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
