"""Metrics by name."""

from sklar.evaluation.calibration import calibration_intercept, calibration_slope, ece, ici
from sklar.evaluation.checks import EvaluationError
from sklar.evaluation.metric import Metric
from sklar.evaluation.metrics import auroc, average_precision, brier, log_loss

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


def metric_by_name(metric: Metric | str) -> Metric:
    """The metric itself, or the one that ``METRICS`` holds under this name."""
    if isinstance(metric, Metric):
        return metric
    if metric not in METRICS:
        raise EvaluationError(f"no metric is called {metric!r}; choose one of {', '.join(sorted(METRICS))}")
    return METRICS[metric]
