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
from sklar.evaluation.catalogue import AVERAGED, METRICS, metric_by_name
from sklar.evaluation.checks import EvaluationError, check_disjoint, match_rows
from sklar.evaluation.comparison import Comparison, compare, contrast
from sklar.evaluation.conformal import Conformal, LabelConformal, fit_conformal
from sklar.evaluation.conformal_interval import ConformalInterval, fit_conformal_interval
from sklar.evaluation.coverage import Coverage, interval_coverage
from sklar.evaluation.curves import Curve, precision_recall_curve, roc_curve
from sklar.evaluation.delong import auroc_covariance, delong, delong_interval
from sklar.evaluation.draws import FEWEST, by_outcome, judgeable, resample_weights, too_few
from sklar.evaluation.estimate import Estimate
from sklar.evaluation.examples import spread
from sklar.evaluation.hiding import hide
from sklar.evaluation.joint_recalibration import (
    ByLabel,
    JointRecalibration,
    OneVsRest,
    Softmax,
    cross_fitted_classes,
    joint_recalibration_from,
    recalibrate_classes,
)
from sklar.evaluation.metric import Metric
from sklar.evaluation.metrics import auroc, average_precision, brier, log_loss
from sklar.evaluation.outcomes import Macro, Micro, multiclass_brier, multiclass_log_loss, one_vs_rest
from sklar.evaluation.recalibration import (
    Isotonic,
    Logistic,
    Recalibration,
    assign_folds,
    cross_fitted,
    recalibrate,
    recalibration_from,
)
from sklar.evaluation.resampled import Ranking, Resampled, resample
from sklar.evaluation.shapley import coalitions, modality_shapley, shapley
from sklar.evaluation.stress import RATES, StressCurve, stress_curve
from sklar.evaluation.subgroups import Subgroup, by_pattern, by_subgroup, withheld
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
    "AVERAGED",
    "ECE",
    "FEWEST",
    "ICI",
    "METRICS",
    "NPV",
    "PPV",
    "RATES",
    "ByLabel",
    "Comparison",
    "Conformal",
    "ConformalInterval",
    "Coverage",
    "Curve",
    "Estimate",
    "EvaluationError",
    "Isotonic",
    "JointRecalibration",
    "LabelConformal",
    "Logistic",
    "Macro",
    "Metric",
    "Micro",
    "NetBenefit",
    "OneVsRest",
    "Ranking",
    "Recalibration",
    "Reliability",
    "Resampled",
    "Sensitivity",
    "Softmax",
    "Specificity",
    "StressCurve",
    "Subgroup",
    "TTest",
    "Thresholds",
    "assign_folds",
    "at_thresholds",
    "auroc",
    "auroc_covariance",
    "average_precision",
    "bootstrap",
    "brier",
    "by_outcome",
    "by_pattern",
    "by_subgroup",
    "calibration_intercept",
    "calibration_slope",
    "check_disjoint",
    "coalitions",
    "compare",
    "contrast",
    "cross_fitted",
    "cross_fitted_classes",
    "delong",
    "delong_interval",
    "ece",
    "fit_conformal",
    "fit_conformal_interval",
    "hide",
    "holm",
    "ici",
    "interval_coverage",
    "joint_recalibration_from",
    "judgeable",
    "log_loss",
    "match_rows",
    "metric_by_name",
    "modality_shapley",
    "multiclass_brier",
    "multiclass_log_loss",
    "one_vs_rest",
    "precision_recall_curve",
    "recalibrate",
    "recalibrate_classes",
    "recalibration_from",
    "reliability",
    "replicate_t_test",
    "replicates",
    "resample",
    "resample_weights",
    "roc_curve",
    "shapley",
    "spread",
    "stress_curve",
    "summarise",
    "too_few",
    "withheld",
]
