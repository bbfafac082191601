r"""Student's multivariate t distribution, as nested integration sees it.

Scores are $y = \operatorname{asinh}(x/\sqrt\nu)$. Given one at y, another has the score
$\operatorname{asinh}((\sinh y_k - \rho\sinh y)/(\sqrt{1-\rho^2}\cosh y))$ under $\nu + 1$ degrees of freedom.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor

from sklar.copulas.elliptical_cdf import Law, given
from sklar.copulas.student_cdf import StudentTail, log_cosh, magnitude
from sklar.copulas.student_quantile import student_quantile
from sklar.special import softplus

_LARGE = 1e100  # asinh is a logarithm from here on, and its square is finite
_FAR = 700.0  # exp of more would overflow
_NATS = 45.0  # what lies this far below the peak no longer counts
_NODES, _REACH = 88, 3.1  # of the double-exponential rule in each panel
_AT_ONCE = 1 << 20  # nodes whose values fit in memory several times over


class StudentLaw(Law):
    """Student's t for given degrees of freedom.

    Attributes:
        tail: The univariate distribution.
    """

    largest = 1e4

    def __init__(self, tail: StudentTail) -> None:
        self.tail = tail

    @property
    def shape_parameter(self) -> Tensor:
        return self.tail.df

    def with_shape_parameter(self, value: Tensor) -> Self:
        return type(self)(StudentTail(value, self.tail.series))

    def unsqueeze(self) -> Self:
        return type(self)(self.tail.unsqueeze())

    def given_one(self) -> Self:
        """One more degree of freedom."""
        return type(self)(StudentTail.of(self.tail.df + 1.0))

    def log_cdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.tail.log_cdf(x)

    def log_density(self, x: Tensor) -> Tensor:
        return self.tail.log_density(x)

    def quantile(self, log_p: Tensor) -> Tensor:
        return student_quantile(self.tail, log_p)

    def standardise(self, score: Tensor, at: Tensor, rho: Tensor, scale: Tensor) -> Tensor:
        size, distance = magnitude(score), magnitude(at)
        # sinh(score) / cosh(at), from exponents that do not overflow
        quotient = torch.exp((size - distance).clamp(max=_FAR)) * -torch.expm1(-2.0 * size)
        quotient = torch.where(score < 0, -quotient, quotient) / (1.0 + torch.exp(-2.0 * distance))
        return _asinh((quotient - rho * torch.tanh(at)) / scale)

    def log_pair(self, one: Tensor, other: Tensor) -> Tensor:
        both = log_cosh(magnitude(one)) + log_cosh(magnitude(other))
        return -self.tail.df * both - math.log(2.0 * math.pi)

    def integrate(self, scores: Sequence[Tensor], correlation: Tensor) -> Tensor:
        """Over the first score; a piece of the points at a time, because nodes multiply with dimension."""
        shape, d = scores[0].shape, len(scores)
        per_point = _panels(2) * _NODES if d == 2 else _panels(3) * _panels(2) * _NODES**2
        rows = max(1, _AT_ONCE // per_point)
        if scores[0].numel() <= rows:
            return self._integrate(scores, correlation)
        flat = [score.reshape(-1) for score in scores]
        matrix = correlation.reshape(-1, d, d)
        df, series = self.tail
        if df.numel() > 1:
            lead = series.shape[:2]
            series = series.reshape(*lead, *[1] * (len(shape) - df.ndim), *df.shape)
            df, series = df.expand(shape).reshape(-1), series.expand(*lead, *shape).reshape(*lead, -1)
        values = []
        for start in range(0, flat[0].shape[0], rows):
            piece = slice(start, start + rows)
            law = self if df.numel() == 1 else StudentLaw(StudentTail(df[piece], series[..., piece]))
            values.append(law._integrate([score[piece] for score in flat], matrix[piece]))
        return torch.cat(values).reshape(shape)

    def _integrate(self, scores: Sequence[Tensor], correlation: Tensor) -> Tensor:
        if len(scores) == 1:
            return self.log_cdf(scores[0])[0]
        law = self.unsqueeze()
        with torch.no_grad():
            bound = self._bound(scores, correlation)
            scores = [torch.minimum(score, bound) for score in scores]
            ends = _ends(scores, correlation[..., 0, :], bound)
            abscissas, weights = _tanh_sinh(ends.device)
            start, length = ends[..., :-1, None], ends.diff(dim=-1)[..., None]
            nodes = (start + length * abscissas).flatten(-2)
            log_weight = (length * weights).log().flatten(-2)
            wide = [score.unsqueeze(-1) for score in scores]
            rest, matrix = given(law, wide, correlation.unsqueeze(-3), 0, nodes)
        inner = law.given_one()._integrate(rest, matrix)
        return torch.logsumexp(log_weight + law.log_density(nodes) + inner, dim=-1)

    def _bound(self, scores: Sequence[Tensor], correlation: Tensor) -> Tensor:
        r"""A distance that one score exceeds with a negligible share of the whole probability.

        The whole is about $(1 + q)^{-\nu/2}$ or more, q the quadratic form of the negative scores, and the
        tail of one score is $\operatorname{sech}^\nu$. The smallest eigenvalue is at least the determinant
        over the largest product of the others, whose sum is below d.
        """
        d = len(scores)
        lowest = torch.stack(list(scores)).amin(0).clamp(max=0.0)
        log_sinh = log_cosh(-lowest) + torch.log(torch.tanh(-lowest))
        smallest = torch.linalg.det(correlation).clamp(min=1e-30) * (1.0 - 1.0 / d) ** (d - 1)
        log_root = softplus(2.0 * log_sinh + math.log(d) - smallest.log()) / 2.0
        return _acosh_of_log(log_root + _NATS / self.tail.df)


def _ends(scores: Sequence[Tensor], rho: Tensor, bound: Tensor) -> Tensor:
    """Ends of panels inside which the integrand is smooth on the scale of its distance from them.

    It turns at the centre, where another score's magnitude is met on either side, and where another score
    is at its conditional median.
    """
    upper = scores[0]
    ends = [-bound, torch.zeros_like(upper), upper]
    for k, score in enumerate(scores[1:], start=1):
        median = _asinh(torch.sinh(score.clamp(-_FAR, _FAR)) / rho[..., k])
        ends += [score, -score, torch.nan_to_num(median, nan=0.0)]
    inside = [torch.maximum(torch.minimum(end, upper), -bound) for end in ends]
    return torch.stack(torch.broadcast_tensors(*inside), dim=-1).sort(dim=-1).values  # type: ignore[no-untyped-call]


def _panels(dim: int) -> int:
    return 2 + 3 * (dim - 1)


def _asinh(value: Tensor) -> Tensor:
    """Inverse of sinh, where its square overflows too."""
    size = magnitude(value)
    distance = torch.asinh(size.clamp(max=_LARGE)) + torch.log((size / _LARGE).clamp(min=1.0))
    return torch.where(value < 0, -distance, distance)


def _acosh_of_log(value: Tensor) -> Tensor:
    """The t >= 0 whose log cosh is ``value``."""
    return value + torch.log1p(torch.sqrt(-torch.expm1(-2.0 * value)))


@lru_cache
def _tanh_sinh(device: torch.device) -> tuple[Tensor, Tensor]:
    """Nodes in (0, 1) and weights, which crowd at both ends: x = (1 + tanh(pi/2 sinh p)) / 2."""
    p = torch.linspace(-_REACH, _REACH, _NODES, dtype=torch.float64)
    inner = 0.5 * math.pi * torch.sinh(p)
    weights = 0.25 * math.pi * (p[1] - p[0]) * torch.cosh(p) / torch.cosh(inner).square()
    return torch.sigmoid(2.0 * inner).to(device), weights.to(device)
