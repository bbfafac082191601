"""Both tails of the gamma distribution in logs, for whole shapes."""

import math
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from sklar.special import patched

_SMALLEST = 1e-290
"""Below this, series take over from the regularised functions, which end in zero at 1e-308."""
_TERMS = 400
"""Of the series: their ratio is below 0.6 wherever a tail is that small, up to a shape of 4,000."""


def log_gamma_tails(
    log_x: Float[Tensor, "*batch"], shape: int
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    r"""$(\log P(G \le x), \log P(G > x))$ of $G \sim \mathrm{Gamma}(\mathrm{shape}, 1)$, from log x.

    The sum of ``shape`` standard exponentials. Computed in double precision; first derivatives only.

    Args:
        log_x: Log of the point, so that points that round to zero keep their slope.
        shape: A whole number, at least 1.
    """
    log_cdf, log_sf = _LogGammaTails.apply(log_x, shape)  # type: ignore[no-untyped-call]
    return log_cdf, log_sf


@final
class _LogGammaTails(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, log_x: Tensor, shape: int) -> tuple[Tensor, Tensor]:
        wide = log_x.double()
        x, a = wide.exp(), wide.new_tensor(float(shape))
        below, above = torch.special.gammainc(a, x), torch.special.gammaincc(a, x)
        log_cdf = torch.where(below < above, below.log(), torch.log1p(-above))
        log_sf = torch.where(below < above, torch.log1p(-below), above.log())
        log_cdf = patched(log_cdf, below < _SMALLEST, lambda part: _lower(part, shape), wide)
        log_sf = patched(log_sf, above < _SMALLEST, lambda part: _upper(part, shape), wide)
        ctx.shape = shape
        ctx.save_for_backward(wide, log_cdf, log_sf)
        return log_cdf.to(log_x.dtype), log_sf.to(log_x.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, by_cdf: Tensor, by_sf: Tensor) -> tuple[Tensor, None]:
        log_x, log_cdf, log_sf = ctx.saved_tensors
        log_density = ctx.shape * log_x - log_x.exp() - math.lgamma(ctx.shape)  # of log x
        slope = by_cdf * torch.exp(log_density - log_cdf) - by_sf * torch.exp(log_density - log_sf)
        return slope.to(by_cdf.dtype), None


def _lower(log_x: Tensor, shape: int) -> Tensor:
    """x^a e^-x / Gamma(a+1) (1 + x/(a+1) + x^2/((a+1)(a+2)) + ...)."""
    x = log_x.exp()
    ratios = x.unsqueeze(-1) / torch.arange(shape + 1.0, shape + _TERMS, dtype=x.dtype, device=x.device)
    series = 1.0 + ratios.cumprod(-1).sum(-1)
    return shape * log_x - x - math.lgamma(shape + 1.0) + series.log()


def _upper(log_x: Tensor, shape: int) -> Tensor:
    """x^(a-1) e^-x / Gamma(a) (1 + (a-1)/x + (a-1)(a-2)/x^2 + ...), which ends for a whole shape."""
    x = log_x.exp()
    factors = torch.arange(shape - 1, max(shape - _TERMS, 0), -1, dtype=x.dtype, device=x.device)
    series = 1.0 + (factors / x.unsqueeze(-1)).cumprod(-1).sum(-1)
    return (shape - 1) * log_x - x - math.lgamma(shape) + series.log()
