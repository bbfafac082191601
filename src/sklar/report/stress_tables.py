"""Hidden modalities as tables of text, and as plain types."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sklar.evaluation import metric_by_name
from sklar.report.formats import Cell, TextTable
from sklar.report.tables import display
from sklar.report.writers import estimate

if TYPE_CHECKING:
    from sklar.stress import Stress


def stress_dict(found: "Stress") -> dict[str, Any]:
    """Plain types, ready for JSON."""
    return {
        "metric": found.metric,
        "rows": found.rows,
        "curves": {name: asdict(curve) for name, curve in found.curves.items()},
        "subgroups": {name: asdict(curve) for name, curve in found.subgroups.items()},
        "shapley": {name: asdict(share) for name, share in found.shapley.items()},
        "coverage": [asdict(by) for by in found.coverage],
        **({"drawn_coverage": [asdict(by) for by in found.drawn]} if found.drawn else {}),
        **({"outputs": list(found.outputs)} if found.outputs else {}),
    }


def stress_tables(model: str, found: "Stress") -> list[TextTable]:
    """The curves, the shares, and the coverage of intervals where there is one."""
    label, name = metric_by_name(found.metric).label, display(model)
    if found.outputs:
        label += f" of {', '.join(found.outputs)}"
    rates = next(iter(found.curves.values())).rates
    curves = TextTable(
        ["Hidden", *(f"{rate:.0%}" for rate in rates)],
        [
            [Cell(what), *(Cell(f"{at.value:.3f}") for at in curve.estimates)]
            for what, curve in (found.curves | found.subgroups).items()
        ],
        f"{name}: {label} on {found.rows:,} test rows when present modalities are hidden at random; every "
        "row keeps one. Lines of a subgroup are of its own rows.",
    )
    shares = TextTable(
        ["Modality", "Share"],
        [[Cell(what), Cell(estimate(share))] for what, share in found.shapley.items()],
        f"{name}: Shapley shares in the {label} gained over seeing nothing.",
    )
    if not found.coverage:
        return [curves, shares]
    nominal = found.coverage[0].nominal
    parts = {"imputation interval": found.coverage, "draws alone": found.drawn}
    coverage = TextTable(
        ["Interval", "Hidden modalities", *(f"{level:.0%}" for level in nominal)],
        [
            [Cell(what), Cell(str(by.hidden)), *(Cell(estimate(share)) for share in by.actual)]
            for what, every in parts.items()
            for by in every
        ],
        f"{name}: how often the interval of that level holds the prediction with everything, on "
        f"{found.coverage[0].rows:,} complete test rows.",
    )
    return [curves, shares, coverage]
