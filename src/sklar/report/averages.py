"""Models judged on several outputs together, and on each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sklar.errors import DataError, UserError
from sklar.evaluation import AVERAGED, FEWEST, METRICS, Estimate, bootstrap, judgeable, withheld
from sklar.report.cohort import Censoring, Cohort, match
from sklar.report.contest import Contest, contest, contest_dict, contest_table
from sklar.report.folder import Run
from sklar.report.formats import Cell, TextTable
from sklar.report.outputs import events
from sklar.report.tables import RANKED, display
from sklar.report.writers import CENSORING, estimate
from sklar.types import Predictions

AVERAGES = ("macro_auroc", "macro_average_precision", "macro_brier", "micro_auroc")
_SEED = 0


@dataclass(frozen=True)
class Averages:
    """Models on several outputs together.

    Attributes:
        contest: Means over the outputs that are judged (macro), and all pairs of row and output pooled
            (micro), of every model against the best.
        outputs: All outputs.
        judged: Those with enough events and non-events among the test rows.
        events: Per output the rows in which it is known, and those in which it happened.
        estimates: Per judged output, model and metric of ``RANKED``.
        classes: Whether a row has exactly one of the outputs.
    """

    contest: Contest
    outputs: tuple[str, ...]
    judged: tuple[str, ...]
    events: Mapping[str, tuple[int, int]]
    estimates: Mapping[str, Mapping[str, Mapping[str, Estimate]]]
    classes: bool


def averages(
    runs: Mapping[str, Run],
    reference: str,
    metrics: Sequence[str] = AVERAGES,
    resamples: int = 1000,
    censoring: Censoring = "complete",
) -> Averages:
    """Judge runs on all their outputs, with one set of draws for all models.

    Args:
        runs: By name, as they are.
        reference: Whose order of rows is taken.
        metrics: Keys of `sklar.evaluation.AVERAGED`.
        resamples: Number of bootstrap replicates.
        censoring: ``complete`` or ``ipcw``.

    Raises:
        UserError: A metric is not of several outputs, or is of classes and these are labels.
        DataError: The runs differ in rows or outputs, or no output has enough events.
    """
    _check_metrics(metrics, runs[reference].test.task if reference in runs else "")
    rows = match(runs, reference)
    base = rows[reference]
    y = events(base)
    known = ~np.isnan(y).all(1)
    weight = base.weight[known] if censoring == "ipcw" else None
    enough = judgeable(y[known], base.groups[known], weight)
    if not enough.any():
        raise DataError(
            f"none of {', '.join(base.outputs)} has {FEWEST} events and {FEWEST} non-events among the "
            f"{int(known.sum())} test rows with an outcome. Use a larger test set."
        )
    whole = any(not name.startswith(("macro_", "micro_")) for name in metrics)
    columns = np.ones_like(enough) if whole else enough
    together = Cohort(
        ids=base.ids[known],
        y=y[known][:, columns],
        groups=base.groups[known],
        weight=base.weight[known],
        present=base.present[known],
        modalities=base.modalities,
        probability={name: own.probability[known][:, columns] for name, own in rows.items()},
        low=base.low[known],
        high=base.high[known],
    )
    judged = tuple(name for name, own in zip(base.outputs, enough, strict=True) if own)
    return Averages(
        contest=contest(together, metrics, resamples, censoring),
        outputs=base.outputs,
        judged=judged,
        events={
            name: (int((~np.isnan(own)).sum()), int(np.nansum(own)))
            for name, own in zip(base.outputs, y.T, strict=True)
        },
        estimates={
            name: _estimates(rows, base, base.outputs.index(name), resamples, censoring) for name in judged
        },
        classes=base.task == "multiclass",
    )


def averages_dict(found: Averages, smallest: int = 0) -> dict[str, Any]:
    """Plain types, ready for JSON; counts below ``smallest`` are null."""
    content, hidden = contest_dict(found.contest, smallest), withheld_outputs(found, smallest)
    content["test"] = {name: value for name, value in content["test"].items() if name != "events"}
    return content | {
        "outputs": list(found.outputs),
        "judged": list(found.judged),
        "by_output": {
            name: {
                "rows": rows if rows >= smallest else None,
                "events": None if hidden[name] else happened,
                "models": {
                    model: {metric: vars(value) for metric, value in own.items()}
                    for model, own in found.estimates.get(name, {}).items()
                },
            }
            for name, (rows, happened) in found.events.items()
        },
    }


def averages_table(found: Averages, smallest: int = 0) -> TextTable:
    """Macro and micro metrics of every model, with differences to the best; small counts are withheld."""
    table = contest_table(found.contest)
    result = found.contest
    left = [name for name in found.outputs if name not in found.judged]
    rows, groups = (_count(count, smallest) for count in (result.rows, result.groups))
    note = (
        f"{rows} test rows in {groups} groups; {CENSORING[result.censoring]}. Macro: the "
        f"mean over {', '.join(found.judged)}; micro: all pairs of row and output pooled. "
    )
    if left:
        note += f"Too few events or non-events to judge {', '.join(left)}. "
    return replace(table, note=note + table.note[table.note.index("95 %") :])


def outputs_table(found: Averages, metric: str = RANKED[0], smallest: int = 0) -> TextTable:
    """A metric of every model on each output; counts below ``smallest`` are withheld."""
    models, hidden = found.contest.models, withheld_outputs(found, smallest)
    rows = []
    for name in found.outputs:
        known, happened = found.events[name]
        shown = "withheld" if hidden[name] else f"{happened:,}"
        cells = [Cell(name), Cell(_count(known, smallest)), Cell(shown)]
        own = found.estimates.get(name, {})
        cells += [Cell(estimate(own[model][metric]) if own else "n/a (too few)") for model in models]
        rows.append(cells)
    note = f"{METRICS[metric].label} of each output; a class is judged against the rest."
    return TextTable(["Output", "Known", "Events", *map(display, models)], rows, note)


def withheld_outputs(found: Averages, smallest: int) -> dict[str, bool]:
    """Per output whether events, or what is none, are too few to tell, or would tell of another class's."""
    parts = withheld([happened for _, happened in found.events.values()], smallest)
    return {
        name: any(0 < count < smallest for count in (happened, known - happened))
        or (found.classes and bool(part))
        for (name, (known, happened)), part in zip(found.events.items(), parts, strict=True)
    }


def _count(count: int, smallest: int) -> str:
    return f"{count:,}" if count >= smallest else f"fewer than {smallest}"


def _estimates(
    rows: Mapping[str, Predictions], base: Predictions, k: int, resamples: int, censoring: Censoring
) -> dict[str, dict[str, Estimate]]:
    y = events(base)[:, k]
    known = ~np.isnan(y)
    weight = base.weight[known] if censoring == "ipcw" else None
    return {
        model: {
            name: bootstrap(
                name, y[known], own.probability[known, k], base.groups[known], resamples, _SEED, weight
            )
            for name in RANKED
        }
        for model, own in rows.items()
    }


def _check_metrics(metrics: Sequence[str], task: str) -> None:
    averaged = [name for name in AVERAGED if name.startswith(("macro_", "micro_")) or task == "multiclass"]
    unknown = [name for name in metrics if name not in averaged]
    if unknown or not metrics:
        raise UserError(
            f"no metric {unknown[:1] or 'given'} of several outputs; choose among {', '.join(averaged)}"
        )
