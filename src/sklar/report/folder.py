"""Reading a finished run folder."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import yaml
from numpy.typing import NDArray

from sklar.data.predictions import predictions_from
from sklar.errors import DataError, UserError
from sklar.types import Predictions

_REQUIRED = ("config.yaml", "data.json", "predictions_test.parquet", "metrics.json")


@dataclass(frozen=True)
class Run:
    """What a report needs of one run.

    Attributes:
        folder: Where it was read.
        name: Name of the model, from the configuration; of a single-modality model that of its modality.
        config: The resolved configuration.
        data: Description of the cohort.
        metrics: Size, time, alignment and copula of the fitted model.
        test: Predictions of the test rows.
        valid_groups: Groups of the validation rows; empty when not recorded.
        history: Columns (E,) of the training history, NaN where an epoch left a cell empty.
        env: Versions; empty when not recorded.
        weights: Origin of initial weights; empty when not recorded.
        latents: How validation latents fit the joint, as `sklar.runs` records it; empty when it does not.
        place: Position of the output among several, when ``test`` is of one of them; else None.
        classes: (N,) class of each test row, NaN where it is unknown, when ``test`` is of one class against
            the rest; else None.
    """

    folder: Path
    name: str
    config: Mapping[str, Any]
    data: Mapping[str, Any]
    metrics: Mapping[str, Any]
    test: Predictions
    valid_groups: NDArray[np.str_]
    history: Mapping[str, NDArray[np.float64]]
    env: Mapping[str, Any]
    weights: Mapping[str, Any]
    latents: Mapping[str, Any]
    place: int | None = None
    classes: NDArray[np.float64] | None = None

    @property
    def restricted(self) -> bool:
        """Whether single rows must not be shown: unless the data say they are open, they are not."""
        return bool(self.data.get("restricted", True))


def read_run(folder: Path) -> Run:
    """Read a run folder, or say what it lacks and how to go on."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such run folder. Train one with `sklar train MODEL --out {folder}`.")
    missing = [name for name in _REQUIRED if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"{folder}: {', '.join(missing)} missing, so this run has not finished. Go on with the same "
            f"`sklar train MODEL --data DIR --out {folder}` and --resume, or leave the folder out."
        )
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    metrics, test = _json(folder / "metrics.json"), folder / "predictions_test.parquet"
    return Run(
        folder=folder,
        name=_model_name(folder, config, metrics),
        config=config,
        data=_json(folder / "data.json"),
        metrics=metrics,
        test=predictions_from(parquet.read_table(test), str(test)),
        valid_groups=_groups(folder / "predictions_valid.parquet"),
        history=_history(folder / "history.csv"),
        env=_json(folder / "env.json", optional=True),
        weights=_json(folder / "weights.json", optional=True),
        latents=_json(folder / "latents.json", optional=True),
    )


def _json(path: Path, optional: bool = False) -> Mapping[str, Any]:
    if optional and not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path} is not JSON ({error}), perhaps cut off while it was written. Train the model again."
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}; an object with named entries is needed")
    return content


def _model_name(folder: Path, config: Any, metrics: Mapping[str, Any]) -> str:
    model = config.get("model") if isinstance(config, dict) else None
    name = model.get("name") if isinstance(model, dict) else metrics.get("model")
    if name == "single" and isinstance(model, dict):
        name = model.get("modality", name)
    if not name:
        raise DataError(f"{folder}: config.yaml has no model.name, so the run cannot be named in a table")
    return str(name)


def _groups(path: Path) -> NDArray[np.str_]:
    if not path.is_file():
        return np.array([], dtype=np.str_)
    return np.asarray(parquet.read_table(path, columns=["group"])["group"].to_pylist(), dtype=np.str_)


def _history(path: Path) -> Mapping[str, NDArray[np.float64]]:
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = rows[0].keys() if rows else ()
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}
