"""Kaplan-Meier and inverse probability of censoring weights, for labels that some subjects never reach."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sklar.errors import DataError


class SurvivalCurve(NamedTuple):
    """A step function that is right-continuous, 1 before its first time.

    Attributes:
        times: (K,) distinct times, ascending.
        survival: (K,) value from that time on, until the next one.
    """

    times: NDArray[np.float64]
    survival: NDArray[np.float64]

    def at(self, time: Any) -> NDArray[np.float64]:
        """Value at ``time``, the drop of that very moment included: P(T > time)."""
        return np.asarray(self._steps[np.searchsorted(self.times, time, side="right")])

    def before(self, time: Any) -> NDArray[np.float64]:
        """Left limit at ``time``, the drop of that very moment left out: P(T >= time)."""
        return np.asarray(self._steps[np.searchsorted(self.times, time, side="left")])

    @property
    def _steps(self) -> NDArray[np.float64]:
        return np.concatenate([[1.0], self.survival])


def kaplan_meier(time: NDArray[Any], event: NDArray[Any], *, censoring: bool = False) -> SurvivalCurve:
    r"""Kaplan-Meier estimate $\prod_{t_k \le t} (1 - d_k / n_k)$ of remaining free of an event.

    At a shared time events come before censorings: a subject censored at t was at risk of an event at t.

    Args:
        time: (N,) follow-up, any unit, finite and not negative.
        event: (N,) true where follow-up ended with the event, false where it was censored.
        censoring: Estimate the distribution of the censoring time instead. By the rule on shared times,
            those with an event at t are no longer at risk of censoring at t.

    Returns:
        The curve at every distinct follow-up time.

    Raises:
        DataError: A time is not finite or is negative, or the lengths differ.

    References:
        Kaplan & Meier (1958), Nonparametric estimation from incomplete observations, JASA 53.
    """
    time, event = _checked(time, event)
    times, code = np.unique(time, return_inverse=True)
    deaths = np.bincount(code, weights=event.astype(np.float64))
    ends = np.bincount(code, weights=np.ones(len(code)))
    at_risk = len(time) - np.concatenate([[0.0], np.cumsum(ends)[:-1]])
    drops = deaths
    if censoring:
        at_risk, drops = at_risk - deaths, ends - deaths
    hazard = np.divide(drops, at_risk, out=np.zeros_like(drops), where=at_risk > 0)
    return SurvivalCurve(times, np.cumprod(1.0 - hazard))


def ipcw_weights(time: NDArray[Any], event: NDArray[Any], horizon: float) -> NDArray[np.float64]:
    r"""Weights that let subjects with a known outcome at ``horizon`` stand for the censored ones.

    With G the Kaplan-Meier estimate of the censoring distribution, the weight is $1 / G(T-)$ for an event
    at T <= horizon, $1 / G(\text{horizon})$ for a subject followed beyond it, and 0 for one censored by
    then, whose outcome is unknown. Two identities hold exactly, not only on average: the weighted number of
    events over N is the Kaplan-Meier risk 1 - S(horizon); and the weights add up to N, as long as somebody
    is followed beyond the horizon.

    The weights remove the bias of complete cases only if censoring does not depend on the outcome or on
    what predicts it; G here depends on nothing but time.

    Args:
        time: (N,) follow-up.
        event: (N,) true where follow-up ended with the event.
        horizon: End of the window in which the event counts, in the unit of ``time``.

    Returns:
        (N,) weights, 0 where the outcome at ``horizon`` is unknown.

    Raises:
        DataError: A time is not finite or is negative, or the lengths differ.

    References:
        Satten & Datta (2001), The Kaplan-Meier estimator as an inverse-probability-of-censoring weighted
        average, The American Statistician 55.
    """
    time, event = _checked(time, event)
    curve = kaplan_meier(time, event, censoring=True)
    weights = np.zeros(len(time))
    died = event & (time <= horizon)
    weights[died] = 1.0 / curve.before(time[died])
    followed = time > horizon
    weights[followed] = 1.0 / curve.at(np.minimum(time[followed], horizon))
    return weights


def _checked(time: NDArray[Any], event: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    time, event = np.asarray(time, dtype=np.float64), np.asarray(event, dtype=bool)
    if time.shape != event.shape or time.ndim != 1:
        raise DataError(
            f"follow-up {time.shape} and event {event.shape} must be one-dimensional and equally long"
        )
    if (bad := ~(np.isfinite(time) & (time >= 0))).any():
        row = int(np.argmax(bad))
        raise DataError(
            f"follow-up {time[row]} in row {row}: a time is finite and not negative. Drop the row"
        )
    return time, event
