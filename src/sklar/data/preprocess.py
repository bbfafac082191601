"""From raw units to what a model reads: pure functions of a schema and training statistics.

The rule for a number is: log(1 + x) if the schema says it is skewed, minus the training mean, divided by
the training standard deviation, clipped to [-5, 5] so that one wild value cannot steer a batch; gaps are
zero, the training mean.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sklar.data.manifest import Statistics
from sklar.data.schema import GriddedSeries, Schema, Tabular, TimeSeries
from sklar.data.tables import as_numbers, as_text, column, positions
from sklar.errors import DataError

CLIP = 5.0


@dataclass(frozen=True)
class SeriesArrays:
    """Model-ready series of N rows, T steps and V variables.

    Attributes:
        values: (N, T, 3V) float32: carried-forward z-scores, observed as 0 or 1, time since the last
            observation as a fraction of the grid (0 at an observation, 1 where there was none yet).
        observed: (N, T, V) bool.
    """

    values: NDArray[np.float32]
    observed: NDArray[np.bool_]


@dataclass(frozen=True)
class TableArrays:
    """Model-ready table of N rows, P numeric and Q categorical columns.

    Attributes:
        numeric: (N, P) float32 z-scores; gaps hold zero.
        observed: (N, P) bool.
        categories: (N, Q) int64 level codes from 1; zero is a gap or a level that the schema does not list.
    """

    numeric: NDArray[np.float32]
    observed: NDArray[np.bool_]
    categories: NDArray[np.int64]


@dataclass(frozen=True)
class Preprocessor:
    """Raw arrays to model-ready arrays, with statistics fitted elsewhere.

    It needs no prepared folder: a run folder carries schema and statistics, and reads new patients with them.

    Attributes:
        schema: Names, order and units.
        statistics: Per modality and variable {"mean", "sd", ...}, as `fit_statistics` returns them.
    """

    schema: Schema
    statistics: Statistics

    def __post_init__(self) -> None:
        for name, item in self.schema.measured.items():
            if lost := [v for v in item.numbers if v not in self.statistics.get(name, {})]:
                raise DataError(
                    f"statistics of modality {name!r} lack {lost[0]!r}; they belong to another schema"
                )

    def series(self, name: str, raw: NDArray[np.floating]) -> SeriesArrays:
        """Model-ready arrays of a series.

        Args:
            name: The modality.
            raw: (N, T, V) raw units, NaN where not measured.

        Raises:
            DataError: T or V is not the schema's.
        """
        spec = self.schema.series[name]
        if raw.shape[1:] != (spec.steps, len(spec.variables)):
            raise DataError(
                f"series {name!r}: array {raw.shape}, the schema has {spec.steps} steps of "
                f"{len(spec.variables)} variables. Bin the records with the same schema"
            )
        z, observed = _standardise(raw, spec, *self._moments(name, spec.variables))
        steps = np.arange(spec.steps)[:, None]
        last = np.maximum.accumulate(np.where(observed, steps, -1), axis=1)
        carried = np.take_along_axis(z, np.maximum(last, 0), axis=1)  # before the first: z is 0 in gaps
        since = np.where(last < 0, 1.0, (steps - last) / spec.steps)
        values = np.concatenate([carried, observed, since], axis=2, dtype=np.float32, casting="unsafe")
        return SeriesArrays(values, observed)

    def grid(self, name: str, raw: NDArray[np.floating]) -> NDArray[np.float32]:
        """(N, T, C) model-ready array of a gridded series: numbers as z-scores, the rest as it is.

        Args:
            name: The modality.
            raw: (N, T, C) values, filled, and masks.

        Raises:
            DataError: T or C is not the schema's.
        """
        spec = self.schema.grids[name]
        if raw.shape[1:] != (spec.steps, len(spec.columns)):
            raise DataError(
                f"series {name!r}: array {raw.shape}, the schema has {spec.steps} steps of "
                f"{len(spec.columns)} columns. Prepare it with the same schema"
            )
        mean, sd = self._moments(name, spec.numbers)
        chosen = [spec.columns.index(number) for number in spec.numbers]
        ready = raw.astype(np.float32)
        z = (raw[..., chosen] - mean) / sd
        ready[..., chosen] = z if spec.clip is None else np.clip(z, -spec.clip, spec.clip)
        return ready

    def table(self, name: str, raw: pa.Table) -> TableArrays:
        """Model-ready arrays of a table.

        Args:
            name: The modality.
            raw: N rows with the modality's columns, in raw units.

        Raises:
            DataError: A column is missing, or a numeric one holds no numbers.
        """
        spec = self.schema.tables[name]
        z, observed = _standardise(numbers(spec, raw, name), spec, *self._moments(name, spec.numeric))
        codes = [
            positions(as_text(column(raw, item, name)), pa.array(levels, pa.string())) + 1
            for item, levels in spec.categorical.items()
        ]
        categories = np.stack(codes, axis=1) if codes else np.zeros((raw.num_rows, 0), dtype=np.int64)
        return TableArrays(z.astype(np.float32), observed, categories)

    def channels(self, name: str) -> tuple[str, ...]:
        """Names of the 3V channels of a series, in order."""
        variables = self.schema.series[name].variables
        return (*variables, *(f"{v}:observed" for v in variables), *(f"{v}:since" for v in variables))

    def _moments(
        self, name: str, variables: tuple[str, ...]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        fitted = self.statistics.get(name, {})
        return (
            np.array([fitted[v]["mean"] for v in variables]),
            np.array([fitted[v]["sd"] for v in variables]),
        )


def fit_statistics(schema: Schema, raw: Mapping[str, NDArray[np.floating] | pa.Table]) -> Statistics:
    """Mean and standard deviation of every number over the observed cells of the given (training) rows.

    A variable with fewer than two cells, or that never varies, gets a standard deviation of 1; without a
    cell its mean is 0.

    Args:
        schema: Says which numbers are skewed, and which values are plausible.
        raw: Per series an (N, T, V) array (gridded: (N, T, C), filled), per table an Arrow table; texts are
            passed over.

    Returns:
        Per modality and variable {"mean", "sd", "cells"}, after log(1 + x) where the schema asks for it.
    """
    statistics: Statistics = {}
    for name, item in schema.measured.items():
        content = raw[name]
        if isinstance(item, GriddedSeries):
            places = {number: item.columns.index(number) for number in item.numbers}
            statistics[name] = {
                number: _moments_of(np.asarray(content[..., place], dtype=np.float64))
                for number, place in places.items()
            }
            continue
        cells = _modelling_scale(numbers(item, content, name) if isinstance(item, Tabular) else content, item)
        statistics[name] = {variable: _moments_of(cells[..., i]) for i, variable in enumerate(item.numbers)}
    return statistics


def numbers(spec: Tabular, table: pa.Table, where: str) -> NDArray[np.float64]:
    """(N, P) the numeric columns of a table, NaN in gaps."""
    if not spec.numeric:
        return np.zeros((table.num_rows, 0))
    return np.stack([as_numbers(column(table, item, where), where, item) for item in spec.numeric], axis=1)


def _moments_of(cells: NDArray[np.float64]) -> dict[str, float]:
    known = cells[np.isfinite(cells)]
    sd = float(known.std()) if known.size > 1 else 0.0
    mean = float(known.mean()) if known.size else 0.0
    return {"mean": mean, "sd": sd if sd > 1e-12 * max(1.0, abs(mean)) else 1.0, "cells": float(known.size)}


def _modelling_scale(raw: NDArray[np.floating], spec: TimeSeries | Tabular) -> NDArray[np.float64]:
    """Plausible values, logged where the schema asks for it; NaN elsewhere. The last axis is variables."""
    low, high = spec.bounds.T.astype(raw.dtype)  # a value stored at a limit must stay inside it
    cells = np.where(np.isfinite(raw) & (raw >= low) & (raw <= high), raw, np.nan).astype(np.float64)
    if logged := [index for index, name in enumerate(spec.numbers) if name in spec.log]:
        cells[..., logged] = np.log1p(cells[..., logged])
    return cells


def _standardise(
    raw: NDArray[np.floating], spec: TimeSeries | Tabular, mean: NDArray[np.float64], sd: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Clipped z-scores with zero in gaps, and which cells are observed; the last axis is variables."""
    z = (_modelling_scale(raw, spec) - mean) / sd
    observed = ~np.isnan(z)
    return np.where(observed, np.clip(z, -CLIP, CLIP), 0.0), observed
