"""Predictions as a table: one row each, the same columns wherever they are kept.

``id``, ``group``, ``target``, ``weight``, ``probability``, ``low`` and ``high``, then one
``present_<modality>`` per modality. Of several outputs there is a ``probability_<output>``, ``low_<output>``
and ``high_<output>`` of each, and of several labels a ``target_<output>``; a class is written as its name.
Where the interval was calibrated, ``drawn_low`` and ``drawn_high`` are the interval over the draws alone.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sklar.data.tables import positions
from sklar.errors import DataError
from sklar.types import Predictions, TaskName

_VALUES = ("probability", "low", "high")
_DRAWN = ("drawn_low", "drawn_high")
_PRESENT = "present_"


def prediction_table(predictions: Predictions, sets: NDArray[np.bool_] | None = None) -> pa.Table:
    """Predictions of N rows as Arrow.

    Args:
        predictions: Of one event or of K outputs.
        sets: What is in the prediction sets: (N, 2) a non-event and an event, as ``set_0`` and ``set_1``;
            (N, K) classes, as ``set_<class>``; (N, L, 2) of L labels, as ``set_<label>_0`` and
            ``set_<label>_1``.
    """
    outputs = predictions.outputs
    columns: dict[str, Any] = {"id": predictions.ids, "group": predictions.groups}
    columns |= _target_columns(predictions)
    columns["weight"] = predictions.weight
    for name in _VALUES + (() if predictions.drawn_low is None else _DRAWN):
        columns |= _spread(name, getattr(predictions, name), outputs)
    columns |= _spread("present", predictions.present, predictions.modalities)
    if sets is not None:
        members = list(outputs)
        if predictions.task != "multiclass":
            members = [f"{name}{side}" for name in [f"{own}_" for own in outputs] or [""] for side in (0, 1)]
        columns |= _spread("set", sets.reshape(len(sets), -1), tuple(members))
    return pa.table(columns)


def predictions_from(table: pa.Table, where: str) -> Predictions:
    """What `prediction_table` wrote.

    Args:
        table: Its columns in any order; others are ignored.
        where: What messages call the table.

    Raises:
        DataError: A column is missing.
    """
    names = table.column_names
    outputs = () if "probability" in names else _after("probability_", names)
    task: TaskName = "binary"
    if outputs:
        task = "multiclass" if "target" in names else "multilabel"
    wanted = ["id", "group", "weight", *_named("target", outputs if task == "multilabel" else ())]
    wanted += [column for value in _VALUES for column in _named(value, outputs)]
    if missing := [name for name in wanted if name not in names]:
        raise DataError(
            f"{where}: no column {', '.join(missing)} (found {', '.join(names)}). "
            "Predict the rows again with this version."
        )
    modalities = _after(_PRESENT, names)
    present = [np.asarray(table[_PRESENT + name].to_numpy(), dtype=bool) for name in modalities]
    return Predictions(
        ids=np.asarray(table["id"].to_numpy(), dtype=np.str_),
        groups=np.asarray(table["group"].to_numpy(), dtype=np.str_),
        target=_target(table, task, outputs),
        present=np.stack(present, axis=1) if present else np.zeros((len(table), 0), dtype=bool),
        modalities=modalities,
        weight=_numbers(table["weight"]),
        task=task,
        outputs=outputs,
        **{name: _gathered(table, name, outputs) for name in _VALUES},
        **{name: _gathered(table, name, outputs) for name in _DRAWN if _named(name, outputs)[0] in names},
    )


def _target_columns(predictions: Predictions) -> dict[str, Any]:
    if predictions.task != "multiclass":
        return _spread("target", predictions.target, predictions.outputs)
    known = ~np.isnan(predictions.target)
    codes = np.where(known, predictions.target, 0).astype(np.int32)
    names = pa.array(predictions.outputs, pa.string()).take(pa.array(codes, mask=~known))
    return {"target": names}


def _target(table: pa.Table, task: TaskName, outputs: tuple[str, ...]) -> NDArray[np.float64]:
    if task != "multiclass":
        return _gathered(table, "target", outputs)
    names = table["target"].combine_chunks().cast(pa.string())
    code = positions(names, pa.array(outputs, pa.string()))
    return np.where(code < 0, np.nan, code.astype(np.float64))


def _named(value: str, outputs: tuple[str, ...]) -> list[str]:
    return [f"{value}_{name}" for name in outputs] or [value]


def _after(prefix: str, names: list[str]) -> tuple[str, ...]:
    return tuple(name.removeprefix(prefix) for name in names if name.startswith(prefix))


def _spread(value: str, array: NDArray[Any], names: tuple[str, ...]) -> dict[str, Any]:
    """One column, or one for each name."""
    if array.ndim == 1:
        return {value: array}
    return {f"{value}_{name}": array[:, column] for column, name in enumerate(names)}


def _gathered(table: pa.Table, value: str, outputs: tuple[str, ...]) -> NDArray[np.float64]:
    columns = [_numbers(table[name]) for name in _named(value, outputs)]
    return np.stack(columns, axis=1) if outputs else columns[0]


def _numbers(column: Any) -> NDArray[np.float64]:
    """A null is unknown."""
    return np.array(column.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
