"""Where a training epoch spends its time, and what reading costs beside one CSV file per stay.

Simulated stays of 24 bins and 76 columns. The epoch is one of `sklar train single`; with the paper's encoder,
its time outside forward, backward and optimiser is to stay under 5 %. The other way to read is that of the
published benchmark code as its users run it: a CSV per stay is parsed and put on the grid, cell by cell, in
every epoch; here fewer stays. All is measured in processor time, in one run, on one thread.

    python benchmarks/epoch.py [--stays 18000] [--files 300]
"""

import argparse
import csv
import tempfile
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray
from torch import nn

from sklar.data.loading import PreparedDataset, loader
from sklar.data.preprocess import Preprocessor
from sklar.data.schema import Schema
from sklar.data.source import DataSource
from sklar.encoders import SeriesShape
from sklar.mimic.variables import grid
from sklar.models import create
from sklar.training.adapter import Adapter
from sklar.training.config import resolve

GRID = grid(None)
SCHEMA = Schema(id="stay", label="died", modalities={"ehr": GRID})


class Stays(DataSource):
    """Stays with noise for values, mapped from disk as a prepared folder maps them."""

    def __init__(self, rows: int, folder: Path) -> None:
        rng = np.random.default_rng(0)
        values = rng.normal(size=(rows, GRID.steps, len(GRID.columns))).astype(np.float32)
        values[..., len(GRID.values) :] = rng.random((rows, GRID.steps, 17)) < 0.3
        np.save(folder / "ehr.npy", values)
        self._values = np.load(folder / "ehr.npy", mmap_mode="r")
        self._target = (values[:, :, 2].mean(1) > 0).astype(np.float64)

    @cached_property
    def preprocessor(self) -> Preprocessor:
        return Preprocessor(
            SCHEMA, {"ehr": {n: {"mean": 0.0, "sd": 1.0, "cells": 1.0} for n in GRID.numbers}}
        )

    @cached_property
    def ids(self) -> NDArray[np.str_]:
        return np.array([f"s{i}" for i in range(len(self._values))])

    @property
    def groups(self) -> NDArray[np.str_]:
        return self.ids

    @property
    def target(self) -> NDArray[np.float64]:
        return self._target

    @cached_property
    def weight(self) -> NDArray[np.float64]:
        return np.ones(len(self._values))

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        return np.arange(len(self._values))[:, None]

    def array(self, name: str) -> NDArray[np.floating]:
        return self._values

    def ready_grid(self, name: str) -> NDArray[np.float32]:
        return self._values

    def content(self, name: str) -> pa.Table:
        raise KeyError(name)

    def pictures(self, name: str) -> NDArray[np.uint8]:
        raise KeyError(name)

    def picture_times(self, name: str) -> NDArray[np.float32] | None:
        raise KeyError(name)


class Clock(lightning.Callback):
    """Processor time of an epoch, and of forward, backward and optimiser in it."""

    def __init__(self) -> None:
        self.whole: list[float] = []
        self.inside: list[float] = []
        self._mark = 0.0

    def start(self, *_: Any) -> None:
        self._mark = time.process_time()

    def stop(self, *_: Any) -> None:
        self.inside[-1] += time.process_time() - self._mark

    def on_train_epoch_start(self, *_: Any) -> None:
        self.whole.append(-time.process_time())
        self.inside.append(0.0)

    def on_train_epoch_end(self, *_: Any) -> None:
        self.whole[-1] += time.process_time()

    on_before_backward = start
    on_after_backward = stop
    on_before_optimizer_step = start

    def time_model(self, model: nn.Module) -> None:
        """Clock the forward pass and the losses."""
        objective = model.objective
        model.register_forward_pre_hook(self.start)
        model.register_forward_hook(self.stop)

        def timed(*arguments: Any) -> Any:
            self.start()
            found = objective(*arguments)
            self.stop()
            return found

        model.objective = timed


MODELS = {
    "the paper's two-layer LSTM": (
        "model.encoders.series={kind: lstm, hidden: 256, layers: 2, summaries: false}",
        "training.batch_size=32",
    ),
    "the default GRU": (),
}
"""Series encoders by name, and their settings."""


