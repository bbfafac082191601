"""Observed against predicted risk, and what acting on a prediction is worth."""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from sklar.evaluation import Reliability, Thresholds
from sklar.report.figures.style import ACCENT, COLUMN, FAINT, RULE, STYLE, looks, svg
from sklar.report.tables import display


def reliability(curves: Mapping[str, Reliability]) -> str:
    """Observed against predicted risk; with the intervals of curves that have them."""
    with mpl.rc_context(STYLE):
        figure, axes = _panel("Reliability", "Observed risk")
        ends = [
            part for c in curves.values() for part in (c.predicted, c.observed, c.high) if part is not None
        ]
        top = 1.05 * max(float(part.max()) for part in ends)
        axes.plot([0, top], [0, top], color=RULE, linewidth=1)
        for (model, curve), look in zip(curves.items(), looks(), strict=False):
            axes.plot(curve.predicted, curve.observed, marker="o", markersize=4, label=display(model), **look)
            if curve.low is not None and curve.high is not None:
                axes.vlines(
                    curve.predicted, curve.low, curve.high, color=look["color"], linewidth=1, zorder=3
                )
        axes.set(xlim=(0, top), ylim=(0, top), xlabel="Predicted risk")
        axes.legend(loc="upper left")
        names = ", ".join(display(model) for model in curves)
        return svg(figure, "reliability", f"Reliability curves of {names}")


def predicted_risk(probability: NDArray[np.float64], y: NDArray[np.int64]) -> str:
    """Histograms of the predictions (N,) for rows with the event and without."""
    with mpl.rc_context(STYLE):
        figure, axes = _panel("Predicted risk by outcome", "Share of rows")
        bins = np.linspace(0, probability.max(), 31).tolist()
        for event, name, colour in ((0, "no event", FAINT), (1, "event", ACCENT)):
            rows = probability[y == event]
            axes.hist(
                rows, bins, weights=np.full(len(rows), 1 / len(rows)), color=colour, alpha=0.6, label=name
            )
        axes.set_xlabel("Predicted risk")
        axes.legend()
        return svg(figure, "predicted-risk", "Histograms of the predicted risk with and without the event")


def decision_curve(curves: Mapping[str, Thresholds]) -> str:
    """Net benefit against the risk from which one acts, beside acting on all rows and on none."""
    with mpl.rc_context(STYLE):
        figure, axes = _panel("Decision curve", "Net benefit")
        first = next(iter(curves.values()))
        axes.axhline(0, color=FAINT, linewidth=1)
        axes.plot(first.threshold, first.treat_all, color=FAINT, linewidth=1, label="act on all")
        for (model, curve), look in zip(curves.items(), looks(), strict=False):
            told = ~np.isnan(curve.net_benefit)  # of a page to share, not every threshold may be shown
            axes.plot(curve.threshold[told], curve.net_benefit[told], label=display(model), **look)
        ends = [first.treat_all, *(curve.net_benefit for curve in curves.values())]
        top = float(np.nanmax(np.concatenate(ends)))
        axes.set(xlabel="Act from a predicted risk of", ylim=(-0.25 * top, 1.08 * top))
        axes.yaxis.set_major_formatter("{x:.2f}")
        axes.legend(loc="upper right")
        names = ", ".join(display(model) for model in curves)
        return svg(figure, "decision", f"Decision curves of {names}")


def _panel(title: str, ylabel: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(COLUMN, 0.92 * COLUMN))
    axes = figure.subplots()
    axes.set(title=title, ylabel=ylabel)
    axes.grid()
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure, axes
