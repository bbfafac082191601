"""Recalibration and prediction sets of a run: which rows they are fitted on, and what becomes of them."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cohorts import TINY, small_cohort
from sklar import runs
from sklar.cli import app
from sklar.data.store import PreparedData
from sklar.errors import DataError
from sklar.evaluation import auroc, brier, recalibrate
from sklar.training.calibration import CALIBRATION, CalibrationConfig, validation_rows
from sklar.training.config import resolve

LOGISTIC = CalibrationConfig(method="logistic")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return small_cohort(tmp_path_factory.mktemp("cohort") / "data", rows=400)


@pytest.fixture(scope="module")
def pair(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> dict[str, runs.Run]:
    """The same training with and without recalibration; so few rows are used for both purposes."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        method: runs.train(resolve("cm2", [*TINY, f"calibration.method={method}"]), data, folder / method)
        for method in ("none", "logistic")
    }


def test_by_default_validation_rows_only_select_the_model(data: PreparedData) -> None:
    parts = validation_rows(CalibrationConfig(), data, seed=0)
    assert (parts.selection == data.rows("valid")).all()
    assert len(parts.calibration) == 0


def test_few_validation_rows_serve_both_purposes(data: PreparedData) -> None:
    parts = validation_rows(LOGISTIC, data, seed=0)
    assert (parts.selection == parts.calibration).all()
    assert not parts.kept


def test_a_quarter_of_many_validation_rows_is_kept_from_selection(tmp_path: Path) -> None:
    many = small_cohort(tmp_path / "data", rows=4400)
    parts = validation_rows(LOGISTIC, many, seed=3)
    assert parts.kept
    assert not set(parts.selection) & set(parts.calibration)
    assert sorted([*parts.selection, *parts.calibration]) == many.rows("valid").tolist()
    assert len(parts.calibration) == pytest.approx(len(many.rows("valid")) / 4, abs=2)
    assert not set(many.groups[parts.selection]) & set(many.groups[parts.calibration])
    rates = [np.nanmean(many.target[rows]) for rows in (parts.selection, parts.calibration)]
    assert rates[0] == pytest.approx(rates[1], abs=0.02)


def test_recalibrated_predictions_are_the_map_of_the_models_own(pair: dict[str, runs.Run]) -> None:
    plain, mapped = (pair[method].predictions("test") for method in ("none", "logistic"))
    calibration = pair["logistic"].calibration
    assert calibration is not None
    for name in ("probability", "low", "high"):
        expected = calibration.recalibration(getattr(plain, name))
        np.testing.assert_allclose(getattr(mapped, name), expected, rtol=1e-12)
    known = ~np.isnan(plain.target)
    y = plain.target[known]
    assert auroc(y, mapped.probability[known]) == pytest.approx(auroc(y, plain.probability[known]))
    valid = pair["none"].predictions("valid")
    seen = ~np.isnan(valid.target)
    assert calibration.recalibration == recalibrate("logistic", valid.target[seen], valid.probability[seen])


def test_metrics_state_how_it_was_fitted(pair: dict[str, runs.Run]) -> None:
    stated = pair["logistic"].metrics["calibration"]
    assert stated == json.loads((pair["logistic"].path / CALIBRATION).read_text())
    valid = pair["logistic"].predictions("valid")
    assert stated["rows"] == (~np.isnan(valid.target)).sum()
    assert stated["events"] == np.nansum(valid.target)
    assert stated["kept"] is False
    assert stated["conformal"]["level"] == 0.9
    raw = pair["none"].predictions("valid")
    seen = ~np.isnan(raw.target)
    assert stated["brier_before"] == pytest.approx(brier(raw.target[seen], raw.probability[seen]))
    assert pair["none"].metrics["calibration"] is None
    assert not (pair["none"].path / CALIBRATION).exists()


def test_new_predictions_are_recalibrated_and_carry_sets(
    pair: dict[str, runs.Run], data: PreparedData, tmp_path: Path
) -> None:
    run = pair["logistic"]
    stored = run.predictions("test")
    np.testing.assert_allclose(run.predict(data, "test").probability, stored.probability, rtol=1e-6)
    rows = runs.MaskedRows(run, data)
    known = ~np.isnan(stored.target)
    np.testing.assert_allclose(rows.predict(rows.present), stored.probability[known], rtol=1e-6)
    out = tmp_path / "p.parquet"
    arguments = ["predict", str(run.path), "--data", str(data.path), "-o", str(out), "--split", "test"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    table = pq.read_table(out)
    sets = np.stack([table["set_0"].to_numpy(), table["set_1"].to_numpy()], axis=1)
    calibration = run.calibration
    assert calibration is not None
    assert (sets == calibration.conformal.sets(table["probability"].to_numpy())).all()
    assert "set_0" not in pq.read_table(run.path / "predictions_test.parquet").column_names


def test_references_are_recalibrated_too(data: PreparedData, tmp_path: Path) -> None:
    config = resolve("logistic_regression", ["calibration.method=isotonic"])
    run = runs.train(config, data, tmp_path / "run")
    assert run.metrics["calibration"]["recalibration"]["kind"] == "isotonic"
    assert len(np.unique(run.predictions("test").probability)) < len(run.predictions("test").ids)


def test_too_few_events_to_recalibrate_are_refused_with_a_way_out(tmp_path: Path) -> None:
    data = small_cohort(tmp_path / "data", rows=60)
    config = resolve("logistic_regression", ["calibration.method=logistic"])
    with pytest.raises(DataError, match=r"calibration.method=logistic on \d+ validation rows .*=none"):
        runs.train(config, data, tmp_path / "run")
