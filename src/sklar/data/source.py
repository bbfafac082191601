"""What batches are made of: rows, modalities and their arrays, on disk or in memory."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sklar.data.preprocess import Preprocessor, TableArrays
from sklar.data.schema import GriddedSeries, Schema
from sklar.errors import UserError

Rows = NDArray[np.integer[Any]] | Sequence[int] | None
"""Positions among the N rows; None is all of them."""


class DataSource(ABC):
    """N rows and M modalities in raw units, with the preprocessor that makes them model-ready.

    The array of a modality holds its present rows only, in the order of the rows.
    """

    @property
    @abstractmethod
    def preprocessor(self) -> Preprocessor:
        """Schema and training statistics."""

    @property
    @abstractmethod
    def ids(self) -> NDArray[np.str_]:
        """(N,) row names."""

    @property
    @abstractmethod
    def groups(self) -> NDArray[np.str_]:
        """(N,) group names."""

    @property
    @abstractmethod
    def target(self) -> NDArray[np.float64]:
        """(N,) 0 or 1, or the class from 0; (N, L) 0 or 1 of several labels; NaN where it is unknown."""

    @property
    @abstractmethod
    def weight(self) -> NDArray[np.float64]:
        """(N,) sampling weights, 1 where none apply."""

    @property
    @abstractmethod
    def positions(self) -> NDArray[np.int64]:
        """(N, M) position of each row in each modality's array, -1 where it is absent."""

    @abstractmethod
    def array(self, name: str) -> NDArray[Any]:
        """(N_present, T, V) array of a series, which must exist; (N_present, T, C) of a gridded one.

        Of an image (N_present, S, H, W) bytes, S = 1 for grey.
        """

    @abstractmethod
    def content(self, name: str) -> pa.Table:
        """Table of N_present rows of a text or tabular modality, which must exist."""

    @property
    def schema(self) -> Schema:
        """Columns, modalities and units."""
        return self.preprocessor.schema

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names in the order of the schema."""
        return tuple(self.schema.modalities)

    @cached_property
    def present(self) -> NDArray[np.bool_]:
        """(N, M) which modalities each row has."""
        return self.positions >= 0

    @cached_property
    def group_codes(self) -> NDArray[np.int64]:
        """(N,) groups as numbers from 0."""
        return np.unique(self.groups, return_inverse=True)[1].astype(np.int64)

    def ids_of(self, name: str) -> NDArray[np.str_]:
        """(N_present,) ids of the rows that have the modality, in the order of its array."""
        return self.ids[self.present[:, self.modalities.index(name)]]

    def series(
        self, name: str, normalised: bool = True
    ) -> tuple[NDArray[np.str_], NDArray[np.floating], tuple[str, ...]]:
        """A whole time series.

        Args:
            name: The modality.
            normalised: True for the model-ready channels, computed here and held in memory; False for raw
                units with NaN where nothing was measured.

        Returns:
            (N_present,) ids, (N_present, T, 3V) or (N_present, T, V) values, and the names of the last axis.
            A gridded series has (N_present, T, C) both ways, filled and with its masks.
        """
        if name in self.schema.grids:
            values = self.ready_grid(name) if normalised else self.array(name)
            return self.ids_of(name), values, self.schema.grids[name].columns
        raw = self.raw_series(name)
        if not normalised:
            return self.ids_of(name), raw, self.schema.series[name].variables
        return self.ids_of(name), self.preprocessor.series(name, raw).values, self.preprocessor.channels(name)

    def raw_series(self, name: str) -> NDArray[np.floating]:
        """(N_present, T, V) raw units, NaN where nothing was measured; mapped from disk in a prepared folder.

        Of a gridded series, V are its value columns, and what fills its gaps is taken out.

        Raises:
            UserError: The name is not a time series.
        """
        self._expect(name, (*self.schema.series, *self.schema.grids), "time series")
        if name not in self.schema.grids:
            return self.array(name)
        spec, array = self.schema.grids[name], self.array(name)
        return np.where(observed_cells(spec, array), array[..., : len(spec.values)], np.nan)

    def ready_grid(self, name: str) -> NDArray[np.float32]:
        """(N_present, T, C) a gridded series, model-ready; computed here, or mapped from a prepared folder.

        Raises:
            UserError: The name is not a gridded series.
        """
        self._expect(name, self.schema.grids, "gridded series")
        return self.preprocessor.grid(name, self.array(name))

    def pictures(self, name: str) -> NDArray[np.uint8]:
        """(N_present, S, H, W) the stored pictures, S = 1 for grey; mapped from disk in a prepared folder.

        Raises:
            UserError: The name is not an image.
        """
        self._expect(name, self.schema.images, "image")
        return self.array(name)

    @abstractmethod
    def picture_times(self, name: str) -> NDArray[np.float32] | None:
        """(N_present,) times relative to time zero in the schema's unit; None when they came without."""

    def table(self, name: str) -> pa.Table:
        """The table of a tabular modality in raw units: id and its columns, N_present rows.

        Raises:
            UserError: The name is not a table.
        """
        self._expect(name, self.schema.tables, "table")
        return self.content(name)

    def ready_table(self, name: str) -> TableArrays:
        """The table of a tabular modality, model-ready, N_present rows; computed once.

        Raises:
            UserError: The name is not a table.
        """
        self._expect(name, self.schema.tables, "table")
        return self._ready_tables[name]

    def documents(self, name: str, rows: Rows = None) -> list[list[str]]:
        """Documents of the given rows, an empty list where there are none.

        Raises:
            UserError: The name is not a text.
        """
        self._expect(name, self.schema.texts, "text")
        place = self.positions[:, self.modalities.index(name)]
        place = place if rows is None else place[np.asarray(rows, dtype=np.int64)]
        chosen = self.content(name)["documents"].take(pa.array(place, mask=place < 0))
        return [item or [] for item in chosen.to_pylist()]

    def document_times(self, name: str) -> NDArray[np.float32] | None:
        """(N_present, D) times relative to time zero in the schema's unit, zero where there is no document.

        None when the texts came without times.

        Raises:
            UserError: The name is not a text.
        """
        self._expect(name, self.schema.texts, "text")
        return self._times[name]

    @cached_property
    def _ready_tables(self) -> dict[str, TableArrays]:
        return {name: self.preprocessor.table(name, self.content(name)) for name in self.schema.tables}

    @cached_property
    def _times(self) -> dict[str, NDArray[np.float32] | None]:
        return {
            name: _padded_times(self.content(name), spec.documents)
            for name, spec in self.schema.texts.items()
        }

    def _expect(self, name: str, among: Collection[str], kind: str) -> None:
        if name not in among:
            raise UserError(
                f"{name!r} is not a {kind} of this data set (modalities: {', '.join(self.modalities)})"
            )


def observed_cells(spec: GriddedSeries, array: NDArray[np.floating]) -> NDArray[np.bool_]:
    """(N, T, values) whether each value column of a gridded series was observed, from its masks."""
    return np.asarray((array[..., len(spec.values) :] > 0)[..., spec.owners])


def _padded_times(table: pa.Table, width: int) -> NDArray[np.float32] | None:
    if "times" not in table.column_names:
        return None
    lists = table["times"].combine_chunks()
    count = np.diff(lists.offsets.to_numpy())
    padded = np.zeros((len(lists), width), dtype=np.float32)
    padded[np.arange(width) < count[:, None]] = lists.flatten().to_numpy()
    return padded
