"""Three subjects of one table with every form of modality, for the tests of what reads such tables."""

import datetime as dt
import io

import numpy as np
import pyarrow as pa
from PIL import Image as Pillow

from sklar.data.schema import Image, Schema, Tabular, Text, TimeSeries
from sklar.data.wide import read_wide

ZERO = dt.datetime(2020, 1, 1)
VITALS = TimeSeries(variables=("hr", "bp"), steps=3, step=1.0, unit="hours")
PICTURE = np.random.default_rng(0).integers(0, 256, (4, 5)).astype(np.uint8)


def at(hours):
    return ZERO + dt.timedelta(hours=hours)


SCHEMA = Schema(
    id="stay",
    label="died",
    group="patient",
    time_zero="admit",
    modalities={
        "vitals": VITALS,
        "cxr": Image(height=4, width=5, column="scan", time="taken", unit="hours"),
        "note": Text(documents=2, time="written", unit="hours"),
        "demo": Tabular(numeric=("age",), categorical={"sex": ("f", "m")}),
    },
)
ROWS = [
    {
        "stay": 1, "patient": "a", "died": 0, "admit": ZERO, "age": 50.0, "sex": "f",
        "vitals": [{"time": at(-1.5), "variable": "hr", "value": 80.0}],
        "scan": PICTURE.tolist(), "taken": at(-2), "note": ["early", "late"], "written": [at(-2), at(-1)],
    },
    {
        "stay": 2, "patient": "b", "died": 1, "admit": ZERO, "age": None, "sex": "m",
        "vitals": None, "scan": None, "taken": None, "note": None, "written": None,
    },
    {
        "stay": 3, "patient": "b", "died": 1, "admit": ZERO, "age": None, "sex": None,
        "vitals": [], "scan": [], "taken": None, "note": [""], "written": [at(-1)],
    },
]  # fmt: skip


def arrow():
    return pa.Table.from_pylist(ROWS)


def of(modality, **columns):
    """What one modality 'x' of a table without time zero becomes."""
    schema = Schema(id="id", label="y", modalities={"x": modality})
    return read_wide(schema, {"id": list(range(len(columns["x"]))), **columns}, labelled=False).content["x"]


def png(pixels):
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()
