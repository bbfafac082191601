"""A finished run, opened."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from sklar.data.cohort import Cohort, CohortData
from sklar.data.loading import Tokens
from sklar.data.manifest import Statistics
from sklar.data.records import Reader
from sklar.data.schema import Schema
from sklar.data.store import PreparedData
from sklar.encoders import WordPiece, without_weights
from sklar.errors import DataError, UserError
from sklar.evaluation import ConformalInterval
from sklar.mimic.readers import in_rows, readers
from sklar.models import FusionModel, ModelConfig, create
from sklar.runs.folder import CONFIG, DATA, METRICS, read_config, read_json
from sklar.runs.predictions import read_predictions
from sklar.training.calibration import CALIBRATION, Calibration
from sklar.training.config import RunConfig
from sklar.training.inputs import shapes, tokenise, tokenizer_file
from sklar.training.intervals import INTERVALS, widened
from sklar.training.members import restore
from sklar.training.predict import predict
from sklar.training.reference import GradientBoostingConfig, LogisticRegressionConfig
from sklar.types import Predictions


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        path: The folder.
        config: The resolved settings.
        data: What it was trained on: schema, statistics, counts, hash.
    """

    path: Path
    config: RunConfig
    data: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path | str) -> "Run":
        """Open a finished run.

        Raises:
            DataError: The folder is no run, not finished, damaged, or of a newer sklar.
        """
        folder = Path(path)
        if not (folder / CONFIG).is_file():
            raise DataError(f"{folder} is not a run folder: it has no {CONFIG}. sklar train makes one")
        if not (folder / METRICS).is_file():
            raise DataError(
                f"{folder} is not finished: it has no {METRICS}. Train again with --resume to go on"
            )
        return cls(folder, read_config(folder), read_json(folder / DATA))

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of ``metrics.json``."""
        return read_json(self.path / METRICS)

    @cached_property
    def model(self) -> FusionModel:
        """The trained model, or the ensemble of them, in evaluation mode.

        Raises:
            UserError: The run is a reference model, which keeps predictions and no weights.
        """
        trained = model_config(self.config)
        # the run holds all weights: those that training started from may be elsewhere by now
        config = trained.model_copy(update={"encoders": without_weights(trained.encoders)})
        make = maker(self.schema, self.tokenizers, config)
        return restore(make, self.path, self.config.training.ensemble)

    def initial(self) -> FusionModel:
        """The model, or the first of the ensemble, with the weights that its training began from.

        Raises:
            UserError: The run is a reference model, or began from weights that are not on this machine.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            return maker(self.schema, self.tokenizers, model_config(self.config))()

    @cached_property
    def schema(self) -> Schema:
        """Columns, modalities and units that the model reads."""
        return Schema.model_validate(self.data["schema"])

    @cached_property
    def row_schema(self) -> Schema:
        """The same, as rows of new patients have them: what came from several tables stands in columns."""
        return in_rows(self.schema, self.data.get("rules", {}))

    @cached_property
    def readers(self) -> Mapping[str, Reader]:
        """Per modality how rows of new patients are read, where the data came from a source with rules."""
        return readers(self.schema, self.data.get("rules", {}))

    @cached_property
    def tokenizers(self) -> dict[str, WordPiece]:
        """Per text modality."""
        return {name: WordPiece.load(tokenizer_file(self.path, name)) for name in self.schema.texts}

    def predict(
        self, data: PreparedData, split: str | None = None, draws: int | None = None, seed: int | None = None
    ) -> Predictions:
        """Predict the rows of a prepared folder with the statistics and tokenizers of this run.

        Args:
            data: A folder with the same modalities; its own statistics are not used.
            split: Which rows; None takes all.
            draws: Draws of the missing latents, by default those of the configuration.
            seed: Of the draws, by default that of the run.

        Raises:
            UserError: The run is a reference model.
            DataError: The folder has other modalities.
        """
        model = self.model
        own, documents = self.ready(data)
        found = predict(
            model,
            own,
            own.rows(split),
            documents,
            draws or self.config.training.draws,
            self.config.seed if seed is None else seed,
        )
        return self.reported(found)

    def reported(self, predictions: Predictions) -> Predictions:
        """The model's own predictions with calibrated intervals, recalibrated where that was asked for."""
        found = widened(predictions, self.intervals)
        return found if self.calibration is None else self.calibration.apply(found)

    def ready(self, data: PreparedData) -> tuple[PreparedData, dict[str, Tokens]]:
        """A prepared folder with the statistics of this run, and its texts by this run's tokenizers.

        Raises:
            DataError: The folder has other modalities, or other labels or classes.
        """
        data = self.config.data.model_copy(update={"matched": False}).of(data)
        if data.schema.contents != self.schema.contents:
            raise DataError(
                f"{data.path} has other modalities than {self.path} was trained on "
                f"({', '.join(data.modalities)} against {', '.join(self.schema.modalities)}, or other "
                "variables under the same names): prepare it with the same schema"
            )
        several = {data.schema.task, self.schema.task} != {"binary"}
        if several and (data.schema.task, data.schema.outputs) != (self.schema.task, self.schema.outputs):
            raise DataError(
                f"{data.path} has other outcomes than {self.path} was trained on "
                f"({', '.join(data.schema.outputs)} against {', '.join(self.schema.outputs)}): prepare it "
                "with the same labels or classes in the same order"
            )
        statistics: Statistics = self.data["statistics"]
        own = replace(data, manifest=replace(data.manifest, statistics=statistics))
        return own, tokenise(own, self.tokenizers, model_config(self.config).encoders)

    def patients(self, cohort: Cohort) -> tuple[CohortData, dict[str, Tokens]]:
        """A cohort in memory with the statistics of this run, and its texts by this run's tokenizers."""
        own = CohortData(cohort, self.data["statistics"])
        return own, tokenise(own, self.tokenizers, model_config(self.config).encoders)

    @cached_property
    def calibration(self) -> Calibration | None:
        """What recalibrates the model's probabilities; None where they are its own."""
        file = self.path / CALIBRATION
        return Calibration.from_dict(read_json(file)) if file.is_file() else None

    @cached_property
    def intervals(self) -> ConformalInterval | None:
        """How far imputation intervals reach beyond the draws; None where they are the draws' own."""
        file = self.path / INTERVALS
        return ConformalInterval.from_dict(read_json(file)) if file.is_file() else None

    def predictions(self, split: str = "test") -> Predictions:
        """The stored predictions of a split."""
        return read_predictions(self.path / f"predictions_{split}.parquet")


def maker(
    schema: Schema, tokenizers: Mapping[str, WordPiece], config: ModelConfig
) -> Callable[[], FusionModel]:
    """Makes models for the modalities and the outcome of a schema, initialised from torch's global state."""
    inputs = shapes(schema, tokenizers)
    return lambda: create(inputs, config, len(schema.outputs), schema.task)


def model_config(config: RunConfig) -> ModelConfig:
    """The settings of the run's fusion model.

    Raises:
        UserError: The run is a reference model.
    """
    if isinstance(config.model, GradientBoostingConfig | LogisticRegressionConfig):
        raise UserError(
            f"{config.model.name} is a reference: its run keeps predictions and no weights, so it cannot "
            "predict new rows"
        )
    return config.model
