"""Figures as SVG text that can be set inside a page: no network, no script, no fonts of their own."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from sklar.evaluation import METRICS, Curve, Reliability
from sklar.report.density import REACH
from sklar.report.tables import Pattern, Row, display

INK, FAINT, RULE = "#1d2733", "#6b7685", "#d9dee4"
ACCENT = "#0072b2"
"""Of the reference model. With PALETTE from Okabe and Ito (2008), told apart by colour-blind readers."""
PALETTE = ("#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (2.5, 1.2)), (0, (5, 1.2, 1.2, 1.2)), (0, (1, 1)))
STYLE: Any = {
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.hspace": 0.08,
    "figure.constrained_layout.wspace": 0.06,
    "font.size": 8.5,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "text.color": INK,
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
}
_FONT = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
_PANELS = (
    ("Loss", {"train_loss": "training", "valid_loss": "validation"}),
    ("Validation AUROC", {"valid_auroc": "validation"}),
    ("Copula log density", {"copula_true": "true pairs", "copula_shuffled": "shuffled pairs"}),
    ("Kendall's τ", {"kendall_tau": "alignment", "kendall_tau_imputation": "imputation"}),
)
_PER_MODALITY = (
    ("Effective rank of the latents", "effective_rank_"),
    ("Distance from uniform margins", "ks_"),
)


def roc(curves: Mapping[str, Curve]) -> str:
    """ROC curves; the first model is the reference."""
    with mpl.rc_context(STYLE):
        figure, axes = _square()
        axes.plot([0, 1], [0, 1], color=RULE, linewidth=1)
        for (model, curve), look in zip(curves.items(), looks(), strict=False):
            axes.plot(curve.x, curve.y, label=display(model), **look)
        axes.set(xlabel="False positive rate", ylabel="True positive rate", title="ROC")
        axes.legend(loc="lower right")
        return svg(figure, "roc")


def precision_recall(curves: Mapping[str, Curve], prevalence: float) -> str:
    """Precision against recall, with the prevalence that a useless model reaches."""
    with mpl.rc_context(STYLE):
        figure, axes = _square()
        axes.axhline(prevalence, color=RULE, linewidth=1)
        axes.annotate(f"prevalence {prevalence:.1%}", (0.01, prevalence), (0, 3), color=FAINT,
                      fontsize=7.5, textcoords="offset points")  # fmt: skip
        for (model, curve), look in zip(curves.items(), looks(), strict=False):
            axes.step(curve.x, curve.y, where="pre", label=display(model), **look)
        axes.set(xlabel="Recall", ylabel="Precision", title="Precision and recall")
        axes.legend(loc="upper right")
        return svg(figure, "precision-recall")


def reliability(
    curves: Mapping[str, Reliability], probability: NDArray[np.float64], y: NDArray[np.int64]
) -> str:
    """Observed against predicted risk, beside the reference's predictions (N,) by outcome."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 4.0))
        axes, beside = figure.subplots(1, 2)
        top = 1.05 * max(max(c.predicted.max(), c.observed.max()) for c in curves.values())
        axes.plot([0, top], [0, top], color=RULE, linewidth=1)
        for (model, curve), look in zip(curves.items(), looks(), strict=False):
            axes.plot(curve.predicted, curve.observed, marker="o", markersize=4, label=display(model), **look)
        axes.set(xlim=(0, top), ylim=(0, top), ylabel="Observed risk", title="Reliability")
        bins = np.linspace(0, probability.max(), 31)
        for event, name, colour in ((0, "no event", FAINT), (1, "event", ACCENT)):
            rows = probability[y == event]
            beside.hist(
                rows, bins, weights=np.full(len(rows), 1 / len(rows)), color=colour, alpha=0.6, label=name
            )
        beside.set(ylabel="Share of rows", title="Predicted risk by outcome")
        for panel in (axes, beside):
            panel.set_xlabel("Predicted risk")
            panel.legend()
            panel.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        return svg(figure, "reliability")


