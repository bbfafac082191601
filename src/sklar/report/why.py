"""What the examples of a page were predicted from, where the run folder keeps their explanation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sklar.report import figures
from sklar.report.figures import Grid
from sklar.report.folder import Run

if TYPE_CHECKING:
    from sklar.explanation import Explanation

FILE, OF_OUTPUT = "explanation.parquet", "explanation-{}.parquet"
_VARIABLES = 10
"""Of a heat map: the most influential ones."""
_COLUMNS = 8
_WORDS = 60
"""Of the columns, and of the words, that are shown."""


@dataclass(frozen=True)
class Word:
    """A piece of a text, and how strongly to colour it.

    Attributes:
        text: What stands there.
        share: From 0 to 1 of the largest contribution of the row.
        raises: Whether it raises the predicted risk.
    """

    text: str
    share: float
    raises: bool


@dataclass(frozen=True)
class Why:
    """What one example was predicted from.

    Attributes:
        name: Its id.
        probability: The model's own probability.
        baseline: Of a row of average values, blank texts and unknown categories.
        shares: Per modality its Shapley share.
        heats: Heat maps of series.
        columns: Names, values and contributions of columns of tables, the largest first.
        texts: Words per text modality.
    """

    name: str
    probability: float
    baseline: float
    shares: Mapping[str, float]
    heats: Sequence[str]
    columns: Sequence[tuple[str, str, float]]
    texts: Mapping[str, Sequence[Word]]


def reasons(run: Run, names: Sequence[str]) -> tuple[Why, ...]:
    """The explanations that a run keeps of some rows, in their order; those without one are left out.

    Args:
        run: The run folder.
        names: Ids of rows that may be shown.
    """
    path = run.folder / (FILE if run.place is None else OF_OUTPUT.format(run.place))
    if not path.is_file():
        return ()
    from sklar.explanation import read_explanation  # loads models' libraries, which the page rarely needs

    found = read_explanation(path)
    place = {str(name): index for index, name in enumerate(found.ids)}
    modalities = run.data.get("schema", {}).get("modalities", {})
    return tuple(_why(found, place[name], modalities) for name in names if name in place)


def _why(found: "Explanation", row: int, modalities: Mapping[str, Any]) -> Why:
    table = found.features
    own = table.filter(np.equal(table["row"].to_numpy(), row)).to_pylist()
    largest = max((abs(part["contribution"]) for part in own), default=0.0) or 1.0
    heats, texts = [], {}
    for name, spec in modalities.items():
        parts = [part for part in own if part["modality"] == name]
        if spec.get("kind") in ("series", "grid") and parts:
            grid = _grid(parts, spec)
            top = float(np.abs(grid.values).max()) or 1.0
            heats.append(figures.heat(grid, f"why-{row}-{name}", name, top))
        elif spec.get("kind") == "text" and parts:
            texts[name] = [
                Word(_spelt(part["feature"]), abs(part["contribution"]) / largest, part["contribution"] > 0)
                for part in parts[:_WORDS]
            ]
    columns = [part for part in own if modalities.get(part["modality"], {}).get("kind") == "table"]
    columns.sort(key=lambda part: -abs(part["contribution"]))
    return Why(
        name=str(found.ids[row]),
        probability=float(found.probability[row]),
        baseline=float(found.baseline[row]),
        shares=dict(zip(found.modalities, found.shapley[row].tolist(), strict=True)),
        heats=heats,
        columns=[(part["feature"], _value(part), part["contribution"]) for part in columns[:_COLUMNS]],
        texts=texts,
    )


def _grid(parts: Sequence[Mapping[str, Any]], spec: Mapping[str, Any]) -> Grid:
    """The most influential variables, as the schema orders them."""
    names = list(spec["variables"])
    values = np.zeros((len(names), spec["steps"]))
    measured = [part for part in parts if part["step"] is not None]
    at = [names.index(part["feature"]) for part in measured], [part["step"] for part in measured]
    values[at] = [part["contribution"] for part in measured]
    size = np.abs(values).sum(1)
    shown = np.sort(np.argsort(-size, kind="stable")[: min(_VARIABLES, max(1, int((size > 0).sum())))])
    times = (np.arange(spec["steps"]) - spec["steps"] + 0.5) * spec["step"]
    return Grid([names[index] for index in shown], values[shown], times, spec["unit"])


def _spelt(piece: str) -> str:
    """A word piece as it is read: one that goes on a word begins without a space."""
    return piece.removeprefix("##") if piece.startswith("##") else f" {piece}"


def _value(part: Mapping[str, Any]) -> str:
    return part["text"] if part["number"] is None else f"{part['number']:.4g}"
