"""How good an estimator is on rows that it has not seen."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sklar.data.subgroups import UNKNOWN, By, asked, bands
from sklar.data.tables import as_numbers, as_text, column
from sklar.errors import UserError
from sklar.estimator.holder import RunHolder
from sklar.evaluation import (
    METRICS,
    Estimate,
    EvaluationError,
    Macro,
    Subgroup,
    bootstrap,
    by_pattern,
    by_subgroup,
    one_vs_rest,
)
from sklar.evaluation.metric import BinaryMetric
from sklar.runs import write_predictions
from sklar.types import Predictions

PATTERN = "pattern"
"""The subgroup of rows that share which modalities were observed."""


@dataclass(frozen=True)
class Evaluation:
    """Metrics with intervals, and the predictions that they judge.

    Attributes:
        metrics: Per metric its value and 95 % interval, by bootstrap over groups; of several outputs the
            mean over them.
        outputs: Per output the same, where there are several.
        subgroups: Per column that was asked for, or "pattern", the parts of the rows; empty where there are
            several outputs.
        output_subgroups: Per output the same, where there are several: each output against all others.
        predictions: Of every row.
    """

    metrics: Mapping[str, Estimate]
    outputs: Mapping[str, Mapping[str, Estimate]]
    subgroups: Mapping[str, tuple[Subgroup, ...]]
    output_subgroups: Mapping[str, Mapping[str, tuple[Subgroup, ...]]]
    predictions: Predictions
    _run: RunHolder

    def report(self, out: str | os.PathLike[str], *, resamples: int = 1000) -> Path:
        """Write the page of `sklar report` about these rows to an HTML file.

        Args:
            out: The file.
            resamples: Number of bootstrap replicates.
        """
        from sklar import report  # draws pictures, which predicting need not wait for

        with tempfile.TemporaryDirectory(prefix="sklar-") as base:
            folder = Path(base) / "run"
            for name, content in self._run.files().items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
            write_predictions(folder / "predictions_test.parquet", self.predictions)
            report.write([folder], Path(out), self._run.run.config.model.name, resamples)
        return Path(out)


def evaluate(
    holder: RunHolder,
    predictions: Predictions,
    subjects: pa.Table,
    metrics: Sequence[str],
    by: By,
    resamples: int,
    seed: int,
) -> Evaluation:
    """Judge predictions of labelled rows.

    Args:
        holder: The run that made them.
        predictions: Of all rows; those without a label are passed over.
        subjects: The rows' table, with the columns of ``by``.
        metrics: Names in `sklar.evaluation.METRICS`.
        by: Columns that split the rows, a number perhaps with cuts, or "pattern": which modalities were
            observed.
        resamples: Number of bootstrap replicates.
        seed: Of the replicates.

    Raises:
        UserError: A metric or column is unknown, or cuts cannot be made.
        DataError: A column with cuts holds no numbers.
        EvaluationError: There are too few events.
    """
    if unknown := [name for name in metrics if name not in METRICS]:
        raise UserError(f"no metric {unknown[0]!r}; choose among {', '.join(METRICS)}")
    y, p, schema = predictions.target, predictions.probability, holder.run.schema
    rows = np.asarray(~np.isnan(y.reshape(len(y), -1)).all(axis=1))
    if not rows.any():
        raise EvaluationError("no row has a label; an evaluation needs rows whose outcome is known")
    groups = predictions.groups[rows]
    if schema.task == "binary":
        found = {name: bootstrap(name, y[rows], p[rows], groups, resamples, seed) for name in metrics}
        parts = _parts(by, metrics, y[rows], p[rows], predictions, subjects, rows, resamples, seed)
        return Evaluation(found, {}, parts, {}, predictions, holder)
    truth = y[rows] if schema.task == "multilabel" else one_vs_rest(y[rows], p.shape[1])
    found = {name: bootstrap(_macro(name), truth, p[rows], groups, resamples, seed) for name in metrics}
    each: dict[str, dict[str, Estimate]] = {}
    divided: dict[str, Mapping[str, tuple[Subgroup, ...]]] = {}
    for place, output in enumerate(schema.outputs):
        known = ~np.isnan(truth[:, place])
        own = np.flatnonzero(rows)[known]
        labels, predicted = truth[known, place], p[own, place]
        each[output] = {
            name: bootstrap(name, labels, predicted, groups[known], resamples, seed) for name in metrics
        }
        divided[output] = _parts(by, metrics, labels, predicted, predictions, subjects, own, resamples, seed)
    return Evaluation(found, each, {}, divided, predictions, holder)


def _macro(name: str) -> Macro:
    metric = METRICS[name]
    if not isinstance(metric, BinaryMetric):
        raise UserError(
            f"metric {name!r} has no mean over several outputs; choose auroc or average_precision"
        )
    return Macro(metric)


def _parts(
    by: By,
    metrics: Sequence[str],
    y: NDArray[np.float64],
    p: NDArray[np.float64],
    predictions: Predictions,
    subjects: pa.Table,
    rows: NDArray[np.bool_] | NDArray[np.int64],
    resamples: int,
    seed: int,
) -> dict[str, tuple[Subgroup, ...]]:
    """Per column of ``by`` the parts of the rows that labels ``y`` and probabilities ``p`` are of."""
    groups, out = predictions.groups[rows], {}
    for name, cuts in (asked(by) or {}).items():
        if name == PATTERN and not cuts:
            present = predictions.present[rows]
            out[name] = by_pattern(metrics, y, p, present, predictions.modalities, groups, resamples, seed)
            continue
        if cuts:
            _, level = bands(as_numbers(column(subjects, name, "table"), "table", name), cuts)
        else:
            names = as_text(column(subjects, name, "table")).fill_null(UNKNOWN)
            level = np.asarray(names.to_numpy(zero_copy_only=False), dtype=np.str_)
        out[name] = by_subgroup(metrics, y, p, level[rows], groups, resamples, seed)
    return out
