"""Fit one fusion model into one folder."""

import time
import warnings
from dataclasses import dataclass
from pathlib import Path

from torch.utils.data import DataLoader

from sklar.encoders import Backbone
from sklar.errors import InterruptedRunError, TrainingError
from sklar.models import FusionModel
from sklar.training.adapter import Adapter
from sklar.training.callbacks import Keeper, Watch, callbacks
from sklar.training.config import TrainingConfig
from sklar.training.files import BEST, LAST, check_checkpoint, load_weights
from sklar.training.scale import trainer
from sklar.types import Batch

EXPECTED = (
    ".*does not have many workers.*",  # they cost more than they bring: a batch is one array index
    ".*smaller than the logging interval.*",
    ".*in eval mode at the start.*",  # frozen encoders are, always
    ".*LeafSpec.*is deprecated.*",  # Lightning with a newer torch
    ".*`broadcast_buffers` is deprecated.*",  # its successor is too new for the oldest torch
    ".*find_unused_parameters=True was specified.*",  # whether one is unused depends on the rows
)
"""Warnings that say nothing to the user of a run."""


@dataclass(frozen=True)
class Fitted:
    """What a fit leaves behind beside its files.

    Attributes:
        history: One row of metrics per epoch.
        best_epoch: Its position in the history.
        seconds: Wall-clock time of this call.
    """

    history: tuple[dict[str, float], ...]
    best_epoch: int
    seconds: float


def fit(
    model: FusionModel,
    train: DataLoader[Batch],
    valid: DataLoader[Batch],
    config: TrainingConfig,
    folder: Path,
    seed: int,
    progress: bool = False,
    watch: Watch | None = None,
) -> Fitted:
    """Train until validation AUROC stops improving; leave the best weights in ``model``.

    Continues from ``last.ckpt`` when the folder has one.

    Args:
        model: Is trained in place.
        train: Its batch sampler takes ``set_epoch``.
        valid: In a fixed order.
        config: Settings.
        folder: Receives ``last.ckpt``, ``best.safetensors`` and ``history.csv``.
        seed: Everything random in an epoch follows from it and the epoch.
        progress: Show a bar on standard error.
        watch: Is told each epoch and its validation AUROC, and may stop training by an error.

    Raises:
        TrainingError: The loss is not finite, the validation split lacks events or non-events, a file cannot
            be written, or a reading process died.
        DataError: ``last.ckpt`` is damaged or of another model.
        InterruptedRunError: The user stopped it.
    """
    started = time.monotonic()
    keeper = Keeper(folder, model, watch)
    lit = trainer(config, model, folder, callbacks(keeper, config.patience, progress), progress)
    checkpoint = folder / LAST if (folder / LAST).exists() else None
    if checkpoint is not None:
        check_checkpoint(checkpoint, model)
    if config.compile:
        for module in model.modules():
            if isinstance(module, Backbone):
                module.compile_parts()
    with warnings.catch_warnings():
        for expected in EXPECTED:
            warnings.filterwarnings("ignore", expected)
        try:
            lit.fit(Adapter(model, config, seed), train, valid, ckpt_path=checkpoint, weights_only=True)
        except SystemExit as stopped:  # what Lightning makes of Ctrl-C
            raise InterruptedRunError(
                f"interrupted; finished epochs are kept in {folder}: run the same command again "
                "(sklar train with --resume)"
            ) from stopped
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise TrainingError(
                "a process that reads batches died, most likely for lack of memory; finished epochs are kept "
                f"in {folder}: run the same command again with --resume, or use another --out with a lower "
                "training.num_workers (0 reads in the main process)"
            ) from error
    load_weights(model, folder / BEST)
    model.to(lit.strategy.root_device).eval()
    return Fitted(tuple(keeper.history), keeper.best_epoch, time.monotonic() - started)
