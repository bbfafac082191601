"""The rows that a classifier learns from: their labels, and which of them judge the training."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sklearn.utils.validation import check_consistent_length

from sklar.data.schema import Schema
from sklar.data.tables import as_names, as_strings, as_text, column
from sklar.data.wide import read_table, records_of
from sklar.errors import DataError
from sklar.estimator.outcome import Outcome
from sklar.estimator.splits import choose

OnUnlabelled = Literal["error", "drop", "keep"]
"""Rows whose label is null: refused, left out, or kept for what needs no label."""


def labelled(
    table: pa.Table, y: Any, outcome: Outcome, schema: Schema, on_unlabelled: OnUnlabelled
) -> pa.Table:
    """The table with its label columns, and only rows that may be learned from.

    Args:
        table: N rows.
        y: (N,) or (N, L) what to predict; None when the table has it.
        outcome: Its classes.
        schema: With that outcome.
        on_unlabelled: What becomes of rows without a label.

    Raises:
        DataError: There are some, and they are refused.
    """
    if y is not None:
        check_consistent_length(np.empty(table.num_rows), y)
        return with_columns(table, outcome.columns(y, schema))
    columns = [as_text(column(table, name, "table")) for name in schema.labels]
    there = np.any([own.is_valid().to_numpy(zero_copy_only=False) for own in columns], axis=0)
    if there.all() or on_unlabelled == "keep":
        return table
    if on_unlabelled == "drop":
        return table.filter(pa.array(there))
    raise DataError(
        f"label {', '.join(schema.labels)} is null in {int((~there).sum())} of {len(there)} rows. Drop them, "
        'set on_unlabelled="drop", or "keep" to learn from them what needs no label'
    )


def held_out(table: pa.Table, schema: Schema, fraction: float, seed: int) -> NDArray[np.bool_]:
    """(N,) rows that judge the training: whole groups, evenly of every class.

    Raises:
        UserError: The fraction is no share.
    """
    name = schema.group or schema.id
    groups = as_strings(as_names(column(table, name, "X"), "X", name))
    labels = [as_text(column(table, name, "X")) for name in schema.labels]
    if schema.task == "multilabel":
        events = [pc.fill_null(pc.equal(own, "1"), False).to_numpy(zero_copy_only=False) for own in labels]
        return choose(np.any(events, axis=0).astype(np.int64), groups, fraction, seed)
    codes = labels[0].dictionary_encode().indices.fill_null(-1)
    return choose(codes.to_numpy(zero_copy_only=False), groups, fraction, seed)


def of_these(long: Mapping[str, Any] | None, schema: Schema, table: pa.Table) -> dict[str, pa.Table]:
    """Records of the subjects of ``table`` only; other subjects are another call's business."""
    out = {}
    for name, frame in (long or {}).items():
        where = f"long table {name!r}"
        records = read_table(frame, where, schema)
        out[name] = records_of(records, table, schema.id, where)
        if records.num_rows and not out[name].num_rows:
            raise DataError(f"{where}: none of its {schema.id} is in the table; both must write them alike")
    return out


def with_columns(table: pa.Table, columns: Mapping[str, pa.Array]) -> pa.Table:
    """A table in which these columns are added or replaced."""
    kept = table.drop_columns([name for name in table.column_names if name in columns])
    for name, values in columns.items():
        kept = kept.append_column(name, values)
    return kept
