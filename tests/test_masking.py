"""A run's model asked about rows whose modalities are hidden."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from cohorts import TINY, small_cohort
from sklar import runs
from sklar.cli import app
from sklar.data.store import PreparedData
from sklar.errors import UserError
from sklar.evaluation import auroc, coalitions, interval_coverage, shapley, stress_curve
from sklar.training.config import resolve


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return small_cohort(tmp_path_factory.mktemp("cohort") / "data", rows=800)


@pytest.fixture(scope="module")
def run(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    settings = (*TINY, "model.alignment.warmup=400", "training.max_epochs=4")
    return runs.train(resolve("cm2", settings), data, tmp_path_factory.mktemp("runs") / "cm2")


@pytest.fixture(scope="module")
def rows(run: runs.Run, data: PreparedData) -> runs.MaskedRows:
    return runs.MaskedRows(run, data)


def test_nothing_hidden_gives_the_stored_predictions(run: runs.Run, rows: runs.MaskedRows) -> None:
    stored = run.predictions("test")
    known = ~np.isnan(stored.target)
    assert (rows.ids == stored.ids[known]).all()
    assert (rows.y == stored.target[known]).all()
    np.testing.assert_allclose(rows.predict(rows.present), stored.probability[known], rtol=1e-6)


def test_a_hidden_modality_is_as_one_that_was_never_there(rows: runs.MaskedRows) -> None:
    complete = np.flatnonzero(rows.present.all(1))
    assert len(complete) > 0
    hidden = rows.present.copy()
    hidden[complete[0], 0] = False
    before, after = rows.predict(rows.present), rows.predict(hidden)
    assert after[complete[0]] != before[complete[0]]
    others = np.arange(len(before)) != complete[0]
    np.testing.assert_allclose(after[others], before[others], rtol=1e-5)


def test_the_functions_that_hide_modalities_take_a_run(rows: runs.MaskedRows) -> None:
    curve = stress_curve("auroc", rows.predict, rows.y, rows.present, (0.0, 0.9), rows.groups, resamples=20)
    whole, hidden = (estimate.value for estimate in curve.estimates)
    assert whole == auroc(rows.y, rows.predict(rows.present)) != hidden
    subsets, answers = coalitions(rows.predict, rows.present, base=float(rows.y.mean()))
    gained = answers[-1] - answers[0]
    np.testing.assert_allclose(shapley(subsets, answers).sum(0), gained, atol=1e-12)


def test_the_interval_of_what_is_there_is_the_stored_one(run: runs.Run, rows: runs.MaskedRows) -> None:
    stored = run.predictions("test")
    known = ~np.isnan(stored.target)
    low, high = rows.interval(rows.present, 0.95)
    np.testing.assert_allclose((low, high), (stored.low[known], stored.high[known]), rtol=1e-5)


def test_reported_intervals_hold_on_new_rows(run: runs.Run, data: PreparedData) -> None:
    rows = runs.MaskedRows(run, data, matched=True)
    found = interval_coverage(rows.draw, rows.present, (0.5, 0.9), rows.groups, 20, interval=rows.interval)
    drawn = interval_coverage(rows.draw, rows.present, (0.5, 0.9), rows.groups, 20)
    for by, alone in zip(found, drawn, strict=True):
        # a draw of as few validation and test rows has a standard error of .05 to .1 beside the promise
        assert by.actual[1].value > 0.7
        assert by.actual[1].value > alone.actual[1].value


def test_draws_of_hidden_modalities_have_a_coverage(rows: runs.MaskedRows) -> None:
    found = interval_coverage(rows.draw, rows.present, groups=rows.groups, resamples=20)
    assert [by.hidden for by in found] == [1, 2]
    for by in found:
        assert by.rows == rows.present.all(1).sum()
        shares = [share.value for share in by.actual]
        assert shares == sorted(shares)
        assert list(by.width) == sorted(by.width)
        assert shares[-1] > 0


def test_a_reference_keeps_no_model_to_ask(
    data: PreparedData, tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = tmp_path_factory.mktemp("reference") / "lr"
    reference = runs.train(resolve("logistic_regression"), data, out)
    with pytest.raises(UserError, match="keeps predictions and no weights"):
        runs.MaskedRows(reference, data)


def test_matched_rows_are_the_complete_ones(run: runs.Run, data: PreparedData, rows: runs.MaskedRows) -> None:
    matched = runs.MaskedRows(run, data, matched=True)
    assert (matched.ids == rows.ids[rows.present.all(1)]).all()


def test_evaluate_hides_modalities_of_a_prepared_folder(run: runs.Run, data: PreparedData) -> None:
    arguments = ["evaluate", str(run.path), "--data", str(data.path), "--resamples", "20"]
    done = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    found = json.loads(done.stdout.strip().splitlines()[-1])["stress"]["cm2"]
    assert set(found["curves"]) == {"all modalities", *data.modalities}
    whole = found["curves"]["labs"]["estimates"][0]
    assert all(curve["estimates"][0] == whole for curve in found["curves"].values())
    assert len(found["curves"]["labs"]["rates"]) == 10
    gained = sum(share["value"] for share in found["shapley"].values())
    assert gained == pytest.approx(whole["value"] - 0.5)
    assert [by["hidden"] for by in found["coverage"]] == [1, 2]
    assert [by["nominal"] for by in found["drawn_coverage"]] == [[0.5, 0.8, 0.9, 0.95]] * 2
    text = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    assert "Shapley shares" in text
    assert "holds the prediction with everything" in " ".join(text.split())
