"""Small cohorts with several labels, or with classes, for tests from a prepared folder on."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from sklar.data.frame import write
from sklar.data.schema import Schema, Tabular, TimeSeries
from sklar.data.store import PreparedData
from sklar.types import TaskName

LABELS = ("sepsis", "stroke", "readmitted 30d")
CLASSES = ("home", "ward", "icu")

MODALITIES = {
    "labs": TimeSeries(variables=("x", "y"), steps=4, step=1.0),
    "table": Tabular(numeric=("age", "bmi")),
}

SCHEMAS: dict[TaskName, Schema] = {
    "binary": Schema(id="id", label="sepsis", group="patient", modalities=MODALITIES),
    "multilabel": Schema(id="id", label=LABELS, group="patient", modalities=MODALITIES),
    "multiclass": Schema(id="id", label="went", classes=CLASSES, group="patient", modalities=MODALITIES),
}

SEVERAL: tuple[TaskName, ...] = ("multilabel", "multiclass")


def subjects(rows: int, seed: int = 0) -> tuple[pa.Table, pa.Table]:
    """Subjects, whom two severities drive, and their laboratory values.

    The labels see one severity, the other and both; the classes cut the first. One subject in twelve has no
    outcome, and one in ten lacks one of the labels only.
    """
    rng = np.random.default_rng(seed)
    one, two = rng.normal(size=(2, rows))
    noise = rng.normal(size=(4, rows)) * 0.4
    scores = {"sepsis": one, "stroke": two - 0.5, "readmitted 30d": (one + two) / 1.4}
    unknown = rng.random(rows) < 1 / 12
    columns = {"id": [f"p{i}" for i in range(rows)], "patient": [f"g{i // 2}" for i in range(rows)]}
    for index, (name, score) in enumerate(scores.items()):
        gap = unknown | (rng.random(rows) < 0.1 if index else False)
        columns[name] = pa.array((score + noise[index] > 0.3).astype(np.int64), mask=gap)
    went = np.array(CLASSES)[np.digitize(one + noise[3], [-0.3, 0.6])]
    columns["went"] = pa.array(went, mask=unknown)
    columns["age"] = 60 + 10 * one + rng.normal(size=rows)
    columns["bmi"] = 25 + 3 * two + rng.normal(size=rows)
    who = np.repeat(np.flatnonzero(rng.random(rows) < 0.8), 4)
    kind = rng.integers(0, 2, len(who))
    labs = {
        "id": np.array(columns["id"])[who],
        "time": -rng.random(len(who)) * 3.9,
        "variable": np.array(["x", "y"])[kind],
        "value": np.where(kind, two[who], one[who]) + 0.5 * rng.normal(size=len(who)),
    }
    return pa.table(columns), pa.table(labs)


def several(out: Path, task: TaskName, rows: int = 240, seed: int = 0) -> PreparedData:
    """A prepared folder of `subjects`."""
    people, labs = subjects(rows, seed)
    return write(
        out, SCHEMAS[task], people, {"labs": labs}, fractions=(0.5, 0.25, 0.25), seed=seed, name="several"
    )
