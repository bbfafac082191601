"""Fit one fusion model into one folder."""

import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as lightning
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from sklar.errors import InterruptedRunError
from sklar.models import FusionModel
from sklar.training.adapter import Adapter
from sklar.training.callbacks import BEST, LAST, Keeper, callbacks
from sklar.training.config import TrainingConfig
from sklar.types import Batch


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

    Raises:
        TrainingError: The loss is not finite, or the validation split lacks events or non-events.
        InterruptedRunError: The user stopped it.
    """
    started = time.monotonic()
    keeper = Keeper(folder, model)
    trainer = lightning.Trainer(
        max_epochs=config.max_epochs,
        accelerator=config.accelerator,
        devices=1,
        logger=False,
        callbacks=callbacks(keeper, config.patience, progress),
        enable_progress_bar=progress,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        gradient_clip_val=config.clip,
        default_root_dir=folder,
    )
    checkpoint = folder / LAST
    with warnings.catch_warnings():
        # workers cost more than they bring: a batch is one array index
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*smaller than the logging interval.*")
        warnings.filterwarnings("ignore", ".*LeafSpec.*is deprecated.*")  # Lightning with a newer torch
        warnings.filterwarnings("ignore", ".*in eval mode at the start.*")  # frozen encoders are, always
        try:
            trainer.fit(
                Adapter(model, config, seed),
                train,
                valid,
                ckpt_path=checkpoint if checkpoint.exists() else None,
                weights_only=True,
            )
        except SystemExit as stopped:  # what Lightning makes of Ctrl-C
            raise InterruptedRunError(
                f"interrupted; finished epochs are kept in {folder}: run the same command again "
                "(sklar train with --resume)"
            ) from stopped
    model.load_state_dict(load_file(folder / BEST))
    model.eval()
    return Fitted(tuple(keeper.history), keeper.best_epoch, time.monotonic() - started)
