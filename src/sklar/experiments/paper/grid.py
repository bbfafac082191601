"""The fits of experiments: each made once, kept when finished, gone on with when interrupted."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sklar import runs
from sklar.data.store import PreparedData
from sklar.errors import InterruptedRunError, TrainingError
from sklar.evaluation import auroc
from sklar.experiments.paper.plan import Experiment, Fit
from sklar.experiments.paper.scales import Scale, configuration
from sklar.runs import METRICS, Run
from sklar.runs.folder import read_json, to_json
from sklar.training.config import RunConfig
from sklar.training.files import write

CHECKS = "training.json"
"""In a run folder: AUROC on training rows, and how many tensors of weights training changed."""


@dataclass(frozen=True)
class Job:
    """One run: a fit with a seed.

    Attributes:
        fit: What.
        seed: Of initialisation and order.
        config: The resolved settings.
    """

    fit: Fit
    seed: int
    config: RunConfig

    @property
    def identity(self) -> tuple[str, str]:
        """Cohort and settings; jobs that agree in both are one."""
        return self.fit.cohort, self.config.hash

    def folder(self, fits: Path, data: PreparedData) -> Path:
        """Where its run is kept: the name follows from settings and data."""
        return fits / hashlib.sha256(f"{self.config.hash} {data.hash}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Done:
    """What became of a job.

    Attributes:
        job: The job.
        folder: Its run folder.
        fitted: Whether it was fitted now; else it was finished before, or failed.
        why: Why it failed; empty where it did not.
        checks: Content of `CHECKS`, empty where it failed.
    """

    job: Job
    folder: Path
    fitted: bool
    why: str
    checks: Mapping[str, float]


def jobs_of(
    experiments: Sequence[Experiment], scale: Scale, seeds: int, settings: Sequence[str] = ()
) -> list[Job]:
    """Every job of the experiments, shared ones as often as they are needed; seeds are 0, 1, ..."""
    return [
        Job(fit, seed, configuration(fit, scale, seed, settings))
        for experiment in experiments
        for fit in dict.fromkeys(experiment.fits())
        for seed in range(seeds)
    ]


def unique(jobs: Sequence[Job]) -> list[Job]:
    """Each job once, in their order."""
    return list({job.identity: job for job in jobs}.values())


def run_all(
    jobs: Sequence[Job],
    data: Mapping[str, PreparedData],
    fits: Path,
    announce: Callable[[str], None],
    progress: bool = False,
) -> list[Done]:
    """Make every job that is not finished; one that fails does not stop the others.

    Args:
        jobs: Unique ones.
        data: The prepared folders by cohort.
        fits: Receives a run folder for each.
        announce: Is told each step.
        progress: Show bars on standard error.

    Raises:
        InterruptedRunError: The user stopped it; the same call goes on.
    """
    done = []
    for step, job in enumerate(jobs, 1):
        one = _run(job, data[job.fit.cohort], fits, progress)
        done.append(one)
        announce(f"[{step}/{len(jobs)}] {job.fit}, seed {job.seed}: {_said(one)}")
    return done


def _run(job: Job, data: PreparedData, fits: Path, progress: bool) -> Done:
    folder = job.folder(fits, data)
    before = (folder / METRICS).is_file()
    try:
        run = runs.train(job.config, data, folder, resume=True, progress=progress)
        if not (folder / CHECKS).is_file():
            write(folder / CHECKS, to_json(_check(run, data)))
        return Done(job, folder, not before, "", read_json(folder / CHECKS))
    except InterruptedRunError:
        raise
    except Exception as error:  # hours of other fits must not be lost for whatever went wrong in this one
        return Done(job, folder, False, f"{type(error).__name__}: {str(error).splitlines()[0]}", {})


def _check(run: Run, data: PreparedData) -> dict[str, float]:
    """AUROC on labelled training rows, and the tensors of weights that differ from the initial ones.

    Raises:
        TrainingError: None does.
    """
    found = run.predict(run.config.data.of(data), "train")
    known = ~np.isnan(found.target)
    before, after = run.initial().named_parameters(), dict(run.model.named_parameters())
    moved = [not torch.equal(value.cpu(), after[name].cpu()) for name, value in before]
    if not any(moved):
        raise TrainingError(f"{run.path}: training changed no weight; the fit is no fit")
    return {
        "train_auroc": float(auroc(found.target[known], found.probability[known])),
        "tensors": len(moved),
        "tensors_changed": sum(moved),
        "seconds": float(run.metrics["seconds"]),
    }


def _said(done: Done) -> str:
    if done.why:
        return f"failed ({done.why})"
    checks = done.checks
    state = "fitted" if done.fitted else "finished before"
    return (
        f"{state}, training AUROC {checks['train_auroc']:.3f}, {checks['tensors_changed']:.0f} of "
        f"{checks['tensors']:.0f} weight tensors changed, {checks['seconds']:.0f} s"
    )
