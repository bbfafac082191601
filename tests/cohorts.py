"""A small cohort of one series, one text and one table with a known signal, for tests of training."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from sklar.data.frame import write
from sklar.data.schema import Schema, Tabular, Text, TimeSeries
from sklar.data.store import PreparedData

SCHEMA = Schema(
    id="id",
    label="died",
    modalities={
        "labs": TimeSeries(variables=("x", "y"), steps=6, step=1.0),
        "notes": Text(),
        "table": Tabular(numeric=("age", "bmi"), categorical={"sex": ("f", "m")}),
    },
)

WORDS = ("stable", "pain", "fever", "failure", "sepsis")


def small_cohort(out: Path, rows: int = 240, seed: int = 0) -> PreparedData:
    """Severity drives every modality and the label; labs are missing in a fifth, notes in a third."""
    rng = np.random.default_rng(seed)
    severity = rng.normal(size=rows)
    ids = np.array([f"p{i}" for i in range(rows)])
    died = (severity + rng.normal(size=rows) * 0.5 > 0.7).astype(np.int64)
    bmi = np.where(rng.random(rows) < 0.3, np.nan, 25 + severity)
    subjects = pa.table(
        {
            "id": ids,
            "died": died,
            "age": 60 + 10 * severity + rng.normal(size=rows),
            "bmi": pa.array(bmi, mask=np.isnan(bmi)),
            "sex": rng.choice(["f", "m"], rows),
        }
    )
    has_labs, has_notes = rng.random(rows) < 0.8, rng.random(rows) < 0.67
    who = np.repeat(np.flatnonzero(has_labs), 4)
    labs = pa.table(
        {
            "id": ids[who],
            "time": -rng.random(len(who)) * 5.9,
            "variable": rng.choice(["x", "y"], len(who)),
            "value": severity[who] + rng.normal(size=len(who)) * 0.7,
        }
    )
    level = np.clip(np.digitize(severity, [-1, 0, 0.7, 1.5]), 0, 4)
    noted = np.flatnonzero(has_notes)
    notes = pa.table({"id": ids[noted], "text": [f"patient with {WORDS[level[i]]}" for i in noted]})
    return write(out, SCHEMA, subjects, {"labs": labs}, {"notes": notes}, seed=seed, name="small cohort")


TINY = (
    "training.max_epochs=3",
    "training.batch_size=32",
    "training.learning_rate=0.01",
    "training.draws=3",
    "model.encoders.dim=8",
    "model.encoders.series.hidden=8",
    "model.encoders.text.hidden=8",
    "model.encoders.text.heads=2",
    "model.encoders.text.layers=1",
    "model.encoders.text.intermediate=8",
    "model.encoders.table.hidden=8",
)

OWN: dict[str, tuple[str, ...]] = {
    "interleaved": (
        "model.dim=16",
        "model.heads=2",
        "model.layers=1",
        "model.embedding=8",
        "model.time_heads=2",
        "model.queries=6",
    ),
    "lsmt": (
        "model.width=16",
        "model.heads=2",
        "model.head_width=8",
        "model.mlp=16",
        "model.layers=1",
        "model.perceiver.latents=4",
        "model.perceiver.width=16",
        "model.perceiver.depth=2",
        "model.perceiver.cross_width=8",
        "model.perceiver.heads=2",
        "model.perceiver.head_width=8",
    ),
}
"""Sizes of the models whose own default is the published one."""
