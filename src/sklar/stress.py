"""How a model holds up when modalities are hidden, what each is worth, and whether its intervals hold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sklar.data.store import PreparedData
from sklar.evaluation import (
    RATES,
    Coverage,
    Estimate,
    StressCurve,
    coalitions,
    interval_coverage,
    modality_shapley,
    stress_curve,
)
from sklar.runs import MaskedRows, Run

EVERYTHING = "all modalities"
COVERAGE_DRAWS = 200
"""Of which the 2.5 % and 97.5 % quantiles are known well enough."""
_SEED = 0


@dataclass(frozen=True)
class Stress:
    """What one model answers when it sees less than is there.

    Attributes:
        curves: The metric as more is hidden: of ``EVERYTHING`` at random, and of each modality alone.
        shapley: Per modality, its share in the metric's gain over a model that sees nothing.
        coverage: By number of hidden modalities, how often the imputation interval holds the answer with
            everything; empty where no test row is complete, or one modality is all there is.
        metric: Its name.
        rows: Number of labelled test rows.
    """

    curves: dict[str, StressCurve]
    shapley: dict[str, Estimate]
    coverage: tuple[Coverage, ...]
    metric: str
    rows: int


def stress(
    run: Run,
    data: PreparedData,
    metric: str = "auroc",
    rates: Sequence[float] = RATES,
    resamples: int = 200,
    weighted: bool = False,
    progress: Callable[[str, float], None] = lambda what, done: None,
) -> Stress:
    """Ask a run's model about its test rows, with modalities hidden.

    Args:
        run: A finished run of a model; references keep none.
        data: A prepared folder with the same modalities.
        metric: A name in `sklar.evaluation.METRICS`.
        rates: Probabilities of hiding a present modality.
        resamples: Number of bootstrap replicates.
        weighted: Weight rows for censoring.
        progress: Told the stage and the fraction done.

    Raises:
        UserError: The run is a reference model.
        DataError: The folder has other modalities, or too few events.
    """
    rows = MaskedRows(run, data)
    weight = rows.weight if weighted else None
    names = rows.modalities
    chosen: dict[str, list[int] | None] = {EVERYTHING: None}
    chosen |= {name: [column] for column, name in enumerate(names) if rows.present[:, column].any()}
    curves = {}
    for index, (name, columns) in enumerate(chosen.items()):
        progress(f"hiding {name}", index / (len(chosen) + 2))
        curves[name] = stress_curve(
            metric, rows.predict, rows.y, rows.present, rates, rows.groups, resamples, _SEED, weight,
            columns=columns,
        )  # fmt: skip
    progress("modality shares", len(chosen) / (len(chosen) + 2))
    base = float(np.average(rows.y, weights=weight))
    subsets, answers = coalitions(rows.predict, rows.present, base)
    shares = modality_shapley(metric, subsets, answers, rows.y, rows.groups, resamples, _SEED, weight)
    progress("coverage", (len(chosen) + 1) / (len(chosen) + 2))
    coverage = _coverage(run, data, resamples) if rows.present.all(1).any() else ()
    progress("done", 1.0)
    return Stress(curves, dict(zip(names, shares, strict=True)), coverage, metric, len(rows.y))


def _coverage(run: Run, data: PreparedData, resamples: int) -> tuple[Coverage, ...]:
    rows = MaskedRows(run, data, draws=COVERAGE_DRAWS, matched=True)
    return interval_coverage(rows.draw, rows.present, groups=rows.groups, resamples=resamples, seed=_SEED)
