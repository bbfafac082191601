"""The prepared MIMIC folder: a schema of its own kind of series, batches, statistics, training, checks."""

import json
import shutil
import stat

import numpy as np
import pytest
import torch

from raw_mimic import Hospital, at
from sklar import PreparedData
from sklar.data.cohort import read_cohort
from sklar.data.loading import PreparedDataset
from sklar.data.schema import GriddedSeries, Schema
from sklar.errors import DataError, UserError
from sklar.mimic import prepare
from sklar.mimic.splits import split
from test_cli import last_json, run

HEART = "Heart Rate"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> PreparedData:
    hospital = Hospital(60)
    for number in range(1, 61):
        for hour in range(2, 40, 3):
            hospital.chart(number, 211, str(60 + (7 * number + hour) % 60), hour)
            hospital.chart(number, 678, str(98 + number % 4), hour)
        hospital.chart(number, 184, "3 To speech", 3)
    raw = hospital.write(tmp_path_factory.mktemp("folder") / "raw", ".csv.gz")
    return prepare("mimic-iii", raw, raw.parent / "out")


def test_the_schema_survives_json(data):
    schema = data.schema
    assert Schema.model_validate_json(schema.model_dump_json()) == schema
    assert len(schema.grids["ehr"].columns) == 76


def test_time_ends_at_the_prediction(data):
    times = data.schema.grids["ehr"].times
    assert (times[0], times[-1]) == (-47.0, -1.0)


def test_columns_of_a_grid_are_distinct():
    with pytest.raises(ValueError, match="listed twice"):
        GriddedSeries(variables={"a": ("x", "x")}, steps=1, step=1.0)


def test_own_tables_cannot_be_read_as_a_grid(data):
    with pytest.raises(UserError, match="comes gridded"):
        read_cohort(data.schema, {})


def test_numbers_are_standardised_over_train_and_valid_and_the_rest_is_not(data):
    _, raw, columns = data.series("ehr", normalised=False)
    _, ready, _ = data.series("ehr")
    fitted = np.concatenate([data.rows("train"), data.rows("valid")])
    place = columns.index(HEART)
    own = raw[fitted][..., place]
    expected = (raw[..., place] - own.mean()) / own.std(ddof=1)
    np.testing.assert_allclose(ready[..., place], expected, rtol=1e-5, atol=1e-5)  # stored as float32
    others = [i for i, name in enumerate(columns) if name not in data.schema.grids["ehr"].numbers]
    np.testing.assert_array_equal(ready[..., others], raw[..., others])


def test_a_batch_is_the_model_ready_array_with_its_masks(data):
    batch = PreparedDataset(data)[7]
    series = batch.inputs["ehr"]
    _, ready, columns = data.series("ehr")
    np.testing.assert_array_equal(series.values[0].numpy(), ready[7])
    seen = series.observed[0, :, columns.index(HEART)].numpy()
    np.testing.assert_array_equal(seen, ready[7][:, columns.index(f"mask->{HEART}")] == 1)


def test_raw_series_without_its_fillings_has_gaps(data):
    raw = data.raw_series("ehr")
    columns = data.schema.grids["ehr"].values
    assert np.isnan(raw[..., columns.index("Height")]).all()
    assert np.isfinite(raw[:, 0, columns.index(HEART)]).all()


def test_tasks_have_labels_of_their_own(data):
    assert data.tasks == ("ihm", "readm")
    assert data.labels() == data.labels("ihm")
    with pytest.raises(UserError, match="it holds ihm, readm"):
        data.labels("los")


def test_patients_are_in_one_split_whatever_the_cohort(data):
    subjects = np.arange(1, 2000)
    whole = split(subjects, "mimic-iii", None)
    assert (split(subjects[::7], "mimic-iii", None) == whole[::7]).all()
    # shares of 2,000 draws are within four standard deviations, .04
    assert abs((whole == "train").mean() - 0.70) < 0.04


def test_published_lists_decide_and_are_recorded(tmp_path):
    raw = Hospital(8).write(tmp_path / "raw")
    (tmp_path / "test.csv").write_text("".join(f"{n},{int(n <= 2)}\n" for n in range(1, 9)))
    (tmp_path / "valid.csv").write_text("".join(f"{n},{int(n == 3)}\n" for n in range(3, 9)))
    data = prepare(
        "mimic-iii", raw, tmp_path / "out", test_list=tmp_path / "test.csv", valid_list=tmp_path / "valid.csv"
    )
    assert data.groups[data.rows("test")].tolist() == ["1", "2"]
    assert data.groups[data.rows("valid")].tolist() == ["3"]
    about = data.manifest.rules["split_lists"]["test"]
    assert (about["patients"], about["chosen"], about["published_counts"]) == (8, 2, False)
    assert len(about["sha256"]) == 64


