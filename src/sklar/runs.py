"""A run is a folder: what was asked, on which data, with which result. Reports read it and never train.

``metrics.json`` is written last: a folder without it is not a finished run, whatever else it holds.
"""

import hashlib
import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.utils.data import DataLoader

from sklar._version import __version__
from sklar.data.folder import PRIVATE
from sklar.data.loading import PreparedDataset, loader
from sklar.data.manifest import Statistics
from sklar.data.schema import Schema
from sklar.data.store import PreparedData
from sklar.encoders import WordPiece
from sklar.errors import DataError, UserError
from sklar.models import FusionModel, ModelConfig, create
from sklar.training.callbacks import write
from sklar.training.config import RunConfig
from sklar.training.inputs import shapes, tokenise, tokenizer_file, train_tokenizers
from sklar.training.members import fit_members, restore, together
from sklar.training.predict import of, predict
from sklar.training.reference import (
    GradientBoostingConfig,
    LogisticRegressionConfig,
    ReferenceConfig,
    fit_predict,
)
from sklar.training.validation import judge
from sklar.types import Batch, Predictions

CONFIG, DATA, ENVIRONMENT, WEIGHTS, METRICS = (
    "config.yaml",
    "data.json",
    "env.json",
    "weights.json",
    "metrics.json",
)
SPLITS = ("valid", "test")


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
            DataError: The folder is no run, or it is not finished.
        """
        folder = Path(path)
        if not (folder / CONFIG).is_file():
            raise DataError(f"{folder} is not a run folder: it has no {CONFIG}. sklar train makes one")
        if not (folder / METRICS).is_file():
            raise DataError(
                f"{folder} is not finished: it has no {METRICS}. Train again with --resume to go on"
            )
        config = RunConfig.from_yaml((folder / CONFIG).read_text())
        return cls(folder, config, json.loads((folder / DATA).read_text()))

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of ``metrics.json``."""
        content: dict[str, Any] = json.loads((self.path / METRICS).read_text())
        return content

    @cached_property
    def model(self) -> FusionModel:
        """The trained model, or the ensemble of them, in evaluation mode.

        Raises:
            UserError: The run is a reference model, which keeps predictions and no weights.
        """
        config = _model_config(self.config)
        inputs = shapes(self.schema, self._tokenizers)
        return restore(lambda: create(inputs, config), self.path, self.config.training.ensemble)

    @cached_property
    def schema(self) -> Schema:
        """Columns, modalities and units that the model reads."""
        return Schema.model_validate(self.data["schema"])

    @cached_property
    def _tokenizers(self) -> dict[str, WordPiece]:
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
        if data.schema.modalities != self.schema.modalities:
            raise DataError(
                f"{data.path} has other modalities than {self.path} was trained on "
                f"({', '.join(data.modalities)} against {', '.join(self.schema.modalities)}, or other "
                "variables under the same names): prepare it with the same schema"
            )
        statistics: Statistics = self.data["statistics"]
        own = replace(data, manifest=replace(data.manifest, statistics=statistics))
        return predict(
            model,
            own,
            own.rows(split),
            tokenise(own, self._tokenizers, _model_config(self.config).encoders),
            draws or self.config.training.draws,
            self.config.seed if seed is None else seed,
        )

    def predictions(self, split: str = "test") -> Predictions:
        """The stored predictions of a split."""
        return read_predictions(self.path / f"predictions_{split}.parquet")


