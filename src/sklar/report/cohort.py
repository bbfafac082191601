"""The test rows that all runs of a report share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sklar.errors import DataError, UserError
from sklar.evaluation import check_disjoint
from sklar.report.folder import Run
from sklar.types import Predictions

Censoring = Literal["complete", "ipcw"]


@dataclass(frozen=True)
class Cohort:
    """Test rows with a known outcome, in one order for all models.

    Of several outputs together, outcomes and probabilities are (N, K), NaN where an outcome is unknown.

    Attributes:
        ids: (N,) row names.
        y: (N,) outcome, 0 or 1.
        groups: (N,) names of what was sampled.
        weight: (N,) inverse probability of censoring weights.
        present: (N, M) which modalities the reference model saw.
        modalities: Names of the columns of ``present``.
        probability: Per model (N,).
        low: (N,) lower end of the reference model's imputation interval.
        high: (N,) its upper end.
        classes: (N,) class of each row, when the outcome is one class against the rest; else None.
    """

    ids: NDArray[np.str_]
    y: NDArray[Any]
    groups: NDArray[np.str_]
    weight: NDArray[np.float64]
    present: NDArray[np.bool_]
    modalities: tuple[str, ...]
    probability: Mapping[str, NDArray[np.float64]]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    classes: NDArray[np.int64] | None = None

    @property
    def events(self) -> int:
        """Number of events."""
        return int(np.nansum(self.y))

    @property
    def is_weighted(self) -> bool:
        """Whether any row's weight differs from one."""
        return bool((self.weight != 1).any())

    def case_weight(self, censoring: Censoring) -> NDArray[np.float64] | None:
        """(N,) weights under a treatment of censoring; None where every row counts once."""
        return self.weight if censoring == "ipcw" else None


def named(runs: Sequence[Run]) -> dict[str, Run]:
    """Runs by model, or by folder where one model was run more than once."""
    if not runs:
        raise UserError("no run folders were given; a report needs at least one")
    models = [run.name for run in runs]
    names = [run.name if models.count(run.name) == 1 else run.folder.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"{names.count(name)} runs would be called {name!r}; give their folders other names"
            )
    return dict(zip(names, runs, strict=True))


def align(runs: Mapping[str, Run], reference: str) -> Cohort:
    """Bring the test rows of all runs into the order of the reference's.

    Raises:
        UserError: The reference is not among the runs, or they predict several outputs.
        DataError: The runs were tested on different rows, or disagree on what happened.
    """
    rows = match(runs, reference)
    base = runs[reference].test
    if base.outputs:
        raise UserError(f"these runs predict {', '.join(base.outputs)}; look at one of them at a time")
    known, classes = np.isfinite(base.target), runs[reference].classes
    return Cohort(
        ids=base.ids[known],
        y=base.target[known].astype(np.int64),
        groups=base.groups[known],
        weight=base.weight[known],
        present=base.present[known],
        modalities=base.modalities,
        probability={name: own.probability[known] for name, own in rows.items()},
        low=base.low[known],
        high=base.high[known],
        classes=None if classes is None else classes[known].astype(np.int64),
    )


def match(runs: Mapping[str, Run], reference: str) -> dict[str, Predictions]:
    """Test predictions of all runs in the order of the reference's, of one event or of several outputs.

    Raises:
        UserError: The reference is not among the runs.
        DataError: The runs were tested on different rows, or disagree on what happened.
    """
    if reference not in runs:
        raise UserError(f"reference {reference!r} is not among the runs: choose one of {', '.join(runs)}")
    base = runs[reference].test
    for run in runs.values():
        check_disjoint(valid=run.valid_groups, test=run.test.groups)
    if len(np.unique(base.ids)) != len(base.ids):
        raise DataError(f"{runs[reference].folder}: the test predictions hold one id more than once")
    return {name: _ordered(run, base, runs[reference]) for name, run in runs.items()}


def _ordered(run: Run, base: Predictions, reference: Run) -> Predictions:
    """The run's predictions in the order of ``base``; anything but the same rows is refused."""
    rows = run.test
    order, wanted = np.argsort(rows.ids, kind="stable"), np.argsort(base.ids, kind="stable")
    if not np.array_equal(rows.ids[order], base.ids[wanted]):
        shared = np.intersect1d(rows.ids, base.ids)
        raise DataError(
            f"{run.folder} and {reference.folder} were tested on different rows ({len(rows.ids)} and "
            f"{len(base.ids)}, of which {len(shared)} are shared); a comparison needs the same rows. "
            "Train both on the same prepared folder and split."
        )
    if (rows.task, rows.outputs) != (base.task, base.outputs):
        raise DataError(
            f"{run.folder} predicts {', '.join(rows.outputs) or 'one event'}, {reference.folder} "
            f"{', '.join(base.outputs) or 'one event'}; a comparison needs the same outputs. Train both on "
            "the same task of the same prepared folder."
        )
    index = np.empty_like(order)
    index[wanted] = order
    for name in ("target", "groups", "weight"):
        mine, theirs = getattr(rows, name)[index], getattr(base, name)
        same = mine == theirs if name == "groups" else np.isclose(mine, theirs, rtol=1e-9, equal_nan=True)
        if not same.all():
            raise DataError(
                f"{run.folder} and {reference.folder} disagree on the {name} of {(~same).sum()} test rows; "
                "a comparison needs one truth. Train both on the same prepared folder and label."
            )
    return replace(rows, ids=base.ids, target=base.target, probability=_finite(run, rows.probability[index]))


def _finite(run: Run, probability: NDArray[np.float64]) -> NDArray[np.float64]:
    good = (probability >= 0) & (probability <= 1)
    if not good.all():
        raise DataError(
            f"{run.folder}: {(~good).sum()} test probabilities are not in [0, 1]. "
            "The model may have diverged: look at history.csv and train it again."
        )
    return probability
