"""One table with a row per subject and a known signal, for tests of what reads such tables."""

import numpy as np
import pandas as pd

from sklar.data.schema import Image, Schema, Tabular, Text, TimeSeries

SCHEMA = Schema(
    id="stay",
    label="died",
    group="patient",
    modalities={
        "vitals": TimeSeries(variables=("hr", "bp"), steps=4, step=1.0, unit="hours"),
        "note": Text(),
        "demo": Tabular(numeric=("age",), categorical={"sex": ("f", "m")}),
    },
)
SCAN = Image(height=8, width=8)
"""What the column ``scan`` may be read as."""

WORDS = np.array(["stable", "pain", "fever", "failure"])

SMALL = {
    "training.batch_size": 32,
    "training.learning_rate": 0.01,
    "training.draws": 3,
    "model.encoders.dim": 8,
    "model.encoders.series.hidden": 8,
    "model.encoders.text.hidden": 8,
    "model.encoders.text.heads": 2,
    "model.encoders.text.layers": 1,
    "model.encoders.text.intermediate": 8,
    "model.encoders.table.hidden": 8,
}
"""Settings of a model that trains in a moment."""


def wide_table(rows: int = 240, seed: int = 0) -> pd.DataFrame:
    """Severity drives every modality and the label; each is missing in a fifth of rows, never all in one."""
    rng = np.random.default_rng(seed)
    severity = rng.normal(size=rows)
    times = -rng.uniform(0, 3.9, (rows, 5))
    there = rng.random((rows, 3)) < 0.8
    vitals = [
        [
            {"time": t, "variable": "hr" if k % 2 else "bp", "value": 80 + 10 * s + e}
            for k, (t, e) in enumerate(zip(own, rng.normal(size=5), strict=True))
        ]
        for own, s in zip(times, severity, strict=True)
    ]
    scans = np.clip(128 + 40 * severity[:, None, None] + 20 * rng.normal(size=(rows, 8, 8)), 0, 255)
    level = np.clip(np.digitize(severity, [-0.7, 0.3, 1]), 0, 3)
    died = severity + 0.5 * rng.normal(size=rows) > 0.5
    return pd.DataFrame(
        {
            "stay": np.arange(rows) + 100,
            "patient": np.arange(rows) // 2,
            "died": died.astype(int),
            "vitals": [own if has else None for own, has in zip(vitals, there[:, 0], strict=True)],
            "note": [
                f"patient with {WORDS[k]}" if h else None for k, h in zip(level, there[:, 1], strict=True)
            ],
            "scan": [
                own.astype(int).tolist() if h else None for own, h in zip(scans, there[:, 2], strict=True)
            ],
            "age": 60 + 10 * severity + 5 * rng.normal(size=rows),
            "sex": rng.choice(["f", "m"], rows),
        }
    )
