"""How a run spreads over devices and machines: processes, precision, loaders, trackers."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import lightning_fabric
import pytorch_lightning as lightning
import torch
from lightning_fabric.strategies.ddp import DDPStrategy as Launch
from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.strategies import DDPStrategy

from sklar import processes
from sklar.errors import UserError
from sklar.models import FusionModel
from sklar.training.config import TrainingConfig

for _chatty in ("lightning_fabric", "pytorch_lightning"):
    logging.getLogger(_chatty).setLevel(logging.WARNING)

Built = TypeVar("Built")

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
"""Lightning's name of each `TrainingConfig.precision`."""

PATIENCE = timedelta(hours=2)
"""How long a process waits for the others; the first one predicts while they wait."""


@dataclass(frozen=True)
class Tracker:
    """A logger of Lightning: its class, the package that it needs, and what it is made with.

    Attributes:
        build: Takes the run folder.
        package: To install.
    """

    build: Any
    package: str


TRACKERS: dict[str, Tracker] = {
    "csv": Tracker(lambda folder: CSVLogger(folder, name="tracker", version=""), "pytorch-lightning"),
    "tensorboard": Tracker(
        lambda folder: TensorBoardLogger(folder, name="tracker", version=""), "tensorboard"
    ),
    "wandb": Tracker(lambda folder: WandbLogger(save_dir=folder, name=folder.name), "wandb"),
    "mlflow": Tracker(
        lambda folder: MLFlowLogger(run_name=folder.name, tracking_uri=(folder / "tracker").as_uri()),
        "mlflow-skinny",
    ),
}
"""Every `TrainingConfig.logger` but "none"."""


def device(config: TrainingConfig) -> torch.device:
    """Where a single process computes before and after training."""
    gpu = config.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return torch.device("cuda" if gpu else "cpu")


def several(config: TrainingConfig) -> bool:
    """Whether the configuration asks for more than one process."""
    return config.devices * config.nodes > 1


@contextmanager
def joined(config: TrainingConfig) -> Iterator[None]:
    """Start the other processes of this machine, or meet those that a launcher started.

    The command line starts itself again once per further device; under torchrun or SLURM all are there.
    Afterwards `sklar.processes` knows them all. Nothing happens for a single process. When this one fails,
    those that it started end.

    Raises:
        UserError: Fewer devices than asked for.
    """
    if not several(config) or processes.count() > 1:
        yield
        return
    fabric = _sensible(
        lambda: lightning_fabric.Fabric(
            accelerator=config.accelerator,
            devices=config.devices,
            num_nodes=config.nodes,
            strategy=Launch(timeout=PATIENCE),
        )
    )
    fabric.launch()
    try:
        yield
    except BaseException:
        launcher = fabric.strategy.launcher
        for child in getattr(launcher, "procs", ()):
            child.terminate()
        raise


def trainer(
    config: TrainingConfig, model: FusionModel, folder: Path, callbacks: list[lightning.Callback], bar: bool
) -> lightning.Trainer:
    """The Lightning trainer that the configuration describes."""
    if config.precision == "fp16" and not torch.cuda.is_available():
        raise UserError("training.precision=fp16 needs a GPU, and none is visible: use bf16 or 32")
    return _sensible(
        lambda: lightning.Trainer(
            max_epochs=config.max_epochs,
            accelerator=config.accelerator,
            devices=config.devices,
            num_nodes=config.nodes,
            strategy=_strategy(config, model),
            precision=PRECISIONS[config.precision],  # type: ignore[arg-type]
            accumulate_grad_batches=config.accumulate,
            logger=_tracker(config.logger, folder),
            callbacks=callbacks,
            enable_progress_bar=bar,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            gradient_clip_val=config.clip,
            use_distributed_sampler=False,  # ours deals the rows of a batch, and repeats none
            default_root_dir=folder,
        )
    )


def _strategy(config: TrainingConfig, model: FusionModel) -> str | DDPStrategy:
    if not several(config):
        return "auto"
    megabytes = sum(p.numel() * p.element_size() for p in model.parameters()) / 2**20
    return DDPStrategy(
        # a process whose rows all lack a modality does not use its encoder
        find_unused_parameters=True,
        # one bucket, reduced when the last gradient is there: earlier ones would be sent between the sums of
        # `sklar.processes`, in an order that depends on which modalities a process has
        bucket_cap_mb=int(megabytes) + 1,
        broadcast_buffers=False,
        timeout=PATIENCE,
    )


def _tracker(name: str, folder: Path) -> Logger | bool:
    if name == "none":
        return False
    try:
        logger: Logger = TRACKERS[name].build(folder)
    except ModuleNotFoundError as error:
        raise UserError(
            f"training.logger={name} needs a package: pip install {TRACKERS[name].package}, or leave it out "
            "(history.csv has every metric)"
        ) from error
    return logger


def _sensible(build: Callable[[], Built]) -> Built:
    """Errors of Lightning about devices, said as ours."""
    try:
        return build()
    except (
        lightning_fabric.utilities.exceptions.MisconfigurationException,
        RuntimeError,
        ValueError,
    ) as error:
        raise UserError(f"training.accelerator, devices or nodes do not fit this machine: {error}") from error
