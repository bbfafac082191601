r"""Probabilities of boxes that reach up in some modalities and down in others.

$P(U_L \le u_L, U_B > u_B \mid U_S)$ by inclusion and exclusion alternates in sign, and next to one in u_B
nothing is left of its digits. Here one modality is taken off at a time, the least probable of B or the most
probable of L. Where either takes off almost all, the least probable event is integrated over its modality
instead, and every number added is positive.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from sklar.copulas.archimedean import Archimedean
from sklar.copulas.columns import Column
from sklar.special import log1mexp

_POOR = 1e-2  # a remainder below this share of the whole is integrated: subtraction keeps 14 digits above it
_SURE = -1e15  # log of the chance that an event fails which cannot fail, so that no formula meets infinity
_REACH, _STEP = (-4.2, 6.6), 0.1


class _Box(NamedTuple):
    """Events and what is known, all tensors of one shape; each column has both logs.

    Attributes:
        strengths: Parameters of the family.
        lower: Modalities at most their value.
        upper: Modalities above their value.
        given: Known modalities.
    """

    strengths: tuple[Tensor, ...]
    lower: tuple[Column, ...]
    upper: tuple[Column, ...]
    given: tuple[Column, ...]

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The same box of other tensors."""
        strengths = tuple(function(strength) for strength in self.strengths)
        events = [
            tuple(Column(*[function(part) for part in _both(c)]) for c in columns) for columns in self[1:]
        ]
        return type(self)(strengths, *events)

    def family(self, copula: Archimedean) -> Archimedean:
        """The copula with a parameter per element."""
        return copula.from_strengths(torch.stack(self.strengths, -1), copula.dim, validate_args=False)


def log_orthant(
    copula: Archimedean, lower: Sequence[Column], upper: Sequence[Column], given: Sequence[Column]
) -> Tensor:
    """Log of P(U_lower <= u, U_upper > u | U_given), with at least one event.

    With k modalities in ``upper`` it takes 2^k conditional CDFs where they can be subtracted. Elsewhere it
    takes 108 times as many per modality that is integrated, with a conditional quantile each from the second
    on: microseconds become tenths of a second per point in the far corners of three modalities. Gradients
    there are of first order.
    """
    columns = [_both(column) for column in (*lower, *upper, *given)]
    kind = columns[0][0].dtype
    strengths = copula.strengths.unbind(-1)
    tensors = [*strengths, *[part for column in columns for part in column]]
    whole = torch.broadcast_tensors(*tensors)  # type: ignore[no-untyped-call]
    tensors = [tensor.double().reshape(-1) for tensor in whole]
    n = len(strengths)
    wide = [Column(*pair) for pair in zip(tensors[n::2], tensors[n + 1 :: 2], strict=True)]
    low, high = wide[: len(lower)], wide[len(lower) : len(lower) + len(upper)]
    never = torch.zeros_like(tensors[0], dtype=torch.bool)
    for part in [c.log_u for c in low] + [c.survival() for c in high]:
        never = never | torch.isinf(part)
    box = _Box(tuple(tensors[:n]), _by_log_u(low), _by_survival(high), tuple(wide[len(lower) + len(upper) :]))
    half = -math.log(2.0)

    def inside(column: Column) -> Column:
        parts = [torch.where(never, half, part) for part in _both(column)]
        return Column(*[part.clamp(min=_SURE) for part in parts])

    box = _Box(box.strengths, *[tuple(map(inside, columns)) for columns in box[1:]])
    value = _log_probability(copula, box, True)
    return torch.where(never, -torch.inf, value).to(kind).reshape(whole[0].shape)


def log_orthant_complement(
    copula: Archimedean, lower: Sequence[Column], upper: Sequence[Column], given: Sequence[Column]
) -> Tensor:
    """Log of one minus it: the probabilities that the first event to fail is this or that one."""
    events = [(column, True) for column in lower] + [(column, False) for column in upper]
    terms = []
    for i, (failing, down) in enumerate(events):
        before = events[:i]
        low = [column for column, is_low in before if is_low] + ([] if down else [failing])
        high = [column for column, is_low in before if not is_low] + ([failing] if down else [])
        terms.append(log_orthant(copula, low, high, given))
    return torch.logsumexp(torch.stack(torch.broadcast_tensors(*terms)), 0)  # type: ignore[no-untyped-call]