def forest(rows: Sequence[Row], reference: str, metric: str) -> str:
    """A metric of each model with its interval, beside its difference to the reference."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 0.9 + 0.29 * len(rows)))
        values, differences = figure.subplots(1, 2, sharey=True)
        label = METRICS[metric].label
        height = np.arange(len(rows))[::-1]
        for y, row in zip(height, rows, strict=True):
            colour = ACCENT if row.model == reference else INK
            found = row.estimates[metric]
            _interval(values, y, found.value, found.low, found.high, colour)
            if metric in row.differences:
                gap = row.differences[metric]
                _interval(differences, y, gap.difference, gap.low, gap.high, colour)
        differences.axvline(0, color=ACCENT, linewidth=0.9)
        values.set_yticks(height, [display(row.model) for row in rows])
        values.set(title=label, ylim=(-0.6, len(rows) - 0.4))
        differences.set(title=f"{label} minus that of {display(reference)}")
        for axes in (values, differences):
            axes.grid(axis="x")
            axes.xaxis.set_major_locator(MaxNLocator(6))
            axes.set_axisbelow(True)
            axes.spines["left"].set_visible(False)
            axes.tick_params(axis="y", length=0)
        return svg(figure, f"forest-{metric.replace('_', '-')}")


def presence(patterns: Sequence[Pattern], modalities: Sequence[str]) -> str:
    """How often each pattern of present modalities occurs among the test rows, most frequent first."""
    with mpl.rc_context(STYLE):
        width = 2.2 + 0.62 * max(len(patterns), 3)
        figure = Figure(figsize=(width, 1.9 + 0.28 * len(modalities)))
        bars, dots = figure.subplots(2, 1, sharex=True, height_ratios=(4, 0.8 * len(modalities)))
        total = sum(pattern.rows for pattern in patterns)
        at = np.arange(len(patterns))
        bars.bar(at, [pattern.rows for pattern in patterns], width=0.62, color=ACCENT)
        for x, pattern in zip(at, patterns, strict=True):
            share = f"{pattern.rows / total:.0%}" if pattern.rows / total >= 0.01 else "<1%"
            bars.annotate(share, (x, pattern.rows), (0, 3), ha="center", fontsize=8,
                          textcoords="offset points")  # fmt: skip
        bars.set(ylabel="Test rows")
        bars.margins(y=0.15)
        bars.tick_params(axis="x", length=0)
        rank = {name: len(modalities) - 1 - i for i, name in enumerate(modalities)}
        for x, pattern in zip(at, patterns, strict=True):
            seen = sorted(rank[name] for name in pattern.present)
            if seen:
                dots.plot([x, x], [seen[0], seen[-1]], color=INK, linewidth=1.4, zorder=1)
            for y in rank.values():
                dots.scatter(x, y, s=46, color=INK if y in seen else RULE, zorder=2)
        dots.set_yticks(list(rank.values()), list(rank))
        dots.set(xticks=[], xlim=(-0.6, max(len(patterns), 3) - 0.4), ylim=(-0.6, len(modalities) - 0.4))
        for side in ("left", "bottom"):
            dots.spines[side].set_visible(False)
        dots.tick_params(axis="y", length=0)
        return svg(figure, "presence")


def training(history: Mapping[str, NDArray[np.float64]]) -> str:
    """What the history recorded of the fit, epoch by epoch; empty text where it recorded nothing."""
    own = [
        (title, {name: name.removeprefix(prefix) for name in history if name.startswith(prefix)})
        for title, prefix in _PER_MODALITY
    ]
    panels = [
        (title, {column: name for column, name in lines.items() if _recorded(history, column)})
        for title, lines in (*_PANELS, *own)
    ]
    panels = [(title, lines) for title, lines in panels if lines]
    if not panels:
        return ""
    columns = min(3, len(panels))
    height = -(-len(panels) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.9 * columns, 2.3 * height))
        grid = figure.subplots(height, columns, squeeze=False).ravel()
        first = next(iter(history.values()))
        epochs = history.get("epoch", np.arange(len(first), dtype=np.float64))
        for axes, (title, lines) in zip(grid, panels, strict=False):
            for (column, name), look in zip(lines.items(), looks(), strict=False):
                kept = np.isfinite(history[column])
                marker = "o" if kept.sum() == 1 else None
                axes.plot(epochs[kept], history[column][kept], marker=marker, label=name, **look)
            axes.set(title=title, xlabel="Epoch")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.legend()
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        return svg(figure, "training")


def contours(densities: Mapping[tuple[str, str], NDArray[np.float64]]) -> str:
    """Contours of the fitted copula under standard normal margins, one panel for each pair."""
    columns = min(3, len(densities))
    height = -(-len(densities) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.9 * columns, 2.9 * height))
        grid = figure.subplots(height, columns, squeeze=False).ravel()
        for axes, ((first, second), density) in zip(grid, densities.items(), strict=False):
            axis = np.linspace(-REACH, REACH, len(density))
            levels = density.max() * np.array([0.03, 0.08, 0.16, 0.3, 0.5, 0.75, 1.0])
            axes.contourf(axis, axis, density, levels=levels, cmap="Blues", vmin=-0.25 * levels[-1])
            axes.contour(axis, axis, density, levels=levels[:-1], colors=INK, linewidths=0.4)
            axes.set(xlabel=first, ylabel=second, aspect="equal", xticks=(-2, 0, 2), yticks=(-2, 0, 2))
        for axes in grid[len(densities) :]:
            axes.set_visible(False)
        return svg(figure, "copula")


def _square() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.4, 4.4))
    axes = figure.subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
    axes.grid()
    axes.set_axisbelow(True)
    return figure, axes


def looks() -> list[dict[str, Any]]:
    """Colour and dash of each line; the first, the reference's, is solid, heavy and on top."""
    colours = (ACCENT, *PALETTE)
    return [
        {
            "color": colour,
            "linestyle": _DASHES[i % len(_DASHES)],
            "linewidth": 2.2 if i == 0 else 1.3,
            "zorder": 4 if i == 0 else 3,
        }
        for i, colour in enumerate(colours)
    ]


def _interval(axes: Axes, y: float, value: float, low: float, high: float, colour: str) -> None:
    axes.plot([low, high], [y, y], color=colour, linewidth=1.4, solid_capstyle="butt")
    axes.plot([value], [y], marker="o", markersize=5, color=colour)


def _recorded(history: Mapping[str, NDArray[np.float64]], column: str) -> bool:
    return column in history and bool(np.isfinite(history[column]).any())


def svg(figure: Figure, name: str) -> str:
    """The figure as an ``svg`` element whose ids start with ``name``, so that figures share a page."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"\s*<style[^>]*>.*?</style>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"(font: (?:[\w.%]+ )*?[\d.]+px) [^;\"]+", rf"\1 {_FONT}", text)
    points = re.search(r'width="([\d.]+)pt" height="[\d.]+pt"', text)
    width = float(points.group(1)) if points else 400.0
    text = re.sub(r' width="[\d.]+pt" height="[\d.]+pt"', "", text, count=1)
    return text.replace("<svg", f'<svg role="img" style="max-width: {width:.0f}pt"', 1)
