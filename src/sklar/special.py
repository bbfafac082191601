"""Log-space special functions that stay exact where probabilities underflow.

Every function takes and returns logarithms, in single or double precision, and has exact derivatives
of any order: values come from branches, derivatives from closed forms written in these functions.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

_LOG_2 = math.log(2.0)
_LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)

# Below these, 1 - u is u's whole story: the next term of the series is under half a unit in the last place.
_TINY_LOG = {torch.float32: -9.5, torch.float64: -19.5}
# Where erfc(|x| / sqrt 2) is still a normal number with room to spare.
_ERFC_LIMIT = {torch.float32: 12.0, torch.float64: 36.0}
# Up to |2u - 1| of this, rounding 2u - 1 moves the normal quantile by less than 1e-14.
_CENTRAL = 0.99
# A double above this has all its digits.
_NORMAL = 1e-300


def anywhere(mask: Tensor | bool) -> bool:
    """Whether any element is set; on an accelerator True unseen, because looking would make it wait."""
    if isinstance(mask, bool):
        return mask
    return mask.device.type != "cpu" or bool(mask.any())


def below(one: Tensor, other: Tensor | float) -> Tensor:
    """One where the first is less than the second, else zero, in their type: a third of a mask's time."""
    one, shape = one.detach(), one.shape
    if isinstance(other, Tensor):
        other = other.detach()
        if other.shape != shape:  # to ask takes five times as long as the comparison
            shape = torch.broadcast_shapes(shape, other.shape)  # type: ignore[no-untyped-call]
    return torch.lt(one, other, out=one.new_empty(shape))


def patched(value: Tensor, mask: Tensor, function: Callable[[Tensor], Tensor], argument: Tensor) -> Tensor:
    """``value``, overwritten by function(argument) where the mask is set.

    On the CPU only those elements are computed, in place; an accelerator computes all, since counting them
    would make it wait.
    """
    return patched_all((value,), mask, lambda part: (function(part),), argument)[0]


def patched_all(
    values: tuple[Tensor, ...],
    mask: Tensor,
    function: Callable[..., tuple[Tensor, ...]],
    *arguments: Tensor,
) -> tuple[Tensor, ...]:
    """:func:`patched` for a function of several arguments and results."""
    if mask.device.type != "cpu":
        found = function(*arguments)
        return tuple(torch.where(mask, new, old) for new, old in zip(found, values, strict=True))
    where = mask.flatten().nonzero().squeeze(-1)
    if where.numel():
        found = function(*[torch.take(argument, where) for argument in arguments])
        for old, new in zip(values, found, strict=True):
            old.put_(where, new)
    return values


