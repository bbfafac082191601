r"""What the best possible classifier says: P(y | observed severities, presence pattern).

Inputs determine the severities of their modalities and nothing else about the label, so conditioning on
inputs is conditioning on severities. With O observed and U absent,

$$P(y \ge k \mid z_O, O) = \frac{E[\Phi(w \cdot z - t_k)\,g(z_U) \mid z_O]}{E[g(z_U) \mid z_O]},$$

where $g(z_U) = \prod_{m \in U} P(m\ \text{absent} \mid z_m)$ under ``mnar`` and 1 otherwise: every other
factor of the pattern's probability depends on $z_O$ alone, the one for rows that would have lost everything
included.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sklar.data.simulate.dependence import Dependence
from sklar.data.simulate.grid import Integral, blocks
from sklar.data.simulate.missingness import Missingness
from sklar.data.simulate.outcome import Outcome
from sklar.errors import UserError
from sklar.special import log_ndtr_both, ndtri_log

Method = Literal["auto", "grid", "draws"]

GRID_LIMIT = 2
"""Most absent modalities that are integrated on a grid; with more, the copula is sampled.

Three axes would need some fifty nodes each, since families with tail dependence have narrow ridges.
"""

DRAWS = 4096


@dataclass(frozen=True)
class Exceedance:
    """P(y_l >= k | what is observed) of N rows, and how exact it is.

    Attributes:
        probability: (N, L, K).
        error: (N,) of a grid, the largest change against a grid with half as many nodes, which exceeds the
            error; of draws, the largest standard error; 0 in closed form.
    """

    probability: Float[Tensor, "n label cut"]
    error: Float[Tensor, " n"]


def complete(outcome: Outcome, latents: Float[Tensor, "n modality rank"]) -> Float[Tensor, "n label cut"]:
    """P(y_l >= k | all severities): the ceiling if nothing were missing."""
    value: Tensor = torch.special.ndtr(outcome.scores(latents).unsqueeze(-1) - outcome.cuts)
    return value


def skip(
    outcome: Outcome, latents: Float[Tensor, "n modality rank"], present: Bool[Tensor, "n modality"]
) -> Float[Tensor, "n label cut"]:
    """The same with absent severities drawn from their margins, as if modalities were independent.

    It knows how the label depends on the severities and leaves absent modalities out; it neither infers
    them from the others nor reads the pattern. What a method gains over it, it gains by dependence.
    """
    seen = torch.where(present.unsqueeze(-1), latents, 0.0)
    spread = (1.0 + (~present).to(latents.dtype) @ outcome.weights.square()).sqrt()
    scores = outcome.scores(seen).unsqueeze(-1)
    value: Tensor = torch.special.ndtr((scores - outcome.cuts) / spread.view(-1, 1, 1))
    return value


def bayes(
    dependence: Dependence,
    outcome: Outcome,
    missingness: Missingness,
    latents: Float[Tensor, "n modality rank"],
    present: Bool[Tensor, "n modality"],
    rates: Float[Tensor, "n modality"],
    method: Method = "auto",
    draws: int = DRAWS,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Exceedance:
    """The Bayes-optimal predictor of every row; content of absent modalities is not read.

    Args:
        dependence: Of the latents.
        outcome: How labels arise from them.
        missingness: How presence arises from them.
        latents: Those of present modalities count.
        present: Which modalities each row has, at least one.
        rates: Overall rate of absence that the row was drawn with.
        method: "auto" takes the closed form where there is one (nothing left to infer; or jointly normal
            latents and absence that is not informative), else a grid up to two absent modalities, else
            draws. "grid" and "draws" insist, to compare.
        draws: Exact draws of absent latents per row.
        seed: Of the draws.
        progress: Called with the fraction done, after every pattern.

    Raises:
        UserError: A row without any modality, or "grid" with more than two absent modalities to integrate.
    """
    if not bool(present.any(1).all()):
        raise UserError("a row has no modality at all; the Bayes predictor needs at least one per row")
    intercepts = missingness.intercepts(rates)
    n, labels = len(latents), len(outcome.cuts)
    probability = torch.empty((n, labels, outcome.cuts.shape[1]), dtype=torch.float64)
    error = torch.zeros(n, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    patterns, member = torch.unique(present, dim=0, return_inverse=True)
    for index, pattern in enumerate(patterns):
        rows = torch.nonzero(member == index).squeeze(1)
        seen = tuple(torch.nonzero(pattern).flatten().tolist())
        absent = tuple(torch.nonzero(~pattern).flatten().tolist())
        for label, coordinate in enumerate(outcome.coordinates(latents.shape[-1])):
            # only the first coordinate, the severity that absence reads, can be betrayed by absence
            informative = missingness.informative and coordinate == 0
            task = _Task(
                dependence, outcome.weights, outcome.cuts[label], seen, absent,
                latents[rows][:, :, coordinate], missingness if informative else None, intercepts[rows],
            )  # fmt: skip
            probability[rows, label], uncertain = task.solve(method, draws, generator)
            error[rows] = torch.maximum(error[rows], uncertain)
        if progress is not None:
            progress((index + 1) / len(patterns))
    return Exceedance(probability, error)


@dataclass(frozen=True)
class _Task:
    """One label on the rows of one pattern."""

    dependence: Dependence
    weights: Tensor
    cuts: Tensor
    seen: tuple[int, ...]
    absent: tuple[int, ...]
    z: Tensor
    missingness: Missingness | None
    intercepts: Tensor

    def solve(self, method: Method, draws: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(n, K) probabilities and (n,) errors."""
        sought = [m for m in self.absent if self.weights[m] != 0]
        if not sought:
            return self._phi(self._known()), torch.zeros(len(self.z), dtype=torch.float64)
        if method == "auto" and self.dependence.gaussian and self.missingness is None:
            return self._regress(sought), torch.zeros(len(self.z), dtype=torch.float64)
        inferred = list(self.absent) if self.missingness is not None else sought
        if method == "draws" or (method == "auto" and len(inferred) > GRID_LIMIT):
            return self._sample(inferred, draws, generator)
        if len(inferred) > GRID_LIMIT:
            raise UserError(
                f"method 'grid' with {len(inferred)} absent modalities to integrate: at most {GRID_LIMIT}. "
                "Choose 'draws' or 'auto'"
            )
        copula = self.dependence.copula.marginal((*self.seen, *inferred))
        return Integral(
            copula,
            self.z[:, self.seen],
            lambda rows, axis: self._log_absence(inferred, rows, axis.mT).mT,
            lambda rows, x: self._phi(self._known()[rows, None] + x @ self.weights[inferred]),
        ).solve()

    def _known(self) -> Tensor:
        return self.z[:, self.seen] @ self.weights[list(self.seen)]

    def _phi(self, score: Tensor, spread: Tensor | float = 1.0) -> Tensor:
        value: Tensor = torch.special.ndtr((score.unsqueeze(-1) - self.cuts) / spread)
        return value

    def _log_absence(self, inferred: Sequence[int], rows: Tensor, x: Tensor) -> Tensor:
        """Log P(absent) of every severity in x (n, points, inferred) of some rows."""
        if self.missingness is None:
            return torch.zeros_like(x)
        intercept = self.intercepts[rows][:, inferred].unsqueeze(-2)
        return self.missingness.log_chance_of_absence(intercept, x)

    def _regress(self, sought: list[int]) -> Tensor:
        """Jointly normal: the score given what is seen is normal, so the probability is one Phi."""
        seen, r = list(self.seen), self.dependence.correlation
        slopes = torch.linalg.solve(r[seen][:, seen], r[seen][:, sought])
        covariance = r[sought][:, sought] - r[sought][:, seen] @ slopes
        w = self.weights[sought]
        return self._phi(self._known() + self.z[:, seen] @ slopes @ w, (1.0 + w @ covariance @ w).sqrt())

    def _sample(self, inferred: list[int], draws: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Exact conditional draws through the copula, weighted by g where absence informs."""
        order = (*self.seen, *inferred)
        copula = self.dependence.copula.marginal(order)
        value, error = [], []
        for rows in blocks(len(self.z), draws):
            log_u, log_sf = log_ndtr_both(self.z[rows][:, self.seen])
            given = {i: (log_u[:, i], log_sf[:, i]) for i in range(len(self.seen))}
            x = ndtri_log(*copula.condition(given).rsample_both((draws,), generator)).movedim(0, 1)
            x = x.double()  # independence has no parameter that could ask for double precision
            weight = torch.softmax(self._log_absence(inferred, rows, x).sum(-1), dim=1).unsqueeze(-1)
            phi = self._phi(self._known()[rows, None] + x @ self.weights[inferred])
            mean = (weight * phi).sum(1)
            value.append(mean)
            error.append((weight * (phi - mean.unsqueeze(1))).square().sum(1).sqrt().amax(1))
        return torch.cat(value), torch.cat(error)
