"""What is said of runs that predict several outputs: each apart, and all together."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from outcomes import CLASSES, LABELS, SEVERAL, several
from sklar import runs
from sklar.errors import DataError, UserError
from sklar.report.cohort import align
from sklar.report.outputs import (
    averages,
    averages_dict,
    averages_table,
    events,
    of_output,
    outputs_table,
    read_runs,
)
from sklar.training.config import resolve
from sklar.types import TaskName

OUTPUTS = {"multilabel": LABELS, "multiclass": CLASSES}
MODELS = ("logistic_regression", "gradient_boosting")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[TaskName, list[Path]]:
    out = tmp_path_factory.mktemp("several")
    found = {}
    for task in SEVERAL:
        data = several(out / task, task, rows=400)
        found[task] = [runs.train(resolve(name), data, out / f"{task}-{name}").path for name in MODELS]
    return found


@pytest.mark.parametrize("task", SEVERAL)
def test_averages_equal_scikit_learn(task: TaskName, folders: dict[TaskName, list[Path]]) -> None:
    read = read_runs(folders[task])
    found = averages(read, MODELS[0], resamples=20)
    for name, run in read.items():
        y, p = events(run.test), run.test.probability
        known = [~np.isnan(own) for own in y.T]
        for metric, oracle in (("auroc", roc_auc_score), ("average_precision", average_precision_score)):
            each = [oracle(y[rows, k], p[rows, k]) for k, rows in enumerate(known)]
            assert found.contest.estimates[name][f"macro_{metric}"].value == pytest.approx(np.mean(each))
            for output, value in zip(OUTPUTS[task], each, strict=True):
                assert found.estimates[output][name][metric].value == pytest.approx(value)
        pooled = ~np.isnan(y)
        micro = roc_auc_score(y[pooled], p[pooled])
        assert found.contest.estimates[name]["micro_auroc"].value == pytest.approx(micro)


@pytest.mark.parametrize("task", SEVERAL)
def test_intervals_and_differences_are_of_the_means(
    task: TaskName, folders: dict[TaskName, list[Path]]
) -> None:
    result = averages(read_runs(folders[task]), MODELS[0], resamples=50).contest
    ranking = result.rankings["macro_auroc"]
    (other,) = (name for name in MODELS if name != ranking.best)
    values = {name: result.estimates[name]["macro_auroc"] for name in MODELS}
    gap = ranking.comparisons[other]
    assert gap.difference == pytest.approx(values[other].value - values[ranking.best].value)
    assert gap.low <= gap.difference <= gap.high
    assert all(own.low < own.value < own.high for own in values.values())


@pytest.mark.parametrize("task", SEVERAL)
def test_one_output_is_an_event(task: TaskName, folders: dict[TaskName, list[Path]]) -> None:
    read = read_runs(folders[task])
    k, name = 2, OUTPUTS[task][2]
    one = {model: of_output(run, name) for model, run in read.items()}
    cohort = align(one, MODELS[0])
    whole = read[MODELS[0]].test
    y = events(whole)[:, k]
    np.testing.assert_array_equal(cohort.y, y[~np.isnan(y)])
    np.testing.assert_array_equal(cohort.probability[MODELS[0]], whole.probability[~np.isnan(y), k])
    data = one[MODELS[0]].data
    assert data["label"] == name
    assert data["counts"]["test"]["events"] == np.nansum(y)
    assert data["counts"]["events"] == sum(
        data["counts"][part]["events"] for part in ("train", "valid", "test")
    )
    assert "outputs" not in data["counts"]["test"]


def test_runs_of_several_outputs_are_not_aligned_as_if_they_were_one(
    folders: dict[TaskName, list[Path]],
) -> None:
    with pytest.raises(UserError, match="predict sepsis, stroke, readmitted 30d; look at one of them"):
        align(read_runs(folders["multilabel"]), MODELS[0])


def test_an_output_that_is_not_there_is_refused(folders: dict[TaskName, list[Path]]) -> None:
    with pytest.raises(UserError, match=r"no output 'strok'.*did you mean stroke"):
        read_runs(folders["multilabel"], "strok")


def test_runs_of_different_outputs_are_not_compared(folders: dict[TaskName, list[Path]]) -> None:
    read = read_runs([folders["multilabel"][0]])
    (run,) = read.values()
    fewer = replace(run, test=replace(run.test, outputs=("a", "b", "c")), folder=Path("other"))
    with pytest.raises(DataError, match="other predicts a, b, c"):
        averages({"one": run, "two": fewer}, "one")


def test_an_output_with_few_events_is_left_out_by_name(folders: dict[TaskName, list[Path]]) -> None:
    read = read_runs([folders["multilabel"][0]])
    ((name, run),) = read.items()
    target = run.test.target.copy()
    target[:, 1] = np.where(np.isnan(target[:, 1]), np.nan, 0)
    target[:3, 1] = 1
    found = averages({name: replace(run, test=replace(run.test, target=target))}, name, resamples=20)
    assert found.judged == ("sepsis", "readmitted 30d")
    assert "Too few events or non-events to judge stroke" in averages_table(found).note
    stroke = outputs_table(found).rows[1]
    assert [cell.text for cell in stroke[2:]] == ["3", "n/a (too few)"]
    withheld = outputs_table(found, smallest=20).rows[1]
    assert withheld[2].text == "withheld"
    empty = replace(run.test, target=np.zeros_like(target))
    with pytest.raises(DataError, match="none of sepsis, stroke, readmitted 30d has 5 events"):
        averages({name: replace(run, test=empty)}, name)


def test_metrics_of_classes_are_for_classes_only(folders: dict[TaskName, list[Path]]) -> None:
    read = read_runs(folders["multiclass"])
    found = averages(read, MODELS[0], ("multiclass_log_loss", "macro_auroc"), resamples=20)
    assert set(found.contest.rankings) == {"multiclass_log_loss", "macro_auroc"}
    with pytest.raises(UserError, match=r"no metric .'multiclass_brier'. of several outputs"):
        averages(read_runs(folders["multilabel"]), MODELS[0], ("multiclass_brier",))
    with pytest.raises(UserError, match=r"no metric .'auroc'. of several outputs; choose among macro_auroc"):
        averages(read, MODELS[0], ("auroc",))


def test_plain_types_carry_every_output(folders: dict[TaskName, list[Path]]) -> None:
    found = averages(read_runs(folders["multiclass"]), MODELS[0], resamples=20)
    content = json.loads(json.dumps(averages_dict(found)))
    assert content["outputs"] == content["judged"] == list(CLASSES)
    assert content["by_output"]["icu"]["models"][MODELS[0]]["auroc"]["value"] > 0.8
    assert "events" not in content["test"]