def log1mexp(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""$\log(1 - e^{-x})$ for $x \ge 0$, with full relative precision at both ends.

    References:
        Maechler (2012), Accurately computing log(1 - exp(-|a|)); the switch is at log 2.
    """
    value: Tensor = _Log1mExp.apply(x)  # type: ignore[no-untyped-call]
    return value


class _Log1mExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.where(x < _LOG_2, torch.log(-torch.expm1(-x)), torch.log1p(-torch.exp(-x)))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad / torch.expm1(x)


def log1mexp_of_log(log_x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""$\log(1 - e^{-x})$ from $\log x$, also where $x$ underflows."""
    tiny = log_x < -40.0
    return torch.where(tiny, log_x, log1mexp(torch.exp(torch.where(tiny, 0.0, log_x))))


def exp_moment(x: Float[Tensor, "*shape"], order: int = 0) -> Float[Tensor, "*shape"]:
    r"""$E_k(x) = \int_0^1 t^k e^{-xt} dt$ for $x \ge 0$; $E_0(x) = (1 - e^{-x})/x$ and $E_k' = -E_{k+1}$.

    Smooth through zero, which makes the families smooth through independence.
    """
    value: Tensor = _ExpMoment.apply(x, order)  # type: ignore[no-untyped-call]
    return value


class _ExpMoment(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, order: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.order = order
        away = torch.where(x < 1.0, 1.0, x)
        decay = torch.exp(-away)
        closed = -torch.expm1(-away) / away
        for k in range(1, order + 1):
            closed = (k * closed - decay) / away
        return torch.where(x < 1.0, _exp_moment_series(x.clamp(max=1.0), order), closed)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return -grad * exp_moment(x, ctx.order + 1), None


def _exp_moment_series(x: Tensor, order: int) -> Tensor:
    """The all-positive series e^-x sum_n x^n / ((k+1) ... (k+1+n)) for 0 <= x <= 1, by Horner."""
    if order == 0:
        return torch.where(x > 0.0, -torch.expm1(-x) / torch.where(x > 0.0, x, 1.0), 1.0)
    terms = 9 if x.dtype == torch.float32 else 17
    total = torch.ones_like(x)
    for n in range(terms, 0, -1):
        total = 1.0 + total * x / (order + 1 + n)
    return torch.exp(-x) * total / (order + 1)


def log1p_moment(y: Float[Tensor, "*shape"], order: int = 0) -> Float[Tensor, "*shape"]:
    r"""$L_k(y) = \int_0^1 t^k (1 + yt)^{-k-1} dt$ for $y > -1$; $L_0 = \log(1+y)/y$.

    Smooth through zero like :func:`exp_moment`; $L_k' = -(k+1) L_{k+1}$.
    """
    value: Tensor = _Log1pMoment.apply(y, order)  # type: ignore[no-untyped-call]
    return value


class _Log1pMoment(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, order: int) -> Tensor:
        ctx.save_for_backward(y)
        ctx.order = order
        share = y / (1.0 + y)
        small = share.abs() < 0.2
        away = torch.where(small, 1.0, y)
        closed = torch.log1p(away) / away
        for k in range(1, order + 1):
            closed = (closed - (1.0 + away) ** -k / k) / away
        # (1 - z)^(k+1) sum_n z^n / (n + k + 1) at z = y / (1 + y)
        z = torch.where(small, share, 0.0)
        series = torch.zeros_like(z)
        for n in range(10 if y.dtype == torch.float32 else 23, -1, -1):
            series = series * z + 1.0 / (n + order + 1)
        return torch.where(small, (1.0 - z) ** (order + 1) * series, closed)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        return -(ctx.order + 1) * grad * log1p_moment(y, ctx.order + 1), None


def log_expm1_ratio(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""$g(x) = \log((1 - e^{-x})/x)$ for any real $x$, smooth through zero; $g(-x) = x + g(x)$."""
    negative = x < 0
    size = torch.where(negative, -x, x)  # not abs: its slope at zero would be zero
    return torch.where(negative, -x, 0.0) + exp_moment(size).log()


def log_neg_log(
    log_u: Float[Tensor, "*shape"], log_sf: Float[Tensor, "*shape"] | None = None
) -> Float[Tensor, "*shape"]:
    r"""$\log(-\log u)$; where $1-u$ is below the precision of the type, $\log(1-u)$ serves if it is given."""
    if log_sf is None:
        return torch.log(-log_u)
    near_one = log_u > -torch.finfo(log_u.dtype).eps
    return torch.where(near_one, log_sf, torch.log(torch.where(near_one, 1.0, -log_u)))


def log_neg_log1mexp(log_sf: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""$\log(-\log(1 - e^{a}))$ for $a \le 0$: $\log(-\log u)$ from $a = \log(1-u)$."""
    tiny = log_sf < _TINY_LOG[log_sf.dtype]
    plain = torch.log(-log1mexp(-torch.where(tiny, -1.0, log_sf)))
    return torch.where(tiny, log_sf + 0.5 * log_sf.exp(), plain)


def log_log1p_ratio(
    theta: Float[Tensor, "*shape"], log_r: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    r"""$\log(\log(1 + \theta r)/\theta)$ from $\log r$, for $\theta \ge 0$, smooth through zero."""
    small = log_r.detach() + torch.log(theta.detach()) < 0.0
    plain = log_r + torch.log(log1p_moment(theta * torch.exp(torch.where(small, log_r, -torch.inf))))
    log_theta = torch.log(torch.where(small, 1.0, theta))
    away = torch.log(softplus(torch.where(small, 0.0, log_r) + log_theta)) - log_theta
    return torch.where(small, plain, away)


def log_log1pexp(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""$\log\log(1 + e^{x})$, which is $x - e^x/2$ far to the left."""
    tiny = x < _TINY_LOG[x.dtype]
    plain = torch.log(softplus(torch.where(tiny, 0.0, x)))
    return torch.where(tiny, x - 0.5 * torch.where(tiny, x, 0.0).exp(), plain)


def softplus(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""$\log(1 + e^x)$, which by torch's default would turn into x at 20, where e^-x is not yet lost."""
    return torch.nn.functional.softplus(x, threshold=40.0)


def log_ndtr_both(x: Float[Tensor, "*shape"]) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    r"""$(\log\Phi(x), \log\Phi(-x))$ of the standard normal, both with full relative precision.

    One erfc serves both, and its vectorised kernel is ten times faster than ``torch.special.log_ndtr``,
    which is used only beyond the range of erfc.
    """
    log_cdf, log_sf = _LogNdtr.apply(x)  # type: ignore[no-untyped-call]
    return log_cdf, log_sf


def log_ndtr(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    r"""$\log\Phi(x)$ of the standard normal."""
    return log_ndtr_both(x)[0]


class _LogNdtr(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        distance = x.abs()
        small = torch.log(0.5 * torch.erfc(distance * math.sqrt(0.5)))
        far = distance > _ERFC_LIMIT[x.dtype]
        small = patched(small, far, torch.special.log_ndtr, -distance)
        large = torch.log1p(-small.exp())
        left = x < 0
        log_cdf, log_sf = torch.where(left, small, large), torch.where(left, large, small)
        ctx.save_for_backward(x, log_cdf, log_sf)
        return log_cdf, log_sf

    @staticmethod
    def backward(ctx: Any, grad_cdf: Tensor, grad_sf: Tensor) -> Tensor:
        x, log_cdf, log_sf = ctx.saved_tensors
        log_pdf = log_normal_density(x)
        return grad_cdf * torch.exp(log_pdf - log_cdf) - grad_sf * torch.exp(log_pdf - log_sf)


def log_normal_density(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Log density of the standard normal."""
    value: Tensor = -0.5 * x * x - _LOG_SQRT_2PI
    return value


def ndtri_log(
    log_u: Float[Tensor, "*shape"], log_sf: Float[Tensor, "*shape"] | None = None
) -> Float[Tensor, "*shape"]:
    r"""Normal quantile $\Phi^{-1}(u)$ from $\log u$, exact in both tails; $\pm\infty$ at $u$ = 1 and 0.

    One erfinv in the middle; beyond it the smaller of u and 1-u, in double precision, because
    $\log u = -5000$ leaves single precision no digits for the slope.

    Args:
        log_u: Log probabilities.
        log_sf: log(1-u); needed only where 1-u is too small to tell ``log_u`` from 0. The derivative
            then flows through the smaller of the two.
    """
    logs = (log_u,) if log_sf is None else (log_u, log_sf)
    if not torch.is_grad_enabled() or not any(log.requires_grad for log in logs):
        return _quantile(log_u, log_sf, slope=False)[0]
    if log_sf is None:
        z: Tensor = _Quantile.apply(log_u)[0]  # type: ignore[no-untyped-call]
    else:
        z = _QuantileOfBoth.apply(log_u, log_sf)[0]  # type: ignore[no-untyped-call]
    return z


def ndtri_log_slopes(
    log_u: Float[Tensor, "*shape"], log_sf: Float[Tensor, "*shape"] | None = None
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"], Float[Tensor, "*shape"] | None]:
    """:func:`ndtri_log`, its derivative in ``log_u``, and that in ``log_sf`` where it is given."""
    if log_sf is None:
        if torch.is_grad_enabled():
            return *_Quantile.apply(log_u), None  # type: ignore[no-untyped-call]
        z, slope = _quantile(log_u, None, slope=True)
        return z, slope, None
    if torch.is_grad_enabled():
        z, slope = _QuantileOfBoth.apply(log_u, log_sf)  # type: ignore[no-untyped-call]
    else:
        z, slope = _quantile(log_u, log_sf, slope=True)
    by_u = slope * below(log_u, log_sf)
    return z, by_u, by_u - slope


class _Quantile(torch.autograd.Function):
    """z with log Phi(z) = log u, and its slope dz/dlog u = Phi(z)/phi(z).

    The slope is an output so that it keeps the precision of the forward pass, and so that the outputs
    alone give the derivatives of every order: dz = s, ds = s (1 + z s).
    """

    @staticmethod
    def forward(ctx: Any, log_u: Tensor) -> tuple[Tensor, Tensor]:
        z, slope = _quantile(log_u, None, slope=True)
        ctx.save_for_backward(z, slope)
        return z, slope

    @staticmethod
    def backward(ctx: Any, grad_z: Tensor, grad_slope: Tensor) -> Tensor:
        z, slope = ctx.saved_tensors
        value: Tensor = grad_z * slope + grad_slope * slope * (1.0 + z * slope)
        return value


class _QuantileOfBoth(torch.autograd.Function):
    """The same from the smaller of u and 1-u; the slope is in the log of that one, and positive."""

    @staticmethod
    def forward(ctx: Any, log_u: Tensor, log_sf: Tensor) -> tuple[Tensor, Tensor]:
        z, slope = _quantile(log_u, log_sf, slope=True)
        ctx.save_for_backward(z, slope, below(log_u, log_sf))
        ctx.set_materialize_grads(False)  # the slope is often unused
        return z, slope

    @staticmethod
    def backward(
        ctx: Any, grad_z: Tensor | None, grad_slope: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        z, slope, left = ctx.saved_tensors
        by_u = by_sf = None
        if grad_z is not None:
            pull = grad_z * slope
            by_u = pull * left
            by_sf = by_u - pull
        if grad_slope is not None:
            sign = 2.0 * left - 1.0
            pull = grad_slope * slope * (1.0 + sign * z * slope)
            by_tail = pull * left
            by_u = by_tail if by_u is None else by_u + by_tail
            by_sf = pull - by_tail if by_sf is None else by_sf + (pull - by_tail)
        return by_u, by_sf


def _quantile(log_u: Tensor, log_sf: Tensor | None, slope: bool) -> tuple[Tensor, ...]:
    """The normal quantile and, where asked, Phi(z)/phi(z); with both logs, of the smaller tail."""
    logs = (log_u,) if log_sf is None else (log_u, log_sf)
    u = torch.exp(log_u, out=log_u.new_empty(log_u.shape))  # one column after the other in memory
    one, half = u.new_ones(()), u.new_full((), _LOG_SQRT_2PI)
    x = torch.sub(one, u, alpha=2.0)
    z = torch.erfinv(x).mul_(-math.sqrt(2.0))
    found: tuple[Tensor, ...] = (z,)
    if slope:
        rate = torch.addcmul(half, z, z, value=0.5).exp_()
        found = (z, rate.mul_(u if log_sf is None else torch.minimum(u, torch.exp(log_sf))))
    outer = torch.nn.functional.hardshrink(x, _CENTRAL).bool()  # a comparison takes twice as long
    return patched_all(found, outer, lambda *args: _outer_quantile(*args)[: len(found)], *logs)


def _outer_quantile(log_u: Tensor, log_sf: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The same from the smaller of u and 1-u, in double precision."""
    wide = [log.double() for log in (log_u, log_sf) if log is not None]
    p = torch.exp(wide[0])
    q = -torch.expm1(wide[0]) if log_sf is None else torch.exp(wide[1])
    smaller = torch.minimum(p, q)
    z = torch.special.ndtri(smaller)
    z = patched_all((z,), smaller < _NORMAL, lambda *logs: (_tail_quantile(_smaller_log(*logs)),), *wide)[0]
    tail = wide[0] if log_sf is None else torch.minimum(*wide)
    rate = torch.addcmul(tail, z, z, value=0.5).add_(_LOG_SQRT_2PI).exp_()
    return torch.where(p < q, z, -z).to(log_u.dtype), rate.to(log_u.dtype)


def _smaller_log(log_u: Tensor, log_sf: Tensor | None = None) -> Tensor:
    return torch.minimum(log_u, log1mexp(-log_u) if log_sf is None else log_sf)


def _tail_quantile(log_p: Tensor) -> Tensor:
    """Asymptotic start, then Newton steps on log Phi: the error squares and shrinks by |z| each time."""
    power = -2.0 * (log_p + _LOG_SQRT_2PI)
    z = -torch.sqrt(power - torch.log(power))
    for _ in range(3):
        value = torch.special.log_ndtr(z)
        z = z - (value - log_p) * torch.exp(value - log_normal_density(z))
    return torch.where(torch.isinf(log_p), log_p, z)
