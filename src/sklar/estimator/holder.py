"""A run folder that belongs to an estimator: it goes where the estimator goes, and ends with it."""

import shutil
import tempfile
import weakref
from functools import cached_property
from pathlib import Path

from sklar.runs import Run
from sklar.training.files import LAST


class RunHolder:
    """A private folder with one finished run.

    Pickling and copying carry the files along; what training would need to go on is left behind.
    """

    def __init__(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="sklar-"))  # readable for its owner only
        weakref.finalize(self, shutil.rmtree, self.base, ignore_errors=True)

    @property
    def path(self) -> Path:
        """Where the run lies."""
        return self.base / "run"

    @cached_property
    def run(self) -> Run:
        """The run, opened."""
        return Run.open(self.path)

    def files(self) -> dict[str, bytes]:
        """The content of the run folder by relative path."""
        found = sorted(path for path in self.path.rglob("*") if path.is_file() and path.name != LAST)
        return {path.relative_to(self.path).as_posix(): path.read_bytes() for path in found}

    def fill(self, files: dict[str, bytes]) -> None:
        """Write what `files` returned."""
        for name, content in files.items():
            place = self.path / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)

    def __getstate__(self) -> dict[str, bytes]:
        return self.files()

    def __setstate__(self, state: dict[str, bytes]) -> None:
        RunHolder.__init__(self)
        self.fill(state)

    def forget(self) -> None:
        """Open the run anew when it is next asked for, after one of its files changed."""
        self.__dict__.pop("run", None)
