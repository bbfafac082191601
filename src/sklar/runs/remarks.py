"""What a reader of a prediction should know of the row that it was made from."""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sklar.data.cohort import Cohort
from sklar.data.loading import Tokens
from sklar.data.preprocess import numbers
from sklar.data.schema import Tabular, Text, TimeSeries
from sklar.data.tables import as_names, as_numbers, as_text, column, positions
from sklar.data.wide import Tables
from sklar.encoders import WordPiece

NOTHING = "nothing observed"


class Remarks:
    """Texts on some of N rows.

    Args:
        rows: N.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._texts: list[str] = []
        self._on: list[NDArray[np.int64]] = []

    def add(self, text: str, rows: NDArray[np.bool_] | NDArray[np.int64]) -> None:
        """Say ``text`` of the rows that a mask (N,) or positions name."""
        on = np.flatnonzero(rows) if rows.dtype == np.bool_ else np.unique(rows)
        if len(on):
            self._texts.append(text)
            self._on.append(on.astype(np.int64))

    @property
    def counts(self) -> dict[str, int]:
        """Rows that each text is said of."""
        return {text: len(on) for text, on in zip(self._texts, self._on, strict=True)}

    def column(self) -> pa.ListArray:
        """(N,) the texts of each row."""
        row = np.concatenate([*self._on, np.zeros(0, dtype=np.int64)])
        code = np.repeat(np.arange(len(self._on)), [len(on) for on in self._on])
        order = np.lexsort((code, row))
        return listed_column(row[order], code[order], self._texts, self._rows)


def listed_column(
    row: NDArray[np.int64], code: NDArray[np.int64], names: Sequence[str], rows: int
) -> pa.ListArray:
    """(N,) lists of names, from (row, code) pairs in the order of the rows."""
    offsets = np.searchsorted(row, np.arange(rows + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(names, pa.string()).take(pa.array(code)))


def remark(
    cohort: Cohort, tables: Tables, documents: Mapping[str, Tokens], tokenizers: Mapping[str, WordPiece]
) -> Remarks:
    """Values outside their plausible limits, unknown levels, documents cut or left out, nothing observed.

    Args:
        cohort: The patients.
        tables: What they were read from.
        documents: Token ids and masks of every text.
        tokenizers: That made these.
    """
    remarks = Remarks(len(cohort.ids))
    for name, spec in cohort.schema.modalities.items():
        if isinstance(spec, TimeSeries):
            _on_series(remarks, name, spec, tables.series[name], cohort)
        elif isinstance(spec, Tabular):
            _on_table(remarks, name, spec, tables.subjects)
        elif isinstance(spec, Text):
            _on_text(remarks, name, cohort, tables.texts[name], documents[name], tokenizers[name])
        for text, rows in cohort.content[name].remarks:
            remarks.add(f"{name}: {text}", rows)
    remarks.add(NOTHING, np.asarray((cohort.rows < 0).all(axis=1)))
    return remarks


def _on_series(remarks: Remarks, name: str, spec: TimeSeries, records: pa.Table, cohort: Cohort) -> None:
    owner = positions(as_names(column(records, cohort.schema.id, name), name, cohort.schema.id), cohort.ids)
    bounds = spec.bounds
    if "grid" in records.column_names:
        flat = records["grid"].combine_chunks().flatten()
        value = as_numbers(flat, name, "grid").reshape(len(owner), spec.steps, len(spec.variables))
        outside = np.any((value < bounds[:, 0]) | (value > bounds[:, 1]), axis=1)
        for place, variable in enumerate(spec.variables):
            remarks.add(_implausible(name, variable), owner[outside[:, place]])
        return
    value = as_numbers(column(records, "value", name), name, "value")
    names = as_names(column(records, "variable", name), name, "variable")
    code = positions(names, pa.array(spec.variables, pa.string()))
    outside = (value < bounds[code, 0]) | (value > bounds[code, 1])
    for place, variable in enumerate(spec.variables):
        remarks.add(_implausible(name, variable), owner[outside & (code == place)])


def _on_table(remarks: Remarks, name: str, spec: Tabular, subjects: pa.Table) -> None:
    values = numbers(spec, subjects, name)
    outside = (values < spec.bounds[:, 0]) | (values > spec.bounds[:, 1])
    for place, variable in enumerate(spec.numeric):
        remarks.add(_implausible(name, variable), outside[:, place])
    for variable, levels in spec.categorical.items():
        given = as_text(column(subjects, variable, name))
        there = given.is_valid().to_numpy(zero_copy_only=False)
        known = positions(given, pa.array(levels, pa.string())) >= 0
        remarks.add(f"{name}: the level of {variable} was not there in training", there & ~known)


def _on_text(
    remarks: Remarks, name: str, cohort: Cohort, records: pa.Table, tokens: Tokens, tokenizer: WordPiece
) -> None:
    content = cohort.content[name]
    texts = cast(pa.Table, content.values)["documents"].combine_chunks()
    count = pc.list_value_length(texts).to_numpy(zero_copy_only=False)
    owner = positions(as_names(column(records, cohort.schema.id, name), name, cohort.schema.id), cohort.ids)
    written = pc.utf8_length(pc.utf8_trim_whitespace(column(records, "text", name).cast(pa.string())))
    some = pc.fill_null(pc.greater(written, 0), False).to_numpy(zero_copy_only=False)
    given = np.bincount(owner[some], minlength=len(cohort.ids))
    remarks.add(f"{name}: documents were left out", content.rows[given[content.rows] > count])
    _, attention = tokens
    length = attention.shape[2]
    row, place = np.nonzero(attention.sum(2) == length)
    if len(row):  # only those that fill all places may have been longer
        start = np.concatenate([[0], np.cumsum(count)])
        full = texts.flatten().take(pa.array(start[row] + place)).to_pylist()
        longer = tokenizer.longer(full, length)
        remarks.add(f"{name}: a document was cut at {length} tokens", content.rows[row[longer]])


def _implausible(name: str, variable: str) -> str:
    return f"{name}: {variable} outside its plausible limits, taken as not measured"
