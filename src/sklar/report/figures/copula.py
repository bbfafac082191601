"""The dependence that was fitted, and whether the latents follow it."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sklar.report.density import REACH
from sklar.report.figures.style import ACCENT, COLUMN, FAINT, INK, RULE, STYLE, looks, svg

_LEVELS = np.array([0.03, 0.08, 0.16, 0.3, 0.5, 0.75, 1.0])
"""Of the contours, as shares of the highest density."""


def contours(densities: Mapping[tuple[str, str], NDArray[np.float64]]) -> str:
    """Contours of the fitted copula under standard normal margins, one panel for each pair."""
    columns = min(3, len(densities))
    height = -(-len(densities) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.9 * columns, 2.9 * height))
        grid = figure.subplots(height, columns, squeeze=False).ravel()
        for axes, (pair, density) in zip(grid, densities.items(), strict=False):
            _contour(axes, pair, density)
        for axes in grid[len(densities) :]:
            axes.set_visible(False)
        return svg(figure, "copula", "Contours of the fitted copula")


def pair_contours(densities: Mapping[tuple[str, str], NDArray[np.float64]]) -> tuple[str, ...]:
    """The same, one figure for each pair."""
    found = []
    for index, (pair, density) in enumerate(densities.items()):
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=(2.9, 2.9))
            _contour(figure.subplots(), pair, density)
            told = f"Contours of the fitted copula of {pair[0]} and {pair[1]}"
            found.append(svg(figure, f"copula-{index}", told))
    return tuple(found)


def pit_histogram(shares: Mapping[str, Sequence[float]]) -> str:
    """Histogram of the probability integral transforms; flat where the margins fit.

    Args:
        shares: Per modality the share of each of B bins of equal width over (0, 1).
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.9, 2.3))
        axes = figure.subplots()
        axes.axhline(1, color=FAINT, linewidth=1)
        for (name, own), look in zip(shares.items(), looks(), strict=False):
            axes.stairs(np.asarray(own) * len(own), np.linspace(0, 1, len(own) + 1), label=name, **look)
        axes.set(title="Margins: uniforms", xlabel="u", ylabel="Density", xlim=(0, 1))
        axes.set_ylim(bottom=0)
        axes.legend(loc="lower center", ncols=2)
        return svg(figure, "pit-histogram", "Histograms of pseudo-observations by modality")


def quantiles(
    name: str,
    title: str,
    axes_labels: tuple[str, str],
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
) -> str:
    """Quantiles against quantiles; on the diagonal where two laws agree.

    Args:
        name: Of the figure.
        title: Above it.
        axes_labels: What lies on either axis.
        lines: Per name the (Q,) quantiles on either axis.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.9, 2.7))
        axes = figure.subplots()
        ends = np.concatenate([np.concatenate(pair) for pair in lines.values()])
        low, high = float(ends.min()), float(ends.max())
        axes.plot([low, high], [low, high], color=RULE, linewidth=1)
        for (line, (x, y)), look in zip(lines.items(), looks(), strict=False):
            axes.plot(x, y, label=line, **look)
        axes.set(title=title, xlabel=axes_labels[0], ylabel=axes_labels[1], aspect="equal")
        axes.legend(loc="upper left")
        return svg(figure, name, f"{title}: {axes_labels[1]} against {axes_labels[0]}")


def pair_densities(true: Sequence[float], shuffled: Sequence[float]) -> str:
    """How the log copula density of true pairs and of shuffled ones is distributed.

    Args:
        true: (Q,) quantiles at evenly spaced levels, from the lowest up.
        shuffled: Likewise.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(COLUMN, 2.5))
        axes = figure.subplots()
        levels = (np.arange(len(true)) + 0.5) / len(true)
        for label, values, look in zip(("true", "shuffled"), (true, shuffled), looks(), strict=False):
            axes.plot(values, levels, label=f"{label} pairs", **look)
        axes.axvline(0, color=FAINT, linewidth=0.9)
        axes.set(title="Copula log density", xlabel="nats a coordinate", ylabel="Share of rows below")
        axes.set_ylim(0, 1)
        axes.grid()
        axes.legend(loc="upper left")
        return svg(figure, "pair-density", "Copula log density of true and of shuffled pairs")


def _contour(axes: Axes, pair: tuple[str, str], density: NDArray[np.float64]) -> None:
    axis = np.linspace(-REACH, REACH, len(density))
    levels = density.max() * _LEVELS
    # one colour, ever denser, reads on light and on dark paper
    shades = [to_rgba(ACCENT, alpha) for alpha in np.linspace(0.12, 0.85, len(levels) - 1)]
    axes.contourf(axis, axis, density, levels=levels, colors=shades)
    axes.contour(axis, axis, density, levels=levels[:-1], colors=INK, linewidths=0.4)
    axes.set(xlabel=pair[0], ylabel=pair[1], aspect="equal", xticks=(-2, 0, 2), yticks=(-2, 0, 2))
