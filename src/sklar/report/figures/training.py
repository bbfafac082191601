"""What the history recorded of a fit, one panel for each quantity."""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from sklar.report.figures.style import STYLE, looks, svg

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


def training_panels(history: Mapping[str, NDArray[np.float64]]) -> tuple[str, ...]:
    """A panel for each quantity that the history recorded, epoch by epoch."""
    own = [
        (title, {name: name.removeprefix(prefix) for name in history if name.startswith(prefix)})
        for title, prefix in _PER_MODALITY
    ]
    panels = [
        (title, {column: name for column, name in lines.items() if _recorded(history, column)})
        for title, lines in (*_PANELS, *own)
    ]
    return tuple(_panel(history, title, lines) for title, lines in panels if lines)


def _panel(history: Mapping[str, NDArray[np.float64]], title: str, lines: Mapping[str, str]) -> str:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.9, 2.3))
        axes = figure.subplots()
        first = next(iter(history.values()))
        epochs = history.get("epoch", np.arange(len(first), dtype=np.float64))
        for (column, name), look in zip(lines.items(), looks(), strict=False):
            kept = np.isfinite(history[column])
            marker = "o" if kept.sum() == 1 else None
            axes.plot(epochs[kept], history[column][kept], marker=marker, label=name, **look)
        axes.set(title=title, xlabel="Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.legend()
        return svg(figure, f"training-{next(iter(lines)).replace('_', '-')}", f"{title} over epochs")


def _recorded(history: Mapping[str, NDArray[np.float64]], column: str) -> bool:
    return column in history and bool(np.isfinite(history[column]).any())
