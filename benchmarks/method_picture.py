"""The grid of method.py as a picture: what each method gains on skip, up to what nobody can exceed."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# method, marker, colour, name
SHOWN = (
    ("bayes", "_", "#444444", "the best there is (Bayes)"),
    ("conditional", "o", "#1f5fa8", "CM² by its defaults"),
    ("skip + dropout", "^", "#b3541e", "skip + modality dropout"),
    ("zero", "x", "#777777", "zeros"),
)

Gains = Callable[[int, float, float, str, str], np.ndarray | None]
"""(rows, tau, missing, label, method) to AUROC minus that of skip, one per seed; None without results."""


def draw(gains: Gains, axes_of: Mapping[str, tuple], path: Path) -> None:
    """Write the picture.

    Args:
        gains: What was found.
        axes_of: Values of the grid: ``rows``, ``tau``, ``missing`` and ``label``.
        path: Its ending names the format.
    """
    missing, labels = axes_of["missing"], axes_of["label"]
    figure = Figure(figsize=(9.6, 5.2), layout="constrained")
    panels = figure.subplots(len(labels), len(missing), sharex=True, sharey="row", squeeze=False)
    for row, label in zip(panels, labels, strict=True):
        where = "only what goes missing" if label == "missing" else "both modalities"
        row[0].set_ylabel(f"AUROC minus skip,\nlabel in {where}")
        for axes, share in zip(row, missing, strict=True):
            _panel(axes, gains, axes_of, share, label)
    for axes, share in zip(panels[0], missing, strict=True):
        axes.set_title(f"{share:.0%} missing in training" if share else "nothing missing in training")
    for axes in panels[-1]:
        axes.set_xlabel("training rows, tau")
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(SHOWN), frameon=False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _panel(axes: Axes, gains: Gains, axes_of: Mapping[str, tuple], share: float, label: str) -> None:
    places, ticks = [], []
    for r, rows in enumerate(axes_of["rows"]):
        for t, tau in enumerate(axes_of["tau"]):
            x = r * (len(axes_of["tau"]) + 0.7) + t
            places.append(x)
            ticks.append(f"{tau:g}".lstrip("0") + (f"\n{rows:,}" if t == len(axes_of["tau"]) // 2 else ""))
            for k, (method, marker, colour, name) in enumerate(SHOWN):
                own = gains(rows, tau, share, label, method)
                if own is None:
                    continue
                error = own.std(ddof=1) / len(own) ** 0.5 if len(own) > 1 else 0.0
                first = r == t == 0
                axes.errorbar(
                    x if method == "bayes" else x + 0.22 * (k - 2),
                    own.mean(),
                    yerr=None if method == "bayes" else error,
                    marker=marker,
                    markersize=16 if method == "bayes" else 5,
                    color=colour,
                    linestyle="none",
                    elinewidth=1,
                    label=name if first else None,
                )
    axes.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    axes.set_xticks(places, ticks)
    axes.tick_params(axis="x", length=0)
