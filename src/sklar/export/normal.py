"""The standard normal distribution in operations that every runtime has, exact in both tails.

Runtimes outside torch know exp, log and square roots, and neither the normal quantile nor a complementary
error function with its tail. Both functions take and give logarithms, so that nothing underflows.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

_ROOT_2 = math.sqrt(2.0)

_TAIL = (-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587,
         -0.82215223, 0.17087277)  # fmt: skip
"""log erfc(x) - log t + x^2 by powers of t = 1 / (1 + x / 2); Press et al. (1992), Numerical Recipes, 6.2."""

_CENTRE = (
    (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3),
)  # fmt: skip
_NEAR = (
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2,
     7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4,
     1.05075007164441684324e-9),
)  # fmt: skip
_FAR = (
    (6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
     2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5,
     2.01033439929228813265e-7),
    (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
     2.04426310338993978564e-15),
)  # fmt: skip
"""Numerators and denominators of the normal quantile; Wichura (1988), algorithm AS 241, PPND16."""

_SPLIT, _STEP = 0.425, 5.0
"""Where |u - 1/2| leaves the centre, and where sqrt(-log) of the smaller tail leaves the near one."""


def log_tails(x: Float[Tensor, "*n"]) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
    r"""$(\log\Phi(x), \log\Phi(-x))$, to a relative error of the smaller tail of 1.2e-7."""
    distance = x.abs() / _ROOT_2
    t = 1.0 / (1.0 + 0.5 * distance)
    small = t.log() - distance * distance + _polynomial(t, _TAIL) - math.log(2.0)
    large = torch.log1p(-small.exp())
    left = x < 0
    return torch.where(left, small, large), torch.where(left, large, small)


def normal_score(log_u: Float[Tensor, "*n"], log_sf: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    r"""$\Phi^{-1}(u)$ from log u and log(1 - u), to the precision of the type."""
    small = torch.minimum(log_u, log_sf)
    # half the difference of the tails is u - 1/2 without cancellation
    offset = 0.5 * (log_u.exp() - log_sf.exp())
    root = torch.sqrt(-small)
    central = offset.abs() <= _SPLIT
    near = root <= _STEP
    x = torch.where(central, _SPLIT * _SPLIT - offset * offset, torch.where(near, root - 1.6, root - _STEP))
    piece = torch.where(central, 0, torch.where(near, 1, 2))
    # every coefficient and every argument is positive, so powers lose nothing
    square = x * x
    cube, fourth = square * x, square * square
    powers = torch.stack(
        [torch.ones_like(x), x, square, cube, fourth, fourth * x, fourth * square, fourth * cube], -1
    )
    table = x.new_tensor((_CENTRE, _NEAR, _FAR))
    above, below = ((table[:, side][piece] * powers).sum(-1) for side in (0, 1))
    value = above / below
    return torch.where(central, offset * value, torch.where(log_u < log_sf, -value, value))


def _polynomial(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    total = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total * x + coefficient
    return total
