r"""Log CDF of a multivariate elliptical distribution, with exact derivatives.

Up to three dimensions by one positive integral per dimension above one,
$F_d(x) = \int_{-\infty}^{x_1} f(s) F_{d-1}(x_{2..d} | s) ds$: unlike Plackett's formula, whose terms change
sign, it keeps relative precision where the probability is e^-500. Beyond three dimensions by separation of
variables over scrambled Sobol points (Genz, 1992; Genz and Bretz, 2002), conditioning in the same way.
Derivatives are CDFs of lower dimension (Plackett, 1954), whatever method gave the value.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

_POINTS = 4096


class Law(ABC):
    """An elliptical distribution on the scale of its scores: what nested integration asks of it."""

    largest: float
    """A score at which a CDF is one to the last digit; larger ones are replaced by it."""

    @property
    @abstractmethod
    def shape_parameter(self) -> Tensor:
        """What derivatives are taken in besides the correlations; any constant if there is none."""

    @abstractmethod
    def with_shape_parameter(self, value: Tensor) -> Self:
        """The same law at the same value, connected to another graph."""

    @abstractmethod
    def unsqueeze(self) -> Self:
        """The same law for scores with one more axis at the end."""

    @abstractmethod
    def given_one(self) -> "Law":
        """The law of the others' standardised scores, given one."""

    @abstractmethod
    def log_cdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(log F, log(1-F)) of one score."""

    @abstractmethod
    def log_density(self, x: Tensor) -> Tensor:
        """Log density of one score."""

    @abstractmethod
    def quantile(self, log_p: Tensor) -> Tensor:
        """Inverse of the first of :meth:`log_cdf`."""

    @abstractmethod
    def standardise(self, score: Tensor, at: Tensor, rho: Tensor, scale: Tensor) -> Tensor:
        """A score in units of its conditional distribution, given that another is ``at``.

        Args:
            score: To be standardised.
            at: The known score.
            rho: Their correlation.
            scale: sqrt(1 - rho^2).
        """

    @abstractmethod
    def log_pair(self, one: Tensor, other: Tensor) -> Tensor:
        """Log of the slope in rho of a bivariate CDF, times sqrt(1 - rho^2).

        Args:
            one: The first score.
            other: The second, standardised given the first.
        """

    @abstractmethod
    def integrate(self, scores: Sequence[Tensor], correlation: Tensor) -> Tensor:
        """Log CDF in two or three dimensions, by quadrature."""


def log_cdf(law: Law, scores: Sequence[Tensor], correlation: Tensor) -> Tensor:
    """Log P(X_1 <= x_1, ..., X_d <= x_d); ``correlation`` is (..., d, d)."""
    if len(scores) == 1:
        return law.log_cdf(scores[0])[0]
    shape = torch.broadcast_shapes(  # type: ignore[no-untyped-call]
        *[score.shape for score in scores], correlation.shape[:-2], law.shape_parameter.shape
    )
    stacked = torch.stack([score.expand(shape) for score in scores], dim=-1)
    matrix = correlation.expand(*shape, *correlation.shape[-2:])
    value: Tensor = _LogCdf.apply(law, stacked, matrix, law.shape_parameter)  # type: ignore[no-untyped-call]
    return value


def log_cdf_complement(law: Law, scores: Sequence[Tensor], correlation: Tensor) -> Tensor:
    """Log P(some X_j > x_j), as a sum over the first j that exceeds, so that nothing cancels."""
    parts = []
    for j in range(len(scores)):
        signs = torch.ones(j + 1, dtype=correlation.dtype, device=correlation.device)
        signs[j] = -1.0
        block = correlation[..., : j + 1, : j + 1] * signs * signs.unsqueeze(-1)
        parts.append(log_cdf(law, [*scores[:j], -scores[j]], block))
    return torch.logsumexp(torch.stack(torch.broadcast_tensors(*parts)), dim=0)  # type: ignore[no-untyped-call]


class _LogCdf(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, law: Law, x: Tensor, correlation: Tensor, parameter: Tensor) -> Tensor:
        value = _value(law, x, correlation)
        value = torch.where((x == -torch.inf).any(-1), -torch.inf, value).clamp(max=0.0).to(x.dtype)
        ctx.law = law
        ctx.save_for_backward(x, correlation, parameter, value)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, Tensor, Tensor | None]:
        x, correlation, parameter, value = ctx.saved_tensors
        law = ctx.law.with_shape_parameter(parameter)
        scores = list(x.clamp(-law.largest, law.largest).unbind(-1))
        d = len(scores)
        by_score = [grad * torch.exp(_log_slope(law, scores, correlation, i) - value) for i in range(d)]
        by_pair = torch.zeros_like(correlation)
        for i in range(d):
            for j in range(i):
                slope = grad * torch.exp(_log_pair_slope(law, scores, correlation, i, j) - value)
                unit = torch.zeros(d, d, dtype=x.dtype, device=x.device)
                unit[i, j] = unit[j, i] = 0.5  # the two entries move together
                by_pair = by_pair + slope[..., None, None] * unit
        by_parameter = None
        if ctx.needs_input_grad[3]:
            by_parameter = _ParameterSlope.apply(law, x, correlation, parameter, grad)  # type: ignore[no-untyped-call]
        return None, torch.stack(by_score, dim=-1), by_pair, by_parameter


class _ParameterSlope(torch.autograd.Function):
    """The gradient in the shape parameter, through the quadrature with its nodes held."""

    @staticmethod
    def forward(
        ctx: Any, law: Law, x: Tensor, correlation: Tensor, parameter: Tensor, grad: Tensor
    ) -> Tensor:
        with torch.enable_grad():
            free = parameter.detach().requires_grad_()
            value = _value(law.with_shape_parameter(free), x, correlation)
            return torch.autograd.grad(value, free, grad.to(value))[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        raise NotImplementedError(
            "second derivatives of a joint CDF in its degrees of freedom are not available."
        )


def _value(law: Law, x: Tensor, correlation: Tensor) -> Tensor:
    wide, matrix = x.double().clamp(-law.largest, law.largest), correlation.double()
    if x.shape[-1] <= 3:
        return law.integrate(list(wide.unbind(-1)), matrix)
    return separated_log_cdf(law, wide, matrix, seed=0)


def _log_slope(law: Law, scores: Sequence[Tensor], correlation: Tensor, i: int) -> Tensor:
    """Log dF/dx_i = log f(x_i) + log F_{d-1}(the rest given x_i)."""
    rest, matrix = given(law, scores, correlation, i, scores[i])
    return law.log_density(scores[i]) + log_cdf(law.given_one(), rest, matrix)


def _log_pair_slope(law: Law, scores: Sequence[Tensor], correlation: Tensor, i: int, j: int) -> Tensor:
    """Log dF/drho_ij for j < i: a pair's slope times the CDF of the rest given both, under the same law."""
    rest, matrix = given(law, scores, correlation, i, scores[i])
    rho = correlation[..., i, j]
    slope = law.log_pair(scores[i], rest[j]) - 0.5 * torch.log((1.0 - rho) * (1.0 + rho))
    if len(scores) == 2:
        return slope
    if len(rest) == 2:
        rho = matrix[..., 0, 1]
        scale = torch.sqrt((1.0 - rho) * (1.0 + rho))
        return slope + law.log_cdf(law.standardise(rest[1 - j], rest[j], rho, scale))[0]
    return slope + log_cdf(law, *given(law, rest, matrix, j, rest[j]))


