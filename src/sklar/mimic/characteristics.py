"""Who the patients are, for an evaluation by subgroup: no rule and no model reads it."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

OLDEST = 90.0
"""Age of everyone beyond 89, whose birth both data sets hide."""

SEXES: Mapping[str, str] = {"F": "female", "M": "male"}

RACES: Mapping[str, str] = {
    "WHITE": "white",
    "MIDDLE EASTERN": "white",
    "PORTUGUESE": "white",
    "BLACK": "black",
    "CARIBBEAN ISLAND": "black",
    "HISPANIC": "hispanic",
    "SOUTH AMERICAN": "hispanic",
    "ASIAN": "asian",
    "UNKNOWN": "unknown",
    "UNABLE TO OBTAIN": "unknown",
    "PATIENT DECLINED TO ANSWER": "unknown",
    "": "unknown",
}
"""How an entry begins, to the group that it counts to; any other is "other".

The groups are those of the published benchmark (Harutyunyan et al., 2019, its demographics of admissions),
which makes one of other and unknown.
"""

_FIRST = r"^\s*(?P<begin>.*?)\s*(?:/| - | OR |$)"
"""What stands before the first detail: BLACK/CAPE VERDEAN, WHITE - RUSSIAN, HISPANIC OR LATINO."""


def characteristics(stays: pa.Table) -> pa.Table:
    """Of N rows: id, age in years, and sex, race and insurance where the raw tables have them.

    Args:
        stays: The stays' table of `sklar.mimic.cohort.stays`, in the order of the rows.
    """
    columns = {
        "id": stays["stay_id"].cast(pa.string()),
        "age": pa.array(np.minimum(stays["age"].to_numpy().astype(np.float64), OLDEST), from_pandas=True),
    }
    named = {"sex": _sex, "race": _race, "insurance": _insurance}
    columns |= {name: read(stays[name]) for name, read in named.items() if name in stays.column_names}
    return pa.table(columns)


def _sex(entries: pa.ChunkedArray) -> pa.Array:
    return _mapped(pc.utf8_upper(pc.utf8_trim_whitespace(entries)), SEXES, None)


def _race(entries: pa.ChunkedArray) -> pa.Array:
    begins = pc.extract_regex(pc.utf8_upper(pc.fill_null(entries, "")), _FIRST)
    groups = _mapped(pc.struct_field(begins, "begin"), RACES, "other")
    return pc.if_else(pc.equal(groups, "unknown"), pa.scalar(None, pa.string()), groups)


def _insurance(entries: pa.ChunkedArray) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(entries).combine_chunks()
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def _mapped(entries: pa.ChunkedArray, names: Mapping[str, str], otherwise: str | None) -> pa.Array:
    """The name of each entry; null where the entry is null."""
    place = pc.index_in(entries, value_set=pa.array(list(names)))
    found = pa.array(list(names.values()), pa.string()).take(place.combine_chunks())
    return found if otherwise is None else pc.fill_null(found, otherwise)
