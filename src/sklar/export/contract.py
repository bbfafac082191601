"""What whoever runs an exported model must know, as plain JSON."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sklar._version import __version__
from sklar.data.preprocess import CLIP
from sklar.data.schema import GriddedSeries, Image, Modality, Text, TimeSeries
from sklar.export.graph import NOISE, PRESENT, PROBABILITY, Graph
from sklar.runs import Run
from sklar.runs.run import model_config

FORMAT = 1
"""Of exported folders."""

TOKENIZERS = "tokenizers"


def contract(run: Run, graph: Graph, outputs: int) -> dict[str, Any]:
    """Inputs in order with shapes and meaning, statistics, tokenizers, and how to read the answer.

    Args:
        run: The run.
        graph: Its model as one function.
        outputs: K.
    """
    calibration = run.calibration
    members = 1 if graph.noise is None else graph.noise[0]
    return {
        "format": FORMAT,
        "sklar": __version__,
        "model": run.config.model.name,
        "restricted": run.data["restricted"],
        "label": run.data["label"],
        "task": run.schema.task,
        "outputs": list(run.schema.outputs),
        "modalities": list(run.schema.modalities),
        "inputs": _inputs(run, graph),
        "output": {
            "name": PROBABILITY,
            "dtype": "float32",
            "shape": ["draws" if members == 1 else f"{members} * draws", "batch", outputs],
            "meaning": "probabilities of every draw; the prediction is their mean over the first axis, its "
            "imputation interval their 2.5 % and 97.5 % quantiles, moved outwards on the logit scale by the "
            "reach under interval of the row's pattern (the widest for a pattern that is not there, none for "
            "a complete row); then both go through the recalibration",
        },
        "draws": run.config.training.draws,
        "interval": None if run.intervals is None else run.intervals.to_dict(),
        "recalibration": None if calibration is None else calibration.recalibration.to_dict(),
        "schema": run.schema.model_dump(mode="json"),
        "statistics": run.data["statistics"],
        "preprocessing": _preprocessing(run),
        "config": run.config.model_dump(mode="json"),
    }


def files(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and hash of every file of a folder."""
    return {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _inputs(run: Run, graph: Graph) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": port.name, "dtype": port.dtype, "shape": ["batch", *port.shape]} for port in graph.ports
    ]
    modalities = list(run.schema.modalities)
    found.append(
        {
            "name": PRESENT,
            "dtype": "bool",
            "shape": ["batch", len(modalities)],
            "meaning": f"which modalities a row has, in the order {', '.join(modalities)}; the content of an "
            "absent one is not read, but must be finite",
        }
    )
    if graph.noise is not None:
        found.append(
            {
                "name": NOISE,
                "dtype": "float32",
                "shape": ["draws", *graph.noise],
                "meaning": "independent uniform numbers strictly between 0 and 1, the same for all rows: per "
                "draw, member of the ensemble, modality and coordinate",
            }
        )
    return found


def _preprocessing(run: Run) -> dict[str, Any]:
    return {name: _rule(run, name, spec) for name, spec in run.schema.modalities.items()}


def _rule(run: Run, name: str, spec: Modality) -> dict[str, Any]:
    number = (
        "implausible values (schema: limits) are gaps; log(1 + x) where the schema lists the variable under "
        f"log; minus the mean, over the sd; clipped to {CLIP:g} either way; gaps are 0"
    )
    if isinstance(spec, TimeSeries):
        channels = [
            *spec.variables,
            *(f"{own}:observed" for own in spec.variables),
            *(f"{own}:since" for own in spec.variables),
        ]
        return {
            "channels": channels,
            "unit": spec.unit,
            "times": spec.times.tolist(),
            "rule": f"{number}; the last observation is carried forward; since is the number of steps since "
            "the last observation over the number of steps, 1 before the first",
        }
    if isinstance(spec, GriddedSeries):
        return {"channels": list(spec.columns), "unit": spec.unit, "rule": "numbers are standardised"}
    if isinstance(spec, Image):
        return {"rule": "the centre of a picture of the stored size: (bytes / 255 - mean) / sd per channel"}
    if isinstance(spec, Text):
        return _text_rule(run, name, spec)
    levels: Mapping[str, tuple[str, ...]] = spec.categorical
    return {
        "numeric": list(spec.numeric),
        "categories": {column: list(own) for column, own in levels.items()},
        "rule": f"{number}; a category is the position of its level from 1, and 0 where it is unknown",
    }


def _text_rule(run: Run, name: str, spec: Text) -> dict[str, Any]:
    tokenizer = run.tokenizers[name]
    return {
        "tokenizer": f"{TOKENIZERS}/{name}.json",
        "padding": tokenizer.padding,
        "length": model_config(run.config).encoders.text.length,
        "documents": spec.documents,
        "rule": "each document is tokenised and cut on its own; attention is true where there is a token",
    }
