"""Pretrained weights that this machine keeps under a name: hashed, with where they came from.

An entry is a folder with safetensors, the configuration and tokenizer of the model where it has them, and
``provenance.json``, written last. Nothing here runs what a file holds; nothing is downloaded unless asked.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklar.errors import DataError, UserError, nearest

if TYPE_CHECKING:
    from torch import Tensor

SCRATCH = "scratch"
"""What settings say instead of a name or a path when weights start at random."""

RECORD, CONFIG, TENSORS = "provenance.json", "config.json", "model.safetensors"

KEPT = (
    CONFIG,
    TENSORS,
    "model-*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)
"""What an entry keeps of a folder."""

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Endings of files that may hold code; `add` reads tensors out of them and nothing else."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w.-]+))?")


@dataclass(frozen=True)
class Weights:
    """Pretrained weights on this machine.

    Attributes:
        name: Of the entry, or the path as it was given.
        path: A folder, or a single file of safetensors.
        architecture: Such as ``bert`` or ``resnet34``.
        parameters: How many numbers the tensors hold.
        source: Where they came from, in the words of whoever added them.
        licence: The same.
        files: SHA-256 by file name.
    """

    name: str
    path: Path
    architecture: str
    parameters: int
    source: str
    licence: str
    files: Mapping[str, str]

    def record(self) -> dict[str, Any]:
        """What is known of them, without where they lie."""
        return {key: value for key, value in asdict(self).items() if key != "path"}


def registry() -> Path:
    """The folder of all entries: ``SKLAR_WEIGHTS``, or ``sklar/weights`` where the user's data lie."""
    if own := os.environ.get("SKLAR_WEIGHTS"):
        return Path(own)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "sklar/weights"


def installed() -> list[Weights]:
    """All entries by name."""
    return [_read(record.parent) for record in sorted(registry().glob(f"[!.]*/{RECORD}"))]


def locate(given: str) -> Weights:
    """The entry of that name, or else the folder or file at that path, checked against its hashes.

    Raises:
        UserError: Neither exists, or the file is a pickle.
        DataError: A file of the entry changed since it was added, or a file is broken.
    """
    if (registry() / given / RECORD).is_file() and _NAME.fullmatch(given):
        entry = _read(registry() / given)
        if found := damage(entry):
            raise DataError(f"weights {given!r} are not what was added: {'; '.join(found)}. Add them again")
        return entry
    path = Path(given).expanduser()
    if not path.exists():
        names = [entry.name for entry in installed()]
        known = f"known names: {', '.join(names)}" if names else "no weights were added yet"
        raise UserError(
            f"no weights {given!r}: neither a name ({known}) nor a path on this machine. Nothing was "
            "substituted and nothing is downloaded: sklar weights add NAME PATH, or 'scratch' for random ones"
            f"{nearest(given, names)}"
        )
    _refuse_pickles(path)
    return _describe(given, path, source=given, licence="")


def add(
    name: str, source: str, *, origin: str = "", licence: str = "", allow_download: bool = False
) -> Weights:
    """Copy weights into the registry.

    Pickled state dicts (``.bin``, ``.pth``, ``.pt``) are read as tensors only and kept as safetensors.

    Args:
        name: What settings will call them.
        source: A folder with ``config.json``, a file of safetensors, a pickled state dict, or, with
            ``allow_download``, ``owner/name`` or ``owner/name@revision`` on the Hugging Face hub.
        origin: Where they came from (an address, a paper); by default the source's last part.
        licence: Theirs.
        allow_download: Whether the source may be fetched.

    Raises:
        UserError: The name is taken or impossible, or there is no such source.
        DataError: The files are broken, or of no architecture that sklar knows.
    """
    if not _NAME.fullmatch(name) or name == SCRATCH:
        raise UserError(
            f"{name!r} cannot be a name of weights: use lower-case letters, digits, '.', '_', '-' "
            f"(and not {SCRATCH!r})"
        )
    home = registry()
    if (home / name).exists():
        raise UserError(f"weights {name!r} exist in {home}: choose another name, or remove {home / name}")
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=home) as scratch:
        path, fetched = _source(source, Path(scratch), allow_download)
        made = Path(scratch) / name
        made.mkdir()
        _copy(path, made)
        entry = _describe(name, made, origin or fetched or path.name, licence)
        (made / RECORD).write_text(json.dumps(entry.record(), indent=1) + "\n", encoding="utf-8")
        made.rename(home / name)
    return _read(home / name)


def damage(entry: Weights) -> list[str]:
    """What is wrong with the files of an entry; empty when they are what was added."""
    out = []
    for name, digest in entry.files.items():
        path = entry.path / name if entry.path.is_dir() else entry.path
        if not path.is_file():
            out.append(f"{name} is missing")
        elif _hash(path) != digest:
            out.append(f"{name} changed")
    return out


def _read(folder: Path) -> Weights:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return Weights(path=folder, **record)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{folder / RECORD} is not a record of weights ({error}): remove {folder} and add them again"
        ) from error


