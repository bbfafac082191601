"""Columns of raw tables as numbers, times and texts, in expressions that every engine understands."""

from collections.abc import Collection

import ibis
import ibis.expr.types as ir

from sklar.mimic.layout import Columns, Kind

PATTERNS: dict[Kind, str] = {
    "id": r"^[+-]?\d+(\.0*)?$",
    "number": r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$",
    "time": r"^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?$",
}
"""What a text must look like to be read as each kind."""

NUMBER = PATTERNS["number"]

DECIMAL = r"^(\d+(\.\d*)?|\.\d+)$"
"""What the benchmark accepts as a laboratory value."""

NA = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A",
    "NA", "NULL", "NaN", "n/a", "nan", "null",
)  # fmt: skip
"""Texts that pandas reads as a gap, in every version."""

TYPES: dict[Kind, str] = {"id": "int64", "number": "float64", "time": "timestamp", "text": "string"}


def typed(table: ir.Table, columns: Columns, names: Collection[str] | None = None) -> ir.Table:
    """The named columns (all by default) in the types of their kinds."""
    chosen = [name for name in names or columns.kinds if name in table.columns]
    return table.select(**{name: cast(table[name], columns.kinds[name]) for name in chosen})


def cast(value: ir.Value, kind: Kind) -> ir.Value:
    """A column as what it holds; a text that is none ends the query."""
    wanted = TYPES[kind]
    own = value.type()
    if own.is_string() and kind == "id":
        value = value.nullif("")
    if own.is_string() and kind in ("time", "number"):
        value = value.nullif("")
    if kind == "time" and own.is_timestamp():
        return value
    return value if str(own) == wanted else value.cast(wanted)


def among(value: ir.Value, numbers: Collection[int]) -> ir.BooleanValue:
    """Whether an id is one of the numbers, compared as it is stored, before any cast."""
    if value.type().is_string():
        return value.isin([str(number) for number in numbers])
    return value.isin(list(numbers))


def number(text: ir.StringValue, pattern: str = NUMBER) -> ir.FloatingValue:
    """The number that a text spells, null where it spells none; no engine's try-cast is needed."""
    return ibis.ifelse(text.re_search(pattern), text, ibis.null("string")).cast("float64")


def real(value: float) -> ir.FloatingScalar:
    """A double-precision constant; engines read bare literals as decimals."""
    return ibis.literal(float(value), "float64")


def true(condition: ir.BooleanValue) -> ir.BooleanValue:
    """A condition with null as false."""
    return condition.fill_null(False)


def whole(condition: ir.BooleanValue) -> ir.IntegerValue:
    """A condition as 1 or 0; PostgreSQL casts no boolean to a large integer."""
    return ibis.ifelse(condition, ibis.literal(1, "int64"), ibis.literal(0, "int64"))


def round_half_even(value: ir.FloatingValue) -> ir.FloatingValue:
    """To the nearest integer, halves to the even one; engines disagree on their own round()."""
    low = value.floor()
    part = value - low
    odd = (low - (low / real(2)).floor() * real(2)) == real(1)
    return ibis.cases(
        (part < real(0.5), low), (part > real(0.5), low + real(1)), (odd, low + real(1)), else_=low
    )
