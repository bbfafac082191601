"""From a configuration and a prepared folder to a finished run folder."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from sklar import processes
from sklar.data.loading import Encodings, PreparedDataset, Tokens, loader
from sklar.data.schema import Schema
from sklar.data.store import PreparedData
from sklar.data.subgroups import SUBGROUPS, subgroup_file
from sklar.encoders import Backbone, WordPiece
from sklar.errors import DataError
from sklar.evaluation import ConformalInterval
from sklar.models import FusionModel
from sklar.models.attach import tell_of_absent_hub
from sklar.runs.folder import METRICS, WEIGHTS, enter, to_json
from sklar.runs.latents import keep_latents
from sklar.runs.predictions import write_predictions
from sklar.runs.run import Run, maker, model_config
from sklar.training.calibration import CALIBRATION, ValidationRows, calibrate, validation_rows
from sklar.training.callbacks import Watch
from sklar.training.class_weights import class_weights
from sklar.training.config import RunConfig
from sklar.training.encodings import ENCODINGS, fixed, kept
from sklar.training.files import write
from sklar.training.inputs import find_weights, key_of_tokens, tokenise, tokenizer_file, train_tokenizers
from sklar.training.intervals import INTERVALS, fit_intervals, widened
from sklar.training.members import Member, fit_members, together
from sklar.training.memory import peak_memory
from sklar.training.predict import of, predict
from sklar.training.reference import (
    GradientBoostingConfig,
    LogisticRegressionConfig,
    ReferenceConfig,
    fit_predict,
)
from sklar.training.scale import device, joined
from sklar.training.tokens import TOKENS
from sklar.training.validation import by_output, judge
from sklar.types import Batch, Predictions
from sklar.weights import SCRATCH

SPLITS = ("valid", "test")


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
        UserError: The folder exists and ``resume`` is not set, or belongs to another configuration or data;
            pretrained weights that the configuration names are not on this machine.
        DataError: A modality is absent in every training row, those weights are broken, or what the folder
            holds is damaged or of a newer sklar.
        TrainingError: Training cannot go on, or a file cannot be written; finished epochs are kept.
    """
    whole, data = data, config.data.of(data)
    reference = config.model
    if not (isinstance(reference, ReferenceConfig) or (out / METRICS).is_file()):
        find_weights(data.schema, reference.encoders)  # before a folder is made that would be in the way
    if isinstance(reference, GradientBoostingConfig | LogisticRegressionConfig):
        _train(config, data, out, resume, lambda: _fit_reference(reference, config, data, out), whole)
    else:
        with joined(config.training):
            _train(config, data, out, resume, lambda: _fit_model(config, data, out, progress), whole)
    return Run.open(out)


def _train(
    config: RunConfig,
    data: PreparedData,
    out: Path,
    resume: bool,
    fit: Callable[[], dict[str, Any]],
    whole: PreparedData,
) -> None:
    if processes.led(lambda: enter(config, data, out, resume)):
        return
    started = time.monotonic()
    with peak_memory() as memory:
        metrics = fit()
    subgroups = subgroup_file(whole, data.rows("test"))
    if subgroups is not None:
        processes.led(lambda: write(out / SUBGROUPS, subgroups))
    about = {"model": config.model.name, "seconds": time.monotonic() - started, "peak_memory": memory}
    metrics = {**about, **metrics}
    processes.led(lambda: write(out / METRICS, to_json(metrics)))


def validation_auroc(config: RunConfig, data: PreparedData, out: Path, watch: Watch | None = None) -> float:
    """Train without a look at test rows: the best validation AUROC, of an ensemble the mean of its members'.

    Args:
        config: What to do.
        data: On which data.
        out: A folder for its state.
        watch: Is told each epoch and its validation AUROC, and may stop training by an error.
    """
    data = config.data.of(data)
    if isinstance(config.model, GradientBoostingConfig | LogisticRegressionConfig):
        weight = data.weight if config.training.censoring == "ipcw" else np.ones(len(data.ids))
        parts = validation_rows(config.calibration, data, config.seed)
        return fit_predict(config.model, data, weight, config.seed, parts.selection)[1]
    members = _members(config, data, out, False, watch).members
    return float(np.mean([member.summary["validation"]["valid_auroc"] for member in members]))