def epochs(stays: Stays, folder: Path, count: int, settings: tuple[str, ...]) -> Clock:
    """Train some epochs and clock them."""
    config = resolve("single", ["model.modality=ehr", f"training.max_epochs={count}", *settings])
    torch.manual_seed(0)
    model = create({"ehr": SeriesShape(len(GRID.columns), len(GRID.values))}, config.model)
    clock = Clock()
    clock.time_model(model)
    adapter = Adapter(model, config.training, 0)
    configure = adapter.configure_optimizers

    def configured() -> Any:
        found = configure()
        found[0][0].register_step_post_hook(clock.stop)
        return found

    adapter.configure_optimizers = configured
    train = loader(PreparedDataset(stays), config.training.batch_size, shuffle=True)
    lit = lightning.Trainer(
        max_epochs=count, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, gradient_clip_val=config.training.clip, accelerator="cpu",
        limit_val_batches=0, default_root_dir=folder, callbacks=[clock],
    )  # fmt: skip
    lit.fit(adapter, train)
    return clock


def reading(stays: Stays) -> float:
    """Seconds per stay of reading all batches of an epoch."""
    batches = loader(PreparedDataset(stays), 128, shuffle=True)
    best = float("inf")
    for epoch in range(3):
        batches.batch_sampler.set_epoch(epoch)
        start = time.process_time()
        for batch in batches:
            assert len(batch)
        best = min(best, time.process_time() - start)
    return best / len(stays.ids)


def write_files(folder: Path, files: int) -> list[Path]:
    """One CSV per stay: about 80 rows of an hour and 17 variables, most cells empty."""
    rng = np.random.default_rng(1)
    names = list(GRID.variables)
    paths = []
    for stay in range(files):
        path = folder / f"{stay}.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["Hours", *names])
            for hour in np.sort(rng.random(80) * 48):
                writer.writerow([f"{hour:.4f}", *(_cell(rng, name) for name in names)])
        paths.append(path)
    return paths


def _cell(rng: np.random.Generator, name: str) -> str:
    if rng.random() > 0.3:
        return ""
    levels = GRID.variables[name]
    return str(rng.choice(levels)) if levels else f"{rng.normal(80, 10):.1f}"


def per_stay(path: Path) -> NDArray[np.float64]:
    """(24, 76) of one file, row by row and cell by cell: last value of a bin, carried forward, and masks."""
    names = list(GRID.variables)
    out = np.zeros((GRID.steps, len(GRID.columns)))
    first, place = {}, 0
    for name, levels in GRID.variables.items():
        first[name] = place
        place += max(len(levels), 1)
    last = dict.fromkeys(names, "")
    cells: list[dict[str, str]] = [{} for _ in range(GRID.steps)]
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            step = min(int(float(row["Hours"]) / GRID.step), GRID.steps - 1)
            for name in names:
                if row[name]:
                    cells[step][name] = row[name]
    for step in range(GRID.steps):
        for number, name in enumerate(names):
            if name in cells[step]:
                last[name] = cells[step][name]
                out[step, len(GRID.values) + number] = 1
            if not last[name]:
                continue
            levels = GRID.variables[name]
            if levels:
                out[step, first[name] + levels.index(last[name])] = 1
            else:
                out[step, first[name]] = float(last[name])
    return out


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--stays", type=int, default=18_000)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        stays = Stays(asked.stays, folder)
        for name, settings in MODELS.items():
            clock = epochs(stays, folder, asked.epochs, settings)
            share = min(1 - inside / whole for inside, whole in zip(clock.inside, clock.whole, strict=True))
            print(
                f"{name}: an epoch of {asked.stays:,} stays takes {min(clock.whole):.1f} s of processor time,"
            )
            print(f"  {share:.1%} of it outside forward, backward and optimiser (at most 5 % of the paper's)")
        ours = reading(stays)
        paths = write_files(folder, asked.files)
        start = time.process_time()
        for path in paths:
            per_stay(path)
        theirs = (time.process_time() - start) / len(paths)
    print(f"reading a stay: {ours * 1e6:.0f} us; from its own CSV: {theirs * 1e3:.2f} ms")
    print(f"ratio {theirs / ours:.0f} (at least 20)")


if __name__ == "__main__":
    main()
