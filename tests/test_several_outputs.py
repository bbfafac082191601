"""Every model and reference on several labels and on classes, from a prepared folder to its predictions."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from cohorts import OWN
from outcomes import CLASSES, LABELS, SEVERAL, several
from sklar import runs
from sklar.cli import app
from sklar.data.outcome import labelled
from sklar.data.store import PreparedData
from sklar.errors import DataError, UserError
from sklar.evaluation import Macro, auroc
from sklar.explanation import explain_run, read_explanation
from sklar.models import MODELS
from sklar.report import patients_table, read_run
from sklar.report.outputs import of_output
from sklar.report.why import reasons
from sklar.stress import stress
from sklar.training.config import resolve
from sklar.training.reference import REFERENCES
from sklar.types import TaskName

TINY = (
    "training.max_epochs=2",
    "training.batch_size=64",
    "training.learning_rate=0.02",
    "training.draws=2",
    "model.encoders.dim=8",
    "model.encoders.series.hidden=8",
    "model.encoders.table.hidden=8",
)
SINGLE = {"single": ("model.modality=table",), "daft": ("model.target=labs",)}
OUTPUTS = {"multilabel": LABELS, "multiclass": CLASSES}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[TaskName, PreparedData]:
    out = tmp_path_factory.mktemp("several")
    return {task: several(out / task, task) for task in SEVERAL}


def fit(name: str, data: PreparedData, out: Path, *settings: str) -> runs.Run:
    own = () if name in REFERENCES else (*TINY, *OWN.get(name, ()), *SINGLE.get(name, ()))
    return runs.train(resolve(name, [*own, *settings]), data, out)


@pytest.mark.parametrize("task", SEVERAL)
@pytest.mark.parametrize("name", [*MODELS, *REFERENCES])
def test_every_model_learns_several_outputs(
    name: str, task: TaskName, folders: dict[TaskName, PreparedData], tmp_path: Path
) -> None:
    data = folders[task]
    run = fit(name, data, tmp_path / "run")
    found = run.predictions("test")
    rows = data.rows("test")
    assert (found.task, found.outputs) == (task, OUTPUTS[task])
    assert found.probability.shape == found.low.shape == found.high.shape == (len(rows), 3)
    np.testing.assert_array_equal(found.target, data.target[rows])
    assert ((found.low <= found.probability) & (found.probability <= found.high)).all()
    assert ((found.probability >= 0) & (found.probability <= 1)).all()
    if task == "multiclass":
        np.testing.assert_allclose(found.probability.sum(1), 1, atol=1e-5)
    if name not in REFERENCES:
        again = runs.Run.open(run.path).predict(data, "test")
        np.testing.assert_allclose(again.probability, found.probability, atol=1e-6)
    outputs = run.metrics["validation_outputs"]["outputs"]
    mean = np.mean([own["auroc"] for own in outputs.values()])
    assert set(outputs) == set(OUTPUTS[task])
    assert run.metrics["validation"]["valid_auroc"] == pytest.approx(mean, abs=0.02)  # by other draws


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("task", SEVERAL)
def test_references_learn_what_severity_says(
    name: str, task: TaskName, folders: dict[TaskName, PreparedData], tmp_path: Path
) -> None:
    found = fit(name, folders[task], tmp_path / "run").predictions("test")
    known = ~np.isnan(found.target).reshape(len(found.target), -1).any(1)
    y, p = found.target[known], found.probability[known]
    p = p / p.sum(1, keepdims=True) if task == "multiclass" else p
    assert roc_auc_score(y, p, multi_class="ovr", average="macro") > 0.8


def test_the_columns_of_predictions_carry_the_names_of_outputs(
    folders: dict[TaskName, PreparedData], tmp_path: Path
) -> None:
    paths = {task: fit("logistic_regression", folders[task], tmp_path / task).path for task in SEVERAL}
    names = {task: pq.read_schema(path / "predictions_test.parquet").names for task, path in paths.items()}
    values = [f"{value}_{name}" for value in ("probability", "low", "high") for name in LABELS]
    ends = ["present_labs", "present_table"]
    assert names["multilabel"] == ["id", "group", *(f"target_{n}" for n in LABELS), "weight", *values, *ends]
    values = [f"{value}_{name}" for value in ("probability", "low", "high") for name in CLASSES]
    assert names["multiclass"] == ["id", "group", "target", "weight", *values, *ends]
    went = pq.read_table(paths["multiclass"] / "predictions_test.parquet")["target"].to_pylist()
    assert set(went) == {*CLASSES, None}


def test_an_ensemble_averages_every_output(folders: dict[TaskName, PreparedData], tmp_path: Path) -> None:
    run = fit("late", folders["multiclass"], tmp_path / "run", "training.ensemble=2")
    np.testing.assert_allclose(run.predictions("test").probability.sum(1), 1, atol=1e-5)
    assert run.metrics["validation"]["valid_auroc"] > 0.5


def test_a_view_of_one_label_trains_a_binary_model(
    folders: dict[TaskName, PreparedData], tmp_path: Path
) -> None:
    config = resolve("late", TINY, data={"task": "stroke"})
    found = runs.train(config, folders["multilabel"], tmp_path / "run").predictions("test")
    assert (found.task, found.probability.ndim) == ("binary", 1)
    rows = folders["multilabel"].rows("test")
    np.testing.assert_array_equal(found.target, folders["multilabel"].target[rows, 1])


def test_the_task_is_the_schemas_and_no_setting(folders: dict[TaskName, PreparedData]) -> None:
    with pytest.raises(Exception, match=r"model\.task is unknown"):
        resolve("late", ["model.task=binary"])


def test_other_outcomes_than_a_run_learned_are_refused(
    folders: dict[TaskName, PreparedData], tmp_path: Path
) -> None:
    run = fit("late", folders["multiclass"], tmp_path / "run")
    with pytest.raises(DataError, match=r"other outcomes .*stroke, readmitted 30d against home, ward, icu"):
        run.predict(folders["multilabel"], "test")


def test_a_class_that_no_training_row_has_gets_no_probability_from_a_reference(tmp_path: Path) -> None:
    data = several(tmp_path / "data", "multiclass")
    rare = np.flatnonzero(data.target == 2)
    index = data.index.to_pydict()
    for row in set(rare) & set(data.rows("train")):
        index["label"][row] = None
    changed = PreparedData(data.path, data.manifest, pa.table(index, schema=data.index.schema))
    for name in REFERENCES:
        found = runs.train(resolve(name), changed, tmp_path / name).predictions("test")
        assert (found.probability[:, 2] == 0).all()
        np.testing.assert_allclose(found.probability.sum(1), 1)


@pytest.mark.parametrize("method", ["logistic", "isotonic"])
@pytest.mark.parametrize("task", SEVERAL)
def test_several_outputs_are_recalibrated(task: TaskName, method: str, tmp_path: Path) -> None:
    data = several(tmp_path / "data", task, rows=600)
    plain, mapped = (
        fit("cm2", data, tmp_path / own, f"calibration.method={own}") for own in ("none", method)
    )
    before, after = plain.predictions("test"), mapped.predictions("test")
    calibration = runs.Run.open(mapped.path).calibration
    assert calibration is not None
    np.testing.assert_allclose(after.probability, calibration.recalibration(before.probability))
    assert ((after.low <= after.probability + 1e-12) & (after.probability <= after.high + 1e-12)).all()
    if task == "multiclass":
        np.testing.assert_allclose(after.probability.sum(1), 1)
    np.testing.assert_allclose(mapped.predict(data, "test").probability, after.probability, atol=1e-6)
    stated = mapped.metrics["calibration"]
    assert stated["rows"] == labelled(data.target[data.rows("valid")]).sum()
    assert (stated["events"] is None) == (task == "multiclass")
    rows = runs.MaskedRows(mapped, data)
    known = labelled(after.target)
    np.testing.assert_allclose(rows.predict(rows.present), after.probability[known], atol=1e-6)


@pytest.mark.parametrize(("task", "count"), [("multilabel", 6), ("multiclass", 3)])
def test_the_command_line_predicts_sets_of_every_output(task: TaskName, count: int, tmp_path: Path) -> None:
    data = several(tmp_path / "data", task, rows=600)
    run = fit("late", data, tmp_path / "run", "calibration.method=logistic")
    out = tmp_path / "p.parquet"
    arguments = ["predict", str(run.path), "--data", str(data.path), "-o", str(out), "--split", "test"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    table = pq.read_table(out)
    names = [name for name in table.column_names if name.startswith("set_")]
    wanted = [f"{n}_{side}" for n in LABELS for side in (0, 1)] if task == "multilabel" else CLASSES
    assert names == [f"set_{own}" for own in wanted]
    assert len(names) == count
    sets = np.stack([table[name].to_numpy() for name in names], axis=1)
    held = runs.read_predictions(out)
    codes = np.nan_to_num(held.target).astype(int).reshape(len(sets), -1)
    base = np.arange(codes.shape[1]) * 2 if task == "multilabel" else 0
    inside = np.take_along_axis(sets, codes + base, axis=1)[labelled(held.target)]
    assert inside.mean() > 0.8  # nine in ten of each are promised


@pytest.mark.parametrize("task", SEVERAL)
def test_modalities_are_hidden_from_several_outputs(task: TaskName, tmp_path: Path) -> None:
    data = several(tmp_path / "data", task, rows=400)
    run = fit("cm2", data, tmp_path / "run", "training.max_epochs=4")
    found = stress(run, data, rates=(0.0, 0.9), resamples=20)
    assert found.metric == "macro_auroc"
    assert found.outputs == OUTPUTS[task]
    whole = found.curves["all modalities"].estimates[0].value
    rows = runs.MaskedRows(run, data)
    assert whole == pytest.approx(Macro(auroc)(rows.y, rows.predict(rows.present)))
    gained = sum(share.value for share in found.shapley.values())
    assert gained == pytest.approx(whole - 0.5)
    assert [by.hidden for by in found.coverage] == [1]
    assert found.coverage[0].rows == rows.present.all(1).sum()


def test_one_output_is_explained(folders: dict[TaskName, PreparedData], tmp_path: Path) -> None:
    data = folders["multiclass"]
    run = fit("cm2", data, tmp_path / "run")
    found = explain_run(run, data, count=3, output="icu")
    ids = list(run.predictions("test").ids)
    wanted = run.predictions("test").probability[[ids.index(name) for name in found.ids], 2]
    np.testing.assert_allclose(found.probability, wanted, atol=1e-5)
    assert found.base == pytest.approx(np.nanmean(data.target[data.rows("train")] == 2), abs=0.05)
    with pytest.raises(UserError, match="predicts home, ward, icu: name the one to explain"):
        explain_run(run, data)
    with pytest.raises(UserError, match=r"no output 'icy'.*did you mean icu"):
        explain_run(run, data, output="icy")


@pytest.mark.parametrize("name", ["late", "logistic_regression"])
@pytest.mark.parametrize("task", SEVERAL)
def test_a_search_is_judged_by_the_mean_over_outputs(
    name: str, task: TaskName, folders: dict[TaskName, PreparedData], tmp_path: Path
) -> None:
    own = TINY if name == "late" else ()
    value = runs.validation_auroc(resolve(name, own), folders[task], tmp_path)
    run = fit(name, folders[task], tmp_path / "run")
    assert value == pytest.approx(run.metrics["validation"]["valid_auroc"])


@pytest.mark.parametrize("task", [pytest.param("multilabel", marks=pytest.mark.slow), "multiclass"])
def test_every_output_is_explained_where_its_part_of_the_page_looks(
    task: TaskName, folders: dict[TaskName, PreparedData], tmp_path: Path
) -> None:
    data = folders[task]
    run = fit("late", data, tmp_path / "run")
    arguments = ["explain", str(run.path), "--data", str(data.path)]
    CliRunner().invoke(app, arguments, catch_exceptions=False)
    for place, name in enumerate(OUTPUTS[task]):
        own = of_output(read_run(run.path), name)
        ids = read_explanation(run.path / f"explanation-{place}.parquet").ids
        shown = reasons(own, [str(row) for row in ids])
        assert [why.name for why in shown] == ids.tolist()
        p = dict(zip(own.test.ids, own.test.probability, strict=True))
        assert [why.probability for why in shown] == pytest.approx([p[row] for row in ids], abs=1e-5)
    with pytest.raises(UserError, match=r"name the one for why\.parquet with --output"):
        CliRunner().invoke(app, [*arguments, "-o", "why.parquet"], catch_exceptions=False)
    one = [*arguments, "--output", OUTPUTS[task][2], "-o", str(tmp_path / "why.parquet"), "--rows", "2"]
    assert CliRunner().invoke(app, one).exit_code == 0
    assert len(read_explanation(tmp_path / "why.parquet").ids) == 2


@pytest.mark.parametrize("task", SEVERAL)
def test_a_table_for_the_terminal_has_a_column_for_every_output(
    task: TaskName, folders: dict[TaskName, PreparedData], tmp_path: Path
) -> None:
    run = fit("logistic_regression", folders[task], tmp_path / "run")
    stored = run.predictions("test")
    shown = patients_table(stored)
    assert [str(own.header) for own in shown.columns] == [
        "patient", *stored.modalities, *(f"p({name})" for name in OUTPUTS[task]), "outcome"
    ]  # fmt: skip
    row = stored.ids.tolist().index(next(iter(shown.columns[0].cells)))
    for place, own in enumerate(shown.columns[-4:-1]):
        assert next(iter(own.cells)).startswith(f"{stored.probability[row, place]:.3f}\n")
    known = {*OUTPUTS[task], "unknown", "none"}
    assert all(set(text.split(", ")) <= known for text in shown.columns[-1].cells)