def _source(source: str, scratch: Path, allow_download: bool) -> tuple[Path, str]:
    """A path on this machine, and where it was fetched from (empty when it was here)."""
    path = Path(source).expanduser()
    if path.exists():
        return path, ""
    there = _HUB.fullmatch(source)
    if there is None:
        raise UserError(
            f"{source} does not exist; give a folder, a file, or owner/name with --allow-download"
        )
    if not allow_download:
        raise UserError(
            f"{source} is not on this machine, and nothing is downloaded unless asked: pass "
            "--allow-download, or fetch it elsewhere and give its path"
        )
    import huggingface_hub as hub

    try:
        commit = hub.HfApi().model_info(there["repo"], revision=there["revision"]).sha
        wanted = [*KEPT, "pytorch_model.bin"]
        folder = hub.snapshot_download(
            there["repo"], revision=commit, local_dir=scratch / "fetched", allow_patterns=wanted
        )
    except (OSError, ValueError) as error:
        raise UserError(f"{source} could not be downloaded: {error}") from error
    return Path(folder), f"hub:{there['repo']}@{commit}"


def _copy(source: Path, target: Path) -> None:
    if source.is_file():
        if source.suffix == ".safetensors":
            shutil.copyfile(source, target / TENSORS)
        else:
            _convert(source, target / TENSORS)
        return
    for pattern in KEPT:
        for path in source.glob(pattern):
            shutil.copyfile(path, target / path.name)
    pickle = source / "pytorch_model.bin"
    if not list(target.glob("*.safetensors")) and pickle.is_file():
        _convert(pickle, target / TENSORS)


def _convert(source: Path, target: Path) -> None:
    """Safetensors of a pickled state dict, of which nothing but tensors and plain containers is read."""
    import pickle

    import torch
    from safetensors.torch import save_file

    try:
        content: Any = torch.load(source, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise DataError(
            f"{source.name} is not a plain dictionary of tensors, or it is truncated; a whole pickled model "
            "holds code, which is not run: save its state_dict() as safetensors"
        ) from error
    tensors: dict[str, Tensor] = content if isinstance(content, dict) else {}
    if not tensors or not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise DataError(
            f"{source.name} is not a plain dictionary of tensors: save the state_dict() alone, as safetensors"
        )
    # tied weights share memory, which safetensors do not
    save_file({k: v.clone().contiguous() for k, v in tensors.items()}, target, metadata={"format": "pt"})


def _describe(name: str, path: Path, source: str, licence: str) -> Weights:
    own = [path] if path.is_file() else [p for pattern in KEPT for p in sorted(path.glob(pattern))]
    tensors = [p for p in own if p.suffix == ".safetensors"]
    shapes = {key: shape for file in tensors for key, shape in _shapes(file).items()}
    if not shapes:
        raise DataError(f"{path} holds no safetensors ({TENSORS}): it is no folder of weights, or not whole")
    return Weights(
        name=name,
        path=path,
        architecture=_architecture(path, shapes),
        parameters=sum(prod(shape) for shape in shapes.values()),
        source=source,
        licence=licence,
        files={p.name: _hash(p) for p in own},
    )


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise DataError(
            f"{path} is no file of safetensors, or it is truncated ({error}): fetch it again"
        ) from error


def _architecture(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> str:
    if path.is_dir() and (path / CONFIG).is_file():
        try:
            return str(json.loads((path / CONFIG).read_text(encoding="utf-8"))["model_type"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path / CONFIG} does not say which model_type it describes") from error
    if "layer4.0.conv1.weight" not in shapes:
        raise DataError(
            f"{path} has no {CONFIG} and is no residual network with the names of torchvision "
            f"(conv1.weight, layer1.0.conv1.weight, ...; found {', '.join(sorted(shapes)[:3])}): "
            f"give the folder that holds {CONFIG} and the tensors"
        )
    stages = [{key.split(".")[1] for key in shapes if key.startswith(f"layer{k}.")} for k in (1, 2, 3, 4)]
    depths = "-".join(str(len(blocks)) for blocks in stages)
    block = "bottleneck" if "layer1.0.conv3.weight" in shapes else "basic"
    return _RESNETS.get((block, depths), f"resnet of {block} blocks {depths}")


_RESNETS = {
    ("basic", "2-2-2-2"): "resnet18",
    ("basic", "3-4-6-3"): "resnet34",
    ("bottleneck", "3-4-6-3"): "resnet50",
}


def _refuse_pickles(path: Path) -> None:
    pickled = [path] if path.suffix in PICKLES else []
    if path.is_dir() and not list(path.glob("*.safetensors")):
        pickled = [p for p in sorted(path.iterdir()) if p.suffix in PICKLES]
    if pickled:
        raise UserError(
            f"{pickled[0]} is a pickle, which may hold code and is not loaded: "
            f"'sklar weights add NAME {path}' reads its tensors alone and keeps them as safetensors; then "
            "use that name"
        )


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
