"""From cells to the dense array: one-hot categories, values carried forward, masks."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sklar.data.manifest import Statistics
from sklar.mimic.rules import Rules
from sklar.mimic.variables import STEPS, columns_of_codes, grid, normal_values, position, variables

CHUNK = 1024
"""Stays that are dense at one time; bounds the memory."""

LEAST_SD = 1e-7


def write_grid(cells: pa.Table, ids: NDArray[np.int64], rules: Rules, path: Path) -> NDArray[np.float64]:
    """Write the (N, 24, 76) array of the stays, in the order of ``ids``, and return it mapped.

    Args:
        cells: (stay_id, bin, variable, value), ordered by stay.
        ids: (N,) stays, ascending.
        rules: How categories become columns.
        path: The ``.npy`` file.
    """
    shape = (len(ids), STEPS, len(grid(None).columns))
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=shape)
    stays = cells["stay_id"].to_numpy()
    for start, stop in _chunks(len(ids)):
        first = int(np.searchsorted(stays, ids[start]))
        last = int(np.searchsorted(stays, ids[stop - 1], side="right"))
        own = cells.slice(first, last - first)
        sparse = np.full((stop - start, STEPS, len(variables())), np.nan)
        stay = np.searchsorted(ids[start:stop], own["stay_id"].to_numpy())
        sparse[stay, own["bin"].to_numpy(), own["variable"].to_numpy()] = own["value"].to_numpy()
        array[start:stop] = dense(sparse, rules)
    array.flush()
    return array


def dense(sparse: NDArray[np.float64], rules: Rules) -> NDArray[np.float64]:
    """(N, 24, 76) columns of (N, 24, 17) values or category codes, NaN where nothing was observed."""
    if rules.coma_total == "derived":
        sparse = _with_total(sparse)
    observed = ~np.isnan(sparse)
    last = np.maximum.accumulate(np.where(observed, np.arange(STEPS)[:, None], -1), axis=1)
    carried = np.take_along_axis(sparse, np.maximum(last, 0), axis=1)
    filled = np.where(last < 0, normal_values(rules.merged), carried)
    parts = []
    for index, columns in enumerate(columns_of_codes(rules.merged)):
        own = filled[..., index]
        if variables()[index].categories:
            hot = np.zeros((*own.shape, len(variables()[index].categories)))
            np.put_along_axis(hot, columns[own.astype(np.int64)][..., None], 1.0, axis=-1)
            parts.append(hot)
        else:
            parts.append(own[..., None])
    return np.concatenate([*parts, observed.astype(np.float64)], axis=-1)


def normaliser(array: NDArray[np.float64], rows: NDArray[np.int64]) -> Statistics:
    """Mean and standard deviation of every number over the filled cells of the given rows.

    The benchmark's formula: mean = S / n and sd^2 = (Q - 2 S mean + n mean^2) / (n - 1), with S the sum and
    Q the sum of squares of n cells, and at least 1e-7.
    """
    spec = grid(None)
    places = [spec.columns.index(name) for name in spec.numbers]
    total, squares = np.zeros(len(places)), np.zeros(len(places))
    for start, stop in _chunks(len(rows)):
        cells = array[rows[start:stop]][..., places]
        total += cells.sum((0, 1))
        squares += (cells**2).sum((0, 1))
    n = len(rows) * STEPS
    mean = total / n
    # a constant column may come out a rounding error below zero
    spread = np.sqrt(np.maximum((squares - 2 * total * mean + n * mean**2) / (n - 1), 0.0))
    return {
        "ehr": {
            name: {"mean": float(mean[i]), "sd": float(max(spread[i], LEAST_SD)), "cells": float(n)}
            for i, name in enumerate(spec.numbers)
        }
    }


def chunks_of(array: NDArray[np.float64]) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Slices of the array, small enough to be transformed in memory."""
    for start, stop in _chunks(len(array)):
        yield slice(start, stop), array[start:stop]


def _with_total(sparse: NDArray[np.float64]) -> NDArray[np.float64]:
    """The coma score's total from its three parts, where all were observed and the total was not."""
    total = position("Glascow coma scale total")
    parts = [
        position(f"Glascow coma scale {part}")
        for part in ("eye opening", "motor response", "verbal response")
    ]
    out = sparse.copy()
    out[..., total] = np.where(np.isnan(sparse[..., total]), sparse[..., parts].sum(-1), sparse[..., total])
    return out


def _chunks(rows: int) -> Iterator[tuple[int, int]]:
    for start in range(0, rows, CHUNK):
        yield start, min(start + CHUNK, rows)
