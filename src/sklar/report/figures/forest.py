"""Values with intervals, one above the other."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sklar.report.figures.style import ACCENT, COLUMN, FAINT, INK, STYLE, svg


@dataclass(frozen=True)
class Line:
    """One line of a forest plot.

    Attributes:
        name: What stands at its left.
        value: The point.
        low: Lower end of its interval.
        high: Its upper end.
        marked: Whether it is the line that others are compared with.
    """

    name: str
    value: float
    low: float
    high: float
    marked: bool = False


def forest(lines: Sequence[Line], name: str, title: str, zero: float | None = None) -> str:
    """A forest plot.

    Args:
        lines: From top to bottom.
        name: Of the figure.
        title: Above it, and what a reader who cannot see it is told.
        zero: Where to draw a line to compare with.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(COLUMN, 0.8 + 0.27 * len(lines)))
        axes = figure.subplots()
        height = np.arange(len(lines))[::-1]
        if zero is not None:
            axes.axvline(zero, color=FAINT, linewidth=0.9)
        for y, line in zip(height, lines, strict=True):
            colour = ACCENT if line.marked else INK
            axes.plot([line.low, line.high], [y, y], color=colour, linewidth=1.4, solid_capstyle="butt")
            axes.plot([line.value], [y], marker="o", markersize=5, color=colour)
        axes.set_yticks(height, [line.name for line in lines])
        axes.set(title=title, ylim=(-0.6, len(lines) - 0.4))
        axes.title.set_horizontalalignment("left")
        axes.grid(axis="x")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_axisbelow(True)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        told = "; ".join(
            f"{line.name} {line.value:.3f} ({line.low:.3f} to {line.high:.3f})" for line in lines
        )
        return svg(figure, name, f"Forest plot, {title}: {told}")
