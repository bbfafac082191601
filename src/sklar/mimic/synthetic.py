"""The mark of a folder of simulated raw tables, by which preparation knows that no patient is behind it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MARK = "synthetic.json"
"""Beside the tables, written last."""


def write_mark(folder: Path, about: Mapping[str, Any]) -> None:
    """Mark a folder, with the size of every table in it."""
    files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in _tables(folder)}
    content = {"synthetic": True, **about, "files": files}
    (folder / MARK).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def is_synthetic(folder: Path) -> bool:
    """Whether a folder is marked and holds exactly the tables that were marked.

    A table that was put there later, or replaced, may be of patients: then the mark does not count.
    """
    mark = folder / MARK
    if not mark.is_file():
        return False
    try:
        content = json.loads(mark.read_text(encoding="utf-8"))
        files = content["files"] if content["synthetic"] is True else None
    except (ValueError, KeyError, TypeError):
        return False
    return bool(
        files == {path.relative_to(folder).as_posix(): path.stat().st_size for path in _tables(folder)}
    )


def _tables(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name.endswith((".csv", ".csv.gz", ".parquet"))
    )
