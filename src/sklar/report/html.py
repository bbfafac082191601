"""The report as one page: figures inline, no script, nothing fetched."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from sklar.data.subgroups import By
from sklar.errors import UserError
from sklar.evaluation import METRICS, spread
from sklar.report import writers
from sklar.report.averages import Averages, averages_table, outputs_table, withheld_outputs
from sklar.report.card import SPLITS, TRIPOD, USE, limits, ticked
from sklar.report.cohort import Cohort
from sklar.report.contest import contest_or_none, contest_table
from sklar.report.detail import SMALLEST, Detail, calibration_table, details, pattern_table, threshold_table
from sklar.report.folder import Run
from sklar.report.sections import drawn, output_forests
from sklar.report.subgroups import divide, partitions, smallest, subgroup_forests, subgroup_table
from sklar.report.tables import FEWEST, RANKED, Results, display
from sklar.report.why import reasons

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


def page(
    runs: Mapping[str, Run],
    cohort: Cohort,
    results: Results,
    share_safe: bool = False,
    show_examples: bool = False,
    by: By | None = None,
) -> str:
    """The text of ``report.html``.

    Args:
        runs: By name.
        cohort: The test rows that they share.
        results: Its numbers.
        share_safe: Show no row, no id and no count below 20.
        show_examples: Show a few rows of restricted data too.
        by: Columns that tell subgroups apart, perhaps with cuts; None takes the categories that the
            reference's run keeps.

    Raises:
        UserError: Examples of a page to share were asked for, or a column that no run keeps.
    """
    own = judged(runs, cohort, results, share_safe, show_examples, by)
    content = about(runs, results, own, share_safe) | own.content
    return template("page.html", share_safe).render(content)


def outputs_page(
    runs: Mapping[str, Run],
    found: Averages,
    parts: Mapping[str, tuple[Mapping[str, Run], Cohort, Results]],
    share_safe: bool = False,
    show_examples: bool = False,
    by: By | None = None,
) -> str:
    """The text of ``report.html`` of runs that predict several outputs: all together, then each.

    Args:
        runs: By name.
        found: What they reach on all outputs.
        parts: Per judged output the runs as it sees them, their test rows and numbers.
        share_safe: Show no row, no id and no count below 20.
        show_examples: Show a few rows of restricted data too.
        by: Columns that tell subgroups apart, perhaps with cuts; None takes the categories that the
            reference's run keeps.
    """
    each = {
        name: judged(*part, share_safe, show_examples, by) for name, part in parts.items()
    }  # of every judged output, which are one or more
    first, (*_, results) = next(iter(each.values())), next(iter(parts.values()))
    sheet = template("output.html", share_safe)
    least = SMALLEST if share_safe else 0
    hidden = withheld_outputs(found, least)
    shown = [
        Part(
            name,
            f"output-{place}",
            None if hidden[name] else apart(sheet.render(own.content), f"output-{place}-"),
        )
        for place, (name, own) in enumerate(each.items())
    ]
    content = first.content | about(runs, results, first, share_safe)
    content |= {
        "outputs": shown,
        "averages": averages_table(found, least),
        "by_output": outputs_table(found, smallest=least),
        "every": found.outputs,
        "classes": runs[results.reference].test.task == "multiclass",
        "test_rows": found.contest.rows,
    }
    content["figure"] = first.content["figure"] | {"outputs": output_forests(found, results.reference)}
    return template("page.html", share_safe).render(content)


@dataclass(frozen=True)
class Part:
    """One of several outputs on a page: its name, the id of its place, and what is said of it.

    None is said of an output whose counts are withheld: its curves and tables would tell them.
    """

    name: str
    slug: str
    text: str | None


@dataclass(frozen=True)
class Judged:
    """What a page says of one event.

    Attributes:
        content: By name, for the templates.
        detail: Of the reference model.
    """

    content: dict[str, Any]
    detail: Detail


def template(name: str, share_safe: bool = False) -> Template:
    """One of the templates, with the ways to write a number."""
    environment = Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        loader=PackageLoader("sklar.report"),
    )
    environment.filters |= {
        "count": partial(_count, smallest=SMALLEST if share_safe else 1),
        "display": display,
        "duration": _duration,
        "memory": _memory,
        "share": _share,
        "prevalence": _prevalence,
        "signed": writers.signed,
    }
    return environment.get_template(name)


def apart(text: str, prefix: str) -> str:
    """A part of a page whose ids, and what points to them, begin with ``prefix``."""
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}", text)


def judged(
    runs: Mapping[str, Run],
    cohort: Cohort,
    results: Results,
    share_safe: bool,
    show_examples: bool,
    by: By | None,
) -> Judged:
    """Everything about one event; arguments as of ``page``."""
    if share_safe and show_examples:
        raise UserError("a page that is safe to share shows no examples; leave one of the two options out")
    run = runs[results.reference]
    restricted = any(other.restricted for other in runs.values())
    fewest = SMALLEST if share_safe else FEWEST if restricted else 1
    found = details(cohort, results.resamples, results.censoring, share_safe=share_safe)
    own = next(detail for detail in found if detail.model == results.reference)
    against = contest_or_none(cohort, results.resamples, results.censoring)
    least = smallest(restricted, share_safe)
    parts = partitions({results.reference: run, **runs}, cohort, by)
    divided = divide(cohort, results.reference, parts, results.resamples, results.censoring, least)
    counted = [part.rows for part in own.patterns]
    shown = [p for p in results.patterns if p.rows >= fewest and (not share_safe or p.rows in counted)]
    open_rows = not share_safe and (show_examples or not restricted)
    examples = _examples(cohort, results.reference) if open_rows else ()
    forests = subgroup_forests(cohort, results.reference, divided, results.resamples, results.censoring)
    content = {
        "calibration": calibration_table(found),
        "censoring": writers.CENSORING,
        "cohort": cohort,
        "contest": contest_table(against, SMALLEST if share_safe else 0)
        if against is not None and len(runs) > 1
        else None,
        "examples": examples,
        "reasons": reasons(run, [example.name for example in examples]),
        "fewest": fewest,
        "figure": drawn(run, cohort, results, own.patterns, shown, SMALLEST if share_safe else 0)
        | {"subgroups": forests},
        "metrics": METRICS,
        "patterns": pattern_table(own),
        "ranked": RANKED,
        "results": results,
        "share_safe": share_safe,
        "subgroups": subgroup_table(results.reference, divided) if divided else None,
        "thresholds": threshold_table(own),
        "tied": dict.fromkeys((*RANKED, "brier"), ()) | dict(results.tied),
        "withholds": restricted or share_safe,
    }
    return Judged(content, own)


def about(runs: Mapping[str, Run], results: Results, own: Judged, share_safe: bool) -> dict[str, Any]:
    """Everything about the data and the reference's run; arguments as of ``page``."""
    run = runs[results.reference]
    data = {**_UNRECORDED, **run.data}
    counts = data["counts"]
    return {
        "alignment": _alignment(run),
        "attrition": shareable(data["attrition"]) if share_safe else data["attrition"],
        "card_limits": limits(run),
        "configs": {name: _yaml(other.config) for name, other in runs.items()},
        "copula": run.metrics.get("copula"),
        "data": data,
        "encoders": _origins(run.weights),
        "hashes": sorted({str(other.data.get("hash", "not recorded")) for other in runs.values()}),
        "latents": run.latents,
        "outputs": (),
        "restricted": any(other.restricted for other in runs.values()),
        "seeds": sorted({str(other.config.get("seed", "not recorded")) for other in runs.values()}),
        "splits": [s for s in SPLITS if s in counts and not (share_safe and _small(counts))],
        "synthetic": run.data.get("synthetic", "synthetic" in str(data["name"]).lower()),
        "ticked": ticked(run, own.detail),
        "tripod": TRIPOD,
        "use": USE,
        "versions": _versions(run.env),
    }


