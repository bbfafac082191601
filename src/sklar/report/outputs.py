"""Runs that predict several outputs, whole or as if one of them were the only event."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklar.errors import UserError, nearest
from sklar.report.cohort import named
from sklar.report.folder import Run, read_run
from sklar.types import Predictions


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
    classes = test.target if test.task == "multiclass" else None
    return replace(run, test=one, data=_data_of(run.data, output), place=k, classes=classes)


def events(predictions: Predictions) -> NDArray[np.float64]:
    """(N, K) 0, 1 or NaN of every output; a class is one against the rest."""
    y = predictions.target
    if predictions.task != "multiclass":
        return y
    return np.where(np.isnan(y)[:, None], np.nan, y[:, None] == np.arange(len(predictions.outputs)))


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