@dataclass(frozen=True)
class _Trained:
    """Fitted members, what they read, and the validation rows that chose among their epochs."""

    members: list[Member]
    documents: dict[str, Tokens]
    encodings: Encodings
    parts: ValidationRows


def _members(
    config: RunConfig, data: PreparedData, out: Path, progress: bool, watch: Watch | None = None
) -> _Trained:
    training, settings = config.training, model_config(config)
    there = data.present[data.rows("train")].mean(axis=0)
    share = dict(zip(data.modalities, np.atleast_1d(there).tolist(), strict=True))
    lost = [name for name, some in share.items() if not some]
    if lost:
        raise DataError(f"modality {lost[0]!r} is absent in every training row: remove it from the schema")
    tell_of_absent_hub(settings, share)

    def read_texts() -> tuple[dict[str, WordPiece], dict[str, Tokens]]:
        tokenizers = train_tokenizers(data, settings.encoders, out)
        return tokenizers, tokenise(data, tokenizers, settings.encoders, out.parent / TOKENS)

    if processes.count() > 1:
        processes.led(lambda: bool(read_texts()))  # writes what the others read
    tokenizers, documents = read_texts()
    make = maker(data.schema, tokenizers, settings)
    parts = validation_rows(config.calibration, data, config.seed)
    factor = class_weights(training.class_weight, data.schema, data.target, data.rows("train"))

    def encode() -> Encodings:
        if not (training.cache_encodings and settings.encoders.freezes):
            return {}
        length = settings.encoders.text.length
        keys = {name: key_of_tokens(data, name, own, length) for name, own in tokenizers.items()}
        return kept(fixed(make, data.schema), data, documents, keys, out.parent / ENCODINGS, device(training))

    if processes.count() > 1:
        processes.led(lambda: bool(encode()))
    encodings = encode()

    def load(seed: int) -> tuple[DataLoader[Batch], DataLoader[Batch]]:
        ready = partial(PreparedDataset, data, documents=documents, encodings=encodings)
        train = ready("train", censoring=training.censoring, augment=seed, factor=factor)
        valid = ready(parts.selection, censoring=training.censoring)
        read = partial(
            loader,
            num_workers=training.num_workers,
            pin_memory=training.pin_memory,
            share=(processes.rank(), processes.count()),
        )
        return read(train, training.batch_size, seed=seed, shuffle=True), read(valid, 512)

    members = fit_members(make, load, training, out, config.seed, progress, watch)
    return _Trained(members, documents, encodings, parts)


def _fit_model(config: RunConfig, data: PreparedData, out: Path, progress: bool) -> dict[str, Any]:
    trained, training = _members(config, data, out, progress), config.training
    members, documents, parts = trained.members, trained.documents, trained.parts
    model = together(members)

    def answer(rows: NDArray[np.int64]) -> Predictions:
        return predict(model, data, rows, documents, training.draws, config.seed, trained.encodings)

    processes.led(lambda: write(out / WEIGHTS, to_json(_origins(model, data.schema, out))))

    def reach() -> ConformalInterval | None:
        return fit_intervals(model, data, documents, training.draws, config.seed, trained.encodings)

    calibration = processes.led(lambda: _finish(config, data, parts, answer, out, reach))
    first, weighted = members[0].summary, training.censoring == "ipcw"
    # the joint that is shown is the first member's
    shown = members[0].model
    processes.led(lambda: keep_latents(out, shown, data, documents, config.seed, trained.encodings))
    fitted = {
        "parameters": _count(model),
        "calibration": calibration,
        **_joint(members[0].model, first["validation"]),
        **_outputs(data.schema, lambda: answer(parts.selection), weighted),
    }
    if len(members) == 1:
        return fitted | {name: first[name] for name in ("best_epoch", "epochs", "validation")}
    return fitted | {
        "validation": _validation(answer(parts.selection), weighted),
        "members": [member.summary for member in members],
    }


