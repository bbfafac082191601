"""The report as one page: figures inline, no script, nothing fetched."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, StrictUndefined

from sklar.evaluation import METRICS, precision_recall_curve, roc_curve
from sklar.evaluation import reliability as reliability_curve
from sklar.report import density, figures, writers
from sklar.report.cohort import Cohort
from sklar.report.folder import Run
from sklar.report.tables import FEWEST, RANKED, Results, best, display

_CURVES = 4
"""Models in the ROC, PR and reliability figures; more lines cannot be told apart."""
_EXAMPLES = 6
_UNRECORDED: Mapping[str, Any] = {
    "name": "Unnamed cohort",
    "label": "outcome",
    "modalities": (),
    "counts": {"subjects": None, "events": None},
    "presence": {},
    "attrition": (),
    "risk": {"complete_case": None, "kaplan_meier": None},
    "notes": (),
}
"""What stands for entries that ``data.json`` leaves out."""
_PACKAGES = ("sklar", "python", "torch", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Example:
    """One test row, shown only where the data are open.

    Attributes:
        name: Its id.
        present: Whether each modality was observed, in the order of the cohort's modalities.
        probability: Predicted by the reference model.
        low: Lower end of its imputation interval.
        high: Its upper end.
        event: The outcome.
    """

    name: str
    present: tuple[bool, ...]
    probability: float
    low: float
    high: float
    event: bool


def page(runs: Mapping[str, Run], cohort: Cohort, results: Results) -> str:
    """The text of ``report.html``."""
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.filters |= {
        "count": _count,
        "display": display,
        "duration": _duration,
        "share": _share,
        "prevalence": _prevalence,
        "signed": writers.signed,
    }
    template = environment.from_string(
        files("sklar.report").joinpath("template.html").read_text(encoding="utf-8")
    )
    run = runs[results.reference]
    restricted = any(other.restricted for other in runs.values())
    return template.render(
        best=best,
        censoring=writers.CENSORING,
        cohort=cohort,
        configs={name: _yaml(other.config) for name, other in runs.items()},
        copula=run.metrics.get("copula"),
        alignment=_alignment(run),
        data={**_UNRECORDED, **run.data},
        encoders=_origins(run.weights),
        examples=() if restricted else _examples(cohort, results.reference),
        fewest=FEWEST,
        figure=_figures(run, cohort, results, FEWEST if restricted else 1),
        hashes=sorted({str(other.data.get("hash", "not recorded")) for other in runs.values()}),
        metrics=METRICS,
        ranked=RANKED,
        restricted=restricted,
        results=results,
        seeds=sorted({str(other.config.get("seed", "not recorded")) for other in runs.values()}),
        versions=_versions(run.env),
    )


def selected(results: Results) -> list[str]:
    """The models that curves are drawn for: the reference, then the others from the best AUROC down."""
    others = [row.model for row in results.rows if row.model != results.reference]
    return [results.reference, *others][:_CURVES]


def _figures(run: Run, cohort: Cohort, results: Results, fewest: int) -> dict[str, str]:
    """Every figure by name; patterns with fewer rows than ``fewest`` are left out of theirs."""
    weight = cohort.case_weight(results.censoring)
    y, models = cohort.y, {name: cohort.probability[name] for name in selected(results)}
    copula = run.metrics.get("copula")
    shown = [pattern for pattern in results.patterns if pattern.rows >= fewest]
    return {
        "roc": figures.roc({name: roc_curve(y, score, weight) for name, score in models.items()}),
        "precision_recall": figures.precision_recall(
            {name: precision_recall_curve(y, score, weight) for name, score in models.items()},
            float(np.average(y, weights=weight)),
        ),
        "reliability": figures.reliability(
            {name: reliability_curve(y, score, weight) for name, score in models.items()},
            cohort.probability[results.reference],
            y,
        ),
        "presence": figures.presence(shown, cohort.modalities) if cohort.modalities else "",
        "training": figures.training(run.history),
        "copula": figures.contours(density.densities(copula)) if copula else "",
        **{name: figures.forest(results.rows, results.reference, name) for name in RANKED},
    }


def _examples(cohort: Cohort, reference: str) -> tuple[Example, ...]:
    """Rows spread evenly over the predicted risk, from low to high."""
    probability = cohort.probability[reference]
    ranked = np.argsort(probability, kind="stable")
    places = np.linspace(0.05, 0.99, _EXAMPLES) * (len(ranked) - 1)
    chosen = np.unique(ranked[places.astype(int)])
    return tuple(
        Example(
            name=str(cohort.ids[row]),
            present=tuple(bool(seen) for seen in cohort.present[row]),
            probability=float(probability[row]),
            low=float(cohort.low[row]),
            high=float(cohort.high[row]),
            event=bool(cohort.y[row]),
        )
        for row in sorted(chosen, key=lambda row: probability[row])
    )


def _alignment(run: Run) -> list[tuple[str, str]]:
    """What the run says of the fitted alignment, as labelled numbers."""
    found = run.metrics.get("alignment") or {}
    tau = found.get("kendall_tau")
    lines = [
        (label, f"{writers.signed(found[name])} nats")
        for name, label in (
            ("log_density_true", "Mean copula log density of true pairs"),
            ("log_density_shuffled", "Mean copula log density of shuffled pairs"),
        )
        if found.get(name) is not None
    ]
    if isinstance(tau, int | float):
        lines.append(("Kendall's τ of the fitted copula", f"{tau:.3f}"))
    elif tau is not None:
        names = (run.metrics.get("copula") or {}).get("modalities") or range(1, len(tau) + 1)
        pairs = [(i, j) for i in range(len(tau)) for j in range(i + 1, len(tau))]
        lines += [(f"Kendall's τ, {names[i]} and {names[j]}", f"{tau[i][j]:.3f}") for i, j in pairs]
    return lines


def _origins(weights: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was initialised, an encoder or the model as a whole, and from where."""
    sources = {name: entry["source"] for name, entry in weights.items() if isinstance(entry, Mapping)}
    return [
        ("model" if name == "model" else f"{name} encoder", f"initialised from {source}")
        for name, source in sources.items()
    ]


def _versions(env: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Versions of the packages a reader asks for first, wherever the record keeps them."""
    found = dict(_leaves(env))
    return [(name, found[name]) for name in _PACKAGES if name in found]


def _leaves(tree: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        elif isinstance(value, str):
            yield name, value


def _yaml(config: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))


def _count(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1%}"


def _prevalence(count: Mapping[str, Any]) -> str:
    """Events among the rows whose outcome is known; among all rows where that number is not recorded."""
    known = count.get("labelled", count["subjects"])
    return _share(count["events"] / known if known else None)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} min"