def train(
    config: RunConfig, data: PreparedData, out: Path, *, resume: bool = False, progress: bool = False
) -> Run:
    """Train a model, or fit a reference, into a run folder.

    Args:
        config: What to do.
        data: On which data.
        out: The folder to make.
        resume: Continue an interrupted run, and keep a finished one.
        progress: Show a bar on standard error.

    Raises:
        UserError: The folder exists and ``resume`` is not set, or belongs to another configuration or data.
        DataError: A modality is absent in every training row.
    """
    if _enter(config, data, out, resume):
        return Run.open(out)
    started = time.monotonic()
    reference = config.model
    if isinstance(reference, GradientBoostingConfig | LogisticRegressionConfig):
        metrics = _fit_reference(reference, config, data, out)
    else:
        metrics = _fit_model(config, data, out, progress)
    metrics = {"model": config.model.name, "seconds": time.monotonic() - started, **metrics}
    write(out / METRICS, _json(metrics))
    return Run.open(out)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions as Parquet: one row each, one ``present_<modality>`` column per modality."""
    columns = {
        "id": predictions.ids,
        "group": predictions.groups,
        "target": predictions.target,
        "weight": predictions.weight,
        "probability": predictions.probability,
        "low": predictions.low,
        "high": predictions.high,
    }
    for column, name in enumerate(predictions.modalities):
        columns[f"present_{name}"] = predictions.present[:, column]
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), buffer)
    write(path, buffer.getvalue().to_pybytes())


def read_predictions(path: Path) -> Predictions:
    """Read what `write_predictions` wrote."""
    if not path.is_file():
        raise DataError(f"{path.parent} has no {path.name}; its run may have been interrupted")
    table = pq.read_table(path)
    names = tuple(c.removeprefix("present_") for c in table.column_names if c.startswith("present_"))

    def column(name: str) -> Any:
        return table[name].to_numpy()

    return Predictions(
        ids=np.asarray(column("id"), dtype=np.str_),
        groups=np.asarray(column("group"), dtype=np.str_),
        target=column("target"),
        probability=column("probability"),
        low=column("low"),
        high=column("high"),
        present=np.stack([column(f"present_{name}") for name in names], 1),
        modalities=names,
        weight=column("weight"),
    )


def _enter(config: RunConfig, data: PreparedData, out: Path, resume: bool) -> bool:
    """Make or check the folder; true when it holds the finished run already."""
    if out.exists() and any(out.iterdir()):
        if not (out / CONFIG).is_file() or not (out / DATA).is_file():
            raise UserError(f"{out} exists and is not a run folder: choose another --out")
        before = RunConfig.from_yaml((out / CONFIG).read_text())
        if before.hash != config.hash or json.loads((out / DATA).read_text())["hash"] != data.hash:
            what = "configuration" if before.hash != config.hash else "data"
            raise UserError(f"{out} holds a run with another {what}: choose another --out, or remove it")
        if not resume:
            state = "is finished" if (out / METRICS).is_file() else "was interrupted"
            raise UserError(
                f"{out} exists and {state}: pass --resume to go on from it, or choose another --out"
            )
        return (out / METRICS).is_file()
    out.mkdir(parents=True, exist_ok=True)
    if data.manifest.restricted:
        out.chmod(PRIVATE)  # predictions name patients
    write(out / ENVIRONMENT, _json(environment()))
    write(out / DATA, _json(_describe(data)))
    write(out / CONFIG, config.to_yaml().encode())
    return False


def _fit_model(config: RunConfig, data: PreparedData, out: Path, progress: bool) -> dict[str, Any]:
    there = np.atleast_1d(data.present[data.rows("train")].any(axis=0))
    lost = [name for name, some in zip(data.modalities, there, strict=True) if not some]
    if lost:
        raise DataError(f"modality {lost[0]!r} is absent in every training row: remove it from the schema")
    training, settings = config.training, _model_config(config)
    tokenizers = train_tokenizers(data, settings.encoders, out)
    documents = tokenise(data, tokenizers, settings.encoders)
    inputs = shapes(data.schema, tokenizers)
    train, valid = (PreparedDataset(data, s, documents, training.censoring) for s in ("train", "valid"))

    def load(seed: int) -> tuple[DataLoader[Batch], DataLoader[Batch]]:
        return loader(train, training.batch_size, seed=seed, shuffle=True), loader(valid, 512)

    members = fit_members(lambda: create(inputs, settings), load, training, out, config.seed, progress)
    model = together(members)
    write(out / WEIGHTS, _json(_origins(model, data.schema, out)))
    for split in SPLITS:
        predictions = predict(model, data, data.rows(split), documents, training.draws, config.seed)
        write_predictions(out / f"predictions_{split}.parquet", predictions)
    first = members[0].summary
    # the copula that is shown is the first member's
    fitted = {"parameters": _count(model), **_joint(members[0].model, first["validation"])}
    if len(members) == 1:
        return fitted | {name: first[name] for name in ("best_epoch", "epochs", "validation")}
    return fitted | {
        "validation": _validation(out, training.censoring == "ipcw"),
        "members": [member.summary for member in members],
    }


def _validation(folder: Path, weighted: bool) -> dict[str, float]:
    """What the adapter reports of one model's validation rows, of the averaged probabilities."""
    predictions = read_predictions(folder / "predictions_valid.parquet")
    weight = predictions.weight if weighted else np.ones(len(predictions.ids))
    return judge("binary", predictions.target, predictions.probability[:, None], weight)


