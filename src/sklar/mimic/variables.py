"""The 17 variables of the benchmark and the 76 columns that they become."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from sklar.data.schema import GriddedSeries

STEPS = 24
"""Bins of a stay."""

BIN_SECONDS = 7200
"""Two hours."""

WINDOW_SECONDS = STEPS * BIN_SECONDS
"""48 hours: from admission to the ICU to the moment of prediction."""


@dataclass(frozen=True)
class Variable:
    """One variable, as variables.toml describes it.

    Attributes:
        name: The benchmark's name.
        chart: Item ids in CHARTEVENTS.
        lab: Item ids in LABEVENTS.
        normal: What stands in before the first observation: a number, or the text of a category.
        extended: Further items that measure the same thing.
        not_blood: Laboratory items of another specimen.
        range: Outlier below, valid from, valid to, outlier above; None for categories.
        categories: Text to score, in the order of the columns; empty for a number.
        texts: Whether the benchmark settles ties of its raw texts.
        units: Item id to unit, where it is not the variable's own.
    """

    name: str
    chart: tuple[int, ...]
    lab: tuple[int, ...]
    normal: float | str
    extended: tuple[int, ...] = ()
    not_blood: tuple[int, ...] = ()
    range: tuple[float, float, float, float] | None = None
    categories: Mapping[str, int] = field(default_factory=dict)
    texts: bool = False
    units: Mapping[int, str] = field(default_factory=dict)

    @property
    def alphabetical(self) -> tuple[str, ...]:
        """Category texts in the order of their code points."""
        return tuple(sorted(self.categories))

    def of_unit(self, unit: str) -> tuple[int, ...]:
        """Items of a unit."""
        return tuple(item for item, own in self.units.items() if own == unit)


@cache
def variables() -> tuple[Variable, ...]:
    """All variables, in the order of their columns."""
    table = tomllib.loads(files("sklar.mimic").joinpath("variables.toml").read_text("utf-8"))
    return tuple(_variable(name, entry) for name, entry in table.items())


def position(name: str) -> int:
    """Where a variable stands among the 17."""
    return [variable.name for variable in variables()].index(name)


@cache
def grid(clip: float | None) -> GriddedSeries:
    """The series of 24 bins and 76 columns, as a schema describes it."""
    return GriddedSeries(
        variables={variable.name: tuple(variable.categories) for variable in variables()},
        steps=STEPS,
        step=BIN_SECONDS / 3600,
        unit="hours",
        clip=clip,
    )


def columns_of_codes(merged: bool) -> list[NDArray[np.int64]]:
    """Per categorical variable, code to position among its columns; empty for numbers.

    Codes are positions in alphabetical order, or with ``merged`` the scores, each of which goes to one
    column: the CareVue spelling, which is the one that stands in before the first observation.
    """
    return [_columns_of(variable, merged) for variable in variables()]


def normal_values(merged: bool) -> NDArray[np.float64]:
    """(17,) what stands in before the first observation: a value, or the code of a category."""
    return np.array(
        [
            code(variable, str(variable.normal), merged) if variable.categories else float(variable.normal)
            for variable in variables()
        ]
    )


def code(variable: Variable, text: str, merged: bool) -> float:
    """The number that stands for a category text while events are processed."""
    return float(variable.categories[text] if merged else variable.alphabetical.index(text))


def _columns_of(variable: Variable, merged: bool) -> NDArray[np.int64]:
    names = list(variable.categories)
    if not merged:
        return np.array([names.index(text) for text in variable.alphabetical], dtype=np.int64)
    table = np.full(max(variable.categories.values(), default=-1) + 1, -1, dtype=np.int64)
    # numbered spellings ("4 Spontaneously") last, so that they win
    for text in sorted(names, key=lambda name: name[0].isdigit()):
        table[variable.categories[text]] = names.index(text)
    return table


def _variable(name: str, entry: Mapping[str, object]) -> Variable:
    fields = dict(entry)
    for key in ("chart", "lab", "extended", "not_blood", "range"):
        if key in fields:
            fields[key] = tuple(fields[key])  # type: ignore[arg-type]
    if "units" in fields:
        fields["units"] = {int(item): unit for item, unit in fields["units"].items()}  # type: ignore[attr-defined]
    return Variable(name=name, **fields)  # type: ignore[arg-type]
