"""What single measurements contributed to a prediction, over time."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from sklar.report.figures.style import ACCENT, COLUMN, PALETTE, STYLE, svg


@dataclass(frozen=True)
class Grid:
    """Contributions by variable and bin.

    Attributes:
        variables: V names, from top to bottom.
        values: (V, T) contributions; zero where nothing was measured.
        times: (T,) of the bins.
        unit: Of the times.
    """

    variables: Sequence[str]
    values: NDArray[np.float64]
    times: NDArray[np.float64]
    unit: str


def heat(grid: Grid, name: str, title: str, largest: float) -> str:
    """A heat map: one colour raises the predicted risk, the other lowers it, the stronger the more.

    Args:
        grid: What to show.
        name: Of the figure.
        title: Above it.
        largest: The contribution that gets the full colour.
    """
    rows, steps = grid.values.shape
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(COLUMN, 0.75 + 0.2 * rows))
        axes = figure.subplots()
        for row, step in np.argwhere(grid.values):
            value = float(grid.values[row, step])
            share = min(1.0, abs(value) / largest)
            colour = PALETTE[0] if value > 0 else ACCENT
            axes.add_patch(
                Rectangle((step - 0.5, row - 0.5), 1, 1, facecolor=colour, alpha=share, linewidth=0)
            )
        shown = np.unique(np.linspace(0, steps - 1, min(steps, 4)).round().astype(int))
        axes.set(xlim=(-0.5, steps - 0.5), ylim=(rows - 0.5, -0.5), title=title, xlabel=f"Time, {grid.unit}")
        axes.set_yticks(range(rows), grid.variables)
        ticks = [f"{float(f'{grid.times[index]:.3g}'):g}" for index in shown]  # three digits, no power of ten
        axes.set_xticks(shown, [tick.replace("-", "\N{MINUS SIGN}") for tick in ticks])
        axes.title.set_horizontalalignment("left")
        axes.tick_params(length=0)
        axes.grid(axis="y", linewidth=0.3)
        axes.set_axisbelow(True)
        order = np.argsort(-np.abs(grid.values).sum(1), kind="stable")[:3]
        told = ", ".join(f"{grid.variables[index]} {grid.values[index].sum():+.3f}" for index in order)
        return svg(figure, name, f"Contributions over time, {title}: {told}")
