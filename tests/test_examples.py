"""The examples of the parts alone: each runs, and finds what is there to be found."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parents[1] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_model_of_ones_own_with_the_copula_term_comes_near_the_best_prediction_without_the_image():
    found = example("own_model").main()
    assert found["best"] > 0.8
    assert found["model"] > found["best"] - 0.05


def test_the_example_of_a_model_of_ones_own_is_short():
    assert len((FOLDER / "own_model.py").read_text().splitlines()) < 40


def test_filling_cells_through_a_copula_in_a_pipeline_beats_filling_them_with_means():
    found = example("imputation_pipeline").main()
    assert found["mean"]["rmse"] == pytest.approx(1, abs=0.05)  # of standardised columns
    assert found["copula"]["rmse"] < 0.75
    assert found["copula"]["auroc"] > found["mean"]["auroc"]


def test_an_imputer_of_cells_keeps_what_is_there_and_fills_the_rest():
    module = example("imputation_pipeline")
    _, holes, _ = module.measurements(0.4)
    filled = module.CopulaImputer().fit(holes).transform(holes)
    there = ~np.isnan(holes)
    assert (filled[there] == holes[there]).all()
    assert abs(filled).max() < 10


def test_copulas_alone_find_the_family_that_made_the_data_and_its_tail():
    found = example("copulas_only").main()
    assert found.chosen == "gumbel"
    assert found.upper == pytest.approx(2 - 2**0.5, abs=0.03)  # 2 - 2^(1/theta) at theta = 2
    assert float(found.copula.kendall_tau()) == pytest.approx(0.5, abs=0.02)
    assert found.covered == pytest.approx(0.9, abs=0.02)  # three standard errors of 2,000 rows
    together = (found.sampled > 0.9).all(-1).double().mean()
    assert together == pytest.approx(1 - 2 * 0.9 + 0.9 ** (2**0.5), abs=0.012)  # C(.9, .9) of Gumbel
    assert torch.isfinite(found.sampled).all()
