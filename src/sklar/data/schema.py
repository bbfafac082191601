"""What a data set holds: the names, modalities and units that preparation and models agree on.

A schema is plain data. It reads and writes JSON, sits in the manifest of a prepared folder, and travels
with a trained model, so that new patients are read exactly as the training patients were.
"""

from typing import TYPE_CHECKING, Any, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from sklar.data.modalities import (
    UNIT_SECONDS,
    Augmentation,
    Frozen,
    GriddedSeries,
    Image,
    Modality,
    Tabular,
    Text,
    Timed,
    TimeSeries,
    Unit,
    distinct,
)

if TYPE_CHECKING:  # it brings torch, which a schema does not need
    from sklar.types import TaskName

__all__ = [
    "RESERVED",
    "UNIT_SECONDS",
    "Augmentation",
    "GriddedSeries",
    "Image",
    "Modality",
    "Schema",
    "Tabular",
    "Text",
    "TimeSeries",
    "Unit",
]

RESERVED = frozenset({"index", "manifest"})
"""Names of other files in a prepared folder, which a modality may not take."""


class Schema(Frozen):
    """Columns of the subjects' table and the modalities of each subject.

    The order of ``modalities`` is the order of modalities everywhere: in files, batches and reports.

    Attributes:
        id: Column that names a row; unique.
        label: Column with the outcome: 0, 1 or null where it is unknown. Names of several such columns are
            a multilabel outcome: events that may occur together.
        classes: Values of the label column, of which each row has one (a multiclass outcome) or null; None
            where the label is 0 or 1. Numbers are written as texts, "3".
        group: Column of what must not be split over training and test (patient, matched set); None when
            rows are independent.
        time_zero: Column with the moment of prediction, on the clock of the series' times (numbers or
            timestamps); None when those times are already relative to it.
        horizon: How far past time zero the label looks, in days; None when it has no fixed reach.
        modalities: Per name, which must be an identifier, a `TimeSeries`, `GriddedSeries`,
            `Image`, `Text` or `Tabular`.
    """

    id: str = Field(min_length=1)
    label: str | tuple[str, ...] = Field(min_length=1)
    classes: tuple[str, ...] | None = None
    group: str | None = None
    time_zero: str | None = None
    horizon: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    modalities: dict[str, Modality] = Field(min_length=1)

    @field_validator("classes", mode="before")
    @classmethod
    def _texts(cls, value: object) -> object:
        if not isinstance(value, list | tuple):
            return value
        return [str(own) if type(own) is int else own for own in value]

    @model_serializer(mode="wrap")
    def _plain(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what only classes have, so that other schemas read, and hash, as they always did."""
        content: dict[str, Any] = handler(self)
        if self.classes is None:
            content.pop("classes", None)
        return content

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_outcome()
        distinct("modalities", [name.lower() for name in self.modalities])
        for name in self.modalities:
            if not name.isidentifier() or name.lower() in RESERVED:
                raise ValueError(
                    f"modality {name!r}: a name is an identifier (letters, digits, _) other than "
                    f"{', '.join(sorted(RESERVED))}, because it names files and columns"
                )
        if self.id in self.labels:
            raise ValueError(f"id and label are the same column, {self.id!r}")
        roles = {self.id, *self.labels, self.group, self.time_zero}
        for name, item in self.tables.items():
            if clash := [column for column in item.columns if column in roles]:
                raise ValueError(
                    f"modality {name!r} lists {clash[0]!r}, which is the id, label, group or time zero; a "
                    "model must not read it, so take it out (or copy it under another name)"
                )
        return self

    def _check_outcome(self) -> None:
        distinct("label", self.labels)
        if not isinstance(self.label, str) and len(self.label) < 2:
            raise ValueError(
                f"label lists {len(self.label)} columns; several labels are two or more, and one is written "
                "as its name"
            )
        if self.classes is None:
            return
        if not isinstance(self.label, str):
            raise ValueError(
                f"classes belong to one label column, and label lists {len(self.label)}; give classes, or "
                "several columns of 0 and 1"
            )
        if len(self.classes) < 2:
            raise ValueError(
                f"classes lists {len(self.classes)}; a label has two classes or more. Leave classes out "
                "where it is 0 or 1"
            )
        distinct("classes", self.classes)

    @property
    def labels(self) -> tuple[str, ...]:
        """The label columns: one, or those of a multilabel outcome."""
        return (self.label,) if isinstance(self.label, str) else self.label

    @property
    def task(self) -> "TaskName":
        """What the outcome is: one event, several labels, or one of several classes."""
        if self.classes is not None:
            return "multiclass"
        return "binary" if isinstance(self.label, str) else "multilabel"

    @property
    def outputs(self) -> tuple[str, ...]:
        """What a model predicts, K of them: the labels, or the classes."""
        return self.labels if self.classes is None else self.classes

    @property
    def contents(self) -> dict[str, Modality]:
        """The modalities, wherever they stand in a table: equal ones can be read by the same model."""
        return {
            name: item.anywhere() if isinstance(item, Timed) else item
            for name, item in self.modalities.items()
        }

    @property
    def series(self) -> dict[str, TimeSeries]:
        """The time series among the modalities."""
        return {name: item for name, item in self.modalities.items() if isinstance(item, TimeSeries)}

    @property
    def grids(self) -> dict[str, GriddedSeries]:
        """The gridded series among the modalities."""
        return {name: item for name, item in self.modalities.items() if isinstance(item, GriddedSeries)}

    @property
    def measured(self) -> dict[str, TimeSeries | GriddedSeries | Tabular]:
        """The modalities that hold numbers: series and tables."""
        return {name: item for name, item in self.modalities.items() if not isinstance(item, Image | Text)}

    @property
    def images(self) -> dict[str, Image]:
        """The pictures among the modalities."""
        return {name: item for name, item in self.modalities.items() if isinstance(item, Image)}

    @property
    def texts(self) -> dict[str, Text]:
        """The texts among the modalities."""
        return {name: item for name, item in self.modalities.items() if isinstance(item, Text)}

    @property
    def tables(self) -> dict[str, Tabular]:
        """The tables among the modalities."""
        return {name: item for name, item in self.modalities.items() if isinstance(item, Tabular)}