def given(
    law: Law, scores: Sequence[Tensor], correlation: Tensor, i: int, at: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Standardised scores of the others given that X_i is ``at``, and their correlation."""
    others = [k for k in range(len(scores)) if k != i]
    rho = [correlation[..., i, k] for k in others]
    scale = [torch.sqrt((1.0 - r) * (1.0 + r)) for r in rho]
    rest = [law.standardise(scores[k], at, r, s) for k, r, s in zip(others, rho, scale, strict=True)]
    rows = [
        torch.stack(
            [
                torch.ones_like(rho[p])
                if p == q
                else (correlation[..., k, m] - rho[p] * rho[q]) / (scale[p] * scale[q])
                for q, m in enumerate(others)
            ],
            dim=-1,
        )
        for p, k in enumerate(others)
    ]
    return rest, torch.stack(rows, dim=-2)


def separated_log_cdf(law: Law, x: Tensor, correlation: Tensor, seed: int, points: int = _POINTS) -> Tensor:
    """Genz's separation of variables, averaged over one set of scrambled Sobol points.

    Args:
        law: The distribution.
        x: (..., d) scores.
        correlation: (..., d, d).
        seed: Of the scramble.
        points: A power of two.
    """
    d = x.shape[-1]
    order = x.argsort(dim=-1)  # the tightest bounds first: it leaves the least to the points
    rows = correlation.gather(-2, order.unsqueeze(-1).expand_as(correlation))
    matrix = rows.gather(-1, order.unsqueeze(-2).expand_as(correlation)).unsqueeze(-3)
    rest = list(x.gather(-1, order).unsqueeze(-2).unbind(-1))
    engine = SobolEngine(d - 1, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
    drawn = engine.draw(points, dtype=torch.float64).to(x.device).clamp(min=2.0**-53).log()
    law = law.unsqueeze()
    total = log_first = law.log_cdf(rest[0])[0]
    for i in range(d - 1):
        at = law.quantile(drawn[:, i] + log_first)
        rest, matrix = given(law, rest, matrix, 0, at)
        law = law.given_one()
        log_first = law.log_cdf(rest[0])[0]
        total = total + log_first
    value: Tensor = torch.logsumexp(total, dim=-1) - math.log(points)
    return value


def log_cdf_with_error(
    law: Law, scores: Sequence[Tensor], correlation: Tensor, scrambles: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Log CDF as the mean over independent scrambles, and that log's standard error; without gradient."""
    stacked = torch.stack(torch.broadcast_tensors(*scores), dim=-1).detach().double()  # type: ignore[no-untyped-call]
    matrix = correlation.detach().double().expand(*stacked.shape[:-1], *correlation.shape[-2:])
    wide = stacked.clamp(-law.largest, law.largest)
    law = law.with_shape_parameter(law.shape_parameter.detach())
    logs = torch.stack([separated_log_cdf(law, wide, matrix, seed + k) for k in range(scrambles)])
    mean = torch.logsumexp(logs, dim=0) - math.log(scrambles)
    error = torch.exp(logs - mean).std(0) / math.sqrt(scrambles)
    return torch.where((stacked == -torch.inf).any(-1), -torch.inf, mean), error
