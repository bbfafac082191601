"""The copula that a run learned, epoch by epoch: Figures 2, 3 and 4 of the paper from a run folder.

Each function reads ``copulas.json``, which training writes after every epoch, and returns SVG text.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from sklar.errors import DataError, UserError
from sklar.report.density import REACH, densities, fitted
from sklar.report.figures.copula import contours
from sklar.report.figures.style import INK, STYLE, looks, svg


@dataclass(frozen=True)
class LearnedCopulas:
    """The copula after each epoch of a training.

    Attributes:
        family: Key of `sklar.copulas.FAMILIES`.
        modalities: Names in the order of the copula's coordinates.
        epochs: Epoch to parameters, by the names that the family's constructor takes.
    """

    family: str
    modalities: tuple[str, ...]
    epochs: Mapping[int, Mapping[str, Any]]

    def at(self, epoch: int | None = None) -> dict[str, Any]:
        """Family, modalities and parameters after an epoch; by default after the last."""
        chosen = max(self.epochs) if epoch is None else epoch
        if chosen not in self.epochs:
            raise UserError(f"no epoch {chosen}; the run has {min(self.epochs)} to {max(self.epochs)}.")
        return {
            "family": self.family,
            "modalities": list(self.modalities),
            "parameters": self.epochs[chosen],
        }


def read_copulas(folder: Path) -> LearnedCopulas:
    """The copulas of a run folder.

    Raises:
        UserError: The run's model has no copula, or has not finished an epoch.
        DataError: The file is damaged.
    """
    path = folder / "copulas.json"
    if not path.is_file():
        raise UserError(
            f"{path} does not exist: only models that learn a copula, such as cm2, have one, "
            "from the end of their first epoch."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        epochs = {int(row["epoch"]): row["parameters"] for row in content["epochs"]}
        return LearnedCopulas(content["family"], tuple(content["modalities"]), epochs)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error!r}); train the model again.") from error


def density_contours(folder: Path, epoch: int | None = None) -> str:
    """Contours of the copula density under normal margins, a panel for each pair (Figure 2)."""
    return contours(densities(read_copulas(folder).at(epoch)))


def density_surface(folder: Path, epoch: int | None = None) -> str:
    """The same density as a surface (Figure 2, as the paper draws it)."""
    return _surfaces({name: {"": density} for name, density in _pairs(folder, epoch).items()}, "surface")


def densities_at_epochs(folder: Path, epochs: Sequence[int]) -> str:
    """The surface of each pair after chosen epochs, side by side (Figure 4).

    Raises:
        UserError: No epoch was chosen, or the run does not have it.
    """
    if not epochs:
        raise UserError("choose at least one epoch to draw.")
    drawn = {epoch: _pairs(folder, epoch) for epoch in epochs}
    rows = {pair: {f"epoch {epoch}": drawn[epoch][pair] for epoch in epochs} for pair in drawn[epochs[0]]}
    return _surfaces(rows, "epochs")


def parameters_over_epochs(folder: Path) -> str:
    """Kendall's tau of the copula and its scalar parameters over epochs (Figure 3).

    The paper's "Corr = (alpha - 1) / alpha" is Kendall's tau of the Gumbel family; here it is tau of any.
    Parameters of several coordinates are shown as their mean.
    """
    learned = read_copulas(folder)
    epochs = sorted(learned.epochs)
    tau = [float(fitted(learned.at(epoch)).kendall_tau().mean()) for epoch in epochs]
    scalars = {
        name: [float(np.mean(learned.epochs[epoch][name])) for epoch in epochs]
        for name in learned.epochs[epochs[0]]
        if name != "correlation"
    }
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.9 * (1 + len(scalars)), 2.4))
        panels = figure.subplots(1, 1 + len(scalars), squeeze=False)[0]
        for axes, (name, values) in zip(panels, {"Kendall's τ": tau, **scalars}.items(), strict=True):
            axes.plot(epochs, values, marker="o" if len(epochs) == 1 else None, **looks()[0])
            axes.set(title=name, xlabel="Epoch")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        return svg(figure, "parameters", "Kendall's tau of the copula and its parameters over epochs")


def _pairs(folder: Path, epoch: int | None) -> dict[tuple[str, str], NDArray[np.float64]]:
    return densities(read_copulas(folder).at(epoch), points=49)


def _surfaces(rows: Mapping[tuple[str, str], Mapping[str, NDArray[np.float64]]], name: str) -> str:
    """One row of surfaces for each pair of modalities."""
    columns = max(len(row) for row in rows.values())
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.0 * columns, 2.8 * len(rows)))
        grid = figure.subplots(len(rows), columns, squeeze=False, subplot_kw={"projection": "3d"})
        for line, ((first, second), row) in zip(grid, rows.items(), strict=True):
            top = max(density.max() for density in row.values())
            for axes, (title, density) in zip(line, row.items(), strict=True):
                axis = np.linspace(-REACH, REACH, len(density))
                x, y = np.meshgrid(axis, axis)
                axes.plot_surface(
                    x, y, density, cmap="Blues", edgecolor=INK, linewidth=0.1, rstride=2, cstride=2
                )
                axes.set(xlabel=first, ylabel=second, title=title, xticks=(-2, 0, 2), yticks=(-2, 0, 2))
                axes.set(zlim=(0, top), zticks=())
        return svg(figure, name, "Density of the fitted copula as a surface")
