"""A run is a folder: what was asked, on which data, with which result. Reports read it and never train.

``metrics.json`` is written last: a folder without it is not a finished run, whatever else it holds.
"""

from sklar.runs.folder import CONFIG, DATA, ENVIRONMENT, METRICS, WEIGHTS, environment
from sklar.runs.masking import MaskedRows
from sklar.runs.patients import OnEmpty, answer, refuse_empty
from sklar.runs.predictions import read_predictions, write_predictions
from sklar.runs.run import Run
from sklar.runs.stream import Told, predict_table, predicted
from sklar.runs.train import train, validation_auroc

__all__ = [
    "CONFIG",
    "DATA",
    "ENVIRONMENT",
    "METRICS",
    "WEIGHTS",
    "MaskedRows",
    "OnEmpty",
    "Run",
    "Told",
    "answer",
    "environment",
    "predict_table",
    "predicted",
    "read_predictions",
    "refuse_empty",
    "train",
    "validation_auroc",
    "write_predictions",
]