def _finish(
    config: RunConfig,
    data: PreparedData,
    parts: ValidationRows,
    answer: Callable[[NDArray[np.int64]], Predictions],
    out: Path,
    reach: Callable[[], ConformalInterval | None] = lambda: None,
) -> dict[str, Any] | None:
    """Recalibrate where that is asked for, write the predictions of every split, and say what was fitted."""
    if (interval := reach()) is not None:
        write(out / INTERVALS, to_json(interval.to_dict()))
    weighted = config.training.censoring == "ipcw"
    calibration = calibrate(config.calibration, parts, answer, weighted, config.seed)
    fitted = None if calibration is None else calibration.to_dict()
    if fitted is not None:
        write(out / CALIBRATION, to_json(fitted))
    for split in SPLITS:
        if not len(rows := data.rows(split)):  # who keeps test rows to themselves judges later
            continue
        predictions = widened(answer(rows), interval)
        shown = predictions if calibration is None else calibration.apply(predictions)
        write_predictions(out / f"predictions_{split}.parquet", shown)
    return fitted


def _validation(predictions: Predictions, weighted: bool) -> dict[str, float]:
    """What the adapter reports of one model's validation rows, of the averaged probabilities."""
    weight = predictions.weight if weighted else np.ones(len(predictions.ids))
    probability = predictions.probability.reshape(len(weight), -1)
    return judge(predictions.task, predictions.target, probability, weight)


def _outputs(schema: Schema, answer: Callable[[], Predictions], weighted: bool) -> dict[str, Any]:
    """What validation rows say of each of several outputs; nothing of a single event."""
    if schema.task == "binary":
        return {}
    found = answer()
    weight = found.weight if weighted else np.ones(len(found.ids))
    return {
        "validation_outputs": by_output(schema.task, schema.outputs, found.target, found.probability, weight)
    }


def _fit_reference(
    reference: ReferenceConfig, config: RunConfig, data: PreparedData, out: Path
) -> dict[str, Any]:
    ipcw = config.training.censoring == "ipcw"
    weight = data.weight if ipcw else np.ones(len(data.ids))
    parts = validation_rows(config.calibration, data, config.seed)
    probability, valid_auroc = fit_predict(reference, data, weight, config.seed, parts.selection)

    def answer(rows: NDArray[np.int64]) -> Predictions:
        own = probability[rows]
        return of(data, rows, own, own, own)

    calibration = _finish(config, data, parts, answer, out)
    return {
        "calibration": calibration,
        "validation": {"valid_auroc": valid_auroc},
        "alignment": None,
        "copula": None,
        **_outputs(data.schema, lambda: answer(parts.selection), ipcw),
    }


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


def _origins(model: FusionModel, schema: Schema, folder: Path) -> dict[str, Any]:
    """Where every initial weight came from."""
    origins: dict[str, Any] = {"model": {"source": SCRATCH, "parameters": _count(model)}}
    for path, module in model.named_modules():
        if isinstance(module, Backbone) and module.loaded is not None:
            name = next(part for part in path.split(".") if part in schema.modalities)
            origins[name] = module.loaded.record() | {"frozen": bool(module.frozen)}
    for name in schema.texts:
        digest = hashlib.sha256(tokenizer_file(folder, name).read_bytes()).hexdigest()
        pretrained = origins.get(name, {}).get("source")
        tokenizer = {"source": pretrained or "training split", "sha256": digest}
        origins[name] = {"source": SCRATCH, **origins.get(name, {}), "tokenizer": tokenizer}
    return origins


def _count(model: FusionModel) -> int:
    return sum(p.numel() for p in model.parameters())
