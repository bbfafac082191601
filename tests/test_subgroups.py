"""Subgroups of test rows: kept by a run, judged in the report, withheld where cells are small."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cohorts import TINY, small_cohort
from run_folders import cohort as fake_cohort
from run_folders import write_runs
from sklar import runs
from sklar.cli import app
from sklar.data.store import PreparedData
from sklar.data.subgroups import SUBGROUPS, bands, read_subgroups, subgroups_of
from sklar.errors import DataError, UserError
from sklar.evaluation import at_thresholds, auroc, reliability, resample_weights
from sklar.report.detail import SMALLEST, shareable_thresholds
from sklar.training.config import resolve
from sklar.training.memory import peak_memory

FAST = ("--resamples", "50")


def call(*arguments: object) -> dict[str, object]:
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return small_cohort(tmp_path_factory.mktemp("cohort") / "data", rows=1200)


@pytest.fixture(scope="module")
def run(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    """One that does not read the table itself."""
    settings = (*TINY, "training.max_epochs=2")
    config = resolve("unified", settings, data={"modalities": ("labs", "notes")})
    return runs.train(config, data, tmp_path_factory.mktemp("runs") / "unified")


def test_a_run_knows_the_categories_and_bands_of_its_test_rows(run: runs.Run, data: PreparedData) -> None:
    stored = run.predictions("test")
    sex, age, bmi = read_subgroups(run.path, stored.ids, ["sex", "age", "bmi"])
    table = data.table("table")
    ids = table["id"].to_pylist()
    known = dict(zip(ids, table["sex"].to_pylist(), strict=True))
    assert sex.levels == ("f", "m")
    assert sex.level.tolist() == [known[name] for name in stored.ids]
    years = dict(zip(ids, table["age"].to_pylist(), strict=True))
    own = np.array([years[name] for name in stored.ids])
    means = [own[age.level == level].mean() for level in age.levels]
    assert means == sorted(means)
    assert len(means) == 4
    # a quarter of the training rows each
    assert all(0.12 < (age.level == level).mean() < 0.4 for level in age.levels)
    assert bmi.levels[-1] == "unknown"
    mass = dict(zip(ids, table["bmi"].to_pylist(), strict=True))
    assert ((bmi.level == "unknown") == [mass[name] is None for name in stored.ids]).all()


def test_categories_are_the_default_and_other_columns_are_refused(run: runs.Run) -> None:
    ids = run.predictions("test").ids
    assert [part.name for part in read_subgroups(run.path, ids)] == ["sex"]
    with pytest.raises(UserError, match=r"no column 'sexx'.*did you mean sex"):
        read_subgroups(run.path, ids, ["sexx"])
    with pytest.raises(DataError, match=r"^\S+parquet lacks 1 of 1 test rows"):
        read_subgroups(run.path, np.array(["nobody"]))


def test_a_number_is_cut_as_asked(run: runs.Run, data: PreparedData) -> None:
    ids = run.predictions("test").ids
    (age,) = read_subgroups(run.path, ids, {"age": (50, 62.5)})
    assert age.levels == ("< 50", "50 to < 62.5", ">= 62.5")
    table = data.table("table")
    known = dict(zip(table["id"].to_pylist(), table["age"].to_pylist(), strict=True))
    years = np.array([known[name] for name in ids])
    assert ((age.level == "< 50") == (years < 50)).all()
    assert ((age.level == ">= 62.5") == (years >= 62.5)).all()
    found = call("evaluate", run.path, *FAST, "--by", "age=50,62.5,sex")["subgroups"]["unified"]
    assert [part["level"] for part in found["age"]] == list(age.levels)
    assert [part["rows"] for part in found["age"]] == [(age.level == own).sum() for own in age.levels]
    assert len(found["sex"]) == 2
    (same,) = subgroups_of(data, ids, {"age": (50, 62.5)})
    assert (same.level == age.level).all()


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("age=65,40", "cuts of 'age': 65, 40 are not ascending numbers"),
        ("age=40,40", "not ascending"),
        ("age=nan", "not ascending numbers"),
        ("age=old", "'old' is no number"),
        ("age=", "'' is no number"),
        ("sex=40", r"cuts of 'sex'.*a category \(f, m\)"),
        ("years=40", "no column 'years'"),
    ],
)
def test_bad_cuts_are_refused(run: runs.Run, by: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call("evaluate", run.path, *FAST, "--by", by)


def test_bands_of_an_older_run_stay_readable(run: runs.Run, tmp_path: Path) -> None:
    level = np.array(["below 40", "40 and above"])
    about = {"age": {"levels": level.tolist(), "band": True}}
    table = pa.table({"id": ["a", "b"], "age": level})
    pq.write_table(table.replace_schema_metadata({"sklar": json.dumps(about)}), tmp_path / SUBGROUPS)
    (age,) = read_subgroups(tmp_path, np.array(["b", "a"]), ["age"])
    assert age.level.tolist() == ["40 and above", "below 40"]
    with pytest.raises(UserError, match="a category"):
        read_subgroups(tmp_path, np.array(["a"]), {"age": (50,)})


def test_a_damaged_file_is_told(run: runs.Run, tmp_path: Path) -> None:
    (tmp_path / SUBGROUPS).write_bytes(b"PAR1")
    with pytest.raises(DataError, match="is damaged"):
        read_subgroups(tmp_path, run.predictions("test").ids)


def test_bands_are_closed_below() -> None:
    names, level = bands([1.0, 2.0, 3.5, 4.0, np.nan], [2.0, 4.0])
    assert names == ("< 2", "2 to < 4", ">= 4")
    assert level.tolist() == ["< 2", "2 to < 4", "2 to < 4", ">= 4", "unknown"]


def test_evaluate_judges_every_subgroup(run: runs.Run) -> None:
    found = call("evaluate", run.path, *FAST, "--by", "sex,age")["subgroups"]["unified"]
    stored = run.predictions("test")
    (sex,) = read_subgroups(run.path, stored.ids)
    women = sex.level == "f"
    first = found["sex"][0]
    assert (first["level"], first["rows"]) == ("f", int(women.sum()))
    assert first["auroc"]["value"] == auroc(stored.target[women], stored.probability[women])
    assert first["predicted"] == pytest.approx(stored.probability[women].mean())
    assert sum(part["rows"] for part in found["age"]) == len(stored.ids)


def test_stress_curves_are_drawn_for_subgroups_too(run: runs.Run, data: PreparedData) -> None:
    found = call("evaluate", run.path, *FAST, "--data", data.path)["stress"]["unified"]
    assert set(found["subgroups"]) == {"sex: f", "sex: m"}
    judged = call("evaluate", run.path, *FAST)["subgroups"]["unified"]["sex"]
    for part in judged:
        curve = found["subgroups"][f"sex: {part['level']}"]
        assert curve["estimates"][0]["value"] == pytest.approx(part["auroc"]["value"])


@pytest.fixture
def fake(tmp_path: Path) -> list[Path]:
    """Two runs whose 600 rows are in wards of very different size, and a rare one."""
    folders = write_runs(tmp_path, ("cm2", "medfuse"))
    rows = fake_cohort()
    ward = np.where(np.arange(600) < 9, "rare", np.where(np.arange(600) < 200, "small", "large"))
    about = {"ward": {"levels": ["rare", "small", "large"], "band": False}}
    table = pa.table({"id": rows["id"], "ward": ward})
    pq.write_table(table.replace_schema_metadata({"sklar": json.dumps(about)}), folders[0] / SUBGROUPS)
    return folders


def test_the_page_shows_subgroups_and_withholds_small_ones(fake: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    CliRunner().invoke(app, ["report", *map(str, fake), "-o", str(out), *FAST], catch_exceptions=False)
    text = out.read_text()
    assert "For whom" in text
    assert "ward: rare" in text
    assert "AUROC by ward" in text
    assert "<td>9</td>" in text
    arguments = ["report", *map(str, fake), "-o", str(out), *FAST, "--share-safe"]
    CliRunner().invoke(app, arguments, catch_exceptions=False)
    section = out.read_text().split('id="subgroups"')[1].split("</section>")[0]
    assert section.count("fewer than 20 rows, or next to such") == 2  # the total would tell
    assert "<td>9</td>" not in section


def test_shared_json_has_no_small_subgroup(fake: list[Path]) -> None:
    found = call("evaluate", fake[0], *FAST, "--share-safe")["subgroups"]["cm2"]["ward"]
    assert [part["rows"] for part in found] == [None, None, 400]


def test_a_shared_comparison_shows_no_small_count(tmp_path: Path) -> None:
    rows = fake_cohort()
    few = np.flatnonzero(rows["target"] == 1)[15:]
    folders = write_runs(
        tmp_path, ("cm2", "medfuse"), {name: np.delete(own, few, 0) for name, own in rows.items()}
    )
    test = call("compare", *folders, *FAST, "--share-safe")["test"]
    assert test["events"] is None
    assert test["rows"] >= 20
    assert call("compare", *folders, *FAST)["test"]["events"] == 15
    table = CliRunner().invoke(app, ["compare", *map(str, folders), *FAST, "--share-safe"]).stdout
    assert "fewer than 20 events" in " ".join(table.split())


def test_thresholds_that_tell_of_few_rows_are_withheld() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(800)
    y = (rng.random(800) < p).astype(np.int64)
    cuts = (0.02, 0.3, 0.33, 0.5, 0.99)
    plain = at_thresholds(y, p, cuts)
    shown = shareable_thresholds(plain, y, p, SMALLEST)
    assert np.isnan(shown.called).tolist() == [True, False, True, False, True]
    np.testing.assert_array_equal(shown.treat_all, plain.treat_all)
    np.testing.assert_array_equal(shown.ppv[[1, 3]], plain.ppv[[1, 3]])
    kept = [cut for cut, called in zip(cuts, shown.called, strict=True) if not np.isnan(called)]
    edges = np.digitize(p, kept)
    cells = np.array([[((edges == band) & (y == side)).sum() for side in (0, 1)] for band in range(3)])
    assert (cells >= SMALLEST).all()
    np.testing.assert_array_equal(shareable_thresholds(plain, y, p, 0).called, plain.called)


def test_evaluate_sets_in_bold_what_compare_does(fake: list[Path]) -> None:
    tied = call("evaluate", *fake, *FAST)["tied"]
    assert tied == call("compare", *fake, *FAST)["tied"]
    assert tied["auroc"] == ["cm2", "medfuse"]


def test_reliability_intervals_are_those_of_resampled_groups() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(300)
    y = (rng.random(300) < p).astype(np.int64)
    groups = np.repeat(np.arange(150), 2)
    found = reliability(y, p, bins=4, groups=groups, resamples=400, seed=3)
    counts = resample_weights(groups, 400, 3)
    code = np.searchsorted(np.sort(p)[[75, 150, 225]], p, side="right")
    for index in range(4):
        own = code == index
        rate = (counts[:, own] * y[own]).sum(1) / counts[:, own].sum(1)
        assert found.observed[index] == pytest.approx(y[own].mean())
        assert (found.low[index], found.high[index]) == pytest.approx(tuple(np.percentile(rate, (2.5, 97.5))))
    assert reliability(y, p).low is None


def test_reliability_intervals_hold_the_true_risk() -> None:
    rng = np.random.default_rng(2)
    held = []
    for seed in range(60):
        p = np.repeat([0.1, 0.4, 0.8], 120)
        y = (rng.random(360) < p).astype(np.int64)
        found = reliability(y, p, bins=3, resamples=200, seed=seed)
        held.append((found.low <= found.predicted) & (found.predicted <= found.high))
    assert 0.88 < np.mean(held) < 0.99


def test_a_peak_of_memory_is_seen_and_forgotten() -> None:
    with peak_memory() as large:
        block = np.ones(2**27 // 8)
        del block
    with peak_memory() as small:
        pass
    assert large["resident"] > 2**27
    if os.access("/proc/self/clear_refs", os.W_OK):
        assert large["resident"] - small["resident"] > 2**26


def test_a_run_says_how_much_memory_it_took(run: runs.Run) -> None:
    assert run.metrics["peak_memory"]["resident"] > 2**26
