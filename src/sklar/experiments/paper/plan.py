"""What an experiment of the paper asks for: fits, and how their results are shown."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sklar.data.store import PreparedData
from sklar.report import TextTable

CohortName = Literal["mimic-iii", "mimic-iv"]
TaskName = Literal["ihm", "readm"]
SeriesKind = Literal["lstm", "transformer"]
ImageKind = Literal["resnet34", "resnet50", "vit"]

TASKS: tuple[TaskName, ...] = ("ihm", "readm")
"""In-hospital mortality and readmission within 30 days, in the order of the paper's columns."""

METRICS = ("auroc", "average_precision")
"""Of every table, under each task."""

LABELS = {"mimic-iii": "MIMIC-III", "mimic-iv": "MIMIC-IV"}


@dataclass(frozen=True)
class Fit:
    """A model to be fitted, whatever the scale and the seed.

    Attributes:
        cohort: Which prepared folder.
        task: The outcome.
        modalities: What the model sees.
        matched: Only rows that have all of them, the paper's totally matched setting.
        model: Key of `sklar.models.MODELS`.
        settings: ``key=value`` on top of what the scale says.
        series: Backbone of time series.
        image: Backbone of images.
        preset: Of CM²: what its other settings start from.
    """

    cohort: CohortName
    task: TaskName
    modalities: tuple[str, ...]
    matched: bool
    model: str
    settings: tuple[str, ...] = ()
    series: SeriesKind = "lstm"
    image: ImageKind = "resnet34"
    preset: str = "default"

    def __str__(self) -> str:
        rows = "matched" if self.matched else "partial"
        backbones = f"{self.series} + {self.image}"
        parts = [self.model, self.cohort, self.task, "+".join(self.modalities), rows, backbones]
        return ", ".join([*parts, *([] if self.preset == "default" else [self.preset]), *self.settings])


@dataclass(frozen=True)
class Outcomes:
    """What is there once the fits are done.

    Attributes:
        runs: Per fit the run folders of its seeds; fits that failed are missing.
        failures: Per other fit, why it has no run.
        data: The prepared folders by cohort.
        resamples: Bootstrap replicates of an interval.
    """

    runs: Mapping[Fit, tuple[Path, ...]]
    failures: Mapping[Fit, str]
    data: Mapping[str, PreparedData]
    resamples: int

    def why(self, fit: Fit) -> str:
        """Why a fit has no run."""
        return self.failures.get(fit, "not fitted yet")


@dataclass(frozen=True)
class Rendered:
    """An experiment, ready to be written.

    Attributes:
        table: Its cells as texts; None for a figure without one.
        records: The same, a dictionary of plain values for each number: the lines of a CSV file.
        figures: SVG texts by name.
        notes: Sentences under it.
    """

    table: TextTable | None = None
    records: Sequence[Mapping[str, Any]] = ()
    figures: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Experiment(ABC):
    """A table or figure of the paper.

    Attributes:
        place: Such as "Table 2".
        title: What it shows.
        cohorts: The prepared folders that it reads.
    """

    place: str
    title: str
    cohorts: tuple[CohortName, ...]

    @abstractmethod
    def fits(self) -> tuple[Fit, ...]:
        """Every fit that it needs, perhaps none."""

    @abstractmethod
    def render(self, outcomes: Outcomes) -> Rendered:
        """Its numbers beside the paper's; what could not be had says why."""
