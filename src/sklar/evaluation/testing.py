"""Several tests at once, and a test that should not be used."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr

from sklar.evaluation.checks import EvaluationError, Floats


@dataclass(frozen=True)
class TTest:
    """Welch's t statistic, its degrees of freedom and two-sided p-value."""

    statistic: float
    df: float
    p_value: float


def holm(p_values: ArrayLike) -> Floats:
    """(K,) p-values adjusted for K tests by Holm's step-down method (1979), in the order given.

    Rejecting those at most alpha makes any false rejection with probability at most alpha, however the tests
    depend on each other.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise EvaluationError(f"p-values must be one row of numbers from 0 to 1; got {p}")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))), 1)
    return adjusted


def replicate_t_test(replicates_a: ArrayLike, replicates_b: ArrayLike) -> TTest:
    """The "two-sample bootstrapped t-test" of the CM² paper's Table 11, as far as it can be told; invalid.

    It takes bootstrap replicates of two models' metrics for independent samples. They are as many as one
    likes to draw, so the p-value shrinks with their number, and of two equally good models it rejects in most
    cohorts. Use ``compare`` or ``delong``; see docs/deviations.md, entry 9.

    Args:
        replicates_a: (R,) metric of the first model on each replicate.
        replicates_b: (R,) that of the second.
    """
    warnings.warn(
        "replicate_t_test takes bootstrap replicates for samples; its p-value shrinks with their number and "
        "is no evidence of a difference. Use compare() or delong().",
        stacklevel=2,
    )
    a, b = (np.asarray(values, dtype=np.float64) for values in (replicates_a, replicates_b))
    if min(a.size, b.size) < 2 or a.ndim != 1 or b.ndim != 1:
        raise EvaluationError(
            f"replicates have shapes {a.shape} and {b.shape}; two rows of at least 2 are needed"
        )
    errors = np.array([a.var(ddof=1) / a.size, b.var(ddof=1) / b.size])
    if not errors.any():
        raise EvaluationError("both models have the same value on every replicate; there is no t statistic")
    statistic = float((a.mean() - b.mean()) / np.sqrt(errors.sum()))
    df = float(errors.sum() ** 2 / (errors**2 / (np.array([a.size, b.size]) - 1)).sum())
    return TTest(statistic, df, float(2 * stdtr(df, -abs(statistic))))
