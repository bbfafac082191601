"""Figures 2 to 5 of the paper, from the run folders of fits."""

from collections.abc import Callable
from pathlib import Path
from typing import final

from sklar.experiments.paper.ablations import FAMILIES, ablated
from sklar.experiments.paper.plan import METRICS, Experiment, Fit, Outcomes, Rendered
from sklar.experiments.paper.scores import Scores, judge_row
from sklar.report.copula_figures import (
    densities_at_epochs,
    density_surface,
    parameters_over_epochs,
    read_copulas,
)
from sklar.report.lines import panels

EPOCHS = (5, 50, 100)
"""Of Figure 4, counted from one."""

COMPONENTS = (1, 2, 3, 4, 5)
"""K of Figure 5."""


@final
class Drawing(Experiment):
    """Figures that show the copula of a run.

    Args:
        place: Such as "Figure 2".
        title: What it shows.
        chosen: Fits by name; a picture each, of the first seed.
        draw: From a run folder to SVG.
    """

    cohorts = ("mimic-iv",)

    def __init__(self, place: str, title: str, chosen: dict[str, Fit], draw: Callable[[Path], str]) -> None:
        self.place, self.title = place, title
        self._chosen, self._draw = chosen, draw

    def fits(self) -> tuple[Fit, ...]:
        return tuple(self._chosen.values())

    def render(self, outcomes: Outcomes) -> Rendered:
        there = {name: fit for name, fit in self._chosen.items() if fit in outcomes.runs}
        missing = [f"{name}: {outcomes.why(fit)}" for name, fit in self._chosen.items() if name not in there]
        figures = {name: self._draw(outcomes.runs[fit][0]) for name, fit in there.items()}
        return Rendered(figures=figures, notes=tuple(missing))


@final
class ByComponents(Experiment):
    """Figure 5: AUROC and AUPR over the number of mixture components.

    The paper draws lines whose values it does not print, so that there is nothing to compare with.
    """

    place, title = "Figure 5", "number of mixture components"
    cohorts = ("mimic-iv",)

    def __init__(self) -> None:
        self._rows = {
            (matched, k): ablated(
                f"{'matched' if matched else 'partial'}, K = {k}",
                matched,
                () if k == 3 else (f"model.alignment.components={k}",),  # 3 is the preset's
            )
            for matched in (True, False)
            for k in COMPONENTS
        }

    def fits(self) -> tuple[Fit, ...]:
        return tuple(fit for row in self._rows.values() for fit in row.fits)

    def render(self, outcomes: Outcomes) -> Rendered:
        shown = Scores(self.place, self.title, tuple(self._rows.values())).render(outcomes)
        return Rendered(shown.table, shown.records, {"K": self._lines(outcomes)}, shown.notes)

    def _lines(self, outcomes: Outcomes) -> str:
        content = {
            title: {
                f"{task}, {'matched' if matched else 'partial'}": self._points(
                    outcomes, matched, task, metric
                )
                for matched, task in _LINES
            }
            for metric, title in zip(METRICS, ("AUROC", "AUPR"), strict=True)
        }
        text = "AUROC and AUPR of CM² over the number of mixture components K, for each task and setting."
        return panels(content, "K", "components", text)

    def _points(self, outcomes: Outcomes, matched: bool, task: str, metric: str) -> dict[int, float]:
        """K to the metric, of fits that have one."""
        judged = {k: judge_row(self._rows[matched, k], outcomes) for k in COMPONENTS}
        cells = {k: found[f"{task} {metric}"] for k, found in judged.items()}
        return {k: cell.estimate.value for k, cell in cells.items() if not isinstance(cell, str)}


_LINES = ((True, "ihm"), (True, "readm"), (False, "ihm"), (False, "readm"))


def _at_epochs(folder: Path) -> str:
    """The paper's epochs; of a run that stopped before, its first, middle and last one."""
    there = sorted(read_copulas(folder).epochs)
    wanted = [epoch - 1 for epoch in EPOCHS]
    if wanted[-1] not in there:
        wanted = sorted({there[0], there[len(there) // 2], there[-1]})
    return densities_at_epochs(folder, wanted)


def _first(settings: tuple[str, ...]) -> Fit:
    return ablated("", True, settings).fits[0]


_GUMBEL = {"Gumbel": _first(FAMILIES["Gumbel"])}

DRAWINGS = (
    Drawing(
        "Figure 2",
        "fitted copula densities",
        {name: _first(FAMILIES[name]) for name in ("Gumbel", "Gaussian", "Frank")},
        density_surface,
    ),
    Drawing("Figure 3", "copula parameter and Kendall's tau over epochs", _GUMBEL, parameters_over_epochs),
    Drawing("Figure 4", "copula density at epochs 5, 50 and 100", _GUMBEL, _at_epochs),
    ByComponents(),
)
