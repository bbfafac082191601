"""ROC and precision-recall curves."""

from collections.abc import Mapping

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sklar.evaluation import Curve
from sklar.report.bands import Band
from sklar.report.figures.style import ACCENT, COLUMN, FAINT, RULE, STYLE, looks, svg
from sklar.report.tables import display


def roc(curves: Mapping[str, Curve], band: Band) -> str:
    """ROC curves; the first model is the reference, whose 95 % band is shaded."""
    with mpl.rc_context(STYLE):
        figure, axes = _square()
        axes.plot([0, 1], [0, 1], color=RULE, linewidth=1)
        _shade(axes, band)
        for (model, curve), look in zip(curves.items(), looks(), strict=False):
            axes.plot(curve.x, curve.y, label=display(model), **look)
        axes.set(xlabel="False positive rate", ylabel="True positive rate", title="ROC")
        axes.legend(loc="lower right")
        return svg(figure, "roc", f"ROC curves of {_names(curves)}")


def precision_recall(curves: Mapping[str, Curve], band: Band, prevalence: float) -> str:
    """Precision against recall, with the prevalence that a useless model reaches."""
    with mpl.rc_context(STYLE):
        figure, axes = _square()
        axes.axhline(prevalence, color=RULE, linewidth=1)
        axes.annotate(f"prevalence {prevalence:.1%}", (0.01, prevalence), (0, 3), color=FAINT,
                      fontsize=8, textcoords="offset points")  # fmt: skip
        _shade(axes, band)
        for (model, curve), look in zip(curves.items(), looks(), strict=False):
            axes.step(curve.x, curve.y, where="pre", label=display(model), **look)
        axes.set(xlabel="Recall", ylabel="Precision", title="Precision and recall")
        axes.legend(loc="upper right")
        return svg(figure, "precision-recall", f"Precision-recall curves of {_names(curves)}")


def _square() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(COLUMN, COLUMN))
    axes = figure.subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
    axes.grid()
    axes.set_axisbelow(True)
    return figure, axes


def _shade(axes: Axes, band: Band) -> None:
    axes.fill_between(band.at, band.low, band.high, color=ACCENT, alpha=0.16, linewidth=0)


def _names(curves: Mapping[str, Curve]) -> str:
    return ", ".join(display(model) for model in curves)
