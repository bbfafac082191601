"""How a model holds up when modalities are hidden, what each is worth, and whether its intervals hold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklar.data.store import PreparedData
from sklar.data.subgroups import By, subgroups_of
from sklar.errors import DataError
from sklar.evaluation import (
    FEWEST,
    RATES,
    Coverage,
    Estimate,
    Metric,
    StressCurve,
    coalitions,
    interval_coverage,
    judgeable,
    metric_by_name,
    modality_shapley,
    stress_curve,
    too_few,
)
from sklar.evaluation.hiding import Predict
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
        subgroups: The same of ``EVERYTHING``, judged on one subgroup each, of those with enough events.
        shapley: Per modality, its share in the metric's gain over a model that sees nothing.
        coverage: By number of hidden modalities, how often the imputation interval holds the answer with
            everything; empty where no test row is complete, or one modality is all there is.
        drawn: The same of the interval over draws alone; empty where that is the imputation interval.
        metric: Its name.
        rows: Number of labelled test rows.
        outputs: Of several outputs those that are judged, which have enough events; empty where there is one.
    """

    curves: dict[str, StressCurve]
    subgroups: dict[str, StressCurve]
    shapley: dict[str, Estimate]
    coverage: tuple[Coverage, ...]
    metric: str
    rows: int
    outputs: tuple[str, ...] = ()
    drawn: tuple[Coverage, ...] = ()


def stress(
    run: Run,
    data: PreparedData,
    metric: str = "auroc",
    rates: Sequence[float] = RATES,
    resamples: int = 200,
    weighted: bool = False,
    progress: Callable[[str, float], None] = lambda what, done: None,
    by: By | None = None,
) -> Stress:
    """Ask a run's model about its test rows, with modalities hidden.

    Args:
        run: A finished run of a model; references keep none.
        data: A prepared folder with the same modalities.
        metric: A name in `sklar.evaluation.METRICS`; of several outputs its mean over those with
            enough events.
        rates: Probabilities of hiding a present modality.
        resamples: Number of bootstrap replicates.
        weighted: Weight rows for censoring.
        progress: Told the stage and the fraction done.
        by: Columns of the folder that tell subgroups apart, perhaps with cuts; None takes those that are
            categories.

    Raises:
        UserError: The run is a reference model.
        DataError: The folder has other modalities, or too few events.
    """
    rows = MaskedRows(run, data)
    weight = rows.weight if weighted else None
    names, judged = rows.modalities, _Judged.of(rows, metric, weight)
    predict = _remembering(judged.predict)  # subgroups are judged on the answers that all rows got
    chosen: dict[str, list[int] | None] = {EVERYTHING: None}
    chosen |= {name: [column] for column, name in enumerate(names) if rows.present[:, column].any()}
    curves = {}
    for index, (name, columns) in enumerate(chosen.items()):
        progress(f"hiding {name}", index / (len(chosen) + 2))
        curves[name] = stress_curve(
            judged.metric, predict, judged.y, rows.present, rates, rows.groups, resamples, _SEED,
            weight, columns=columns,
        )  # fmt: skip
    subgroups = {
        f"{part.name}: {level}": stress_curve(
            judged.metric, predict, judged.y, rows.present, rates, rows.groups, resamples, _SEED, weight,
            judged=own,
        )
        for part in subgroups_of(data, rows.ids, by)
        for level in part.levels
        if (own := part.level == level).any()
        and _enough(judged.y[own], rows.groups[own], None if weight is None else weight[own])
    }  # fmt: skip
    progress("modality shares", len(chosen) / (len(chosen) + 2))
    subsets, answers = coalitions(judged.predict, rows.present, judged.base)
    shares = modality_shapley(
        judged.metric, subsets, answers, judged.y, rows.groups, resamples, _SEED, weight
    )
    progress("coverage", (len(chosen) + 1) / (len(chosen) + 2))
    coverage, drawn = _coverage(run, data, resamples) if rows.present.all(1).any() else ((), ())
    progress("done", 1.0)
    shapley = dict(zip(names, shares, strict=True))
    return Stress(
        curves, subgroups, shapley, coverage, judged.metric.name, len(rows.y), judged.outputs, drawn
    )


@dataclass(frozen=True)
class _Judged:
    """What is judged of the rows: the event, or those of several outputs that have enough events.

    Attributes:
        metric: Of one outcome, or the mean over outcomes.
        predict: The model's answer to what it may see.
        y: (N,) or (N, K).
        base: The answer to a row that shows nothing: the share of events, float or (K,).
        outputs: Names of the K; empty for the event.
    """

    metric: Metric
    predict: Predict
    y: NDArray[Any]
    base: Any
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, rows: MaskedRows, name: str, weight: NDArray[np.float64] | None) -> "_Judged":
        weights = np.ones(len(rows.y)) if weight is None else weight
        metric = metric_by_name(name if not rows.outputs else f"macro_{name}")
        if not rows.outputs:
            return cls(metric, rows.predict, rows.y, float(np.average(rows.y, weights=weights)), ())
        enough = judgeable(rows.y, rows.groups, weight)
        if not enough.any():
            raise DataError(
                f"none of {', '.join(rows.outputs)} has {FEWEST} events and {FEWEST} non-events among the "
                f"{len(rows.y)} test rows; use a larger test set"
            )
        y = rows.y[:, enough]
        known = ~np.isnan(y) * weights[:, None]
        return cls(
            metric,
            lambda seen: rows.predict(seen)[:, enough],
            y,
            (np.nan_to_num(y) * known).sum(0) / known.sum(0),
            tuple(name for name, own in zip(rows.outputs, enough, strict=True) if own),
        )


def _enough(y: NDArray[Any], groups: NDArray[np.str_], weight: NDArray[np.float64] | None) -> bool:
    """Whether every outcome of some rows can be judged."""
    return bool(judgeable(y, groups, weight).all()) if y.ndim > 1 else not too_few(y, groups, weight)


def _remembering(predict: Predict) -> Predict:
    """Answers again what it was asked before."""
    known: dict[bytes, ArrayLike] = {}

    def ask(present: NDArray[np.bool_]) -> ArrayLike:
        key = np.packbits(present).tobytes()
        if key not in known:
            known[key] = predict(present)
        return known[key]

    return ask


def _coverage(
    run: Run, data: PreparedData, resamples: int
) -> tuple[tuple[Coverage, ...], tuple[Coverage, ...]]:
    """Of the interval that is reported, and of many draws alone where that is another one."""
    rows = MaskedRows(run, data, draws=COVERAGE_DRAWS, matched=True)
    cover = partial(interval_coverage, resamples=resamples, seed=_SEED)
    drawn = cover(rows.draw, rows.present, groups=rows.groups)
    if run.intervals is None:
        return drawn, ()
    rows = MaskedRows(run, data, matched=True)
    levels = run.intervals.levels
    return cover(rows.draw, rows.present, levels, groups=rows.groups, interval=rows.interval), drawn
