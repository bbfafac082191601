"""A prepared folder, opened: checked at the door, memory-mapped, and read by position."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sklar.data.manifest import Manifest, content_hash, file_hash
from sklar.data.outcome import index_target, label_column
from sklar.data.preprocess import Preprocessor
from sklar.data.source import DataSource
from sklar.data.split import SPLITS
from sklar.errors import DataError, UserError

CHARACTERISTICS = "characteristics"
"""The table of what is known of rows for an evaluation by subgroup alone."""


@dataclass(frozen=True)
class PreparedData(DataSource):
    """N rows and M modalities of a prepared folder.

    Open one with `PreparedData.open`. Rows are positions in the index, 0 to N - 1. Series stay on disk and
    are mapped.

    Attributes:
        path: The folder.
        manifest: What it holds and how it was made.
        index: Table of N rows: id, group, split, label (null where unknown), weight, and per modality
            ``present_<name>`` and ``row_<name>`` (position in the modality's array, -1 where absent).
            Further outcomes are called ``label_<task>``, and so are all of a schema with several labels;
            times of pictures ``time_<name>``. A class is its number, from 0, in the order of the schema.
    """

    path: Path
    manifest: Manifest
    index: pa.Table

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, verify: bool = False) -> "PreparedData":
        """Open a prepared folder.

        Args:
            path: The folder.
            verify: Also compare every file with its hash, which reads all of them.

        Raises:
            DataError: There is no manifest, its format is another, or a file is missing or was changed.
        """
        folder = Path(path)
        manifest = Manifest.read(folder)
        for name, file in manifest.files.items():
            if not (folder / name).is_file():
                raise DataError(
                    f"{folder}: {name} is missing, the manifest lists it. Prepare the folder again"
                )
            size = (folder / name).stat().st_size
            if size != file.bytes or (verify and file_hash(folder / name) != file.sha256):
                raise DataError(
                    f"{folder}: {name} is not the file that was prepared. Prepare the folder again"
                )
        if verify and content_hash(manifest.schema, manifest.statistics, manifest.files) != manifest.hash:
            raise DataError(f"{folder}: the manifest was changed after preparation. Prepare the folder again")
        return cls(folder, manifest, pq.read_table(folder / "index.parquet"))

    @property
    def hash(self) -> str:
        """One hash of the whole content."""
        return self.manifest.hash

    @cached_property
    def preprocessor(self) -> Preprocessor:
        """Schema and training statistics."""
        return Preprocessor(self.manifest.schema, self.manifest.statistics)

    @cached_property
    def ids(self) -> NDArray[np.str_]:
        """(N,) row names."""
        return self._strings("id")

    @cached_property
    def groups(self) -> NDArray[np.str_]:
        """(N,) group names."""
        return self._strings("group")

    @cached_property
    def target(self) -> NDArray[np.float64]:
        """(N,) 0 or 1, or the class from 0; (N, L) 0 or 1 of several labels; NaN where it is unknown."""
        return index_target(self.schema, self.index)

    @cached_property
    def weight(self) -> NDArray[np.float64]:
        """(N,) sampling weights, 1 where none apply."""
        return np.asarray(self.index["weight"].to_numpy(), dtype=np.float64)

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """(N, M) position of each row in each modality's array, -1 where it is absent."""
        columns = [self.index[f"row_{name}"].to_numpy() for name in self.modalities]
        return np.stack(columns, axis=1).astype(np.int64)

    def rows(self, split: str | None = None, *, matched: bool = False) -> NDArray[np.int64]:
        """Positions of the rows of "train", "valid" or "test", ascending; None gives all.

        Args:
            split: The split.
            matched: True for rows that have every modality, the totally matched cohort; all rows are the
                partially matched one.

        Raises:
            UserError: There is no such split.
        """
        if split is not None and split not in SPLITS:
            raise UserError(f"no split {split!r}; choose one of {', '.join(SPLITS)}")
        chosen = (
            np.ones(self.index.num_rows, dtype=bool) if split is None else self._strings("split") == split
        )
        return np.flatnonzero(chosen & self.present.all(axis=1) if matched else chosen)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Label columns that the folder holds; a model learns the schema's."""
        return self.manifest.tasks or self.schema.labels

    def labels(self, task: str | None = None) -> dict[str, int]:
        """Outcome by id, for the rows that have one; a class is its number, from 0.

        Args:
            task: One of `tasks`; None is the schema's label, which must be one.

        Raises:
            UserError: There is no such task, or none is named of several labels.
        """
        if task is None and len(self.schema.labels) > 1:
            raise UserError(f"several labels: name one task of {', '.join(self.tasks)}")
        if task is not None and task not in self.tasks:
            raise UserError(f"no task {task!r} in {self.path}; it holds {', '.join(self.tasks)}")
        column = label_column(self.schema, task or self.schema.labels[0])
        target = self.index[column].cast(pa.float64()).to_numpy()
        known = ~np.isnan(target)
        return dict(zip(self.ids[known].tolist(), target[known].astype(int).tolist(), strict=True))

    def array(self, name: str) -> NDArray[Any]:
        """The array of a series, gridded series or image, mapped and not read; see `DataSource.array`."""
        return self._mapped[name]

    def ready_grid(self, name: str) -> NDArray[np.float32]:
        """(N_present, T, C) a gridded series, model-ready, mapped and not read."""
        self._expect(name, self.schema.grids, "gridded series")
        return self._ready_grids[name]

    def picture_times(self, name: str) -> NDArray[np.float32] | None:
        """(N_present,) times of an image relative to time zero; None when they came without."""
        self._expect(name, self.schema.images, "image")
        if f"time_{name}" not in self.index.column_names:
            return None
        times = np.asarray(self.index[f"time_{name}"].to_numpy(), dtype=np.float32)
        return times[self.present[:, self.modalities.index(name)]]

    def content(self, name: str) -> pa.Table:
        """Table of N_present rows of a text or tabular modality."""
        return self._tables[name]

    @cached_property
    def characteristics(self) -> pa.Table | None:
        """Table of N rows, in their order: id, and columns that no model reads but that tell subgroups apart.

        Numbers and texts, null where unknown; None where the folder holds no such columns.
        """
        name = f"{CHARACTERISTICS}.parquet"
        return pq.read_table(self.path / name) if name in self.manifest.files else None

    def _strings(self, column: str) -> NDArray[np.str_]:
        return np.asarray(self.index[column].to_numpy(), dtype=np.str_)

    @cached_property
    def _mapped(self) -> dict[str, NDArray[Any]]:
        names = (*self.schema.series, *self.schema.grids, *self.schema.images)
        return {name: self._map(name) for name in names}

    @cached_property
    def _ready_grids(self) -> dict[str, NDArray[np.float32]]:
        return {name: self._map(f"{name}.ready") for name in self.schema.grids}

    def _map(self, name: str) -> NDArray[Any]:
        array: NDArray[Any] = np.load(self.path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return array

    @cached_property
    def _tables(self) -> dict[str, pa.Table]:
        names = (*self.schema.texts, *self.schema.tables)
        return {name: pq.read_table(self.path / f"{name}.parquet") for name in names}

    def __reduce__(self) -> tuple[Any, ...]:  # a worker process maps the files itself
        return PreparedData, (self.path, self.manifest, self.index)