def test_two_stays_of_a_patient_share_a_split(tmp_path):
    hospital = Hospital(6)
    for number in range(11, 31):
        hospital.stay(number, subject=1 + number % 6)
    data = prepare("mimic-iii", hospital.write(tmp_path / "raw"), tmp_path / "out")
    pairs = {(group, part) for part in ("train", "valid", "test") for group in data.groups[data.rows(part)]}
    assert len(pairs) == 6


@pytest.mark.parametrize("model", [pytest.param("single", marks=pytest.mark.slow), "logistic_regression"])
def test_models_train_on_the_folder(data, tmp_path, model):
    settings = ["training.max_epochs=1"] if model == "single" else []
    extra = ["--set", "model.modality=ehr"] if model == "single" else []
    options = [part for setting in settings for part in ("--set", setting)]
    run("train", model, "--data", data.path, "--out", tmp_path / "run", *options, *extra)
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    assert "valid_auroc" in json.loads((tmp_path / "run" / "metrics.json").read_text())["validation"]


def test_validate_passes_a_folder_and_fails_a_changed_one(data, tmp_path):
    content = last_json(run("validate", data.path, "--json"))
    states = {finding["topic"]: finding["state"] for finding in content["findings"]}
    assert states["groups"] == states["event times"] == states["masks"] == states["stays"] == "ok"
    copy = tmp_path / "copy"
    shutil.copytree(data.path, copy)
    with (copy / "ehr.npy").open("r+b") as stream:
        stream.seek(-8, 2)
        stream.write(b"\1" * 8)
    assert "not the file that was prepared" in run("validate", copy, code=3).stderr


def test_validate_finds_an_event_after_the_prediction(data, monkeypatch):
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from sklar.mimic import audit_mimic

    original = pq.read_table

    def late(path, *args, **kwargs):
        table = original(path, *args, **kwargs)
        if str(path).endswith("cells.parquet"):
            later = pc.add(table["second"], 200_000)
            table = table.set_column(table.schema.get_field_index("second"), "second", later)
        return table

    monkeypatch.setattr(pq, "read_table", late)
    assert [f.topic for f in audit_mimic(data) if f.state == "failed"] == ["event times"]


def test_the_command_line_prepares_with_a_bar_on_standard_error(tmp_path):
    raw = Hospital().write(tmp_path / "raw")
    done = run(
        "prepare", "mimic-iii", "--raw", raw, "--out", tmp_path / "out", "--rule", "na_none=pandas1", "--json"
    )
    content = last_json(done)
    assert content["counts"]["all"][0] == 5
    assert "done" in done.stderr
    assert PreparedData.open(tmp_path / "out").manifest.rules["rule_na_none"] == "pandas1"


def test_the_command_line_says_what_it_would_read(tmp_path):
    raw = Hospital().write(tmp_path / "raw")
    done = run("prepare", "mimic-iii", "--raw", raw, "--out", tmp_path / "out", "--dry-run")
    assert "CHARTEVENTS.csv" in done.stdout
    assert not (tmp_path / "out").exists()


def test_the_command_line_ends_with_three_for_broken_tables(tmp_path):
    raw = Hospital().write(tmp_path / "raw")
    (raw / "PATIENTS.csv").unlink()
    assert (
        "'patients' is missing"
        in run("prepare", "mimic-iii", "--raw", raw, "--out", tmp_path / "out", code=3).stderr
    )


def test_the_command_line_ends_with_two_for_an_unknown_rule(tmp_path):
    raw = Hospital().write(tmp_path / "raw")
    out = tmp_path / "out"
    done = run("prepare", "mimic-iii", "--raw", raw, "--out", out, "--rule", "none=1", code=2)
    assert "one of na_none" in done.stderr


def test_a_split_without_training_patients_is_refused(tmp_path):
    raw = Hospital(2).write(tmp_path / "raw")
    (tmp_path / "test.csv").write_text("1,1\n2,1\n")
    (tmp_path / "valid.csv").write_text("3,1\n")
    with pytest.raises(DataError, match="needs training rows"):
        prepare(
            "mimic-iii",
            raw,
            tmp_path / "out",
            test_list=tmp_path / "test.csv",
            valid_list=tmp_path / "valid.csv",
        )


def test_batches_of_present_and_absent_rows_have_one_shape(data):
    batch = PreparedDataset(data).__getitems__([0, 3, 5])
    assert batch.inputs["ehr"].values.shape == (3, 24, 76)
    assert batch.inputs["ehr"].observed.shape == (3, 24, 59)
    assert batch.inputs["ehr"].valid.dtype == torch.bool
    assert at() < at(1)
