"""Work in steps, each of which leaves one finished file, so that interrupted work goes on where it was."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

from sklar.data.folder import PRIVATE
from sklar.errors import DataError


def fingerprint(*inputs: Any) -> str:
    """A hash of everything that decides what a step gives."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()


def steps_folder(out: Path) -> Path:
    """Where the steps towards a folder leave their files: hidden, beside it."""
    return out.parent / f".{out.name}.steps"


@final
class Steps:
    """A hidden folder beside the one to be made, holding the finished files of steps.

    A file is under its final name only when it is complete, and the name holds a hash of what went in, so
    that it is never taken for another's.

    Args:
        out: The folder to be made.
    """

    def __init__(self, out: Path) -> None:
        self.folder = steps_folder(out)
        self.folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)

    def file(self, name: str, inputs: str, write: Callable[[Path], None], suffix: str = ".parquet") -> Path:
        """The finished file of a step, which is run unless it was finished with the same inputs."""
        path = self.folder / f"{name}-{inputs[:16]}{suffix}"
        if not path.exists():
            partial = path.with_suffix(".partial")
            write(partial)
            partial.replace(path)
        return path

    def need(self, size: int, what: str) -> None:
        """Check that the disk has room.

        Raises:
            DataError: It has not.
        """
        free = shutil.disk_usage(self.folder).free
        if free < size:
            raise DataError(
                f"{self.folder.parent}: {what} needs {size / 1e6:,.0f} MB and the disk has "
                f"{free / 1e6:,.0f} MB "
                "free. Free some space, or give another --out; finished tables are kept"
            )

    def remove(self) -> None:
        """Remove the folder: everything is where it belongs."""
        shutil.rmtree(self.folder, ignore_errors=True)
