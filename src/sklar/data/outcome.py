"""The outcome of every row: read from own tables, kept in the index of a prepared folder, counted.

One event is (N,) 0 or 1, a class its number (N,) from 0 in the order of the schema, several labels are
(N, L) 0 or 1; NaN is unknown everywhere.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sklar.data.manifest import Count, Tally
from sklar.data.schema import Schema
from sklar.data.tables import as_numbers, as_text, column, first, listed, positions
from sklar.errors import DataError

Floats = NDArray[np.float64]


def read_target(people: pa.Table, schema: Schema) -> Floats:
    """(N,) or (N, L) the outcome as the subjects' table has it.

    Raises:
        DataError: A label is no 0, 1 or null, or a class is not one of the schema's.
    """
    if schema.classes is not None:
        return _classes(people, schema.labels[0], schema.classes)
    columns = [_events(people, name) for name in schema.labels]
    return columns[0] if schema.task == "binary" else np.stack(columns, axis=1)


def unknown(schema: Schema, rows: int) -> Floats:
    """(N,) or (N, L) the outcome of rows that have none yet."""
    return np.full(rows if schema.task != "multilabel" else (rows, len(schema.labels)), np.nan)


def label_column(schema: Schema, task: str) -> str:
    """The column of the index that holds a task: the schema's single label is called ``label``."""
    return "label" if task == schema.label else f"label_{task}"


def index_columns(schema: Schema, target: Floats) -> dict[str, pa.Array]:
    """The outcome as columns of the index, null where it is unknown."""
    kind = pa.int8() if schema.classes is None else pa.int16()
    return {
        label_column(schema, name): pa.array(values, from_pandas=True).cast(kind)
        for name, values in zip(schema.labels, _columns(target).T, strict=True)
    }


def index_target(schema: Schema, index: pa.Table) -> Floats:
    """(N,) or (N, L) what `index_columns` wrote."""
    columns = [
        np.asarray(index[label_column(schema, name)].cast(pa.float64()).to_numpy(), dtype=np.float64)
        for name in schema.labels
    ]
    return columns[0] if schema.task != "multilabel" else np.stack(columns, axis=1)


def labelled(target: Floats) -> NDArray[np.bool_]:
    """(N,) whether a row has an outcome, of several labels any."""
    return np.asarray(~np.isnan(_columns(target)).all(axis=1))


def event_columns(schema: Schema, target: Floats) -> Floats:
    """(N, K) per output of the schema 0, 1 or NaN; a class is one against the rest."""
    if schema.classes is None:
        return _columns(target)
    return np.where(np.isnan(target)[:, None], np.nan, target[:, None] == np.arange(len(schema.classes)))


def count(schema: Schema, target: Floats, empty: NDArray[np.bool_]) -> Count:
    """What there is of rows.

    Args:
        schema: What the outcome is.
        target: (N,) or (N, L).
        empty: (N,) which rows have no modality.
    """
    columns = event_columns(schema, target)
    several = {} if schema.task == "binary" else dict(zip(schema.outputs, columns.T, strict=True))
    return Count(
        subjects=len(target),
        labelled=int(labelled(target).sum()),
        events=None if schema.classes is not None else int((columns == 1).any(axis=1).sum()),
        without_modality=int(empty.sum()),
        outputs={
            name: Tally(int((~np.isnan(own)).sum()), int((own == 1).sum())) for name, own in several.items()
        },
    )


def event_rate(found: Count) -> dict[str, float]:
    """The risk among rows with a known outcome, as the manifest has it; nothing where outputs are several."""
    if found.outputs or found.events is None:
        return {}
    return {"complete_case": found.events / max(found.labelled, 1)}


def check_training(schema: Schema, target: Floats) -> None:
    """Refuse training rows that teach nothing of an output.

    Args:
        schema: What the outcome is.
        target: (R,) or (R, L) of the training rows.

    Raises:
        DataError: A label is unknown in all of them, or they hold fewer than two classes.
    """
    for name, own in zip(schema.labels, _columns(target).T, strict=True):
        known = own[~np.isnan(own)]
        if not len(known):
            raise DataError(
                f"label {name!r} is null in all {len(own)} training rows; at least some must have one"
            )
        if schema.classes is not None and len(found := np.unique(known).astype(int)) < 2:
            raise DataError(
                f"label {name!r} is {schema.classes[found[0]]!r} in all {len(known)} labelled training rows; "
                "a model needs rows of two classes or more. Use more rows, or another split"
            )


def _columns(target: Floats) -> Floats:
    """(N, L), of a single label one column."""
    return target[:, None] if target.ndim == 1 else target


def _events(people: pa.Table, name: str) -> Floats:
    labels = column(people, name, "subjects")
    target = as_numbers(labels, "subjects", name)
    if (bad := ~np.isnan(target) & (target != 0) & (target != 1)).any():
        row = first(bad)
        raise DataError(
            f"subjects: label {name!r} is {labels[row].as_py()!r} in row {row} ({int(bad.sum())} rows); a "
            "label is 0, 1 or null. Recode it, or name its values as the classes of the schema"
        )
    return target


def _classes(people: pa.Table, name: str, classes: tuple[str, ...]) -> Floats:
    values = as_text(column(people, name, "subjects"))
    code = positions(values, pa.array(classes, pa.string())).astype(np.float64)
    lost = (code < 0) & values.is_valid().to_numpy(zero_copy_only=False)
    if lost.any():
        row = first(lost)
        raise DataError(
            f"subjects: label {name!r} is {values[row].as_py()!r} in row {row} ({int(lost.sum())} rows), "
            f"which is not one of its classes ({listed(classes)}). Add the class to the schema, or recode it"
        )
    return np.where(code < 0, np.nan, code)