def _log_probability(copula: Archimedean, box: _Box, exchange: bool) -> Tensor:
    """Log probability of the box; ``exchange`` allows taking off a modality of ``lower`` as well."""
    family = box.family(copula)
    if not box.upper:
        return family._log_h(box.lower, box.given)[0]
    if len(box.upper) == 1 and not box.lower:
        return _log_marginal(family, box, False)[1]
    first, rest = box.upper[0], box.upper[1:]
    value, poor = _remainder(
        copula, box._replace(upper=rest), box._replace(lower=_by_log_u((*box.lower, first)), upper=rest)
    )

    def integrate(few: _Box) -> Tensor:
        if not few.lower:
            return _log_integral(copula, few, False)
        family = few.family(copula)
        down = _log_marginal(family, few, True)[0] < _log_marginal(family, few, False)[1]
        found = _patched(
            _log_integral(copula, few, False), down, few, lambda b: _log_integral(copula, b, True)
        )
        if not exchange:
            return found
        last = few.lower[-1]
        whole = few._replace(lower=few.lower[:-1])
        other, still_poor = _remainder(copula, whole, whole._replace(upper=_by_survival((*few.upper, last))))
        return torch.where(still_poor, found, other)

    return _patched(value, poor, box, integrate)


def _log_marginal(family: Archimedean, box: _Box, down: bool) -> tuple[Tensor, Tensor]:
    """(log h, log(1-h)) of the first lower or upper modality at its value, given what is known."""
    first = box.lower[0] if down else box.upper[0]
    return family._log_h((first,), box.given) if box.given else _both(first)


def _remainder(copula: Archimedean, whole: _Box, taken: _Box) -> tuple[Tensor, Tensor]:
    """Log of the difference of two probabilities, and where too little of the first is left to subtract."""
    log_whole = _log_probability(copula, whole, False)
    gap = log_whole - _log_probability(copula, taken, False)
    poor = gap < _POOR
    return log_whole + log1mexp(torch.where(poor, 1.0, gap)), poor


def _patched(value: Tensor, mask: Tensor, box: _Box, function: Callable[[_Box], Tensor]) -> Tensor:
    """``value``, or function(box) where the mask is set.

    Looks at the mask on accelerators too: to wait costs less than to integrate every point.
    """
    if not bool(mask.any()):
        return value
    return value.index_put((mask,), function(box.map(lambda part: part[mask])))


def _log_integral(copula: Archimedean, box: _Box, down: bool) -> Tensor:
    """The same as an integral over its first modality, in log odds of the modality's conditional probability.

    The least probable event is integrated, so that its own tail falls no more slowly than the other events'
    shares rise: the double exponential rule resolves whatever scale that has.
    """
    distance, log_weight = (part.to(box.strengths[0]) for part in _rule())
    wide = box.map(lambda part: part.unsqueeze(-1))
    s = len(box.given)
    rest = wide._replace(lower=wide.lower[1:]) if down else wide._replace(upper=wide.upper[1:])
    family = wide.family(copula)
    log_w, log_w_sf = _log_marginal(family, wide, down)
    odds = log_w - log_w_sf + (-distance if down else distance)
    below, above = logsigmoid(odds), logsigmoid(-odds)
    point = Column(below, above)
    if s > 0:
        point = Column(*family._conditional_quantile(point, s, dict(enumerate(wide.given))))
    at = rest._replace(given=(*wide.given, point)).map(lambda part: part.expand(odds.shape))
    return torch.logsumexp(_log_probability(copula, at, False) + below + above + log_weight, -1)


@lru_cache
def _rule() -> tuple[Tensor, Tensor]:
    """Nodes v = exp(x - e^-x) of the half line at equal steps of x, and the logs of their weights."""
    x = torch.arange(_REACH[0], _REACH[1], _STEP, dtype=torch.float64)
    nodes = torch.exp(x - torch.exp(-x))
    return nodes, torch.log(_STEP * nodes * (1.0 + torch.exp(-x)))


def _by_survival(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Each row's columns in increasing order of 1-u; the modalities are exchangeable."""
    if len(columns) < 2:
        return tuple(columns)
    log_u, log_sf = (torch.stack(part) for part in zip(*map(_both, columns), strict=True))
    order = log_sf.detach().argsort(0)
    pairs = zip(log_u.gather(0, order).unbind(0), log_sf.gather(0, order).unbind(0), strict=True)
    return tuple(Column(*pair) for pair in pairs)


def _by_log_u(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Each row's columns in increasing order of u."""
    turned = _by_survival([Column(column.survival(), column.log_u) for column in columns])
    return tuple(Column(_both(column)[1], column.log_u) for column in turned)


def _both(column: Column) -> tuple[Tensor, Tensor]:
    return column.log_u, column.survival()
