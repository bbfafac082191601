"""The classifier: from a table of patients to probabilities, with any of their modalities missing."""

import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from sklar import runs
from sklar.data.cohort import Cohort
from sklar.data.nested import OnMissingFile
from sklar.data.records import OnLate
from sklar.data.schema import Schema
from sklar.data.schema_file import any_schema
from sklar.data.subgroups import By
from sklar.data.wide import OnUndated, read_table, read_wide, write_wide
from sklar.errors import UserError
from sklar.estimator import saved
from sklar.estimator.arrays import array_schema, array_table, refuse_guessing
from sklar.estimator.calibrating import recalibrate
from sklar.estimator.evaluation import Evaluation, evaluate
from sklar.estimator.explaining import explain_cohort
from sklar.estimator.holder import RunHolder
from sklar.estimator.latents import impute_latents
from sklar.estimator.outcome import Outcome
from sklar.estimator.rows import OnUnlabelled, held_out, labelled, of_these, with_columns
from sklar.estimator.settings import configuration
from sklar.explanation import Explanation
from sklar.runs import OnEmpty
from sklar.types import Predictions

SPLIT = "split of the estimator"
"""The column that tells training rows from validation rows."""


class MultimodalClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of rows that have series, images, texts and tables, any of which may be missing.

    It follows scikit-learn's conventions: `clone`, pipelines and grid searches work. A table is anything that
    `sklar.data.wide.read_wide` takes, with a schema that says what its columns are. A plain array of numbers
    needs no schema: each of its columns is a modality then, and NaN is missing.

    Args:
        schema: What a table holds: a `Schema`, its plain values, or the path of a YAML file. None for arrays,
            or when `fit` is given one.
        fusion: Key of `sklar.models.MODELS`.
        copula: Family of cm2's copula, a key of `sklar.copulas.FAMILIES`; None is its default.
        max_epochs: Most passes over the training rows; training stops early when validation rows say so.
        settings: Any other setting of a run, such as {"model.encoders.dim": 32, "training.draws": 5}; see
            ``sklar train MODEL --print-config``.
        class_weight: "balanced", or per class a factor of its rows' loss; None weighs rows alike.
        validation_fraction: Share of groups that judge the training, when `fit` is given no ``valid`` rows.
        calibration: "logistic" or "isotonic" recalibrates on validation rows; "none" leaves probabilities as
            they are.
        blocks: Of an array, per modality the positions of its columns; None is one modality per column.
        on_empty: Rows of which nothing was observed: "error", or "prior", the share of events in training.
        on_late: Records after the moment of prediction: "error", or "drop".
        on_undated: Pictures and texts without a time, under a time zero: "error", or "accept".
        on_missing_file: Paths without a file: "error", or "missing", a missing modality.
        on_unlabelled: Rows whose label is null: "error"; "drop"; or "keep" them for what needs no label.
        random_state: Seed of everything that is random.
        progress: Show a bar on standard error.

    Attributes:
        classes_: (K,) the classes in the order of `predict_proba`'s columns; names of several labels.
        schema_: The schema that new rows are read with.
        n_features_in_: Number of columns of an array.
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        fusion: str = "cm2",
        *,
        copula: str | None = None,
        max_epochs: int = 10,
        settings: Mapping[str, Any] | None = None,
        class_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
        validation_fraction: float = 0.15,
        calibration: Literal["none", "logistic", "isotonic"] = "none",
        blocks: Mapping[str, Sequence[int]] | None = None,
        on_empty: OnEmpty = "error",
        on_late: OnLate = "error",
        on_undated: OnUndated = "error",
        on_missing_file: OnMissingFile = "error",
        on_unlabelled: OnUnlabelled = "error",
        random_state: int | np.random.RandomState | None = 0,
        progress: bool = False,
    ) -> None:
        self.schema = schema
        self.fusion = fusion
        self.copula = copula
        self.max_epochs = max_epochs
        self.settings = settings
        self.class_weight = class_weight
        self.validation_fraction = validation_fraction
        self.calibration = calibration
        self.blocks = blocks
        self.on_empty = on_empty
        self.on_late = on_late
        self.on_undated = on_undated
        self.on_missing_file = on_missing_file
        self.on_unlabelled = on_unlabelled
        self.random_state = random_state
        self.progress = progress

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        schema: Schema | Mapping[str, Any] | str | os.PathLike[str] | None = None,
        valid: Any = None,
        long: Mapping[str, Any] | None = None,
    ) -> Self:
        """Train on the rows of a table, or of an array.

        Args:
            X: (N rows) a table, or an (N, F) array.
            y: (N,) classes or (N, L) labels of 0 and 1; None when the table has the schema's label columns.
            schema: See the class.
            valid: Rows that judge the training: a table with its labels, or (X, y); None holds some of
                ``X`` out, whole groups.
            long: Per modality that is not in ``X``: its table of records.

        Raises:
            UserError: A parameter cannot be, or nothing says what a column is.
            DataError: The rows break the schema, or teach nothing.
        """
        given = any_schema(self.schema if schema is None else schema)
        seed = self._seed()
        table, outline = self._fitting_table(X, y, given)
        outcome = Outcome.named(outline) if y is None else Outcome.of(y)
        outline = outline if y is None else outcome.schema(outline)
        table = labelled(table, y, outcome, outline, self.on_unlabelled)
        if valid is None:
            judge = held_out(table, outline, self.validation_fraction, seed)
        else:
            more = self._valid_table(valid, y, outcome, outline, table.num_rows)
            judge = np.arange(table.num_rows + more.num_rows) >= table.num_rows
            table = pa.concat_tables([table, more], promote_options="permissive")
        table = table.append_column(SPLIT, pa.array(np.where(judge, "valid", "train").astype(object)))
        config = configuration(
            self.fusion, outcome, outline, seed, copula=self.copula, max_epochs=self.max_epochs,
            settings=self.settings, class_weight=self.class_weight, calibration=self.calibration,
        )  # fmt: skip
        holder = RunHolder()
        data = write_wide(
            holder.base / "data", outline, table, long=of_these(long, outline, table), split=SPLIT,
            name="own table", restricted=True, **self._reading(),
        )  # fmt: skip
        runs.train(config, data, holder.path, progress=self.progress)
        shutil.rmtree(holder.base / "data")
        self._holder, self._outcome, self._seed_used = holder, outcome, seed
        self.schema_, self.classes_ = outline, outcome.classes
        return self

    def predict_proba(self, X: Any, *, long: Mapping[str, Any] | None = None) -> NDArray[np.float64]:
        """(N, K) probability of every class; (N, L) of every label where a row may have several.

        Args:
            X: Rows with any subset of the modalities, at least one each.
            long: See `fit`.

        Raises:
            DataError: A row has no modality, or breaks the schema.
        """
        return self._outcome_of().spread(self._answer(X, long).probability)

    def predict(self, X: Any, *, long: Mapping[str, Any] | None = None) -> NDArray[Any]:
        """(N,) the likeliest class; (N, L) 0 or 1 where a row may have several labels."""
        return self._outcome_of().decide(self.predict_proba(X, long=long))

    def predict_imputation_interval(
        self, X: Any, *, long: Mapping[str, Any] | None = None
    ) -> NDArray[np.float64]:
        """(N, 2) or (N, K, 2) where the probability would lie, in 95 of 100 rows, if nothing were missing.

        Of one event that of ``classes_[1]``; rows that have everything have no width. With fewer than forty
        complete validation rows it is the central 95 % over draws of what is missing, often too narrow.

        Args:
            X: As in `predict_proba`.
            long: See `fit`.
        """
        found = self._answer(X, long)
        return np.stack([found.low, found.high], axis=-1)

    def impute_latents(
        self, X: Any, *, draws: int = 1, long: Mapping[str, Any] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """Per modality (S, N, d) latents, those of absent modalities drawn given the observed ones.

        Args:
            X: As in `predict_proba`.
            draws: S.
            long: See `fit`.

        Raises:
            UserError: The fusion has no joint to draw from.
        """
        return impute_latents(self._run(), self._cohort(X, long), draws, self._seed_used)

    def explain(self, X: Any, *, output: Any = None, long: Mapping[str, Any] | None = None) -> Explanation:
        """What predictions were made from: each modality (Shapley values), each measurement, word and column.

        Args:
            X: As in `predict_proba`; rows need a modality each.
            output: The class or label to explain; None is the only one, ``classes_[1]`` of two.
            long: See `fit`.

        Raises:
            UserError: There is no such output, or none was named of several.
        """
        cohort = self._cohort(X, long)
        runs.refuse_empty(cohort)
        place = self._outcome.place(output, len(self.schema_.outputs))
        return explain_cohort(self._run(), cohort, place)

    def evaluate(
        self,
        X: Any,
        y: Any = None,
        *,
        metrics: Sequence[str] = ("auroc", "average_precision"),
        by: By = (),
        resamples: int = 1000,
        long: Mapping[str, Any] | None = None,
    ) -> Evaluation:
        """Metrics with intervals on rows that the estimator has not seen.

        Args:
            X: As in `predict_proba`.
            y: As in `fit`.
            metrics: Names in `sklar.evaluation.METRICS`.
            by: Columns of ``X``, perhaps with cuts (``{"age": (40, 65)}``), or "pattern": what was observed.
            resamples: Number of bootstrap replicates; groups are drawn whole.
            long: See `fit`.
        """
        cohort = self._cohort(X, long, y, labelled=True)
        predictions = runs.answer(self._run(), cohort, on_empty=self.on_empty)
        return evaluate(self._holder, predictions, cohort.subjects, metrics, by, resamples, self._seed_used)

    def calibrate(
        self,
        X: Any,
        y: Any = None,
        *,
        method: Literal["logistic", "isotonic"] = "logistic",
        long: Mapping[str, Any] | None = None,
    ) -> Self:
        """Recalibrate the probabilities on rows that the training has not seen; replaces what was there.

        Args:
            X: As in `predict_proba`.
            y: As in `fit`.
            method: "logistic" (Platt), or "isotonic".
            long: See `fit`.

        Raises:
            EvaluationError: The rows are too few, or have one class only.
        """
        recalibrate(self._holder_of(), self._cohort(X, long, y, labelled=True), method, self._seed_used)
        return self

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Accuracy; without ``y`` on the labels in the table.

        Args:
            X: As in `predict_proba`.
            y: As in `fit`.
            sample_weight: (N,) weights.
        """
        if y is None:
            target = self._cohort(X, None, labelled=True).target
            outcome = self._outcome_of()
            y = target if outcome.several else outcome.classes[target.astype(np.int64)]
        return float(accuracy_score(y, self.predict(X), sample_weight=sample_weight))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the estimator as a run folder with one more JSON file; safetensors, no pickle.

        Args:
            folder: A new folder; ``sklar predict`` and ``sklar export`` read it too.
        """
        holder = self._holder_of()
        fitted = {
            "several": self._outcome.several,
            "features": getattr(self, "n_features_in_", None),
            "names": list(getattr(self, "feature_names_in_", ())) or None,
            "seed": self._seed_used,
        }
        saved.save(folder, holder, self.get_params(deep=False), self.classes_, fitted)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """The estimator that `save` wrote.

        Raises:
            DataError: The folder holds none.
        """
        holder, parameters, classes, fitted = saved.load(folder)
        made = cls(**parameters)
        made._holder, made._outcome = holder, Outcome(classes, fitted["several"])
        made._seed_used, made.schema_, made.classes_ = fitted["seed"], holder.run.schema, classes
        if fitted["features"] is not None:
            made.n_features_in_ = fitted["features"]
        if fitted["names"] is not None:
            made.feature_names_in_ = np.array(fitted["names"], dtype=object)
        return made

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_holder")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.classifier_tags.multi_label = True
        tags.target_tags.required = self.schema is None
        return tags

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _fitting_table(self, x: Any, y: Any, schema: Schema | None) -> tuple[pa.Table, Schema]:
        """The rows as a table, and what its columns are."""
        if schema is not None:
            for name in ("n_features_in_", "feature_names_in_"):
                self.__dict__.pop(name, None)
            return read_table(x, "X", schema), schema
        refuse_guessing(x)
        values = validate_data(self, x, dtype=np.float64, ensure_all_finite="allow-nan")
        if y is None:
            raise UserError(
                "MultimodalClassifier requires y to be passed, but the target y is None; only a schema can "
                "say which column of a table is the label"
            )
        outline = array_schema(values.shape[1], self.blocks)
        if len(outline.modalities) < 2 and self.fusion == "cm2":
            raise UserError(
                f"X has n_features = {values.shape[1]} in one modality; cm2 aligns two or more. Choose "
                "another fusion, or give more columns"
            )
        return array_table(values), outline

    def _valid_table(self, valid: Any, y: Any, outcome: Outcome, schema: Schema, first: int) -> pa.Table:
        if not (isinstance(valid, tuple) and len(valid) == 2):
            if y is not None:
                raise UserError("valid must be (X, y), as y was given for the training rows")
            return labelled(read_table(valid, "valid", schema), None, outcome, schema, self.on_unlabelled)
        own, target = valid
        table = self._array_table(own, first) if self._is_array() else read_table(own, "valid", schema)
        return labelled(table, target, outcome, schema, self.on_unlabelled)

    def _is_array(self) -> bool:
        return hasattr(self, "n_features_in_")

    def _array_table(self, x: Any, first: int = 0) -> pa.Table:
        values = validate_data(self, x, reset=False, dtype=np.float64, ensure_all_finite="allow-nan")
        return array_table(values, first)

    def _reading(self) -> dict[str, Any]:
        return {
            "on_late": self.on_late, "on_undated": self.on_undated, "on_missing_file": self.on_missing_file
        }  # fmt: skip

    def _holder_of(self) -> RunHolder:
        check_is_fitted(self)
        return self._holder

    def _outcome_of(self) -> Outcome:
        check_is_fitted(self)
        return self._outcome

    def _run(self) -> runs.Run:
        return self._holder_of().run

    def _cohort(
        self, x: Any, long: Mapping[str, Any] | None, y: Any = None, labelled: bool = False
    ) -> Cohort:
        check_is_fitted(self)
        table = self._array_table(x) if self._is_array() else read_table(x, "X", self.schema_)
        if y is not None:
            check_consistent_length(np.empty(table.num_rows), y)
            table = with_columns(table, self._outcome.columns(y, self.schema_))
        beside = of_these(long, self.schema_, table)
        return read_wide(self.schema_, table, labelled=labelled, long=beside, **self._reading())

    def _answer(self, x: Any, long: Mapping[str, Any] | None) -> Predictions:
        cohort = self._cohort(x, long)
        return runs.answer(self._run(), cohort, on_empty=self.on_empty)
