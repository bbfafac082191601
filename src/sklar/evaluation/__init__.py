"""Metrics with intervals, paired comparisons and calibration. Arrays in, numbers out."""

from sklar.evaluation.bootstrap import bootstrap, replicates, resample_weights, summarise
from sklar.evaluation.calibration import Reliability, reliability
from sklar.evaluation.comparison import Comparison, compare, contrast
from sklar.evaluation.curves import Curve, precision_recall_curve, roc_curve
from sklar.evaluation.metrics import METRICS, Metric, auroc, average_precision, brier, log_loss

__all__ = [
    "METRICS",
    "Comparison",
    "Curve",
    "Metric",
    "Reliability",
    "auroc",
    "average_precision",
    "bootstrap",
    "brier",
    "compare",
    "contrast",
    "log_loss",
    "precision_recall_curve",
    "reliability",
    "replicates",
    "resample_weights",
    "roc_curve",
    "summarise",
]
