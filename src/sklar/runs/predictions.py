"""Predictions as a Parquet file."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sklar.data.predictions import prediction_table, predictions_from
from sklar.errors import DataError
from sklar.training.files import write
from sklar.types import Predictions


def write_predictions(path: Path, predictions: Predictions, sets: NDArray[np.bool_] | None = None) -> None:
    """Write predictions as Parquet, with the columns of `sklar.data.predictions`.

    Args:
        path: The file.
        predictions: Of N rows.
        sets: What is in their prediction sets; see `sklar.data.predictions.prediction_table`.
    """
    buffer = pa.BufferOutputStream()
    pq.write_table(prediction_table(predictions, sets), buffer)
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
    return predictions_from(table, str(path))
