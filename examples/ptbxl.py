"""Is an electrocardiogram abnormal? Signal, written report and table in training; no report when it is asked.

PTB-XL (Wagner et al., Scientific Data 7:154, 2020; CC BY 4.0), its first 500 records. The report, German or
Swedish mostly, names the diagnosis that the label is made of, so that a model which reads it only repeats
what the cardiologist wrote: it may teach, and is absent from every row that is tested. Patients come back
with several records, which stay on one side of the split.

    python examples/ptbxl.py [--out runs/examples] [--seeds 5] [--models cm2 late]
"""

import ast
import csv
from pathlib import Path

import numpy as np
import pyarrow as pa

from five_seeds import Question, data_folder, main
from sklar import Schema, Tabular, Text, TimeSeries

SECONDS, RATE = 2.56, 25
"""The last seconds of the ten are read, at a quarter of the rate of the files."""

FILE_RATE = 100

SETTINGS = {
    "training.batch_size": 32,
    "training.draws": 10,
    "model.encoders.dim": 32,
    "model.encoders.series.hidden": 32,
}


def schema(leads: tuple[str, ...]) -> Schema:
    return Schema(
        id="ecg_id",
        label="abnormal",
        group="patient_id",
        modalities={
            "ecg": TimeSeries(variables=leads, steps=round(SECONDS * RATE), step=1 / RATE, unit="seconds"),
            "report": Text(),
            "person": Tabular(
                numeric=("age", "height", "weight"),
                categorical={"sex": ("0", "1")},
                limits={"age": (0, 120)},  # some versions of the data write 300 where somebody is very old
            ),
        },
    )


def records(folder: Path) -> tuple[tuple[str, ...], pa.Table]:
    """The leads, and one row per record that has a diagnostic statement: 488 of 500."""
    with (folder / "scp_statements.csv").open() as file:
        kind = {row[""]: row["diagnostic_class"] for row in csv.DictReader(file)}
    signals = np.load(folder / "records100_int16.npz")
    steps = round(SECONDS * FILE_RATE)
    means = signals["signal_uV"][:, -steps:].reshape(len(signals["ecg_id"]), -1, FILE_RATE // RATE, 12)
    signal = dict(zip(signals["ecg_id"].tolist(), means.mean(2) / 1000.0, strict=True))  # millivolts
    rows = []
    with (folder / "ptbxl_database_500.csv").open() as file:
        for row in csv.DictReader(file):
            found = {kind.get(code, "") for code in ast.literal_eval(row["scp_codes"])} - {""}
            if not found:
                continue
            number = int(row["ecg_id"])
            person = {name: float(row[name]) if row[name] else None for name in ("age", "height", "weight")}
            rows.append(
                {
                    "ecg_id": number,
                    "patient_id": row["patient_id"],
                    "abnormal": int(found != {"NORM"}),
                    "ecg": signal[number].tolist(),
                    "report": row["report"],
                    "sex": row["sex"],
                    **person,
                }
            )
    return tuple(signals["leads"].tolist()), pa.Table.from_pylist(rows)


def question() -> Question:
    leads, table = records(data_folder("ptbxl_500"))
    place = table.column_names.index("report")
    return Question(
        name="ptbxl",
        schema=schema(leads),
        seen=table,
        shown=table.set_column(place, "report", pa.nulls(len(table), pa.string())),
        parts={},
        singles=("ecg", "person"),
        fractions=(0.55, 0.15, 0.3),
        settings=SETTINGS,
        max_epochs=10,
    )


if __name__ == "__main__":
    main("Abnormal electrocardiograms, the report dropped at test: CM² beside every other model.", question)