def _examples(cohort: Cohort, reference: str) -> tuple[Example, ...]:
    """Rows spread evenly over the predicted risk, from low to high."""
    probability = cohort.probability[reference]
    return tuple(
        Example(
            name=str(cohort.ids[row]),
            present=tuple(bool(seen) for seen in cohort.present[row]),
            probability=float(probability[row]),
            low=float(cohort.low[row]),
            high=float(cohort.high[row]),
            event=bool(cohort.y[row]),
        )
        for row in spread(probability, _EXAMPLES)
    )


def shareable(attrition: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The steps of exclusion, or none of them where their differences tell of fewer than 20 subjects."""
    small = any(
        0 < abs((before.get(name) or 0) - (after.get(name) or 0)) < SMALLEST
        for before, after in pairwise(attrition)
        for name in ("subjects", "events")
    )
    return () if small or any(_small({"all": step}) for step in attrition) else attrition


def _small(counts: Mapping[str, Any]) -> bool:
    """Whether a split, or what is not an event in it, is too small a cell."""
    splits = [part for part in counts.values() if isinstance(part, Mapping)]
    cells = [cell for part in splits for cell in (part, *part.get("outputs", {}).values())]
    values = [part.get(name) for part in cells for name in ("subjects", "events", "labelled")]
    rest = [(p["labelled"] - p["events"]) for p in cells if p.get("labelled") and p.get("events") is not None]
    return any(value is not None and 0 < value < SMALLEST for value in (*values, *rest))


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


def _count(value: float | None, smallest: int) -> str:
    if value is None:
        return "unknown"
    return f"<{smallest}" if 0 < value < smallest else f"{value:,}"


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1%}"


def _prevalence(count: Mapping[str, Any]) -> str:
    """Events among the rows whose outcome is known; among all rows where that number is not recorded."""
    known = count["labelled"] if "labelled" in count else count["subjects"]
    return _share(count["events"] / known if known else None)


def _memory(size: int | None) -> str:
    return "" if size is None else f"{size / 2**30:.1f} GB" if size >= 2**30 else f"{size / 2**20:.0f} MB"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} min"
