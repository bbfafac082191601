"""Tables 1 and 8: how many rows and positives the cohorts have."""

from dataclasses import dataclass
from typing import Any, final

from sklar.data.store import PreparedData
from sklar.data.view import View
from sklar.errors import SklarError
from sklar.experiments.paper.plan import TASKS, CohortName, Experiment, Fit, Outcomes, Rendered
from sklar.experiments.paper.published import published
from sklar.report import TextTable
from sklar.report.formats import Cell

NOTE = "Ours; then the paper's number and ours minus it."

HEADINGS = {"train": "Train", "valid": "Valid", "test": "Test", "positive": "Positive", "all": "Total"}


@dataclass(frozen=True)
class Rows:
    """Which rows of a cohort a line counts.

    Attributes:
        cohort: The prepared folder.
        view: Which of its rows; None counts pictures, whether a stay has them or not.
    """

    cohort: CohortName
    view: View | None


@final
class Counts(Experiment):
    """A table of counts.

    Args:
        place: Such as "Table 1".
        title: What it counts.
        lines: Rows by name.
        columns: Keys of `HEADINGS`.
    """

    cohorts: tuple[CohortName, ...] = ("mimic-iii", "mimic-iv")

    def __init__(self, place: str, title: str, lines: dict[str, Rows], columns: tuple[str, ...]) -> None:
        self.place, self.title, self.lines, self.columns = place, title, lines, columns

    def fits(self) -> tuple[Fit, ...]:
        return ()

    def render(self, outcomes: Outcomes) -> Rendered:
        lines, records, missing = [], [], {}
        for name, rows in self.lines.items():
            try:
                found = _count(outcomes.data[rows.cohort], rows.view)
            except SklarError as error:  # a modality or outcome that this folder lacks
                found, missing[name] = {}, str(error)
            texts = []
            for column in self.columns:
                printed = published().get((self.place, name, column))
                own, paper = found.get(column), None if printed is None else int(printed.value)
                texts.append(Cell(_text(own, paper)))
                records.append(
                    {"place": self.place, "row": name, "column": column, "value": own, "paper": paper}
                )
            lines.append([Cell(name), *texts])
        notes = tuple(f"{name}: no number, {why}" for name, why in missing.items())
        headings = ("Rows", *(HEADINGS[column] for column in self.columns))
        return Rendered(TextTable(headings, lines, NOTE), records, notes=notes)


def _count(data: PreparedData, view: View | None) -> dict[str, int]:
    if view is None:
        pictures: Any = data.manifest.records.get("cxr", {}).get("with_labels", {})
        return {**pictures, "all": sum(pictures.values())} if pictures else {}
    counts = view.of(data).manifest.counts
    return {name: count.subjects for name, count in counts.items()} | {"positive": counts["all"].events or 0}


def _text(own: int | None, paper: int | None) -> str:
    shown = "none" if own is None else f"{own:,}"
    if paper is None:
        return shown
    difference = "" if own is None else f", {own - paper:+,}".replace("-", "\N{MINUS SIGN}")
    return f"{shown}; paper {paper:,}{difference}"


_PARTS: dict[str, tuple[CohortName, tuple[str, ...] | None]] = {
    "MIMIC-III": ("mimic-iii", None),
    "MIMIC-III NOTE": ("mimic-iii", ("ehr", "notes")),
    "MIMIC-IV": ("mimic-iv", None),
    "matched, MIMIC-III NOTE": ("mimic-iii", ("ehr", "notes")),
    "matched, MIMIC-IV CXR": ("mimic-iv", ("ehr", "cxr")),
    "matched, MIMIC-IV CXR REPORT": ("mimic-iv", ("ehr", "cxr", "report")),
}
"""Lines of Table 1 but for the pictures, and of Table 8 under each task."""


def _rows(name: str, task: str) -> Rows:
    cohort, modalities = _PARTS[name]
    return Rows(cohort, View(task=task, modalities=modalities, matched=modalities is not None))


_PICTURES = {"MIMIC-CXR": Rows("mimic-iv", None)}

COHORTS = (
    Counts(
        "Table 1",
        "numbers of samples",
        {name: _rows(name, "ihm") for name in _PARTS} | _PICTURES,
        ("train", "valid", "test", "all"),
    ),
    Counts(
        "Table 8",
        "numbers of samples and positives",
        {
            f"{name}, {task}": _rows(name, task)
            for name in _PARTS
            for task in TASKS
            if name != "MIMIC-III NOTE"  # it is among the matched ones
        }
        | _PICTURES,
        ("train", "valid", "test", "positive", "all"),
    ),
)
