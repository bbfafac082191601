"""Files of a run: each whole or not at all, and read back with a word about what is wrong."""

import pickle
import secrets
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sklar.errors import DataError, TrainingError

ABANDONED = 3600.0
"""Seconds without a write after which a temporary file of one's own name is nobody's."""

LAST, BEST, HISTORY, COPULAS = "last.ckpt", "best.safetensors", "history.csv", "copulas.json"


def whole(path: Path) -> AbstractContextManager[Path]:
    """A temporary name to write to; afterwards it is renamed: readers see the old file or the new one.

    Raises:
        TrainingError: The file cannot be written, as on a full disk; nothing of it is left behind.
    """
    return _renamed(path.with_name(f".{path.name}.partial"), path)


def own_part(path: Path) -> AbstractContextManager[Path]:
    """As ``whole``, where several processes may write the same file: each has a temporary name of its own.

    Raises:
        TrainingError: The file cannot be written; nothing of it is left behind.
    """
    return _renamed(path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial"), path)


@contextmanager
def _renamed(temporary: Path, path: Path) -> Iterator[Path]:
    try:
        yield temporary
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch says RuntimeError when a disk is full
        temporary.unlink(missing_ok=True)
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise TrainingError(
            f"{path} cannot be written ({why}); what was there before is kept. Make room, and run the same "
            "command again (sklar train with --resume)"
        ) from error


def sweep(folder: Path) -> None:
    """Remove the temporary files that ``own_part`` left in a folder when its process was killed.

    Whoever writes one still does so more often than every ``ABANDONED`` seconds.
    """
    for left in folder.glob(".*.partial"):
        with suppress(FileNotFoundError):  # another process was faster
            if time.time() - left.stat().st_mtime > ABANDONED:
                left.unlink()


def write(path: Path, content: bytes) -> None:
    """Write a file as a whole.

    Raises:
        TrainingError: It cannot be written.
    """
    with whole(path) as temporary:
        temporary.write_bytes(content)


def load_weights(model: nn.Module, path: Path) -> None:
    """Put the weights of a file into a model.

    Raises:
        DataError: The file is missing or damaged, or belongs to another model.
    """
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{path} is missing or damaged ({error}): train again into another --out, or copy the run "
            "folder again from where it was whole"
        ) from error
    _check_fit(path, weights, model.state_dict())
    model.load_state_dict(weights)


def check_checkpoint(path: Path, model: nn.Module) -> None:
    """Say what is wrong with the state to go on from, before training tries.

    Raises:
        DataError: It is damaged, or of another version of sklar.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if (bad := archive.testzip()) is not None:  # torch does not look at the checksums
                raise ValueError(f"checksum of {bad}")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise DataError(
            f"{path} is damaged ({error}): remove it to start again from the first epoch, or copy it again "
            "from where it was whole"
        ) from error
    if lost := [name for name in ("state_dict", "optimizer_states", "callbacks") if name not in content]:
        raise DataError(f"{path} is no state of a training run: it has no {lost[0]}. Choose another --out")
    prefix = "model."
    own = {k.removeprefix(prefix): v for k, v in content["state_dict"].items() if k.startswith(prefix)}
    _check_fit(path, own, model.state_dict())


def _check_fit(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Tensor]) -> None:
    shapes = {name: tuple(value.shape) for name, value in wanted.items()}
    other = {name: tuple(value.shape) for name, value in found.items()}
    if shapes == other:
        return
    name = next(n for n in (*shapes, *other) if shapes.get(n) != other.get(n))
    raise DataError(
        f"{path} does not fit this model: {name} is {other.get(name, 'absent')} there and "
        f"{shapes.get(name, 'absent')} here. Another version of sklar wrote it (env.json says which): use "
        "that version, or train into another --out"
    )
