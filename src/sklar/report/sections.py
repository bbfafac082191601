"""The figures of the page, section by section."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sklar.evaluation import (
    METRICS,
    Estimate,
    Subgroup,
    at_thresholds,
    precision_recall_curve,
    roc_curve,
)
from sklar.evaluation import reliability as reliability_curve
from sklar.report import density, figures
from sklar.report.averages import Averages
from sklar.report.bands import CELLS, curve_bands
from sklar.report.cohort import Cohort
from sklar.report.detail import shareable_thresholds
from sklar.report.figures import Line
from sklar.report.folder import Run
from sklar.report.shareable import coarse
from sklar.report.tables import RANKED, Pattern, Results, display

_CURVES = 4
"""Models in figures of curves; more lines cannot be told apart."""
_TENTHS = 10
"""Points of a reliability curve."""
_CUTS = 99
"""Points of a decision curve."""


def drawn(
    run: Run,
    cohort: Cohort,
    results: Results,
    patterns: Sequence[Subgroup],
    shown: Sequence[Pattern],
    smallest: int = 0,
) -> dict[str, Sequence[str]]:
    """Panels by section; a section without any has nothing to show.

    Args:
        run: Of the reference model.
        cohort: The test rows.
        results: The numbers.
        patterns: The reference by what was observed.
        shown: The patterns whose numbers of rows may be shown.
        smallest: Events, and other rows, of which the steps of curves must not tell fewer; with fewer in all,
            no curve is drawn.
    """
    told = min(cohort.events, len(cohort.y) - cohort.events) >= smallest
    return {
        "presence": [figures.presence(shown, cohort.modalities)] if cohort.modalities and shown else [],
        "results": _forests(results),
        "ranking": _ranking(cohort, results, smallest) if told else [],
        "calibration": _calibration(cohort, results, smallest) if told else [],
        "utility": [_utility(cohort, results, smallest)] if told else [],
        "patterns": _by_pattern(patterns),
        "training": figures.training_panels(run.history),
        "copula": figures.pair_contours(density.densities(run.metrics["copula"]))
        if run.metrics.get("copula")
        else [],
        "latents": _latents(run),
    }


def selected(results: Results) -> list[str]:
    """The models that curves are drawn for: the reference, then the others from the best AUROC down."""
    others = [row.model for row in results.rows if row.model != results.reference]
    return [results.reference, *others][:_CURVES]


def _forests(results: Results) -> list[str]:
    found = []
    for name in RANKED:
        label, slug = METRICS[name].label, name.replace("_", "-")
        values = [
            _line(display(row.model), row.estimates[name], row.model == results.reference)
            for row in results.rows
        ]
        gaps = [
            Line(display(row.model), gap.difference, gap.low, gap.high)
            for row in results.rows
            if (gap := row.differences.get(name)) is not None
        ]
        found.append(figures.forest(values, f"forest-{slug}", label))
        if gaps:
            title = f"{label} minus that of {display(results.reference)}"
            found.append(figures.forest(gaps, f"difference-{slug}", title, zero=0.0))
    return found


def output_forests(found: Averages, reference: str) -> list[str]:
    """What the reference model reaches on every output that is judged."""
    return [
        figures.forest(
            [_line(output, found.estimates[output][reference][name]) for output in found.judged],
            f"outputs-{name.replace('_', '-')}",
            f"{METRICS[name].label} by output",
        )
        for name in RANKED
    ]


def _ranking(cohort: Cohort, results: Results, smallest: int) -> list[str]:
    weight = cohort.case_weight(results.censoring)
    y, models = cohort.y, {name: cohort.probability[name] for name in selected(results)}
    if smallest:
        models = {name: coarse(y, own, smallest) for name, own in models.items()}
    score = models[results.reference]
    roc_band, pr_band = curve_bands(y, score, cohort.groups, weight, results.resamples)
    prevalence = float(np.average(y, weights=weight))
    return [
        figures.roc({name: roc_curve(y, p, weight) for name, p in models.items()}, roc_band),
        figures.precision_recall(
            {name: precision_recall_curve(y, p, weight) for name, p in models.items()}, pr_band, prevalence
        ),
    ]


def _calibration(cohort: Cohort, results: Results, smallest: int) -> list[str]:
    weight = cohort.case_weight(results.censoring)
    # intervals of more than one model could not be told apart
    replicates = {results.reference: min(results.resamples, max(2, CELLS // len(cohort.y)))}
    curves = {
        name: reliability_curve(
            cohort.y,
            cohort.probability[name],
            weight,
            _bins(cohort, name, weight, smallest),
            groups=cohort.groups,
            resamples=replicates.get(name, 0),
        )
        for name in selected(results)
    }
    if smallest:  # the bars of a histogram are of single rows at its ends
        return [figures.reliability(curves)]
    return [
        figures.reliability(curves),
        figures.predicted_risk(cohort.probability[results.reference], cohort.y),
    ]


def _bins(cohort: Cohort, model: str, weight: NDArray[np.float64] | None, smallest: int) -> int:
    """Most bins, up to ten, in each of which there are ``smallest`` events, and others, or none."""
    for bins in range(_TENTHS, 1, -1):
        found = reliability_curve(cohort.y, cohort.probability[model], weight, bins)
        events = found.rows * found.observed
        cells = np.round(np.concatenate([events, found.rows - events]))
        if not ((cells > 0) & (cells < smallest)).any():
            return bins
    return 1


def _utility(cohort: Cohort, results: Results, smallest: int) -> str:
    """Up to the risk that one row in a hundred exceeds: beyond it, curves are of a handful of rows."""
    top = float(np.clip(np.quantile(cohort.probability[results.reference], 0.99), 0.1, 0.99))
    cuts = np.linspace(0, top, _CUTS + 1)[1:]
    weight = cohort.case_weight(results.censoring)
    models = {name: cohort.probability[name] for name in selected(results)}
    curves = {name: at_thresholds(cohort.y, p, cuts, weight) for name, p in models.items()}
    return figures.decision_curve(
        {name: shareable_thresholds(own, cohort.y, models[name], smallest) for name, own in curves.items()}
    )


def _by_pattern(patterns: Sequence[Subgroup]) -> list[str]:
    lines = [
        _line(" + ".join(part.name) or "nothing", part.estimates["auroc"])
        for part in patterns
        if part.estimates
    ]
    return [figures.forest(lines, "by-pattern", "AUROC by what was observed")] if len(lines) > 1 else []


def _latents(run: Run) -> list[str]:
    """Margins, pairs and imputations; what the run was too small to record is left out."""
    found = []
    if uniforms := run.latents.get("uniforms"):
        found.append(figures.pit_histogram(uniforms))
        bins = np.arange(1, len(next(iter(uniforms.values()))) + 1) / len(next(iter(uniforms.values())))
        lines = {name: (bins.tolist(), np.cumsum(own).tolist()) for name, own in uniforms.items()}
        found.append(
            figures.quantiles(
                "pit-qq", "Margins: fitted, observed", ("Fitted share", "Observed share"), lines
            )
        )
    if pairs := run.latents.get("log_density"):
        found.append(figures.pair_densities(pairs["true"], pairs["shuffled"]))
    if imputed := run.latents.get("imputed"):
        lines = {name: (own["real"], own["drawn"]) for name, own in imputed.items()}
        found.append(figures.quantiles("imputed-qq", "Imputed latents", ("Real", "Imputed"), lines))
    return found


def _line(name: str, found: Estimate, marked: bool = False) -> Line:
    return Line(name, found.value, found.low, found.high, marked)
