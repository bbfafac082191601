"""Writing a prepared folder: complete under its name, or absent."""

import secrets
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sklar.data.manifest import File, Manifest, content_hash, file_hash
from sklar.data.store import PreparedData
from sklar.errors import DataError, UserError

PRIVATE = 0o700
"""Mode of a folder of restricted data: nobody but its owner."""


def write_folder(
    target: Path, manifest: Manifest, contents: Mapping[str, NDArray[Any] | pa.Table | Path]
) -> None:
    """Write into a hidden sibling, the manifest last, and rename: ``target`` is complete or absent.

    Restricted data are never readable for others, not even while they are written.

    Args:
        target: The folder, which must be free: absent or empty.
        manifest: What it holds; the sizes and hashes of files are filled in here.
        contents: Per name an array, a table, or the path of an array file that moves into the folder.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.parent / f".{target.name}.partial-{secrets.token_hex(4)}"
    partial.mkdir(mode=PRIVATE if manifest.restricted else 0o777)
    try:
        files: dict[str, File] = {}
        for name, content in contents.items():
            path = partial / f"{name}.{'parquet' if isinstance(content, pa.Table) else 'npy'}"
            if isinstance(content, pa.Table):
                pq.write_table(content, path)
            elif isinstance(content, Path):
                shutil.move(content, path)
            else:
                np.save(path, content, allow_pickle=False)
            files[path.name] = File(path.stat().st_size, file_hash(path))
        whole = content_hash(manifest.schema, manifest.statistics, files)
        replace(manifest, files=files, hash=whole).write(partial)
        if target.is_dir():
            target.rmdir()
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def existing_folder(target: Path, configuration: str) -> PreparedData | None:
    """The folder at ``target`` if it was made from the same inputs, None if the place is free."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return None
    try:
        found = PreparedData.open(target)
    except DataError as error:
        raise UserError(
            f"{target} exists and is not a usable prepared folder ({error}). Give another --out, or "
            "remove it first"
        ) from None
    if found.manifest.configuration != configuration:
        raise UserError(
            f"{target} holds {found.manifest.name!r}, prepared from other tables or with other options. "
            "Give another --out, or remove it first"
        )
    return found
