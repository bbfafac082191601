"""From contributions of input numbers to those of measurements, words, columns and parts of pictures."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sklar.data.schema import GriddedSeries, Image, Tabular, Text, TimeSeries
from sklar.data.source import DataSource
from sklar.encoders import WordPiece
from sklar.explanation.gradients import Field
from sklar.types import Batch, Documents, Series, Table

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COLUMNS = pa.schema(
    [
        ("row", pa.int64()),
        ("modality", pa.string()),
        ("feature", pa.string()),
        ("document", pa.int64()),
        ("step", pa.int64()),
        ("time", pa.float64()),
        ("number", pa.float64()),
        ("text", pa.string()),
        ("contribution", pa.float64()),
    ]
)
"""Of the table of features: position of the row among those explained; modality; variable, column, word piece
or part of a picture; document, and bin, token or part of it, from 0; time in the schema's unit; the value
that was read, a number in raw units or a text; and what it contributes to the predicted probability. What a
series gets without a bin is for what fills it before the first measurement."""

PARTS = 8
"""Rows, and columns, of parts that a picture is told in."""


@dataclass(frozen=True)
class Explained:
    """What names are read from.

    Attributes:
        data: The rows' source.
        rows: (R,) positions in it.
        batch: The R rows.
        fields: (R, ...) contributions of input numbers.
        tokenizers: Per text modality.
    """

    data: DataSource
    rows: Ints
    batch: Batch
    fields: Mapping[Field, Floats]
    tokenizers: Mapping[str, WordPiece]


def features(found: Explained) -> pa.Table:
    """The table of features, see ``COLUMNS``: of the rows that have each modality, in the order of both."""
    parts = [_modality(found, name) for name in found.data.modalities]
    return pa.concat_tables(parts).sort_by("row") if parts else COLUMNS.empty_table()


def _modality(found: Explained, name: str) -> pa.Table:
    match found.data.schema.modalities[name]:
        case TimeSeries() | GriddedSeries() as spec:
            return _series(found, name, spec)
        case Text():
            return _text(found, name)
        case Tabular() as spec:
            return _table(found, name, spec)
        case Image():
            return _image(found, name)


def _place(found: Explained, name: str) -> tuple[Ints, Ints]:
    """The rows that have a modality, and their positions in its array."""
    own = found.data.positions[found.rows, found.data.modalities.index(name)]
    there = np.flatnonzero(own >= 0)
    return there, own[there]


def _series(found: Explained, name: str, spec: TimeSeries | GriddedSeries) -> pa.Table:
    """A measurement gets what it contributes until the next one, since it is carried forward."""
    there, place = _place(found, name)
    series = found.batch.inputs[name]
    assert isinstance(series, Series)
    assert series.observed is not None, "the data layer says what was observed"
    observed = series.observed.numpy()[there]
    contribution = found.fields[name, "values"][there][..., : observed.shape[2]]
    owners = spec.owners if isinstance(spec, GriddedSeries) else np.arange(observed.shape[2])
    first = np.searchsorted(owners, np.arange(owners[-1] + 1))  # the first value column of each variable
    steps = np.arange(observed.shape[1])[:, None]
    last = np.maximum.accumulate(np.where(observed, steps, -1), axis=1)
    total = np.zeros((len(there), observed.shape[1] + 1, len(first)))
    each, _, column = np.indices(last.shape)
    np.add.at(total, (each, last + 1, owners[column]), contribution)  # step 0: before any measurement
    known = np.concatenate([(total[:, :1] != 0), observed[..., first]], axis=1)
    row, step, variable = np.nonzero(known)
    measured = step > 0
    raw = found.data.raw_series(name)[place]
    at = row, np.maximum(step - 1, 0)
    names = np.array(list(spec.variables), dtype=np.str_)
    number = np.where(measured, raw[*at, first[variable]], np.nan)
    text = np.full(len(row), None, dtype=np.object_)
    if isinstance(spec, GriddedSeries):
        texts = np.array([t for own in spec.variables.values() for t in own or ("",)], dtype=object)
        categorical = np.array([bool(own) for own in spec.variables.values()])[variable]
        # of the columns of a variable, the one that is set
        value = np.where(owners == variable[:, None], raw[at], -np.inf)
        text[measured & categorical] = texts[value.argmax(1)][measured & categorical]
        number[categorical] = np.nan
    return _rows(
        name,
        row=there[row],
        feature=names[variable],
        step=(step - 1, measured),
        time=(spec.times[at[1]], measured),
        number=(number, ~np.isnan(number)),
        text=text,
        contribution=total[row, step, variable],
    )


def _text(found: Explained, name: str) -> pa.Table:
    documents = found.batch.inputs[name]
    assert isinstance(documents, Documents)
    there, _ = _place(found, name)
    ids, tokenizer = documents.ids.numpy()[there], found.tokenizers[name]
    row, document, token = np.nonzero(documents.attention.numpy()[there] & ~tokenizer.is_special(ids))
    times = None if documents.times is None else documents.times.numpy()[there][row, document]
    return _rows(
        name,
        row=there[row],
        feature=tokenizer.pieces(ids[row, document, token]),
        document=document,
        step=token,
        time=times,
        contribution=found.fields[name, "strength"][there][row, document, token],
    )


def _table(found: Explained, name: str, spec: Tabular) -> pa.Table:
    there, place = _place(found, name)
    table = found.batch.inputs[name]
    assert isinstance(table, Table)
    raw = found.data.table(name).take(place)
    columns = np.array(spec.columns, dtype=np.str_)
    known = np.concatenate([table.observed.numpy(), table.categories.numpy() > 0], axis=1)[there]
    contribution = np.concatenate([found.fields[name, "numeric"], found.fields[name, "strength"]], axis=1)[
        there
    ]
    row, column = np.nonzero(known)
    numbers = np.full(known.shape, np.nan)
    texts = np.full(known.shape, None, dtype=object)
    for j, item in enumerate(spec.numeric):
        numbers[:, j] = raw[item].cast(pa.float64()).to_numpy()
    for j, item in enumerate(spec.categorical, start=len(spec.numeric)):
        texts[:, j] = raw[item].cast(pa.string()).to_pylist()
    number = numbers[row, column]
    return _rows(
        name,
        row=there[row],
        feature=columns[column],
        number=(number, ~np.isnan(number)),
        text=texts[row, column],
        contribution=contribution[row, column],
    )


def _image(found: Explained, name: str) -> pa.Table:
    there, _ = _place(found, name)
    pixels = found.fields[name, "pixels"][there].sum(1)
    parts = tuple(min(PARTS, size) for size in pixels.shape[1:])
    # every pixel belongs to one part: contributions of parts sum to those of the pixels
    starts = [np.arange(count) * size // count for count, size in zip(parts, pixels.shape[1:], strict=True)]
    cells = np.add.reduceat(np.add.reduceat(pixels, starts[0], axis=1), starts[1], axis=2)
    row, down, across = (own.ravel() for own in np.indices(cells.shape))
    names = np.array([f"row {i + 1}, column {j + 1}" for i in range(parts[0]) for j in range(parts[1])])
    step = down * parts[1] + across
    return _rows(name, row=there[row], feature=names[step], step=step, contribution=cells[row, down, across])


def _rows(name: str, **columns: object) -> pa.Table:
    """A part of the table; a column given as (values, known) is null where it is not known."""
    count = len(columns["contribution"])  # type: ignore[arg-type]
    arrays = []
    for field in COLUMNS:
        own = columns.get(field.name)
        if field.name == "modality":
            arrays.append(pa.array([name] * count, pa.string()))
        elif own is None:
            arrays.append(pa.nulls(count, field.type))
        elif isinstance(own, tuple):
            arrays.append(pa.array(own[0], field.type, mask=~own[1]))
        else:
            arrays.append(pa.array(own, field.type))
    return pa.table(arrays, schema=COLUMNS)
