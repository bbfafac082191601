"""Intervals over draws of what is missing, widened until they hold the answer with everything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from sklar.evaluation.checks import EvaluationError, Floats
from sklar.evaluation.hiding import Present

SMALLEST = 1e-7
"""Distance from 0 and 1 that a logit is taken at: of single precision, the least from 1 that is not 1."""


@dataclass(frozen=True)
class ConformalInterval:
    """How far beyond the quantiles of the draws an interval reaches, by what was observed.

    Attributes:
        levels: L shares of rows whose interval holds the answer with everything.
        patterns: (P, M) which modalities were observed.
        reach: (P, L, K) what is added at both ends on the logit scale; negative where draws spread too far,
            infinite where calibration rows are too few.
        draws: S of the quantiles.
        rows: Number of calibration rows.
    """

    levels: tuple[float, ...]
    patterns: NDArray[np.bool_]
    reach: Floats
    draws: int
    rows: int

    def widen(
        self, level: float, probability: ArrayLike, low: ArrayLike, high: ArrayLike, present: ArrayLike
    ) -> tuple[Floats, Floats]:
        """The ends of the interval of a level, which holds the prediction itself.

        Rows with everything keep theirs; of a pattern that was not calibrated the widest reach is taken.

        Args:
            level: One of ``levels``.
            probability: (N,) or (N, K) predictions.
            low: Of the same shape, the lower quantile of the draws.
            high: The upper one.
            present: (N, M).

        Raises:
            EvaluationError: The level was not calibrated, or the rows have other modalities.
        """
        if level not in self.levels:
            raise EvaluationError(f"no interval of level {level:g}; calibrated are {self.levels}")
        there = np.asarray(present, dtype=bool)
        if there.ndim != 2 or there.shape[1] != self.patterns.shape[1]:
            raise EvaluationError(
                f"presence has shape {there.shape}; the interval is of {self.patterns.shape[1]} modalities"
            )
        p, below, above = (np.asarray(part, dtype=np.float64) for part in (probability, low, high))
        own = self.reach[:, self.levels.index(level)]
        same = (there[:, None] == self.patterns).all(2)
        reach = np.where(same.any(1)[:, None], own[same.argmax(1)], own.max(0)).reshape(p.shape)
        gaps = ~there.all(1).reshape(-1, *[1] * (p.ndim - 1))
        ends = expit(_logit(below) - reach), expit(_logit(above) + reach)
        return (
            np.where(gaps, np.minimum(ends[0], p), below),
            np.where(gaps, np.maximum(ends[1], p), above),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, ready for JSON, with null for an infinite reach."""
        reach = self.reach.astype(object)
        reach[~np.isfinite(self.reach)] = None
        return {
            "scale": "logit",
            "levels": list(self.levels),
            "patterns": self.patterns.tolist(),
            "reach": reach.tolist(),
            "draws": self.draws,
            "rows": self.rows,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "ConformalInterval":
        """The interval that ``to_dict`` described."""
        reach = np.array(content["reach"], dtype=np.float64)  # null becomes NaN
        return cls(
            tuple(map(float, content["levels"])),
            np.array(content["patterns"], dtype=bool),
            np.where(np.isnan(reach), np.inf, reach),
            int(content["draws"]),
            int(content["rows"]),
        )


def fit_conformal_interval(
    full: ArrayLike, drawn: ArrayLike, patterns: Present, levels: Sequence[float]
) -> ConformalInterval:
    r"""Reach of intervals from rows with everything, which are asked again with something hidden.

    With p the answer with everything and $q_-, q_+$ the quantiles of S draws, all as logits, a row's score
    is $\max(q_- - p, p - q_+)$, and the reach of a pattern is the $\lceil (n + 1) \text{level} \rceil$-th
    smallest of n scores. New rows are covered as promised if they are exchangeable with these and hiding has
    nothing to do with their content, however wrong the draws are; rows that chose the model are exchangeable
    with new ones only nearly.

    Source: Romano, Patterson and Candes (2019), conformalized quantile regression, equation 6, with the draws
    for the regression; by pattern: Vovk (2012), "Mondrian".

    Args:
        full: (N,) or (N, K) answers with everything.
        drawn: (P, S, N) or (P, S, N, K) draws with one pattern's modalities only.
        patterns: (P, M) those modalities.
        levels: L, in (0, 1).
    """
    answers, samples = np.asarray(full, dtype=np.float64), np.asarray(drawn, dtype=np.float64)
    if samples.ndim != answers.ndim + 2 or samples.shape[2:] != answers.shape:
        raise EvaluationError(
            f"draws have shape {samples.shape} for answers of shape {answers.shape}; give (patterns, draws, "
            "*answers)"
        )
    if not (answers.size and len(levels) and all(0 < level < 1 for level in levels)):
        raise EvaluationError(
            f"{len(answers)} rows and levels {tuple(levels)}: an interval is calibrated on one row or more, "
            "for levels between 0 and 1, such as 0.95"
        )
    nominal, rows = np.asarray(levels, dtype=np.float64), len(answers)
    low, high = np.quantile(samples, np.stack((1 - nominal, 1 + nominal)) / 2, axis=1)
    target = _logit(answers)
    score = np.maximum(_logit(low) - target, target - _logit(high)).reshape(*low.shape[:2], rows, -1)
    ordered = np.concatenate((np.sort(score, axis=2), np.full_like(score[:, :, :1], np.inf)), axis=2)
    # a part of the last bit, so that 0.95 of 19 + 1 rows is the 19th and not pushed on by rounding
    place = np.minimum(np.ceil((rows + 1) * nominal * (1 - 1e-12)).astype(np.intp) - 1, rows)
    reach = ordered[np.arange(len(nominal)), :, place].swapaxes(0, 1)
    seen = np.asarray(patterns, dtype=bool)
    return ConformalInterval(tuple(nominal.tolist()), seen, reach, samples.shape[1], rows)


def _logit(p: Floats) -> Floats:
    return np.asarray(logit(np.clip(p, SMALLEST, 1 - SMALLEST)))
