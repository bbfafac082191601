"""The one place where a fusion model meets Lightning."""

import logging
import math
import zlib
from collections.abc import Callable, Mapping
from typing import Any, final

import numpy as np
import pytorch_lightning as lightning
import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau

from sklar import processes
from sklar.alignment import CopulaAlignment, ailments, effective_rank, shuffled, uniformity
from sklar.copulas import LearnedCopula
from sklar.errors import TrainingError
from sklar.models import FusionModel
from sklar.training.config import TrainingConfig
from sklar.training.epoch import Judged, Totals
from sklar.training.validation import judge
from sklar.types import Batch, Objective, Output

LARGEST_FACTOR = 1000.0
"""Of the task loss, under a temperature; the released code's bound."""

NAMED = 8
"""Rows that an error names."""


@final
class Adapter(lightning.LightningModule):
    """Optimises a fusion model; whatever differs between models stays in the model.

    Everything random in an epoch (order, dropout, hidden modalities, imputation) is a function of the
    seed and the epoch, so that a resumed run equals an uninterrupted one.

    Args:
        model: The model.
        config: Settings of the optimisation.
        seed: Of the run.
    """

    def __init__(self, model: FusionModel, config: TrainingConfig, seed: int) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.seed = seed
        self._training = Totals()
        self._validation: list[Judged] = []
        self._diagnostics: list[dict[str, float]] = []
        self._told: set[str] = set()

    def on_train_epoch_start(self) -> None:
        # processes that train together draw noise of their own; the first one draws what a single one would
        share = f"/{processes.rank()}" if processes.rank() else ""
        torch.manual_seed(zlib.crc32(f"{self.seed}/{self.current_epoch}{share}".encode()))

    def training_step(self, batch: Batch, index: int) -> Tensor:
        with processes.together():
            output = self.model(batch)
            objective = self.model.objective(output, _target(batch), batch.weight)
            wild = ~torch.isfinite(objective.total)
            wilds, rows = processes.sums(
                torch.stack([wild, torch.full_like(wild, len(batch), dtype=torch.long)])
            )
            if wilds:
                raise self._not_finite(batch, index, output, objective)
        self._training.add(objective, rows)
        extra = task_factor(self.config.temperature, self.current_epoch) - 1
        return objective.total + extra * objective.terms["task"]

    def on_train_epoch_end(self) -> None:
        self.log_dict(self._training.means("train"), sync_dist=True)

    def on_validation_epoch_start(self) -> None:
        processes.average_batch_norms(self.model)

    def validation_step(self, batch: Batch, index: int) -> None:
        generator = Generator().manual_seed(self.seed)
        output = self.model(batch)
        objective = self.model.objective(output, _target(batch), batch.weight)
        probability = self.model.predict_proba(batch, self.config.validation_draws, generator)
        self._validation.append(Judged.of(batch, probability, output, objective))

    def on_validation_epoch_end(self) -> None:
        judged = Judged.all(self._validation)
        self._validation.clear()
        self.log_dict(judged.losses, sync_dist=True)
        y, p, w = (_numpy(part) for part in (judged.target, judged.probability, judged.weight))
        self.log_dict(judge(self.model.task, y, p, w), prog_bar=True, sync_dist=True)
        found = monitors(self.model, judged.latents, judged.present)
        self.log_dict(found, sync_dist=True)
        if self.model.joint is not None:
            self._judge(found)

    def configure_optimizers(self) -> Any:
        groups = parameter_groups(self.model, self.config)
        optimizer = torch.optim.AdamW(
            groups,
            lr=self.config.learning_rate,
            betas=self.config.betas,
            fused=self.config.precision == "32",  # Lightning clips no others in mixed precision
        )
        if self.config.schedule == "constant":
            return optimizer
        if self.config.schedule == "plateau":
            falling = ReduceLROnPlateau(optimizer, factor=0.5, patience=10)
            return [optimizer], [{"scheduler": falling, "interval": "epoch", "monitor": "valid_task"}]
        steps = int(self.trainer.estimated_stepping_batches)
        rates = [group["lr"] for group in groups]
        schedule = OneCycleLR(optimizer, max_lr=rates, total_steps=steps, pct_start=0.3)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What the rule about collapsed latents has seen, so that a resumed run judges alike."""
        checkpoint["diagnostics"] = {"seen": self._diagnostics, "told": sorted(self._told)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._diagnostics = list(checkpoint["diagnostics"]["seen"])
        self._told = set(checkpoint["diagnostics"]["told"])

    def _judge(self, found: dict[str, float]) -> None:
        """Tell of aligned latents that collapsed or exploded, once of each; stop if ``strict``."""
        self._diagnostics.append(found)
        for ailment in ailments(self._diagnostics, self.current_epoch):
            if self.config.strict:
                raise TrainingError(f"{ailment}; training.strict=false goes on")
            what = "collapse" if ailment.collapsed else f"explosion of {ailment.modalities[0]}"
            if what not in self._told:
                self._told.add(what)
                if processes.leads():
                    logging.getLogger(__name__).warning("%s", ailment)

    def _not_finite(self, batch: Batch, index: int, output: Output, objective: Objective) -> TrainingError:
        """What to say of a loss that is not finite: where, by which term, on which rows. No content."""
        means = {name: float(value.detach()) for name, value in objective.terms.items()}
        terms = ", ".join(f"{name} {value:.4g}" for name, value in means.items())
        rows = torch.arange(len(batch)) if batch.ids is None else batch.ids
        wild = ~torch.isfinite(output.logits).flatten(1).all(1)
        wild = wild if bool(wild.any()) else torch.ones_like(wild)
        ids = processes.collect(rows[wild]).sort().values.tolist()
        listed = ", ".join(str(row) for row in ids[:NAMED]) + (", ..." if len(ids) > NAMED else "")
        return TrainingError(
            f"the loss is not finite at epoch {self.current_epoch}, step {index} ({terms}; rows {listed} of "
            "the index). Lower training.learning_rate, or look for wild values in the data (sklar doctor "
            "--data DIR); with --resume, training goes on from the last whole epoch"
        )


def task_factor(temperature: float, epoch: int) -> float:
    """What the task loss is multiplied by: exp(T * epoch), at most 1000."""
    return math.exp(min(temperature * epoch, math.log(LARGEST_FACTOR)))


def parameter_groups(model: FusionModel, config: TrainingConfig) -> list[dict[str, Any]]:
    """Encoders and fusion decay; mixtures do not; the copula learns more slowly than what it couples."""
    copula = {id(p) for m in model.modules() if isinstance(m, LearnedCopula) for p in m.parameters()}
    joint = {id(p) for m in model.modules() if isinstance(m, CopulaAlignment) for p in m.parameters()}
    rate, slow = config.learning_rate, config.learning_rate * config.copula_learning_rate
    rules: list[tuple[float, float, Callable[[nn.Parameter], bool]]] = [
        (rate, config.weight_decay, lambda p: id(p) not in joint),
        (rate, 0.0, lambda p: id(p) in joint - copula),
        (slow, 0.0, lambda p: id(p) in copula),
    ]
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if chosen(p)], "lr": lr, "weight_decay": decay}
        for lr, decay, chosen in rules
    ]
    return [group for group in groups if group["params"]]


@torch.no_grad()
def monitors(model: FusionModel, z: Mapping[str, Float[Tensor, "n d"]], present: Tensor) -> dict[str, float]:
    """Diagnostics of the latents of a whole split, one row of the history.

    ``effective_rank_<m>`` and ``latent_rms_<m>`` (root mean square) of every modality's latents; for
    models with an alignment also the mean log copula density per coordinate of true pairs and of shuffled
    pairs, Kendall's tau of the learned copula and of the one that imputation uses (mean over pairs and
    coordinates), and the Kolmogorov-Smirnov distance of each modality's pseudo-observations to the uniform
    law.
    """
    out: dict[str, float] = {}
    for name, latent in z.items():
        own = latent[present[:, model.modalities.index(name)]]
        if len(own) > 1:
            out[f"latent_rms_{name}"] = float(own.square().mean().sqrt())
            if own.shape[1] > 1 and math.isfinite(out[f"latent_rms_{name}"]):
                out[f"effective_rank_{name}"] = effective_rank(own)
    joint = model.joint
    if joint is None:
        return out
    for key, (latents, mask) in {"true": (z, present), "shuffled": shuffled(z, present)}.items():
        paired = mask.sum(1) >= 2
        if paired.any():
            out[f"copula_{key}"] = float(joint.log_density(latents, mask)[paired].mean())
    out["kendall_tau"] = float(joint.copula().kendall_tau().mean())
    out["kendall_tau_imputation"] = float(joint.imputation_copula().kendall_tau().mean())
    log_u, _ = joint.uniforms(z, present)
    for column, name in enumerate(joint.modalities):
        rows = present[:, column]
        if rows.any():
            out[f"ks_{name}"] = uniformity(log_u[rows, :, column].exp())
    # a size that is not finite is a finding; anything else has no value in this epoch
    return {key: value for key, value in out.items() if math.isfinite(value) or key.startswith("latent_rms_")}


def _target(batch: Batch) -> Tensor:
    if batch.target is None:
        raise TrainingError("the batch has no target; a model is trained on labelled data")
    return batch.target


def _numpy(tensor: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    return tensor.detach().double().cpu().numpy()
