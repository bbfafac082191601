"""Modalities beside the series: what each brings to the prepared folder, and how it joins the index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sklar.data.schema import Modality
from sklar.errors import DataError


@dataclass(frozen=True)
class Addition:
    """One further modality of N rows.

    Attributes:
        name: Of the modality.
        spec: What the schema says of it.
        rows: (N_present,) positions of the rows that have it, ascending.
        contents: Its files by name, as `sklar.data.folder.write_folder` takes them.
        records: How many records were read, used, and left out for which reason.
        times: (N_present,) times of pictures relative to the prediction, in the spec's unit.
    """

    name: str
    spec: Modality
    rows: NDArray[np.int64]
    contents: Mapping[str, pa.Table | Path]
    records: dict[str, int | dict[str, int]]
    times: NDArray[np.float64] | None = None


def join(index: pa.Table, additions: Sequence[Addition]) -> pa.Table:
    """The index with ``present_<name>``, ``row_<name>`` and ``time_<name>`` of every addition."""
    for addition in additions:
        place = np.full(index.num_rows, -1, dtype=np.int64)
        place[addition.rows] = np.arange(len(addition.rows))
        index = index.append_column(f"present_{addition.name}", pa.array(place >= 0))
        index = index.append_column(f"row_{addition.name}", pa.array(place))
        if addition.times is not None:
            times = pa.array(addition.times).take(pa.array(place, mask=place < 0))
            index = index.append_column(f"time_{addition.name}", times)
    return index


def check_training(addition: Addition, parts: NDArray[np.str_]) -> None:
    """Check that a model can learn something of a modality.

    Raises:
        DataError: No training row has it.
    """
    training = int((parts == "train").sum())
    if not (parts[addition.rows] == "train").any():
        raise DataError(
            f"modality {addition.name!r} is absent in all {training} training rows (present in "
            f"{len(addition.rows)} of {len(parts)} rows), so nothing can be learned of it. Leave it "
            "out, give more stays, or change the rules or the split"
        )


def documents(
    ids: Sequence[str], owner: NDArray[np.int64], texts: pa.Array, hours: NDArray[np.float64]
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Texts of D documents, in the order of their rows, as one list per row that has any.

    Args:
        ids: (N,) row names.
        owner: (D,) row of each document, ascending.
        texts: (D,).
        hours: (D,) times relative to the prediction.

    Returns:
        (N_present,) rows, and the columns id, documents and times.
    """
    rows, count = np.unique(owner, return_counts=True)
    offsets = pa.array(np.concatenate([[0], np.cumsum(count)]).astype(np.int32))
    columns = {
        "id": pa.array([ids[row] for row in rows], pa.string()),
        "documents": pa.ListArray.from_arrays(offsets, texts),
        "times": pa.ListArray.from_arrays(offsets, pa.array(hours)),
    }
    return rows, columns
