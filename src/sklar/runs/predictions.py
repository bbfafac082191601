"""Predictions as a Parquet file."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sklar.errors import DataError
from sklar.training.files import write
from sklar.types import Predictions


def write_predictions(path: Path, predictions: Predictions, sets: NDArray[np.bool_] | None = None) -> None:
    """Write predictions as Parquet: one row each, one ``present_<modality>`` column per modality.

    Args:
        path: The file.
        predictions: Of N rows.
        sets: (N, 2) whether a non-event, and an event, is in the prediction set; written as ``set_0`` and
            ``set_1``.
    """
    columns = {
        "id": predictions.ids,
        "group": predictions.groups,
        "target": predictions.target,
        "weight": predictions.weight,
        "probability": predictions.probability,
        "low": predictions.low,
        "high": predictions.high,
    }
    for column, name in enumerate(predictions.modalities):
        columns[f"present_{name}"] = predictions.present[:, column]
    if sets is not None:
        columns |= {f"set_{label}": sets[:, label] for label in range(sets.shape[1])}
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), buffer)
    write(path, buffer.getvalue().to_pybytes())


def read_predictions(path: Path) -> Predictions:
    """Read what `write_predictions` wrote."""
    if not path.is_file():
        raise DataError(f"{path.parent} has no {path.name}; its run may have been interrupted")
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{path} is damaged ({error}): copy the run folder again from where it was whole, or train again"
        ) from error
    names = tuple(c.removeprefix("present_") for c in table.column_names if c.startswith("present_"))

    def column(name: str) -> Any:
        return table[name].to_numpy()

    return Predictions(
        ids=np.asarray(column("id"), dtype=np.str_),
        groups=np.asarray(column("group"), dtype=np.str_),
        target=column("target"),
        probability=column("probability"),
        low=column("low"),
        high=column("high"),
        present=np.stack([column(f"present_{name}") for name in names], 1),
        modalities=names,
        weight=column("weight"),
    )
