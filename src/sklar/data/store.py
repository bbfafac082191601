"""A prepared folder, opened: checked at the door, memory-mapped, and read by position."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sklar.data.manifest import Manifest, content_hash, file_hash
from sklar.data.preprocess import Preprocessor, TableArrays
from sklar.data.schema import Schema
from sklar.data.split import SPLITS
from sklar.errors import DataError, UserError


@dataclass(frozen=True)
class PreparedData:
    """N rows and M modalities of a prepared folder.

    Open one with `PreparedData.open`. Rows are positions in the index, 0 to N - 1; the arrays of a
    modality hold its present rows only, in the order of the index. Series stay on disk and are mapped.

    Attributes:
        path: The folder.
        manifest: What it holds and how it was made.
        index: Table of N rows: id, group, split, label (null where unknown), weight, and per modality
            ``present_<name>`` and ``row_<name>`` (position in the modality's array, -1 where absent).
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
        index = pq.read_table(folder / "index.parquet")
        if index.num_rows != manifest.counts["all"].subjects:
            raise DataError(
                f"{folder}: the index has {index.num_rows} rows, the manifest "
                f"{manifest.counts['all'].subjects}. "
                "Prepare the folder again"
            )
        return cls(folder, manifest, index)

    @property
    def schema(self) -> Schema:
        """Columns, modalities and units."""
        return self.manifest.schema

    @property
    def hash(self) -> str:
        """One hash of the whole content."""
        return self.manifest.hash

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names in the order of the schema."""
        return tuple(self.schema.modalities)

    @cached_property
    def preprocessor(self) -> Preprocessor:
        """Raw units to model-ready arrays, with the training statistics."""
        return Preprocessor(self.schema, self.manifest.statistics)

    @cached_property
    def ids(self) -> NDArray[np.str_]:
        """(N,) row names."""
        return self._strings("id")

    @cached_property
    def groups(self) -> NDArray[np.str_]:
        """(N,) group names."""
        return self._strings("group")

    @cached_property
    def group_codes(self) -> NDArray[np.int64]:
        """(N,) groups as numbers from 0."""
        return np.unique(self.groups, return_inverse=True)[1].astype(np.int64)

    @cached_property
    def target(self) -> NDArray[np.float64]:
        """(N,) 0 or 1, NaN where it is unknown."""
        return np.asarray(self.index["label"].cast(pa.float64()).to_numpy(), dtype=np.float64)

    @cached_property
    def weight(self) -> NDArray[np.float64]:
        """(N,) sampling weights, 1 where none apply."""
        return np.asarray(self.index["weight"].to_numpy(), dtype=np.float64)

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """(N, M) position of each row in each modality's array, -1 where it is absent."""
        return np.stack([self.index[f"row_{name}"].to_numpy() for name in self.modalities], axis=1).astype(
            np.int64
        )

    @cached_property
    def present(self) -> NDArray[np.bool_]:
        """(N, M) which modalities each row has."""
        return self.positions >= 0

    def rows(self, split: str | None = None) -> NDArray[np.int64]:
        """Positions of the rows of "train", "valid" or "test", ascending; None gives all.

        Raises:
            UserError: There is no such split.
        """
        if split is None:
            return np.arange(self.index.num_rows)
        if split not in SPLITS:
            raise UserError(f"no split {split!r}; choose one of {', '.join(SPLITS)}")
        return np.flatnonzero(self._strings("split") == split)

    def labels(self) -> dict[str, int]:
        """Outcome by id, for the rows that have one."""
        known = ~np.isnan(self.target)
        return dict(zip(self.ids[known].tolist(), self.target[known].astype(int).tolist(), strict=True))

    def series(
        self, name: str, normalised: bool = True
    ) -> tuple[NDArray[np.str_], NDArray[np.float32], tuple[str, ...]]:
        """A whole time series.

        Args:
            name: The modality.
            normalised: True for the model-ready channels, computed here and held in memory; False for raw
                units with NaN where nothing was measured, mapped from disk.

        Returns:
            (N_present,) ids, (N_present, T, 3V) or (N_present, T, V) values, and the names of the last axis.
        """
        raw = self.raw_series(name)
        if not normalised:
            return self.ids_of(name), raw, self.schema.series[name].variables
        return self.ids_of(name), self.preprocessor.series(name, raw).values, self.preprocessor.channels(name)

    def raw_series(self, name: str) -> NDArray[np.float32]:
        """(N_present, T, V) raw units, NaN where nothing was measured; mapped, not read.

        Raises:
            UserError: The name is not a time series.
        """
        self._expect(name, self.schema.series, "time series")
        return self._mapped[name]

    def preprocessed_table(self, name: str) -> TableArrays:
        """The table of a tabular modality, model-ready; computed once.

        Raises:
            UserError: The name is not a table.
        """
        self._expect(name, self.schema.tables, "table")
        return self._ready_tables[name]

    def table(self, name: str) -> pa.Table:
        """The table of a tabular modality in raw units: id and its columns, N_present rows.

        Raises:
            UserError: The name is not a table.
        """
        self._expect(name, self.schema.tables, "table")
        return self._tables[name]

    def documents(
        self, name: str, rows: NDArray[np.integer[Any]] | Sequence[int] | None = None
    ) -> list[list[str]]:
        """Documents of the given rows of the index (all by default), an empty list where there are none.

        Raises:
            UserError: The name is not a text.
        """
        return self._listed(name, "documents", rows)

    def document_times(
        self, name: str, rows: NDArray[np.integer[Any]] | Sequence[int] | None = None
    ) -> list[list[float]] | None:
        """Times of those documents relative to time zero, None when the texts came without times.

        Raises:
            UserError: The name is not a text.
        """
        self._expect(name, self.schema.texts, "text")
        return self._listed(name, "times", rows) if "times" in self._tables[name].column_names else None

    def ids_of(self, name: str) -> NDArray[np.str_]:
        """(N_present,) ids of the rows that have the modality, in the order of its array."""
        return self.ids[self.present[:, self.modalities.index(name)]]

    def _listed(
        self, name: str, column: str, rows: NDArray[np.integer[Any]] | Sequence[int] | None
    ) -> list[Any]:
        self._expect(name, self.schema.texts, "text")
        place = self.positions[:, self.modalities.index(name)]
        place = place if rows is None else place[np.asarray(rows, dtype=np.int64)]
        chosen = self._tables[name][column].take(pa.array(place, mask=place < 0))
        return [item or [] for item in chosen.to_pylist()]

    def _strings(self, column: str) -> NDArray[np.str_]:
        return np.asarray(self.index[column].to_numpy(), dtype=np.str_)

    @cached_property
    def _mapped(self) -> dict[str, NDArray[np.float32]]:
        return {
            name: np.load(self.path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            for name in self.schema.series
        }

    @cached_property
    def _tables(self) -> dict[str, pa.Table]:
        names = (*self.schema.texts, *self.schema.tables)
        return {name: pq.read_table(self.path / f"{name}.parquet") for name in names}

    @cached_property
    def _ready_tables(self) -> dict[str, TableArrays]:
        return {name: self.preprocessor.table(name, self._tables[name]) for name in self.schema.tables}

    def _expect(self, name: str, among: object, kind: str) -> None:
        if name not in among:  # type: ignore[operator]
            raise UserError(
                f"{name!r} is not a {kind} of this data set (modalities: {', '.join(self.modalities)})"
            )

    def __reduce__(self) -> tuple[Any, ...]:  # a worker process maps the files itself
        return PreparedData.open, (self.path,)
