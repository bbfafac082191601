"""What is said of runs that predict several outputs: each apart, and all together."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from sklearn.metrics import average_precision_score, roc_auc_score
from typer.testing import CliRunner

from outcomes import CLASSES, LABELS, SEVERAL, several, subjects
from run_folders import write_runs
from sklar import runs
from sklar.cli import app
from sklar.errors import DataError, UserError
from sklar.report import write, write_outputs
from sklar.report.averages import averages, averages_dict, averages_table, outputs_table
from sklar.report.cohort import align
from sklar.report.outputs import events, of_output, read_runs
from sklar.runs import read_predictions, write_predictions
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


def test_a_class_is_withheld_with_another_that_would_tell_of_it(folders: dict[TaskName, list[Path]]) -> None:
    ((name, run),) = read_runs([folders["multiclass"][0]]).items()
    target = run.test.target.copy()
    target[target == 2] = 0
    target[:6] = 2
    found = averages({name: replace(run, test=replace(run.test, target=target))}, name, resamples=20)
    shown = [row[2].text for row in outputs_table(found, smallest=20).rows]
    assert shown.count("withheld") == 2
    assert shown[2] == "withheld"
    content = averages_dict(found, 20)["by_output"]
    assert [own["events"] for own in content.values()].count(None) == 2


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


@pytest.fixture(scope="module")
def page(folders: dict[TaskName, list[Path]], tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("page") / "report.html"
    write_outputs(folders["multiclass"], out, MODELS[0], resamples=20)
    return out.read_text()


def test_the_page_has_a_part_for_every_output(page: str) -> None:
    for place, name in enumerate(CLASSES):
        assert f'<a href="#output-{place}">{name}</a>' in page
        for section in ("results", "curves", "calibration", "utility", "patterns", "examples"):
            assert page.count(f'id="output-{place}-{section}"') == 1
    assert page.count('<section id="limits"') == page.count('<section id="card"') == 1
    assert "2 models judged on the same" in page
    assert "on 3 of 3 outputs: home, ward, icu" in " ".join(page.split())


def test_ids_of_the_page_are_unique_and_what_points_to_them_finds_them(page: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    targets = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page))
    assert {a or b for a, b in targets} <= set(ids)


def test_a_page_to_share_names_no_row_and_no_small_count(
    folders: dict[TaskName, list[Path]], tmp_path: Path
) -> None:
    write_outputs(folders["multilabel"][:1], tmp_path / "r.html", MODELS[0], resamples=20, share_safe=True)
    text = (tmp_path / "r.html").read_text()
    assert "Examples</h2>" not in text
    ids = runs.Run.open(folders["multilabel"][0]).predictions("test").ids
    assert not any(f">{name}<" in text for name in ids)


def test_a_class_that_would_tell_of_another_has_no_part_on_a_page_to_share(tmp_path: Path) -> None:
    """One of three classes is rare: it and the next are withheld, and no curve of theirs is drawn."""
    rng, rows = np.random.default_rng(0), 400
    folder = write_runs(tmp_path, ("cm2",))[0]
    base = read_predictions(folder / "predictions_test.parquet")
    target = rng.permutation(np.repeat([0.0, 1.0, 2.0], [250, 140, 10]))
    score = rng.dirichlet([2.0, 2.0, 2.0], rows)
    few = {name: getattr(base, name)[:rows] for name in ("ids", "groups", "weight", "present")}
    several = replace(
        base, **few, target=target, probability=score, low=score, high=score, task="multiclass",
        outputs=("home", "ward", "icu"),
    )  # fmt: skip
    write_predictions(folder / "predictions_test.parquet", several)
    about = json.loads((folder / "data.json").read_text())
    about["counts"] = {"subjects": 400}
    (folder / "data.json").write_text(json.dumps(about))
    out = tmp_path / "r.html"
    write_outputs([folder], out, "cm2", resamples=20, share_safe=True)
    text = out.read_text()
    assert text.count("its numbers would tell those of another class") == 2
    assert [place for place in range(3) if f'id="output-{place}-results"' in text] == [0]
    assert "tells of fewer than 20 rows" in text
    assert ">140<" not in text
    found = answer("evaluate", folder, "--resamples", 20, "--share-safe")
    assert list(found["details"]) == ["home"]


def test_the_page_of_one_output_is_that_of_an_event(
    folders: dict[TaskName, list[Path]], tmp_path: Path
) -> None:
    results = write(folders["multilabel"][:1], tmp_path / "r.html", MODELS[0], resamples=20, output="stroke")
    test = runs.Run.open(folders["multilabel"][0]).predictions("test")
    assert results.events == np.nansum(test.target[:, 1])
    assert "<h1>several: stroke</h1>" in (tmp_path / "r.html").read_text()


def run_cli(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(own) for own in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def answer(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run_cli(*arguments, "--json").splitlines()[-1])
    return found


@pytest.mark.parametrize("task", [pytest.param("multilabel", marks=pytest.mark.slow), "multiclass"])
def test_the_verbs_speak_of_every_output(
    task: TaskName, folders: dict[TaskName, list[Path]], tmp_path: Path
) -> None:
    both, few = folders[task], ("--resamples", 20)
    found = answer("evaluate", *both, *few)
    assert set(found["details"]) == set(OUTPUTS[task])
    assert found["details"][OUTPUTS[task][0]]["details"][MODELS[0]]["log_loss"] > 0
    text = run_cli("evaluate", *both, *few)
    assert all(f"Output: {name}" in text for name in OUTPUTS[task])
    one = answer("evaluate", *both, *few, "--output", OUTPUTS[task][1])
    macro = np.mean([found["by_output"][n]["models"][MODELS[0]]["auroc"]["value"] for n in OUTPUTS[task]])
    assert found["models"][MODELS[0]]["macro_auroc"]["value"] == pytest.approx(macro)
    value = found["by_output"][OUTPUTS[task][1]]["models"][MODELS[0]]["auroc"]["value"]
    assert one["models"][MODELS[0]]["auroc"]["value"] == pytest.approx(value)
    against = answer("compare", *both, *few)
    assert set(against["best"]) == {"macro_auroc", "macro_average_precision", "macro_brier", "micro_auroc"}
    run_cli("compare", *both, *few, "--format", "latex", "-o", tmp_path / "t.tex")
    assert "AUROC (macro)" in (tmp_path / "t.tex").read_text()
    plain = answer("compare", *both, *few, "--output", OUTPUTS[task][0])
    assert "delong_p_holm" in plain["models"][MODELS[0]]
    shown = answer("report", *both, *few, "-o", tmp_path / "r.html")
    assert shown["judged"] == list(OUTPUTS[task])
    run_cli("card", both[0], *few, "-o", tmp_path / "card.md")
    card = (tmp_path / "card.md").read_text()
    assert all(f"## Output: {name}" in card for name in OUTPUTS[task])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compare", "--paper-t-test"), "of one event: name an output"),
        (("compare", "--metrics", "auroc"), "choose among macro_auroc"),
        (("evaluate", "--output", "icy"), "no output 'icy'.*did you mean icu"),
        (("evaluate", "--output", "icu", "--data", "."), "leave --output out"),
        (("report", "--share-safe", "--show-examples"), "leave one of the two options out"),
    ],
)
def test_what_makes_no_sense_for_several_outputs_is_refused(
    arguments: tuple[str, ...], message: str, folders: dict[TaskName, list[Path]]
) -> None:
    verb, *rest = arguments
    with pytest.raises(UserError, match=message):
        CliRunner().invoke(
            app, [verb, *map(str, folders["multiclass"]), *rest, "--resamples", "20"], catch_exceptions=False
        )


def test_a_table_with_classes_goes_from_preparation_to_the_report(tmp_path: Path) -> None:
    people, _ = subjects(400)
    pq.write_table(people, tmp_path / "people.parquet")
    schema = {
        "id": "id",
        "label": "went",
        "classes": list(CLASSES),
        "group": "patient",
        "modalities": {
            "body": {"kind": "table", "numeric": ["age"]},
            "weight": {"kind": "table", "numeric": ["bmi"]},
        },
    }
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(schema))
    data, run = tmp_path / "data", tmp_path / "cm2"
    table = tmp_path / "people.parquet"
    told = run_cli("prepare", "table", table, "--schema", tmp_path / "schema.yaml", "--out", data)
    assert re.search(r"all +400 subjects home \d+, ward \d+, icu \d+", told)
    run_cli("validate", data)
    sizes = ("model.encoders.dim=8", "model.encoders.table.hidden=8", "training.max_epochs=3")
    settings = [part for own in sizes for part in ("--set", own)]
    told = run_cli("train", "cm2", "--data", data, "--out", run, *settings)
    assert "validation AUROC" in told
    found = answer("evaluate", run, "--data", data, "--resamples", 20)
    assert found["stress"]["cm2"]["outputs"] == list(CLASSES)
    run_cli("report", run, "-o", tmp_path / "report.html", "--resamples", 20)
    assert "against the other classes" in (tmp_path / "report.html").read_text()
