"""What a run writes while it trains: history, last state and best weights, each whole or not at all."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import pytorch_lightning as lightning
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping, RichProgressBar
from safetensors.torch import save

from sklar import processes
from sklar.models import FusionModel
from sklar.training.files import BEST, COPULAS, HISTORY, LAST, whole, write

MONITOR = "valid_auroc"

Watch = Callable[[int, float], None]
"""Takes an epoch and its validation AUROC."""


@final
class Keeper(Checkpoint):
    """Keeps the history, the state after the last epoch and the weights of the best one.

    Best is the highest validation AUROC. Its own state travels in the checkpoint, so that a resumed run
    continues the same history, and one that had stopped early stays stopped. Of models that learn a copula it
    also keeps the parameters of every epoch. The first of several processes writes.

    Args:
        folder: The run folder.
        model: Whose weights are kept.
        watch: Is told each epoch and its validation AUROC once kept, and may stop training by an error.
    """

    def __init__(self, folder: Path, model: FusionModel, watch: Watch | None = None) -> None:
        self.folder = folder
        self.model = model
        self.history: list[dict[str, float]] = []
        self.copulas: list[dict[str, Any]] = []
        self.best_epoch = -1
        self.stopped = False
        self.watch = watch

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Go on only where training had not ended."""
        trainer.should_stop = self.stopped

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Append to the history, keep the best weights, then save the state."""
        row = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        self.history.append({"epoch": float(trainer.current_epoch), **row})
        best = max(range(len(self.history)), key=lambda i: self.history[i][MONITOR])
        self.stopped = trainer.should_stop
        if best == len(self.history) - 1:
            self.best_epoch = best
            weights = {k: v.detach().cpu().contiguous() for k, v in self.model.state_dict().items()}
            self._write(BEST, save(weights))
        self._write(HISTORY, self._csv())
        self._keep_copula(trainer.current_epoch)
        if processes.leads():
            with whole(self.folder / LAST) as temporary:
                trainer.save_checkpoint(temporary)
        else:
            trainer.save_checkpoint(self.folder / LAST)  # takes part, and writes nothing
        if self.watch is not None:
            self.watch(trainer.current_epoch, self.history[-1][MONITOR])

    def state_dict(self) -> dict[str, Any]:
        """History, copulas, best epoch and whether training had ended, as plain values."""
        return {
            "history": self.history,
            "copulas": self.copulas,
            "best_epoch": self.best_epoch,
            "stopped": self.stopped,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.history = list(state_dict["history"])
        self.copulas = list(state_dict["copulas"])
        self.best_epoch = state_dict["best_epoch"]
        self.stopped = state_dict["stopped"]

    def _write(self, name: str, content: bytes) -> None:
        if processes.leads():
            write(self.folder / name, content)

    def _keep_copula(self, epoch: int) -> None:
        joint = self.model.joint
        if joint is None:
            return
        parameters = joint.copula().parameters()
        values = {name: value.detach().double().tolist() for name, value in parameters.items()}
        self.copulas.append({"epoch": epoch, "parameters": values})
        content = {"family": joint.family, "modalities": list(joint.modalities), "epochs": self.copulas}
        self._write(COPULAS, json.dumps(content, indent=1).encode())

    def _csv(self) -> bytes:
        names = ["epoch", *sorted({name for row in self.history for name in row} - {"epoch"})]
        text = io.StringIO()
        writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "epoch": int(row["epoch"])} for row in self.history)
        return text.getvalue().encode()


def callbacks(keeper: Keeper, patience: int, progress: bool) -> list[lightning.Callback]:
    """Early stopping on validation AUROC, the keeper, and a progress bar on standard error."""
    out: list[lightning.Callback] = [
        EarlyStopping(MONITOR, mode="max", patience=patience, check_on_train_epoch_end=True),
        keeper,
    ]
    if progress:
        out.append(RichProgressBar(console_kwargs={"stderr": True}))
    return out
