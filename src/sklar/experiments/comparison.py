"""Several models on one prepared folder, and a report about them: what every comparison does."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sklar import report, runs
from sklar.data.store import PreparedData
from sklar.training.config import RunConfig, resolve
from sklar.training.reference import REFERENCES


@dataclass(frozen=True)
class Comparison:
    """A finished comparison.

    Attributes:
        results: The table of the report.
        runs: The run folders by name.
        report: The HTML file.
        seconds: Wall-clock time.
    """

    results: report.Results
    runs: dict[str, Path]
    report: Path
    seconds: float


def configurations(
    others: Sequence[str],
    modalities: Sequence[str],
    settings: Sequence[str],
    base: Mapping[str, Any],
    model: Mapping[str, Any] | None = None,
) -> dict[str, RunConfig]:
    """CM², other networks, a network per modality and the references, all optimised alike.

    Args:
        others: Networks that read all modalities.
        modalities: Each gets a network of its own.
        settings: ``training.*=...`` for every model, ``model.*=...`` for CM² alone.
        base: Sections that all share.
        model: What every network has besides in its section ``model``.
    """
    shared = [setting for setting in settings if not setting.startswith("model.")]
    own = dict(model or {})
    out = {"cm2": resolve("cm2", settings, **base, model=own)}
    out |= {name: resolve(name, shared, **base, model=own) for name in others}
    out |= {m: resolve("single", shared, **base, model={"modality": m, **own}) for m in modalities}
    return out | {name: resolve(name, shared, **base) for name in REFERENCES}


def train_all(
    chosen: Mapping[str, RunConfig],
    data: PreparedData,
    out: Path,
    announce: Callable[[str], None],
    *,
    started: float,
    before: int,
    progress: bool,
    censoring: Literal["complete", "ipcw"] = "complete",
) -> Comparison:
    """Train or fit every model, and write the report with CM² as the reference.

    What is finished already, with the same configuration, is kept.

    Args:
        chosen: Configurations by name; one of them is ``cm2``.
        data: What they learn from.
        out: Receives ``runs/<name>/`` and ``report.html``.
        announce: Is told each step.
        started: When the comparison began, on the monotonic clock.
        before: Steps that were announced already.
        progress: Show bars on standard error.
        censoring: Weighting of the report's metrics.
    """
    steps = before + len(chosen) + 1
    folders = {}
    for step, (name, config) in enumerate(chosen.items(), start=before + 1):
        announce(f"[{step}/{steps}] {name}")
        folders[name] = runs.train(config, data, out / "runs" / name, resume=True, progress=progress).path
    announce(f"[{steps}/{steps}] evaluate and report")
    page = out / "report.html"
    results = report.write(list(folders.values()), page, reference="cm2", censoring=censoring)
    return Comparison(results, folders, page, time.monotonic() - started)
