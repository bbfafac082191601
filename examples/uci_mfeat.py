"""Which digit is it? A picture, missing from half of the rows, and a Fourier series of the same digit.

UCI Multiple Features (Duin; CC BY 4.0): 2,000 handwritten numerals of Dutch utility maps, of which the
16 x 15 pictures and the 76 Fourier coefficients of the shapes are read. The coefficients do not change when a
shape is turned, so that a 6 and a 9 look alike in them: the picture tells them apart, and where it is missing
nothing does. Pictures are missing completely at random, in training as in the test.

    python examples/uci_mfeat.py [--out runs/examples] [--seeds 5] [--models cm2 late]
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from five_seeds import Question, data_folder, main
from sklar import Image, Schema, TimeSeries

COEFFICIENTS, BESIDE = 76, 4
"""Coefficients of a shape, and how many of them, one after the other, are one step of the series."""

GREY = 40
"""Pixels count 0 to 6 dots; as bytes they are spread over the range."""

SETTINGS = {
    "training.batch_size": 64,
    "training.draws": 10,
    "training.learning_rate": 4e-3,
    "model.encoders.dim": 32,
    "model.encoders.series.hidden": 32,
    "model.encoders.image.widths": [8, 16, 16, 32],
    "model.encoders.image.depths": [1, 1, 1, 1],
}


def schema() -> Schema:
    names = tuple(f"coefficient_{k}" for k in range(BESIDE))
    return Schema(
        id="digit_id",
        label="digit",
        classes=tuple(str(k) for k in range(10)),
        modalities={  # DAFT, MMTM and DrFuse are built on the first, which has to be there
            "fourier": TimeSeries(variables=names, steps=COEFFICIENTS // BESIDE, step=1),
            "picture": Image(height=16, width=15),
        },
    )


def digits(folder: Path) -> tuple[pa.Table, np.ndarray]:
    """One row per digit, and whether its picture is missing."""
    data = np.load(folder / "mfeat.npz")
    missing = np.random.default_rng(0).random(len(data["y"])) < 0.5
    pictures = [None if gone else own.tolist() for own, gone in zip(data["pix"] * GREY, missing, strict=True)]
    table = pa.table(
        {
            "digit_id": np.arange(len(missing)),
            "digit": [str(own) for own in data["y"]],
            "picture": pa.array(pictures, pa.list_(pa.list_(pa.uint8()))),
            "fourier": data["fou"].reshape(len(missing), -1, BESIDE).tolist(),
        }
    )
    return table, missing


def question() -> Question:
    table, missing = digits(data_folder("uci_mfeat"))
    return Question(
        name="uci_mfeat",
        schema=schema(),
        seen=table,
        shown=table,
        parts={"with picture": ~missing, "without picture": missing},
        singles=("picture", "fourier"),
        fractions=(0.3, 0.1, 0.6),
        settings=SETTINGS,
        max_epochs=12,
    )


if __name__ == "__main__":
    main("Digits of which half have no picture: CM² beside every other model.", question)
