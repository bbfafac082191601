"""The kinds of modality: what one holds, in which units, and where it stands in a user's own table."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

Unit = Literal["seconds", "minutes", "hours", "days"]

UNIT_SECONDS: Mapping[str, float] = {"seconds": 1.0, "minutes": 60.0, "hours": 3600.0, "days": 86400.0}


class Frozen(BaseModel):
    """Settings that cannot be changed, and refuse unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Timed(Frozen):
    """A modality that was taken at some time, which a column of the subjects' table may say.

    What is not said is not written either: a data set that came as separate tables says nothing of columns.

    Attributes:
        time: Column of when it was taken, on the clock of the schema's time zero; None when there is none.
    """

    time: str | None = None

    def anywhere(self) -> Self:
        """The same, wherever it stands."""
        return self.model_copy(update=dict.fromkeys(PLACES & type(self).model_fields.keys()))

    @model_serializer(mode="wrap")
    def _without_places(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = write(self)
        return {key: value for key, value in content.items() if key not in PLACES or value is not None}


PLACES = frozenset({"column", "time", "root"})
"""Settings of a modality that say where it stands, and not what it is."""


class Placed(Timed):
    """A modality that stands in one column of a table with one row per subject (`sklar.data.wide`).

    Attributes:
        column: The column that holds it; None is the one that is called like the modality.
    """

    column: str | None = None


class TimeSeries(Placed):
    """Measurements over time, binned on a regular grid that ends at time zero.

    The grid covers the interval (-steps * step, 0]; bin t is open on the left and closed on the right, so
    a measurement taken exactly at time zero falls into the last bin. Later ones are never used.

    Attributes:
        variables: Names in the order of the columns of the array; V of them.
        steps: Number of bins, T.
        step: Width of one bin, in ``unit``.
        unit: Unit of ``step`` and of times relative to time zero.
        statistic: What one bin keeps of several measurements of a variable.
        log: Skewed variables, modelled as log(1 + x); negative values count as implausible.
        limits: Lowest and highest plausible raw value of a variable, both included. A value outside is
            treated as not measured, and counted in the manifest.
        time: Column with the times of the rows of a matrix; records carry their own.
        root: Folder that the paths in ``column`` start from.
    """

    kind: Literal["series"] = "series"
    root: str | None = None
    variables: tuple[str, ...] = Field(min_length=1)
    steps: int = Field(ge=1)
    step: float = Field(gt=0, allow_inf_nan=False)
    unit: Unit = "days"
    statistic: Literal["mean", "last", "min", "max"] = "mean"
    log: tuple[str, ...] = ()
    limits: dict[str, tuple[float, float]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        distinct("variables", self.variables)
        _known("log", self.log, self.variables)
        _known("limits", self.limits, self.variables)
        _ordered(self.limits)
        return self

    @property
    def numbers(self) -> tuple[str, ...]:
        """The variables, under the name that series and tables share."""
        return self.variables

    @property
    def times(self) -> NDArray[np.float64]:
        """(T,) bin midpoints relative to time zero, in ``unit``; negative is before."""
        return (np.arange(self.steps, dtype=np.float64) - self.steps + 0.5) * self.step

    @property
    def bounds(self) -> NDArray[np.float64]:
        """(V, 2) lowest and highest plausible raw value, infinite where there is no limit."""
        return _bounds(self.variables, self.log, self.limits)


class GriddedSeries(Frozen):
    """Measurements that come binned and filled: values, one-hot categories and what was observed.

    The array of a row is (T, C): first the value columns of all variables, then one mask column per
    variable. The grid is that of a `TimeSeries`: T bins that end at the moment of prediction.

    Attributes:
        variables: Per variable, in order, its category texts, one value column each; none for a number,
            which has a single value column. Numbers are standardised for a model, the rest is not.
        steps: Number of bins, T.
        step: Width of one bin, in ``unit``.
        unit: Unit of ``step``.
        clip: Bound of standardised values, None for no bound.
    """

    kind: Literal["grid"] = "grid"
    variables: dict[str, tuple[str, ...]] = Field(min_length=1)
    steps: int = Field(ge=1)
    step: float = Field(gt=0, allow_inf_nan=False)
    unit: Unit = "hours"
    clip: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        distinct("columns", self.columns)
        return self

    @property
    def values(self) -> tuple[str, ...]:
        """Names of the value columns."""
        return tuple(
            name if not texts else f"{name}->{text}"
            for name, texts in self.variables.items()
            for text in texts or ("",)
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all C columns."""
        return self.values + tuple(f"mask->{name}" for name in self.variables)

    @property
    def numbers(self) -> tuple[str, ...]:
        """The variables that are numbers, and so are standardised."""
        return tuple(name for name, texts in self.variables.items() if not texts)

    @property
    def owners(self) -> NDArray[np.int64]:
        """Per value column the position of its variable."""
        return np.repeat(np.arange(len(self.variables)), [len(t) or 1 for t in self.variables.values()])

    @property
    def times(self) -> NDArray[np.float64]:
        """(T,) bin midpoints relative to the moment of prediction, in ``unit``; negative is before."""
        return (np.arange(self.steps, dtype=np.float64) - self.steps + 0.5) * self.step


class Augmentation(Frozen):
    """Random changes of training pictures, drawn from (seed, epoch, row); by default none.

    Attributes:
        flip: Probability of a mirror image, left for right.
        degrees: Rotation about the centre, uniform in (-degrees, degrees).
        scale: Range of the magnification.
        translate: Largest shift, as a share of the stored height and width.
    """

    flip: float = Field(default=0.0, ge=0, le=1)
    degrees: float = Field(default=0.0, ge=0, le=180)
    scale: tuple[float, float] = (1.0, 1.0)
    translate: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not 0 < self.scale[0] <= self.scale[1] < np.inf:
            raise ValueError(f"scale: need 0 < lowest <= highest, got {self.scale[0]} and {self.scale[1]}")
        return self


class Image(Placed):
    """One picture, stored as bytes of one size, grey or in colour.

    A model sees the centre of it, as (pixels / 255 - mean) / sd.

    Attributes:
        height: Rows of the stored pictures.
        width: Columns of the stored pictures.
        channels: What a model sees: 1 or 3. Grey pictures are stored once and may be seen as three channels.
        crop: Height and width of the centre that a model sees; None is the whole.
        mean: Per channel, on the scale 0 to 1.
        sd: Per channel, on the same scale.
        augmentation: Changes of training pictures.
        unit: Unit of picture times relative to time zero, where times are given.
        root: Folder that the paths in ``column`` start from.
    """

    kind: Literal["image"] = "image"
    root: str | None = None
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    channels: Literal[1, 3] = 1
    crop: tuple[int, int] | None = None
    mean: tuple[float, ...] = ()
    sd: tuple[float, ...] = ()
    augmentation: Augmentation = Augmentation()
    unit: Unit = "days"

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: dict[str, Any]) -> dict[str, Any]:
        channels = values.get("channels", 1)
        neutral = {"mean": (0.5,) * channels, "sd": (0.25,) * channels} if channels in (1, 3) else {}
        return neutral | values

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not len(self.mean) == len(self.sd) == self.channels:
            raise ValueError(
                f"mean has {len(self.mean)} and sd {len(self.sd)} values for {self.channels} channels"
            )
        if not all(0 < value < np.inf for value in self.sd):
            raise ValueError(f"sd must be positive, got {self.sd}")
        height, width = self.shape
        if not (1 <= height <= self.height and 1 <= width <= self.width):
            raise ValueError(f"crop {self.crop} does not fit into pictures of {self.height} x {self.width}")
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width that a model sees."""
        return self.crop or (self.height, self.width)


class Text(Placed):
    """Written documents, as cleaned text; a model brings its own tokenizer.

    Attributes:
        documents: Most documents that one row keeps, N.
        keep: Which ones stay when a row has more: the latest (``last``) or the earliest (``first``).
        unit: Unit of document times relative to time zero, where times are given.
    """

    kind: Literal["text"] = "text"
    documents: int = Field(default=1, ge=1)
    keep: Literal["last", "first"] = "last"
    unit: Unit = "days"


class Tabular(Timed):
    """Numbers and categories that are known once per row, as columns of the subjects' table.

    Attributes:
        numeric: Numeric columns, P of them.
        categorical: Per categorical column its levels, Q columns; codes are positions from 1, 0 is a gap.
        log: Skewed numeric columns, modelled as log(1 + x); negative values count as implausible.
        limits: Lowest and highest plausible value of a numeric column; outside is a gap, and is counted.
    """

    kind: Literal["table"] = "table"
    numeric: tuple[str, ...] = ()
    categorical: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    log: tuple[str, ...] = ()
    limits: dict[str, tuple[float, float]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.columns:
            raise ValueError("a table needs at least one numeric or categorical column")
        distinct("columns", self.columns)
        _known("log", self.log, self.numeric)
        _known("limits", self.limits, self.numeric)
        _ordered(self.limits)
        for column, levels in self.categorical.items():
            if not levels:
                raise ValueError(f"categorical column {column!r} has no levels; list them")
            distinct(f"levels of {column!r}", levels)
        return self

    @property
    def numbers(self) -> tuple[str, ...]:
        """The numeric columns, under the name that series and tables share."""
        return self.numeric

    @property
    def columns(self) -> tuple[str, ...]:
        """Numeric columns, then categorical ones."""
        return self.numeric + tuple(self.categorical)

    @property
    def bounds(self) -> NDArray[np.float64]:
        """(P, 2) lowest and highest plausible value, infinite where there is no limit."""
        return _bounds(self.numeric, self.log, self.limits)


Modality = Annotated[TimeSeries | GriddedSeries | Image | Text | Tabular, Field(discriminator="kind")]


def distinct(what: str, names: Iterable[str]) -> None:
    """Refuse empty and repeated names."""
    seen: set[str] = set()
    for name in names:
        if not name:
            raise ValueError(f"{what}: an empty name")
        if name in seen:
            raise ValueError(f"{what}: {name!r} is listed twice")
        seen.add(name)


def _known(what: str, names: Iterable[str], among: tuple[str, ...]) -> None:
    for name in names:
        if name not in among:
            raise ValueError(f"{what}: {name!r} is not one of {', '.join(among) or 'no numeric columns'}")


def _ordered(limits: Mapping[str, tuple[float, float]]) -> None:
    for name, (low, high) in limits.items():
        if not -np.inf < low < high < np.inf:
            raise ValueError(f"limits of {name!r}: need finite lower < upper, got {low} and {high}")


def _bounds(
    names: tuple[str, ...], log: tuple[str, ...], limits: Mapping[str, tuple[float, float]]
) -> NDArray[np.float64]:
    table = np.array([limits.get(name, (-np.inf, np.inf)) for name in names], dtype=np.float64).reshape(-1, 2)
    logged = np.array([name in log for name in names], dtype=bool)
    table[logged, 0] = np.maximum(table[logged, 0], 0.0)
    return table
