"""Fit a model, or an ensemble of them that differ by their seed, into a run folder."""

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from sklar import processes
from sklar.models import Ensemble, FusionModel
from sklar.training.callbacks import Watch
from sklar.training.config import TrainingConfig
from sklar.training.files import BEST, load_weights, write
from sklar.training.fit import fit
from sklar.types import Batch

FITTED = "fitted.json"
"""Written last into the folder of an ensemble's member: without it the member is not finished."""


@dataclass(frozen=True)
class Member:
    """A fitted model and how its training went.

    Attributes:
        model: With its best weights, in evaluation mode.
        summary: ``seed``, ``best_epoch``, ``epochs`` and ``validation``, the metrics of the best epoch.
    """

    model: FusionModel
    summary: Mapping[str, Any]


def member_folder(run: Path, index: int, count: int) -> Path:
    """Where member ``index`` of ``count`` keeps its weights: in the run folder when it is the only one."""
    return run if count == 1 else run / f"member-{index + 1}"


def member_seed(seed: int, index: int) -> int:
    """The seed of a member; the first has the run's own, so that it equals the run without an ensemble."""
    return seed if index == 0 else zlib.crc32(f"{seed}/member/{index}".encode())


def fit_members(
    make: Callable[[], FusionModel],
    load: Callable[[int], tuple[DataLoader[Batch], DataLoader[Batch]]],
    config: TrainingConfig,
    folder: Path,
    seed: int,
    progress: bool = False,
    watch: Watch | None = None,
) -> list[Member]:
    """Fit ``config.ensemble`` models one after the other; finished ones are kept, an interrupted one goes on.

    Args:
        make: A new model, initialised from torch's global state.
        load: Training and validation batches of a seed.
        config: Settings.
        folder: The run folder; members of an ensemble get folders inside it.
        seed: Of the run.
        progress: Show a bar on standard error.
        watch: See `sklar.training.fit.fit`.
    """
    members = []
    for index in range(config.ensemble):
        own = member_folder(folder, index, config.ensemble)
        members.append(_fit_member(make, load, config, own, member_seed(seed, index), progress, watch))
    return members


def together(members: list[Member]) -> FusionModel:
    """The model of a run: the only member, or an ensemble of all."""
    return members[0].model if len(members) == 1 else Ensemble([m.model for m in members]).eval()


def restore(make: Callable[[], FusionModel], folder: Path, count: int) -> FusionModel:
    """The model of a finished run, from the weights in its folder."""
    models = []
    for index in range(count):
        model = make()
        load_weights(model, member_folder(folder, index, count) / BEST)
        models.append(model.eval())
    return models[0] if count == 1 else Ensemble(models).eval()


def _fit_member(
    make: Callable[[], FusionModel],
    load: Callable[[int], tuple[DataLoader[Batch], DataLoader[Batch]]],
    config: TrainingConfig,
    folder: Path,
    seed: int,
    progress: bool,
    watch: Watch | None,
) -> Member:
    torch.manual_seed(seed)
    model = make()
    marker = folder / FITTED
    if marker.is_file():
        load_weights(model, folder / BEST)
        return Member(model.eval(), json.loads(marker.read_text()))
    folder.mkdir(exist_ok=True)
    fitted = fit(model, *load(seed), config, folder, seed, progress, watch)
    summary = {
        "seed": seed,
        "best_epoch": fitted.best_epoch,
        "epochs": len(fitted.history),
        "validation": fitted.history[fitted.best_epoch],
    }
    if config.ensemble > 1 and processes.leads():
        write(marker, (json.dumps(summary, indent=1) + "\n").encode())
    return Member(model, summary)
