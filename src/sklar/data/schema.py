"""What a data set holds: the names, modalities and units that preparation and models agree on.

A schema is plain data. It reads and writes JSON, sits in the manifest of a prepared folder, and travels
with a trained model, so that new patients are read exactly as the training patients were.
"""

from typing import Self

from pydantic import Field, model_validator

from sklar.data.modalities import (
    UNIT_SECONDS,
    Augmentation,
    Frozen,
    GriddedSeries,
    Image,
    Modality,
    Tabular,
    Text,
    TimeSeries,
    Unit,
    distinct,
)

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
        label: Column with the outcome: 0, 1 or null where it is unknown.
        group: Column of what must not be split over training and test (patient, matched set); None when
            rows are independent.
        time_zero: Column with the moment of prediction, on the clock of the series' times (numbers or
            timestamps); None when those times are already relative to it.
        horizon: How far past time zero the label looks, in days; None when it has no fixed reach.
        modalities: Per name, which must be an identifier, a `TimeSeries`, `GriddedSeries`,
            `Image`, `Text` or `Tabular`.
    """

    id: str = Field(min_length=1)
    label: str = Field(min_length=1)
    group: str | None = None
    time_zero: str | None = None
    horizon: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    modalities: dict[str, Modality] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        distinct("modalities", [name.lower() for name in self.modalities])
        for name in self.modalities:
            if not name.isidentifier() or name.lower() in RESERVED:
                raise ValueError(
                    f"modality {name!r}: a name is an identifier (letters, digits, _) other than "
                    f"{', '.join(sorted(RESERVED))}, because it names files and columns"
                )
        if self.id == self.label:
            raise ValueError(f"id and label are the same column, {self.id!r}")
        roles = {self.id, self.label, self.group, self.time_zero}
        for name, item in self.tables.items():
            if clash := [column for column in item.columns if column in roles]:
                raise ValueError(
                    f"modality {name!r} lists {clash[0]!r}, which is the id, label, group or time zero; a "
                    "model "
                    "must not read it, so take it out (or copy it under another name)"
                )
        return self

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
