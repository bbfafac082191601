"""What lies in a run folder beside the model, and who may go on from it."""

import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml

from sklar._version import __version__
from sklar.data.folder import PRIVATE
from sklar.data.store import PreparedData
from sklar.errors import DataError, UserError
from sklar.training.config import RunConfig, content_hash
from sklar.training.files import write

CONFIG, DATA, ENVIRONMENT, WEIGHTS, METRICS = (
    "config.yaml",
    "data.json",
    "env.json",
    "weights.json",
    "metrics.json",
)

FORMAT = 1
"""Of run folders; a sklar reads those of its own format and of earlier ones."""

HASH = "# sha256 of these settings: "
"""How the configuration's first line begins."""


def enter(config: RunConfig, data: PreparedData, out: Path, resume: bool) -> bool:
    """Make or check the folder; true when it holds the finished run already."""
    if out.exists() and not _barely_begun(out):
        if not (out / CONFIG).is_file():
            raise UserError(f"{out} exists and is not a run folder: choose another --out")
        before, described = read_config(out), read_json(out / DATA)
        if before.hash != config.hash or described.get("hash") != data.hash:
            what = f"configuration ({_difference(before, config)})" if before.hash != config.hash else "data"
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
    write(out / ENVIRONMENT, to_json({"format": FORMAT, **environment()}))
    write(out / DATA, to_json(_describe(data)))
    # last: a folder that has it has the others
    write(out / CONFIG, f"{HASH}{config.hash}\n{config.to_yaml()}".encode())
    return False


def read_config(folder: Path) -> RunConfig:
    """The settings of a run folder.

    Raises:
        DataError: They are damaged or were changed afterwards, or a newer sklar wrote them.
    """
    environment = read_json(folder / ENVIRONMENT)
    if environment.get("format", FORMAT) > FORMAT:
        raise DataError(
            f"{folder} was written by sklar {environment.get('sklar')} in format {environment['format']}; "
            f"this is sklar {__version__}, which reads format {FORMAT}: update sklar"
        )
    path = folder / CONFIG
    try:
        text = path.read_text()
        tree = yaml.safe_load(text)
        config = RunConfig.from_yaml(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, UserError) as error:
        raise DataError(
            f"{path} cannot be read ({error}): this is not what sklar train wrote, or another version did "
            f"({environment.get('sklar', 'unknown')} here)"
        ) from error
    first = text.partition("\n")[0]
    if first.startswith(HASH) and first.removeprefix(HASH) != content_hash(tree):
        raise DataError(
            f"{path} was changed after the run began: take the change back, or train into another --out"
        )
    return config


def read_json(path: Path) -> dict[str, Any]:
    """The content of one of a run folder's JSON files.

    Raises:
        DataError: It is missing or damaged.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} is missing or damaged ({error}): copy the run folder again from where it was whole, or "
            "train into another --out"
        ) from error
    return content


def _barely_begun(folder: Path) -> bool:
    """Whether it holds nothing, or only what is written before its configuration."""
    names = {path.name for path in folder.iterdir()}
    before = {ENVIRONMENT, DATA}
    return names <= before | {f".{name}.partial" for name in (*before, CONFIG)}


def _difference(before: RunConfig, after: RunConfig) -> str:
    """The first setting that differs."""
    pairs = (dict(_flat(config.model_dump(mode="json"))) for config in (before, after))
    old, new = pairs
    key = next(k for k in (*old, *new) if old.get(k) != new.get(k))
    return f"{key} is {old.get(key)} there, {new.get(key)} here"


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _describe(data: PreparedData) -> dict[str, Any]:
    """What a report and a later prediction need to know of the data."""
    manifest = data.manifest
    return {
        "name": manifest.name,
        "hash": data.hash,
        "restricted": manifest.restricted,
        "label": ", ".join(manifest.schema.labels),
        "modalities": list(data.modalities),
        "counts": {
            **manifest.counts["all"].as_dict(),
            **{s: manifest.counts[s].as_dict() for s in ("train", "valid", "test")},
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
