"""Runs that predict several outputs: one output as if it were the only event, and all of them together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklar.errors import DataError, UserError, nearest
from sklar.evaluation import AVERAGED, FEWEST, METRICS, Estimate, bootstrap, judgeable
from sklar.report.cohort import Censoring, Cohort, match, named
from sklar.report.contest import Contest, contest, contest_dict, contest_table
from sklar.report.folder import Run, read_run
from sklar.report.formats import Cell, TextTable
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
    """

    contest: Contest
    outputs: tuple[str, ...]
    judged: tuple[str, ...]
    events: Mapping[str, tuple[int, int]]
    estimates: Mapping[str, Mapping[str, Mapping[str, Estimate]]]


def outputs_of(runs: Sequence[Path]) -> tuple[str, ...]:
    """Names of the outputs of finished runs; empty where they predict one event."""
    if not runs:
        raise UserError("no run folders were given; a report needs at least one")
    return read_run(runs[0]).test.outputs


def read_runs(runs: Sequence[Path], output: str | None = None) -> dict[str, Run]:
    """Runs by name, as they are or seen by one of their outputs.

    Args:
        runs: Finished run folders.
        output: Name of a label or class; None where runs predict one event, or to see them whole.

    Raises:
        UserError: There is no such output.
    """
    read = named([read_run(folder) for folder in runs])
    return read if output is None else {name: of_output(run, output) for name, run in read.items()}


def of_output(run: Run, output: str) -> Run:
    """The run as if it predicted one of its outputs alone; a class is an event against the rest.

    Raises:
        UserError: There is no such output.
    """
    test = run.test
    if output not in test.outputs:
        known = ", ".join(test.outputs) or "one event only"
        raise UserError(
            f"{run.folder} has no output {output!r}; it predicts {known}{nearest(output, test.outputs)}"
        )
    k = test.outputs.index(output)
    one = replace(
        test,
        target=events(test)[:, k],
        probability=test.probability[:, k],
        low=test.low[:, k],
        high=test.high[:, k],
        task="binary",
        outputs=(),
    )
    return replace(run, test=one, data=_data_of(run.data, output))


def events(predictions: Predictions) -> NDArray[np.float64]:
    """(N, K) 0, 1 or NaN of every output; a class is one against the rest."""
    y = predictions.target
    if predictions.task != "multiclass":
        return y
    return np.where(np.isnan(y)[:, None], np.nan, y[:, None] == np.arange(len(predictions.outputs)))


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
    )


def averages_dict(found: Averages) -> dict[str, Any]:
    """Plain types, ready for JSON."""
    content = contest_dict(found.contest)
    content["test"] = {name: value for name, value in content["test"].items() if name != "events"}
    return content | {
        "outputs": list(found.outputs),
        "judged": list(found.judged),
        "by_output": {
            name: {
                "rows": rows,
                "events": happened,
                "models": {
                    model: {metric: vars(value) for metric, value in own.items()}
                    for model, own in found.estimates.get(name, {}).items()
                },
            }
            for name, (rows, happened) in found.events.items()
        },
    }


def averages_table(found: Averages) -> TextTable:
    """Macro and micro metrics of every model, with differences to the best."""
    table = contest_table(found.contest)
    result = found.contest
    left = [name for name in found.outputs if name not in found.judged]
    note = (
        f"{result.rows:,} test rows in {result.groups:,} groups; {CENSORING[result.censoring]}. Macro: the "
        f"mean over {', '.join(found.judged)}; micro: all pairs of row and output pooled. "
    )
    if left:
        note += f"Too few events or non-events to judge {', '.join(left)}. "
    return replace(table, note=note + table.note[table.note.index("95 %") :])


def outputs_table(found: Averages, metric: str = RANKED[0], smallest: int = 0) -> TextTable:
    """A metric of every model on each output; counts below ``smallest`` are withheld."""
    models = found.contest.models
    rows = []
    for name in found.outputs:
        known, happened = found.events[name]
        few = any(0 < count < smallest for count in (happened, known - happened))
        cells = [Cell(name), Cell(f"{known:,}"), Cell("withheld" if few else f"{happened:,}")]
        own = found.estimates.get(name, {})
        cells += [Cell(estimate(own[model][metric]) if own else "n/a (too few)") for model in models]
        rows.append(cells)
    note = f"{METRICS[metric].label} of each output; a class is judged against the rest."
    return TextTable(["Output", "Known", "Events", *map(display, models)], rows, note)


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


def _data_of(data: Mapping[str, Any], output: str) -> dict[str, Any]:
    """The description of the data, with the counts of one output."""
    whole = _counts_of(data.get("counts", {}), output)
    return {
        **data,
        "label": output,
        "counts": {name: _counts_of(own, output) for name, own in whole.items()},
        "attrition": [{**step, "events": None} for step in data.get("attrition", ())],
        "risk": {},
    }


def _counts_of(counts: Any, output: str) -> Any:
    """The counts of a set of rows; what is no such thing stays as it is."""
    if not isinstance(counts, Mapping):
        return counts
    own = counts.get("outputs", {}).get(output)
    rest = {name: value for name, value in counts.items() if name != "outputs"}
    return rest if own is None else rest | own
