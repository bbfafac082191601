"""What a request says of one patient: a model made from the schema, and the table that it stands for."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from sklar.data.pictures import check_picture
from sklar.data.schema import GriddedSeries, Image, Schema, Tabular, Text, TimeSeries
from sklar.errors import DataError

RECORDS, DOCUMENTS = 10_000, 1_000
"""Most records of a series, and documents of a text, of one patient."""

Number = Annotated[float, Field(allow_inf_nan=False)]
Moment = Number | Annotated[datetime, Field(strict=False)]
_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)


def row_model(schema: Schema) -> type[BaseModel]:
    """The model of one patient: a field per column that the schema reads, absent or null where missing.

    Fields have plain names and the columns' names as aliases, so that any column may be called anything.
    """
    return _made("Patient", _columns(schema))


def as_table(schema: Schema, rows: Sequence[BaseModel]) -> tuple[list[str | None], pa.Table]:
    """The names that clients gave their rows, and the rows as one table whose ids count from 0.

    Raises:
        DataError: Times of several kinds are mixed.
    """
    plain = [row.model_dump(by_alias=True) for row in rows]
    names = [own.pop(schema.id) for own in plain]
    for name in (item.column or own for own, item in schema.images.items()):
        for row in plain:
            row[name] = row[name] and base64.b64decode(row[name])
    columns: dict[str, pa.Array] = {schema.id: pa.array([str(i) for i in range(len(rows))])}
    types = _types(schema)
    for name in _columns(schema):
        if name == schema.id:
            continue
        try:
            columns[name] = pa.array([own[name] for own in plain], types.get(name))
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            raise DataError(f"{name}: numbers and dates are mixed; give all times of one kind") from None
    return names, pa.table(columns)


@dataclass(frozen=True)
class _Column:
    """What a request may say under one name: a type, in words, and the most entries of a list."""

    kind: Any
    description: str | None = None
    most: int | None = None
    needed: bool = False

    def field(self, alias: str) -> tuple[Any, Any]:
        """As pydantic reads it; what is not needed may be null."""
        kind = self.kind if self.needed else self.kind | None
        default = ... if self.needed else None
        return kind, Field(default, alias=alias, description=self.description, max_length=self.most)


def _made(name: str, columns: Mapping[str, _Column]) -> type[BaseModel]:
    given: dict[str, Any] = {f"field_{i}": own.field(alias) for i, (alias, own) in enumerate(columns.items())}
    made: type[BaseModel] = create_model(name, __config__=_STRICT, **given)
    return made


def _columns(schema: Schema) -> dict[str, _Column]:
    columns = {schema.id: _Column(str, "name of the row, given back", most=200)}
    clock = schema.time_zero is not None
    if schema.time_zero is not None:
        what = "moment of prediction, on the clock of all other times"
        columns[schema.time_zero] = _Column(Moment, what, needed=True)
    for name, item in schema.modalities.items():
        if isinstance(item, Tabular):
            columns |= _table_columns(item)
        elif isinstance(item, GriddedSeries):
            columns[name] = _series_column(name, item, clock)
        else:
            columns[item.column or name] = _nested_column(name, item, clock)
            if item.time is not None:
                when: Any = Moment if clock else Number
                said = f"time of {item.column or name}{_unit(item.unit, clock)}"
                columns[item.time] = _Column(when | list[when], said)
    return columns


def _unit(unit: str, clock: bool) -> str:
    return "" if clock else f", in {unit} relative to the moment of prediction (negative is before)"


def _series_column(name: str, item: TimeSeries | GriddedSeries, clock: bool) -> _Column:
    columns = {"time": _Column(Moment if clock else Number, needed=True)}
    for variable in item.variables:
        texts = item.variables[variable] if isinstance(item, GriddedSeries) else ()
        columns[variable] = _level_column(texts) if texts else _Column(Number)
    record = _made(f"Record_{name}", columns)
    return _Column(list[record], f"measurements, each with its time{_unit(item.unit, clock)}", most=RECORDS)  # type: ignore[valid-type]


def _level_column(texts: tuple[str, ...]) -> _Column:
    """One of some texts, of which those that are numbers may come as such."""

    def spelt(value: str | float) -> str:
        same = (own for own in texts if own.replace(".", "", 1).isdigit() and float(own) == value)
        return value if isinstance(value, str) else next(same, f"{value:g}")

    return _Column(Annotated[str | Number, AfterValidator(spelt)], f"one of {', '.join(texts)}")


def _nested_column(name: str, item: TimeSeries | Image | Text, clock: bool) -> _Column:
    if isinstance(item, TimeSeries):
        return _series_column(name, item, clock)
    if isinstance(item, Text):
        many = Annotated[list[str], Field(max_length=DOCUMENTS)]
        listed = Annotated[str | many, AfterValidator(_listed)]
        return _Column(listed, "a text, or a list of texts")
    picture = Annotated[str, AfterValidator(_picture)]
    return _Column(picture, "the bytes of a picture file (PNG, JPEG), in base64")


def _table_columns(item: Tabular) -> dict[str, _Column]:
    columns = {}
    for column in item.numeric:
        limits = item.limits.get(column)
        columns[column] = _Column(Number, limits and f"plausible from {limits[0]:g} to {limits[1]:g}")
    for column, levels in item.categorical.items():
        columns[column] = _Column(str, f"one of {', '.join(levels)}")
    return columns


def _types(schema: Schema) -> dict[str, pa.DataType]:
    """Arrow types of the columns but those that hold times on the user's own clock."""
    types: dict[str, pa.DataType] = {}
    for name, item in schema.modalities.items():
        if isinstance(item, Tabular):
            types |= dict.fromkeys(item.numeric, pa.float64())
            types |= dict.fromkeys(item.categorical, pa.string())
        elif isinstance(item, Text):
            types[item.column or name] = pa.list_(pa.string())
        elif isinstance(item, Image):
            types[item.column or name] = pa.binary()
        elif isinstance(item, GriddedSeries) and schema.time_zero is None:
            kinds = {own: pa.string() if texts else pa.float64() for own, texts in item.variables.items()}
            types[name] = _records({"time": pa.float64()} | kinds)
        elif isinstance(item, TimeSeries) and schema.time_zero is None:
            types[item.column or name] = _records(dict.fromkeys(("time", *item.variables), pa.float64()))
    return types


def _records(columns: Mapping[str, pa.DataType]) -> pa.DataType:
    return pa.list_(pa.struct(list(columns.items())))


def _listed(texts: str | list[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else texts


def _picture(text: str) -> str:
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a picture is the base64 text of a file's bytes") from None
    try:
        check_picture(content)
    except DataError as error:
        raise ValueError(str(error)) from None
    return text


def described(schema: Schema) -> Mapping[str, Any]:
    """JSON schema of one patient."""
    return row_model(schema).model_json_schema(by_alias=True)
