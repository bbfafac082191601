"""Several labels, and classes, on their way out: a table of new patients, the server, an exported folder."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from cohorts import TINY
from outcomes import SEVERAL, several
from serve import ask, serving
from sklar import runs
from sklar.export import export, graph_of, load
from sklar.export.check import examples
from sklar.training.config import resolve
from sklar.types import TaskName


@pytest.fixture(scope="module", params=SEVERAL)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    task: TaskName = request.param
    base = tmp_path_factory.mktemp(task)
    return runs.train(resolve("cm2", TINY), several(base / "data", task), base / "run")


def two() -> pa.Table:
    records = pa.list_(pa.struct([("time", pa.float64()), ("x", pa.float64()), ("y", pa.float64())]))
    labs = pa.array([[{"time": -1.0, "x": 0.5, "y": None}], None], records)
    return pa.table({"id": ["a", "b"], "labs": labs, "age": [60.0, None], "bmi": pa.nulls(2, pa.float64())})


def test_every_output_has_its_columns(run: runs.Run) -> None:
    found = runs.predicted(run, two(), runs.Told(), on_empty="null")
    wanted = [f"{kind}_{name}" for kind in ("probability", "low", "high") for name in run.schema.outputs]
    assert found.column_names == ["id", *wanted, "observed", "imputed", "warnings"]
    first, second = found.to_pylist()
    assert all(0 < first[name] < 1 for name in wanted)
    assert all(second[name] is None for name in wanted)
    if run.schema.task == "multiclass":
        assert sum(first[name] for name in wanted[:3]) == pytest.approx(1)


def test_the_server_names_the_outputs(run: runs.Run) -> None:
    row = {"id": "a", "labs": [{"time": -1, "x": 0.5}], "age": 60}
    wanted = runs.predicted(run, two().slice(0, 1), runs.Told()).to_pylist()[0]
    with serving(run) as port:
        status, found = ask(port, "/predict", row)
    assert status == 200
    assert found["probability"].keys() == set(run.schema.outputs)
    for name, value in found["probability"].items():
        assert value == pytest.approx(wanted[f"probability_{name}"], abs=1e-6)


def test_an_exported_folder_knows_its_task(run: runs.Run, tmp_path: Path) -> None:
    export(run, tmp_path / "out", ["safetensors"])
    told = json.loads((tmp_path / "out" / "contract.json").read_text())
    assert (told["task"], told["outputs"]) == (run.schema.task, list(run.schema.outputs))
    assert told["output"]["shape"][2] == 3
    graph = graph_of(run)
    batch = graph.batch(examples(graph, 2))
    with torch.no_grad():
        read, own = load(tmp_path / "out")(batch).logits, run.model(batch).logits
    np.testing.assert_array_equal(read, own)
