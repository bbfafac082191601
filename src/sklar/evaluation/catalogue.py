"""Metrics by name."""

from sklar.evaluation.calibration import calibration_intercept, calibration_slope, ece, ici
from sklar.evaluation.checks import EvaluationError
from sklar.evaluation.metric import Metric
from sklar.evaluation.metrics import auroc, average_precision, brier, log_loss
from sklar.evaluation.outcomes import Macro, Micro, multiclass_brier, multiclass_log_loss

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        auroc,
        average_precision,
        brier,
        log_loss,
        calibration_intercept,
        calibration_slope,
        ece,
        ici,
    )
}

AVERAGED: dict[str, Metric] = {
    average.name: average
    for metric in (auroc, average_precision, brier)
    for average in (Macro(metric), Micro(metric))
} | {metric.name: metric for metric in (multiclass_brier, multiclass_log_loss)}
"""Metrics of several outcomes at once by name, such as "macro_auroc"."""


def metric_by_name(metric: Metric | str) -> Metric:
    """The metric itself, or the one that ``METRICS`` or ``AVERAGED`` holds under this name."""
    if isinstance(metric, Metric):
        return metric
    known = METRICS | AVERAGED
    if metric not in known:
        raise EvaluationError(f"no metric is called {metric!r}; choose one of {', '.join(sorted(known))}")
    return known[metric]
