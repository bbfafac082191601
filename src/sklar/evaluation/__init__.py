"""Metrics with intervals, paired comparisons, calibration and utility. Arrays in, frozen records out.

Needs numpy and scipy only. Whatever the rows cannot answer is refused with an ``EvaluationError``.
"""

from sklar.evaluation.bootstrap import bootstrap, replicates, summarise
from sklar.evaluation.calibration import (
    ECE,
    ICI,
    Reliability,
    calibration_intercept,
    calibration_slope,
    ece,
    ici,
    reliability,
)
from sklar.evaluation.catalogue import METRICS
from sklar.evaluation.checks import EvaluationError, check_disjoint, match_rows
from sklar.evaluation.comparison import Comparison, compare, contrast
from sklar.evaluation.curves import Curve, precision_recall_curve, roc_curve
from sklar.evaluation.delong import auroc_covariance, delong, delong_interval
from sklar.evaluation.draws import FEWEST, by_outcome, resample_weights, too_few
from sklar.evaluation.estimate import Estimate
from sklar.evaluation.metric import Metric
from sklar.evaluation.metrics import auroc, average_precision, brier, log_loss
from sklar.evaluation.outcomes import Macro, Micro, multiclass_brier, multiclass_log_loss, one_vs_rest
from sklar.evaluation.resampled import Ranking, Resampled, resample
from sklar.evaluation.testing import TTest, holm, replicate_t_test
from sklar.evaluation.thresholds import (
    NPV,
    PPV,
    NetBenefit,
    Sensitivity,
    Specificity,
    Thresholds,
    at_thresholds,
)

__all__ = [
    "ECE",
    "FEWEST",
    "ICI",
    "METRICS",
    "NPV",
    "PPV",
    "Comparison",
    "Curve",
    "Estimate",
    "EvaluationError",
    "Macro",
    "Metric",
    "Micro",
    "NetBenefit",
    "Ranking",
    "Reliability",
    "Resampled",
    "Sensitivity",
    "Specificity",
    "TTest",
    "Thresholds",
    "at_thresholds",
    "auroc",
    "auroc_covariance",
    "average_precision",
    "bootstrap",
    "brier",
    "by_outcome",
    "calibration_intercept",
    "calibration_slope",
    "check_disjoint",
    "compare",
    "contrast",
    "delong",
    "delong_interval",
    "ece",
    "holm",
    "ici",
    "log_loss",
    "match_rows",
    "multiclass_brier",
    "multiclass_log_loss",
    "one_vs_rest",
    "precision_recall_curve",
    "reliability",
    "replicate_t_test",
    "replicates",
    "resample",
    "resample_weights",
    "roc_curve",
    "summarise",
    "too_few",
]
