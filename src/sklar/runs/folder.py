"""What lies in a run folder beside the model, and who may go on from it."""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from sklar._version import __version__
from sklar.data.folder import PRIVATE
from sklar.data.store import PreparedData
from sklar.errors import UserError
from sklar.training.callbacks import write
from sklar.training.config import RunConfig

CONFIG, DATA, ENVIRONMENT, WEIGHTS, METRICS = (
    "config.yaml",
    "data.json",
    "env.json",
    "weights.json",
    "metrics.json",
)


def enter(config: RunConfig, data: PreparedData, out: Path, resume: bool) -> bool:
    """Make or check the folder; true when it holds the finished run already."""
    if out.exists() and any(out.iterdir()):
        if not (out / CONFIG).is_file() or not (out / DATA).is_file():
            raise UserError(f"{out} exists and is not a run folder: choose another --out")
        before = RunConfig.from_yaml((out / CONFIG).read_text())
        if before.hash != config.hash or json.loads((out / DATA).read_text())["hash"] != data.hash:
            what = "configuration" if before.hash != config.hash else "data"
            raise UserError(f"{out} holds a run with another {what}: choose another --out, or remove it")
        if not resume:
            state = "is finished" if (out / METRICS).is_file() else "was interrupted"
            raise UserError(
                f"{out} exists and {state}: pass --resume to go on from it, or choose another --out"
            )
        return (out / METRICS).is_file()
    out.mkdir(parents=True, exist_ok=True)
    if data.manifest.restricted:
        out.chmod(PRIVATE)  # predictions name patients
    write(out / ENVIRONMENT, to_json(environment()))
    write(out / DATA, to_json(_describe(data)))
    write(out / CONFIG, config.to_yaml().encode())
    return False


def _describe(data: PreparedData) -> dict[str, Any]:
    """What a report and a later prediction need to know of the data."""
    manifest = data.manifest
    return {
        "name": manifest.name,
        "hash": data.hash,
        "restricted": manifest.restricted,
        "label": manifest.schema.label,
        "modalities": list(data.modalities),
        "counts": {
            **asdict(manifest.counts["all"]),
            **{s: asdict(manifest.counts[s]) for s in ("train", "valid", "test")},
        },
        "presence": manifest.presence,
        "attrition": [asdict(step) for step in manifest.attrition],
        "risk": manifest.risk,
        "notes": list(manifest.notes),
        "rules": manifest.rules,
        "schema": manifest.schema.model_dump(mode="json"),
        "statistics": manifest.statistics,
    }


def environment() -> dict[str, Any]:
    """Versions and machine, without names of hosts or users."""
    packages = ("torch", "numpy", "scikit-learn", "pytorch-lightning", "transformers", "pyarrow")
    return {
        "sklar": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        **{name: version(name) for name in packages},
    }


def to_json(content: Mapping[str, Any]) -> bytes:
    """How the files of a run folder are written."""
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()
