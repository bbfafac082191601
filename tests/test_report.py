"""The tables of a report, from synthetic run folders."""

import io
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from rich.console import Console

from run_folders import GAINS, MODALITIES, cohort, description, predicted, write_run, write_runs
from sklar.errors import DataError, UserError
from sklar.evaluation import average_precision, bootstrap, brier, compare
from sklar.report import as_dict, compare_runs, console_table, markdown, read_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return write_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def results(runs):
    return compare_runs(runs, resamples=200)


def test_table_holds_the_metrics_of_the_shared_rows(results):
    rows = cohort()
    y, seed = rows["target"], list(GAINS).index("medfuse")
    score = predicted(rows, GAINS["medfuse"], seed)["probability"]
    row = next(row for row in results.rows if row.model == "medfuse")
    assert row.estimates["auroc"] == bootstrap("auroc", y, score, rows["group"], 200, 0)
    assert row.estimates["average_precision"].value == average_precision(y, score)
    assert row.brier == brier(y, score)


def test_differences_are_paired_and_model_minus_reference(results):
    rows = cohort()
    score = {m: predicted(rows, GAINS[m], list(GAINS).index(m))["probability"] for m in ("cm2", "text")}
    expected = compare(rows["target"], score["text"], score["cm2"], "auroc", rows["group"], 200, 0)
    row = next(row for row in results.rows if row.model == "text")
    assert row.differences["auroc"] == expected
    assert expected.difference < 0


def test_reference_is_not_compared_with_itself(results):
    assert not next(row for row in results.rows if row.model == "cm2").differences


def test_rows_are_ordered_by_auroc(results):
    values = [row.estimates["auroc"].value for row in results.rows]
    assert values == sorted(values, reverse=True)


def test_weights_add_the_other_treatment_of_censoring(runs, results):
    rows = cohort()
    score = predicted(rows, GAINS["cm2"], 0)["probability"]
    weighted = next(row for row in results.sensitivity if row.model == "cm2").estimates["auroc"]
    assert weighted == bootstrap("auroc", rows["target"], score, rows["group"], 200, 0, rows["weight"])
    swapped = compare_runs(runs, resamples=200, censoring="ipcw")
    assert {row.model: row for row in swapped.rows} == {row.model: row for row in results.sensitivity}


def test_rows_of_weight_one_are_reported_once(tmp_path):
    found = compare_runs(write_runs(tmp_path, ("cm2", "text"), cohort(weighted=False)), resamples=20)
    assert found.sensitivity == ()
    assert as_dict(found)["sensitivity"] is None


def test_rows_without_an_outcome_are_left_out(tmp_path):
    rows = cohort()
    known = np.arange(len(rows["id"])) >= 100
    censored = rows | {"target": pa.array(rows["target"], mask=~known)}
    complete = {name: column[known] for name, column in rows.items()}
    folders = []
    for name, table in (("all", censored), ("known", complete)):
        folder = write_run(tmp_path / name, "cm2", rows, 1)
        prediction = predicted(rows, 1, 0)
        if name == "known":
            prediction = {column: values[known] for column, values in prediction.items()}
        parquet.write_table(pa.table(table | prediction), folder / "predictions_test.parquet")
        folders.append(folder)
    first, second = (as_dict(compare_runs([folder], resamples=20)) for folder in folders)
    assert first == second
    assert first["test"]["rows"] == 500


def test_order_of_rows_in_a_folder_does_not_matter(tmp_path, results):
    rows = cohort()
    runs = write_runs(tmp_path)
    path = runs[3] / "predictions_test.parquet"
    shuffled = parquet.read_table(path).take(np.random.default_rng(3).permutation(len(rows["id"])))
    parquet.write_table(shuffled, path)
    assert compare_runs(runs, resamples=200) == results


def test_patterns_partition_the_test_rows(results):
    assert sum(pattern.rows for pattern in results.patterns) == results.test_rows
    assert sum(pattern.events for pattern in results.patterns) == results.events


def test_patterns_show_observed_beside_predicted_risk(results):
    rows = cohort()
    complete = rows["present_series"] & rows["present_text"] & rows["present_table"]
    pattern = next(pattern for pattern in results.patterns if pattern.present == MODALITIES)
    score = predicted(rows, GAINS["cm2"], 0)["probability"]
    assert pattern.observed == pytest.approx(rows["target"][complete].mean())
    assert pattern.predicted == pytest.approx(score[complete].mean())


def test_small_patterns_have_no_auroc_but_a_reason(results):
    small = [pattern for pattern in results.patterns if pattern.events < 5]
    assert small
    assert all(pattern.auroc is None for pattern in small)
    assert all(pattern.reason == f"{pattern.events} events, fewer than 5" for pattern in small)


def test_events_of_too_few_patients_give_no_auroc_either(tmp_path):
    rows = cohort()
    rare = np.arange(len(rows["id"])) < 40
    rows |= {"present_table": ~rare, "present_series": rows["present_series"] | rare}
    rows["present_text"] = rows["present_text"] | rare
    rows["target"][:40] = np.arange(40) < 6
    rows["group"][:6] = "one patient"
    found = compare_runs(write_runs(tmp_path, ("cm2",), rows), resamples=50).patterns
    pattern = next(own for own in found if own.present == MODALITIES[:2])
    assert pattern.events == 6
    assert pattern.auroc is None
    assert pattern.reason == "events in 1 groups, fewer than 5"


