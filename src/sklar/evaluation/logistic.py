"""Logistic regression on one number, for many weightings of the same rows at once."""

import numpy as np

from sklar.evaluation.checks import Floats, Labels
from sklar.evaluation.metrics import inside

_STEPS = 100
"""Newton steps allowed; a handful is usual."""


def logit(probability: Floats) -> Floats:
    """log(p / (1 - p)), finite also where rounding made p 0 or 1."""
    kept = inside(probability)
    return np.log(kept) - np.log1p(-kept)


def fit_intercept(labels: Labels, x: Floats, weights: Floats) -> Floats:
    """(R,) intercepts a of P(y = 1) = expit(a + x), by maximum likelihood under each of (R, N) weights.

    Both labels must carry weight; otherwise there is no maximum.
    """
    target = weights @ labels / weights.sum(1)
    # the root lies where every row alone would put it: a bracket, which bisection and Newton share
    middle = np.log(target) - np.log1p(-target)
    low, high = middle - x.max(), middle - x.min()
    a = (low + high) / 2
    for _ in range(_STEPS):
        p = _expit(a[:, None] + x)
        gap = np.einsum("rn,rn->r", weights, p) / weights.sum(1) - target
        slope = np.einsum("rn,rn->r", weights, p * (1 - p)) / weights.sum(1)
        high, low = np.where(gap > 0, a, high), np.where(gap > 0, low, a)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            step = a - gap / slope
        moved = np.where((step > low) & (step < high), step, (low + high) / 2)
        still = np.abs(moved - a) <= 1e-15 * (1 + np.abs(a))
        a = moved
        if still.all():
            break
    return np.asarray(a)


def fit_line(labels: Labels, x: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """(R,) intercepts a and slopes b of P(y = 1) = expit(a + b x), by maximum likelihood.

    NaN where x separates the labels, completely or up to ties: the likelihood then has no maximum
    (Albert and Anderson 1984).
    """
    overlap = _overlap(labels, x, weights)
    spread = x.std() or 1.0
    z = (x - x.mean()) / spread
    share = weights / weights.sum(1, keepdims=True)
    a, b = np.full(len(share), x.mean()), np.full(len(share), spread)
    known = _deviance(labels, z, share, a, b)
    for _ in range(_STEPS):
        p = _expit(a[:, None] + b[:, None] * z)
        residual, curvature = share * (labels - p), share * p * (1 - p)
        g0, g1 = residual.sum(1), residual @ z
        h00, h01, h11 = curvature.sum(1), curvature @ z, curvature @ np.square(z)
        with np.errstate(divide="ignore", invalid="ignore"):
            determinant = h00 * h11 - h01 * h01
            d0, d1 = (h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant
        usable = overlap & np.isfinite(d0) & np.isfinite(d1)
        d0, d1 = np.where(usable, d0, 0.0), np.where(usable, d1, 0.0)
        factor = np.ones(len(share))
        # halve a step that overshoots: the likelihood is concave, so a short one gains; a loss that could be
        # rounding is none, as the last steps are better than the likelihood can tell
        for _ in range(30):
            found = _deviance(labels, z, share, a + factor * d0, b + factor * d1)
            worse = found > known + 1e-12 * np.abs(known)
            if not worse.any():
                break
            factor[worse] /= 2
        a, b, known = a + factor * d0, b + factor * d1, found
        if (np.abs(factor * d0) + np.abs(factor * d1) <= 1e-13 * (1 + np.abs(a) + np.abs(b))).all():
            break
    slope = np.where(overlap, b / spread, np.nan)
    return np.where(overlap, a - b / spread * x.mean(), np.nan), slope


def _overlap(labels: Labels, x: Floats, weights: Floats) -> Labels:
    """(R,) whether neither label's values of x all lie at or beyond the other's."""
    lowest, highest = [], []
    for side in (labels, ~labels):
        counted = weights[:, side] > 0
        lowest.append(np.where(counted, x[side], np.inf).min(1, initial=np.inf))
        highest.append(np.where(counted, x[side], -np.inf).max(1, initial=-np.inf))
    return np.asarray((highest[0] > lowest[1]) & (highest[1] > lowest[0]))


def _deviance(labels: Labels, z: Floats, share: Floats, a: Floats, b: Floats) -> Floats:
    line = a[:, None] + b[:, None] * z
    return np.asarray(np.einsum("rn,rn->r", share, np.logaddexp(0.0, np.where(labels, -line, line))))


def _expit(line: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-line))
