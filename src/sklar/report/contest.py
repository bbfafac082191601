"""Which models are best, and which cannot be told from them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sklar.errors import DataError
from sklar.evaluation import (
    Estimate,
    EvaluationError,
    Ranking,
    delong,
    holm,
    metric_by_name,
    replicate_t_test,
    resample,
)
from sklar.report.cohort import Censoring, Cohort
from sklar.report.formats import Cell, TextTable
from sklar.report.tables import display
from sklar.report.writers import BOLD, CENSORING, difference, estimate, p_value

CONTESTED = ("auroc", "average_precision", "brier")
_SEED = 0


@dataclass(frozen=True)
class Contest:
    """Models on the same test rows.

    Attributes:
        models: Best AUROC first, or best first metric.
        estimates: Per model and metric.
        rankings: Per metric, every model against the best.
        delong: Per model other than the best by AUROC, p-value of DeLong's test against it, clustered by
            group and adjusted by Holm's method; empty where AUROC is not among the metrics.
        t_tests: Per model and metric, p-value of the paper's test of replicates; empty unless asked for.
        rows: Number of test rows with a known outcome.
        events: Number of events among them.
        groups: Number of groups among them.
        resamples: Number of replicates.
        censoring: How censored subjects count.
    """

    models: tuple[str, ...]
    estimates: Mapping[str, Mapping[str, Estimate]]
    rankings: Mapping[str, Ranking]
    delong: Mapping[str, float]
    t_tests: Mapping[str, Mapping[str, float]]
    rows: int
    events: int
    groups: int
    resamples: int
    censoring: Censoring

    @property
    def tied(self) -> dict[str, frozenset[str]]:
        """Per metric the best model and those that cannot be told from it."""
        return {name: ranking.tied for name, ranking in self.rankings.items()}


def contest(
    cohort: Cohort,
    metrics: Sequence[str] = CONTESTED,
    resamples: int = 1000,
    censoring: Censoring = "complete",
    paper_t_test: bool = False,
) -> Contest:
    """Judge all models on one set of draws, each against the best.

    Args:
        cohort: The rows that the models share.
        metrics: Names of metrics.
        resamples: Number of replicates.
        censoring: ``complete`` or ``ipcw``.
        paper_t_test: Also the paper's test of replicates, which is invalid and warns.

    Raises:
        DataError: Rows are too few, or a metric is undefined on them.
    """
    weight = cohort.case_weight(censoring)
    try:
        found = resample(metrics, cohort.y, cohort.probability, cohort.groups, resamples, _SEED, weight)
    except EvaluationError as error:
        raise DataError(f"{len(cohort.y)} test rows with {cohort.events} events: {error}") from error
    rankings = {name: found.rank(name) for name in found.metrics}
    first = "auroc" if "auroc" in found.metrics else next(iter(found.metrics))
    sign = -1 if found.metrics[first].higher_is_better else 1
    models = tuple(sorted(found.values, key=lambda model: sign * found.values[model][first]))
    return Contest(
        models=models,
        estimates={model: {name: found.estimate(model, name) for name in found.metrics} for model in models},
        rankings=rankings,
        delong=_delong(cohort, rankings["auroc"].best, weight) if "auroc" in rankings else {},
        t_tests={
            name: {
                model: replicate_t_test(
                    found.replicates[model][name], found.replicates[ranking.best][name]
                ).p_value
                for model in models
                if model != ranking.best
            }
            for name, ranking in rankings.items()
            if paper_t_test
        },
        rows=len(cohort.y),
        events=cohort.events,
        groups=len(set(cohort.groups.tolist())),
        resamples=resamples,
        censoring=censoring,
    )


def contest_or_none(cohort: Cohort, resamples: int, censoring: Censoring) -> Contest | None:
    """The contest; None where events are too few to judge by."""
    try:
        return contest(cohort, CONTESTED, resamples, censoring)
    except DataError:
        return None


def contest_dict(result: Contest, smallest: int = 0) -> dict[str, Any]:
    """Plain types, ready for JSON; counts below ``smallest`` are null."""
    return {
        "censoring": result.censoring,
        "resamples": result.resamples,
        "test": {
            name: count if count >= smallest else None for name, count in _counts(result, smallest).items()
        },
        "best": {name: ranking.best for name, ranking in result.rankings.items()},
        "tied": {name: sorted(models) for name, models in result.tied.items()},
        "models": {
            model: {
                **{name: asdict(value) for name, value in result.estimates[model].items()},
                "to_best": {
                    name: asdict(ranking.comparisons[model]) | {"p_holm": ranking.adjusted[model]}
                    for name, ranking in result.rankings.items()
                    if model != ranking.best
                },
                "delong_p_holm": result.delong.get(model),
                "paper_t_test": {
                    name: found[model] for name, found in result.t_tests.items() if model in found
                }
                or None,
            }
            for model in result.models
        },
    }


def contest_table(result: Contest, smallest: int = 0) -> TextTable:
    """The metrics of every model, in bold what cannot be told from the best, and differences to the best.

    Counts below ``smallest`` are withheld.
    """
    labels = [metric_by_name(name).label for name in result.rankings]
    tests = {name: f"p, t-test {metric_by_name(name).label}" for name in result.t_tests}
    headings = ["Model", *labels, *(f"Δ {label}" for label in labels)]
    headings += ["p, DeLong"] if result.delong else []
    rows = []
    for model in result.models:
        cells = [Cell(display(model))]
        for name, ranking in result.rankings.items():
            cells.append(Cell(estimate(result.estimates[model][name]), model in ranking.tied))
        for ranking in result.rankings.values():
            cells.append(Cell(difference(ranking.comparisons.get(model), "best")))
        if result.delong:
            cells.append(Cell(p_value(result.delong.get(model))))
        cells += [Cell(p_value(result.t_tests[name].get(model))) for name in tests]
        rows.append(cells)
    shown = {
        name: f"{count:,}" if count >= smallest else f"fewer than {smallest}"
        for name, count in _counts(result, smallest).items()
    }
    note = (
        f"{shown['rows']} test rows in {shown['groups']} groups, {shown['events']} events; "
        f"{CENSORING[result.censoring]}. 95 % intervals from {result.resamples:,} group bootstrap resamples. "
        f"{BOLD} Δ: to the best, with that interval."
    )
    if result.delong:
        note += " p, DeLong: against the best AUROC, clustered by group, adjusted by Holm's method."
    if tests:
        note += " p, t-test: of replicates, as the CM² paper reports; invalid."
    return TextTable([*headings, *tests.values()], rows, note)


def _counts(result: Contest, smallest: int) -> dict[str, int]:
    """Rows, events and groups; of too few non-events the events are withheld too, as they would give them."""
    few = 0 < result.rows - result.events < smallest
    return {"rows": result.rows, "events": 0 if few else result.events, "groups": result.groups}


def _delong(cohort: Cohort, best: str, weight: Any) -> dict[str, float]:
    others = [model for model in cohort.probability if model != best]
    p_values = []
    for model in others:
        scores = cohort.probability[model], cohort.probability[best]
        p_values.append(delong(cohort.y, *scores, cohort.groups, weight).p_value)
    adjusted = holm(p_values) if others else ()
    return dict(zip(others, map(float, adjusted), strict=True))
