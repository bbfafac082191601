"""A copula with some modalities turned around."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import NoReturn, Self

import torch
from jaxtyping import Float
from torch import Size, Tensor

from sklar.copulas.archimedean import Archimedean
from sklar.copulas.base import Copula
from sklar.copulas.columns import Column
from sklar.copulas.elliptical import Elliptical
from sklar.copulas.independence import Independence
from sklar.copulas.orthant import log_orthant, log_orthant_complement
from sklar.special import log1mexp


class Rotated(Copula):
    r"""The copula of $V_j = 1 - U_j$ where ``flips[j]``, else $U_j$, for U of a given copula.

    All flips give the survival copula, whose tails change places. Some flips give negative dependence between
    the flipped and the others, the rotations by 90 and 270 degrees for two modalities. Inside, a flip
    exchanges log u and log(1-u), which costs no digit.

    The CDF and conditional CDFs of several modalities are probabilities of boxes that reach up; for an
    Archimedean copula they cost up to 2^k conditional CDFs for k flipped modalities, and hundreds per point
    where those cancel. Flipped elliptical copulas are elliptical, and cost what these cost.

    Args:
        copula: An Archimedean or elliptical copula, independence, or another ``Rotated``.
        flips: One per modality.
        validate_args: Whether to check every argument.

    Attributes:
        copula: The copula that is turned, itself without flips.
        flips: One per modality.

    Raises:
        ValueError: Not one flip per modality.
        TypeError: A copula of none of these kinds.

    Example:
        >>> survival = Rotated(Gumbel(torch.tensor(2.0)), (True, True))
        >>> [round(float(tail), 3) for tail in survival.tail_dependence()]
        [0.586, 0.0]
    """

    copula: Copula
    flips: tuple[bool, ...]

    name = "rotated"
    tau_range = (-1.0, 1.0)
    arg_constraints = {}  # noqa: RUF012 - the base class declares it without ClassVar

    def __init__(self, copula: Copula, flips: Sequence[bool], validate_args: bool | None = None) -> None:
        flips = tuple(bool(flip) for flip in flips)
        if len(flips) != copula.dim:
            raise ValueError(
                f"Rotated takes one flip per modality, {copula.dim} for this {copula.name}, got {len(flips)}."
            )
        if isinstance(copula, Rotated):
            flips = tuple(one != other for one, other in zip(flips, copula.flips, strict=True))
            copula = copula.copula
        self.copula, self.flips = copula, flips
        self._plain = _without_flips(copula, flips)
        super().__init__(copula.dim, copula.batch_shape, validate_args)

    def marginal(self, indices: Sequence[int]) -> Copula:
        """The margin of the copula, turned by the flips of these modalities."""
        self._check_indices(indices)
        margin = self.copula.marginal(indices)
        if len(indices) == 1:
            return margin
        return Rotated(margin, [self.flips[i] for i in indices], self._validate_args)

    def expand(self, batch_shape: Size | Sequence[int], _instance: object = None) -> Self:
        """The same copula with a larger batch shape."""
        return type(self)(self.copula.expand(batch_shape), self.flips, self._validate_args)

    def parameters(self) -> dict[str, Tensor]:
        """Those of the copula that is turned."""
        return self.copula.parameters()

    def kendall_tau(self) -> Tensor:
        """That of each pair of the copula, negative where one of the two is flipped; averaged over pairs."""
        return self._mean_of_pairs(lambda pair, sign: sign * pair.kendall_tau())

    def spearman_rho(self) -> Tensor:
        """That of each pair of the copula, negative where one of the two is flipped; averaged over pairs."""
        return self._mean_of_pairs(lambda pair, sign: sign * pair.spearman_rho())

    def tail_dependence(self) -> tuple[Tensor, Tensor]:
        """(lower, upper) averaged over pairs: exchanged where both are flipped, zero where one is.

        The Archimedean families have no dependence in the corners where one modality is low and one high.
        """
        if self._plain is not None:
            return self._plain.tail_dependence()
        lower, upper = self.copula.tail_dependence()
        pairs = list(combinations(self.flips, 2))
        kept = sum(not one and not other for one, other in pairs) / len(pairs)
        exchanged = sum(one and other for one, other in pairs) / len(pairs)
        return kept * lower + exchanged * upper, kept * upper + exchanged * lower

    def rsample_log(
        self, sample_shape: Sequence[int] = (), generator: torch.Generator | None = None
    ) -> Float[Tensor, "*sample_batch modality"]:
        """Draws of the copula, turned."""
        drawn = self.copula.rsample_log(sample_shape, generator).unbind(-1)
        turned = [log1mexp(-u) if flip else u for u, flip in zip(drawn, self.flips, strict=True)]
        return torch.stack(turned, dim=-1)

    def to_raw(self, max_tau: float | None) -> Tensor:
        """Those of the copula that is turned."""
        return self.copula.to_raw(max_tau)

    # A rotation belongs to a copula, not to a family

    @classmethod
    def from_tau(cls, tau: float | Tensor, dim: int) -> Self:
        """Refused; see the error."""
        _refuse("from_tau")

    @classmethod
    def estimate(cls, log_u: Tensor, log_sf: Tensor | None = None) -> Self:
        """Refused; see the error."""
        _refuse("estimate")

    @classmethod
    def fit(cls, u: Tensor, method: str = "mle") -> Self:
        """Refused; see the error."""
        _refuse("fit")

    @classmethod
    def raw_size(cls, dim: int) -> int:
        """Refused; see the error."""
        _refuse("raw_size")

    @classmethod
    def from_raw(cls, raw: Tensor, dim: int, max_tau: float | None) -> Self:
        """Refused; see the error."""
        _refuse("from_raw")

    # Hooks

    def _log_density(self, columns: Sequence[Column]) -> Tensor:
        if self._plain is not None:
            return self._plain._log_density(columns)
        return self.copula._log_density(self._turned(dict(enumerate(columns))))

    def _boundary_limit(self, columns: Sequence[Column]) -> Tensor:
        return self.copula._boundary_limit(self._turned(dict(enumerate(columns))))

    def _log_cdf(self, columns: Sequence[Column]) -> Tensor:
        if self._plain is not None:
            return self._plain._log_cdf(columns)
        lower, upper = self._events(dict(enumerate(columns)))
        return log_orthant(self._archimedean(), lower, upper, ())

    def _conditional_log_cdf(
        self, target: Mapping[int, Column], given: Mapping[int, Column]
    ) -> tuple[Tensor, Tensor]:
        if self._plain is not None:
            return self._plain._conditional_log_cdf(target, given)
        family = self._archimedean()
        lower, upper = self._events(target)
        known = self._turned(given)
        if not upper:
            return family._log_h(lower, known)
        if len(target) == 1:
            log_h, log_h_sf = family._log_h(upper, known)
            return log_h_sf, log_h
        return log_orthant(family, lower, upper, known), log_orthant_complement(family, lower, upper, known)

    def _conditional_quantile(
        self, w: Column, target: int, given: Mapping[int, Column]
    ) -> tuple[Tensor, Tensor]:
        if self._plain is not None:
            return self._plain._conditional_quantile(w, target, given)
        known = dict(zip(given, self._turned(given), strict=True))
        if not self.flips[target]:
            return self.copula._conditional_quantile(w, target, known)
        log_u, log_sf = self.copula._conditional_quantile(Column(w.survival(), w.log_u), target, known)
        return log_sf, log_u

    def _like(self) -> Tensor:
        return self.copula._like()

    def _archimedean(self) -> Archimedean:
        assert isinstance(self.copula, Archimedean)  # the constructor saw to it
        return self.copula

    def _turned(self, columns: Mapping[int, Column]) -> list[Column]:
        """The columns as the copula knows them."""
        return [_turn(column) if self.flips[i] else column for i, column in columns.items()]

    def _events(self, columns: Mapping[int, Column]) -> tuple[list[Column], list[Column]]:
        """What "at most" means to the copula: at most for some modalities, above for the flipped."""
        lower = [column for i, column in columns.items() if not self.flips[i]]
        return lower, [_turn(column) for i, column in columns.items() if self.flips[i]]

    def _mean_of_pairs(self, measure: Callable[[Copula, float], Tensor]) -> Tensor:
        found = [
            measure(self.copula.marginal((i, j)), 1.0 if self.flips[i] == self.flips[j] else -1.0)
            for i, j in combinations(range(self.dim), 2)
        ]
        return torch.stack(found).mean(0)


def _turn(column: Column) -> Column:
    return Column(column.survival(), column.log_u)


def _without_flips(copula: Copula, flips: Sequence[bool]) -> Copula | None:
    """The same copula of its own family, where there is one that needs no flips."""
    if isinstance(copula, Independence) or not any(flips):
        return copula
    if isinstance(copula, Elliptical):  # turning is a change of sign
        sign = torch.tensor([-1.0 if flip else 1.0 for flip in flips]).to(copula.scale_tril)
        return copula._with_factor(sign.unsqueeze(-1) * copula.scale_tril * sign)
    if isinstance(copula, Archimedean):
        return None
    raise TypeError(
        f"Rotated turns Archimedean and elliptical copulas and independence, got {type(copula).__name__}."
    )


def _refuse(what: str) -> NoReturn:
    raise TypeError(
        f"Rotated.{what} does not know which family is turned. Build that first, as in "
        "Rotated(Clayton.from_tau(0.5, 2), (True, True)); fit it to 1 - u where flips are true."
    )