def test_dictionary_survives_json_and_names_every_model(results):
    found = json.loads(json.dumps(as_dict(results), allow_nan=False))
    assert found == as_dict(results)
    assert set(found["models"]) == set(GAINS)
    assert set(found["models"]["cm2"]["auroc"]) == {"value", "low", "high"}


def test_markdown_sets_the_best_value_in_bold(results):
    top = results.rows[0].estimates["auroc"]
    assert f"**{top.value:.3f} ({top.low:.3f} to {top.high:.3f})**" in markdown(results)


def test_markdown_tables_have_one_width_each(results):
    for block in re.findall(r"(?:^\|.*\|\n?)+", markdown(results), flags=re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_console_table_shows_models_and_cohort(results):
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(console_table(results))
    text = console.export_text()
    assert "600 test rows" in text
    assert "Gradient boosting" in text
    assert "CM²" in text


def test_data_that_do_not_say_whether_they_are_open_are_restricted(tmp_path):
    folder = write_run(tmp_path / "cm2", "cm2", cohort(), 1)
    silent = {name: value for name, value in description().items() if name != "restricted"}
    (folder / "data.json").write_text(json.dumps(silent))
    assert read_run(folder).restricted


def test_single_modality_model_goes_by_its_modality(tmp_path):
    folder = write_run(tmp_path / "run", "cm2", cohort(), 1)
    (folder / "config.yaml").write_text("model: {name: single, modality: text}")
    assert read_run(folder).name == "text"


def test_two_runs_of_one_model_go_by_their_folders(tmp_path):
    rows = cohort()
    runs = [write_run(tmp_path / name, "cm2", rows, 1, seed) for seed, name in enumerate(("one", "two"))]
    assert {row.model for row in compare_runs(runs, reference="one", resamples=20).rows} == {"one", "two"}


def test_cut_off_metrics_are_refused(tmp_path):
    folder = write_run(tmp_path / "cm2", "cm2", cohort(), 1)
    (folder / "metrics.json").write_text('{"model": "cm')
    with pytest.raises(DataError, match=r"cm2/metrics.json is not JSON"):
        compare_runs([folder])


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"nowhere: no such run folder"):
        compare_runs([tmp_path / "nowhere"])


def test_missing_column_is_refused(tmp_path):
    folder = write_run(tmp_path / "cm2", "cm2", cohort(), 1)
    path = folder / "predictions_test.parquet"
    parquet.write_table(parquet.read_table(path).drop_columns(["weight"]), path)
    with pytest.raises(DataError, match=r"no column weight \(found id, group"):
        compare_runs([folder])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: {"id": np.array([f"other-{i}" for i in range(len(rows["id"]))])},
            "of which 0 are shared",
        ),
        (lambda rows: {"target": 1 - rows["target"]}, "disagree on the target of 600 test rows"),
        (lambda rows: {"weight": rows["weight"] + 1}, "disagree on the weight of 600 test rows"),
    ],
)
def test_other_test_rows_are_refused(tmp_path, change, message):
    rows = cohort()
    runs = [
        write_run(tmp_path / "cm2", "cm2", rows, 1),
        write_run(tmp_path / "text", "text", rows | change(rows), 1),
    ]
    with pytest.raises(DataError, match=message):
        compare_runs(runs)


def test_repeated_ids_are_refused(tmp_path):
    rows = cohort()
    folder = write_run(tmp_path / "cm2", "cm2", rows | {"id": np.repeat(rows["id"][::2], 2)}, 1)
    with pytest.raises(DataError, match="one id more than once"):
        compare_runs([folder])


def test_diverged_model_is_refused(tmp_path):
    folder = write_run(tmp_path / "cm2", "cm2", cohort(), float("nan"))
    with pytest.raises(DataError, match=r"600 test probabilities are not in \[0, 1\]"):
        compare_runs([folder])


def test_one_outcome_only_is_refused(tmp_path):
    rows = cohort()
    folder = write_run(tmp_path / "cm2", "cm2", rows | {"target": np.zeros(600)}, 1)
    with pytest.raises(DataError, match="all 600 test rows have one outcome"):
        compare_runs([folder])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reference": "drfuse"}, "reference 'drfuse' is not among the runs: choose one of cm2, medfuse"),
        ({"censoring": "none"}, "choose 'complete' or 'ipcw'"),
    ],
)
def test_impossible_requests_are_refused(runs, arguments, message):
    with pytest.raises(UserError, match=message):
        compare_runs(runs, **arguments)


def test_censoring_weights_that_are_not_there_are_refused(tmp_path):
    runs = write_runs(tmp_path, ("cm2",), cohort(weighted=False))
    with pytest.raises(UserError, match="every test row has weight 1"):
        compare_runs(runs, censoring="ipcw")


def test_no_runs_are_refused():
    with pytest.raises(UserError, match="at least one"):
        compare_runs([])
