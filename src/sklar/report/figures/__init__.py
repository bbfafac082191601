"""Figures as SVG text that can be set inside a page: no network, no script, no fonts of their own."""

from sklar.report.figures.calibration import decision_curve, predicted_risk, reliability
from sklar.report.figures.contributions import Grid, heat
from sklar.report.figures.copula import (
    contours,
    pair_contours,
    pair_densities,
    pit_histogram,
    quantiles,
)
from sklar.report.figures.forest import Line, forest
from sklar.report.figures.presence import presence
from sklar.report.figures.ranking import precision_recall, roc
from sklar.report.figures.training import training_panels

__all__ = [
    "Grid",
    "Line",
    "contours",
    "decision_curve",
    "forest",
    "heat",
    "pair_contours",
    "pair_densities",
    "pit_histogram",
    "precision_recall",
    "predicted_risk",
    "presence",
    "quantiles",
    "reliability",
    "roc",
    "training_panels",
]
