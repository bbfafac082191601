"""An estimator on disk: its run folder, and one JSON file about the rest."""

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklar.data.schema import Schema
from sklar.data.schema_file import schema_of
from sklar.errors import DataError, UserError
from sklar.estimator.holder import RunHolder

FILE = "estimator.json"
FORMAT = 1


def save(
    out: str | os.PathLike[str],
    holder: RunHolder,
    parameters: Mapping[str, Any],
    classes: NDArray[Any],
    fitted: Mapping[str, Any],
) -> None:
    """Write the folder, complete under its name or not at all.

    Args:
        out: The folder, which must be free: absent or empty.
        holder: The run.
        parameters: Of the constructor.
        classes: (K,) the user's classes.
        fitted: What else the estimator knows, plain.

    Raises:
        UserError: The folder holds something, or a parameter or class is no plain value.
    """
    target = Path(out)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UserError(f"{target} exists; give the name of a new folder, or remove it first")
    plain = {name: _plain(name, value) for name, value in parameters.items()}
    content = {
        "format": FORMAT,
        "parameters": plain,
        "classes": {"type": classes.dtype.str, "values": classes.tolist()},
        "fitted": dict(fitted),
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.parent / f".{target.name}.partial-{secrets.token_hex(4)}"
    partial.mkdir(mode=0o700)
    try:
        for name, own in holder.files().items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).write_bytes(own)
        (partial / FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        if target.is_dir():
            target.rmdir()
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def load(folder: str | os.PathLike[str]) -> tuple[RunHolder, dict[str, Any], NDArray[Any], dict[str, Any]]:
    """What `save` wrote: the run, parameters, classes and the rest.

    Raises:
        DataError: The folder holds none, or a newer one.
    """
    path = Path(folder) / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = content["format"]
        parameters, fitted = content["parameters"], content["fitted"]
        classes = np.array(content["classes"]["values"], dtype=content["classes"]["type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is missing or damaged ({error}): MultimodalClassifier.save writes such a folder; a run "
            "of sklar train is opened by sklar.Run.open"
        ) from None
    if found != FORMAT:
        raise DataError(f"{path}: format {found!r}, this sklar reads {FORMAT}: update sklar")
    if parameters.get("schema") is not None:
        parameters["schema"] = schema_of(parameters["schema"], str(path))
    if isinstance(parameters.get("class_weight"), list):
        parameters["class_weight"] = {_key(name): value for name, value in parameters["class_weight"]}
    holder = RunHolder()
    shutil.copytree(folder, holder.path)
    (holder.path / FILE).unlink()
    return holder, parameters, classes, fitted


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, Schema):
        return value.model_dump(mode="json")
    if name == "class_weight" and isinstance(value, Mapping):
        return [[_item(key), float(weight)] for key, weight in value.items()]
    value = _item(value)
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise UserError(
            f"parameter {name!r} is a {type(value).__name__}, which JSON cannot hold; give plain values, "
            "such as a number as random_state"
        ) from None
    return value


def _item(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _key(name: Any) -> Any:
    return tuple(name) if isinstance(name, list) else name