def _fit_reference(
    reference: ReferenceConfig, config: RunConfig, data: PreparedData, out: Path
) -> dict[str, Any]:
    ipcw = config.training.censoring == "ipcw"
    weight = data.weight if ipcw else np.ones(len(data.ids))
    probability, valid_auroc = fit_predict(reference, data, weight, config.seed)
    for split in SPLITS:
        rows = data.rows(split)
        own = probability[rows]
        write_predictions(out / f"predictions_{split}.parquet", of(data, rows, own, own, own))
    return {"validation": {"valid_auroc": valid_auroc}, "alignment": None, "copula": None}


def _joint(model: FusionModel, best: Mapping[str, float]) -> dict[str, Any]:
    joint = model.joint
    if joint is None:
        return {"alignment": None, "copula": None}
    copula = joint.imputation_copula()
    parameters = {name: value.detach().double().tolist() for name, value in copula.parameters().items()}
    return {
        "alignment": {
            "log_density_true": best.get("copula_true"),
            "log_density_shuffled": best.get("copula_shuffled"),
            "kendall_tau": best.get("kendall_tau"),
            "kendall_tau_imputation": best.get("kendall_tau_imputation"),
        },
        "copula": {
            "family": joint.family,
            "modalities": list(joint.modalities),
            "parameters": parameters,
        },
    }


def _model_config(config: RunConfig) -> ModelConfig:
    if isinstance(config.model, GradientBoostingConfig | LogisticRegressionConfig):
        raise UserError(
            f"{config.model.name} is a reference: its run keeps predictions and no weights, so it cannot "
            "predict new rows"
        )
    return config.model


def _origins(model: FusionModel, schema: Schema, folder: Path) -> dict[str, Any]:
    """Where every initial weight came from."""
    origins: dict[str, Any] = {"model": {"source": "scratch", "parameters": _count(model)}}
    for name in schema.texts:
        digest = hashlib.sha256(tokenizer_file(folder, name).read_bytes()).hexdigest()
        origins[name] = {"source": "scratch", "tokenizer": {"source": "training split", "sha256": digest}}
    return origins


def _count(model: FusionModel) -> int:
    return sum(p.numel() for p in model.parameters())


def _describe(data: PreparedData) -> dict[str, Any]:
    """What a report and a later prediction need to know of the data."""
    manifest = data.manifest
    return {
        "name": manifest.name,
        "hash": data.hash,
        "restricted": manifest.restricted,
        "label": manifest.schema.label,
        "modalities": list(data.modalities),
        "counts": {
            **asdict(manifest.counts["all"]),
            **{s: asdict(manifest.counts[s]) for s in ("train", "valid", "test")},
        },
        "presence": manifest.presence,
        "attrition": [asdict(step) for step in manifest.attrition],
        "risk": manifest.risk,
        "notes": list(manifest.notes),
        "rules": manifest.rules,
        "schema": manifest.schema.model_dump(mode="json"),
        "statistics": manifest.statistics,
    }


def environment() -> dict[str, Any]:
    """Versions and machine, without names of hosts or users."""
    packages = ("torch", "numpy", "scikit-learn", "pytorch-lightning", "transformers", "pyarrow")
    return {
        "sklar": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        **{name: version(name) for name in packages},
    }


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()
