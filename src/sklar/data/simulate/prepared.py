"""A simulation as a prepared folder, with its truth beside it."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sklar.data.frame import write
from sklar.data.schema import Image, Modality, Schema, Tabular, Text, TimeSeries
from sklar.data.simulate.scenario import Scenario
from sklar.data.simulate.simulation import Simulation, simulate
from sklar.data.simulate.truth import PREDICTORS, Predictor, Truth
from sklar.data.store import PreparedData

TRUTH = "truth.parquet"
"""Beside the prepared files, and none of them: per id the latents and what could be predicted at best."""


def write_simulation(
    out: str | os.PathLike[str],
    scenario: Scenario,
    progress: Callable[[str, float], None] | None = None,
) -> tuple[PreparedData, Simulation]:
    """Draw a scenario and write it as a prepared folder; its rules say that it is synthetic.

    Absent modalities are left out of the folder. ``truth.parquet`` holds, per id, the latents
    ``latent_<name>_<j>`` and the probabilities ``bayes``, ``skip`` and ``complete``, of several labels or
    classes ``bayes_<output>`` and so on; no model reads it. Labels are called ``label_0``, ``label_1``, ...,
    classes ``0``, ``1``, ...

    Args:
        out: Folder to make.
        scenario: What to draw.
        progress: Called with a stage and the fraction done.

    Returns:
        The folder, opened, and the simulation in memory.

    Raises:
        UserError: The scenario cannot be drawn, or ``out`` is taken.
        DataError: A modality is absent in every training row.
    """
    say = progress or (lambda _what, _done: None)
    done = simulate(scenario, lambda what, share: say(what, 0.5 * share))
    truth, ids = done.truth, pa.array(done.ids)
    label, classes = _outcome(scenario)
    subjects = {"id": ids, **_labels(truth), "split": pa.array(truth.split)}
    series: dict[str, pa.Table] = {}
    texts: dict[str, pa.Table] = {}
    images: dict[str, pa.Table] = {}
    modalities: dict[str, Modality] = {}
    for index, (name, kind) in enumerate(scenario.kinds.items()):
        has, content = truth.present[:, index], done.inputs[name]
        if kind == "series":
            modalities[name] = spec = TimeSeries(
                variables=_numbered(name, content.shape[2]), steps=content.shape[1], step=1.0, unit="hours"
            )
            series[name] = _records(content, np.flatnonzero(has), ids, spec)
        elif kind == "text":
            modalities[name] = Text()
            texts[name] = pa.table({"id": ids.filter(pa.array(has)), "text": pa.array(content[has])})
        elif kind == "image":
            modalities[name] = Image(height=content.shape[2], width=content.shape[3])
            pixels = pa.FixedSizeListArray.from_arrays(pa.array(content[has].ravel()), content[0].size)
            images[name] = pa.table({"id": ids.filter(pa.array(has)), "image": pixels})
        else:
            columns = _numbered(name, content.shape[1])
            modalities[name] = Tabular(numeric=columns)
            subjects |= {
                column: pa.array(values, mask=~has) for column, values in zip(columns, content.T, strict=True)
            }
    data = write(
        out,
        Schema(id="id", label=label, classes=classes, modalities=modalities),
        pa.table(subjects),
        series,
        texts,
        images,
        split="split",
        name="simulated",
        rules={"synthetic": True, "scenario": scenario.as_dict()},
        notes=_notes(truth),
        progress=lambda what, share: say(what, 0.5 + 0.5 * share),
    )
    _write_truth(Path(out) / TRUTH, done)
    return data, done


def _outcome(scenario: Scenario) -> tuple[str | tuple[str, ...], tuple[str, ...] | None]:
    """Label and classes of the schema."""
    if scenario.labels > 1:
        return _numbered("label", scenario.labels), None
    return "label", tuple(map(str, range(scenario.classes))) if scenario.classes > 2 else None


def _labels(truth: Truth) -> dict[str, pa.Array]:
    """The label columns."""
    label, _ = _outcome(truth.scenario)
    if isinstance(label, str):
        return {label: pa.array(truth.labels)}
    return {name: pa.array(own) for name, own in zip(label, truth.labels.T, strict=True)}


def _probabilities(truth: Truth, predictor: Predictor) -> dict[str, NDArray[np.float64]]:
    """One column, or one for each label or class."""
    values: NDArray[np.float64] = getattr(truth, predictor)
    if values.ndim == 1:
        return {predictor: values}
    label, classes = _outcome(truth.scenario)
    return {f"{predictor}_{name}": own for name, own in zip(classes or label, values.T, strict=True)}


def _notes(truth: Truth) -> tuple[str, ...]:
    notes = ("Synthetic data, drawn by `sklar simulate scenario`: no patient is behind any row.",)
    best = {name: rows.get("all") for name, rows in truth.references(split=None).items()}
    if best["bayes"] is None:  # labels of one class
        return notes
    auroc = "AUROC" if truth.bayes.ndim == 1 else "mean AUROC"
    return (
        *notes,
        f"The best possible prediction from inputs and presence has {auroc} {best['bayes']:.4f} on all rows, "
        f"{best['skip']:.4f} without inferring what is absent, {best['complete']:.4f} with nothing absent.",
    )


def _numbered(name: str, count: int) -> tuple[str, ...]:
    return tuple(f"{name}_{number}" for number in range(count))


def _records(
    content: NDArray[np.float64], rows: NDArray[np.int64], ids: pa.Array, spec: TimeSeries
) -> pa.Table:
    """The measured cells of the given rows as (id, time, variable, value)."""
    owner, step, variable = np.nonzero(~np.isnan(content[rows]))
    names = pa.DictionaryArray.from_arrays(pa.array(variable.astype(np.int32)), pa.array(spec.variables))
    who = pa.DictionaryArray.from_arrays(pa.array(rows[owner].astype(np.int32)), ids)
    value = content[rows[owner], step, variable]
    return pa.table({"id": who, "time": spec.times[step], "variable": names, "value": value})


def _write_truth(path: Path, done: Simulation) -> None:
    truth = done.truth
    columns = {
        "id": pa.array(done.ids),
        "split": pa.array(truth.split),
        **_labels(truth),
        **{name: own for predictor in PREDICTORS for name, own in _probabilities(truth, predictor).items()},
        "error": truth.error,
    }
    columns |= {
        f"latent_{name}_{coordinate}": truth.latents[:, index, coordinate]
        for index, name in enumerate(truth.scenario.names)
        for coordinate in range(truth.scenario.rank)
    }
    partial = path.with_name(f".{path.name}.partial")
    pq.write_table(pa.table(columns), partial)
    partial.replace(path)
