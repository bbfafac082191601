"""Calibration: intercept, slope, ECE and ICI against their equations and against naive restatements."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import expit

from sklar.evaluation import (
    ECE,
    bootstrap,
    calibration_intercept,
    calibration_slope,
    ece,
    ici,
    replicates,
    resample_weights,
)

CALIBRATION = {m.name: m for m in (calibration_intercept, calibration_slope, ece, ici)}


def cohort(rows=500, seed=0, intercept=0.0, slope=1.0):
    """Predictions whose true logit is ``intercept + slope * logit``."""
    random = np.random.default_rng(seed)
    logit = random.normal(-1.0, 1.2, rows)
    y = (random.random(rows) < expit(intercept + slope * logit)).astype(int)
    return y, expit(logit), random.exponential(size=rows)


def logit(p):
    return np.log(p) - np.log1p(-p)


def scores(y, p, weight, intercept, slope):
    """The two likelihood equations of a logistic line, per unit of weight."""
    residual = weight * (y - expit(intercept + slope * logit(p))) / weight.sum()
    return residual.sum(), residual @ logit(p)


@given(seed=st.integers(0, 1000), shift=st.floats(-4, 4))
def test_intercept_solves_its_likelihood_equation(seed, shift):
    y, p, weight = cohort(60, seed)
    p = expit(logit(p) + shift)
    assert scores(y, p, weight, calibration_intercept(y, p, weight), 1)[0] == pytest.approx(0, abs=1e-14)


@given(seed=st.integers(0, 1000), shift=st.floats(-4, 4), scale=st.floats(0.05, 20))
def test_slope_solves_its_likelihood_equations(seed, shift, scale):
    y, p, weight = cohort(60, seed)
    p = np.clip(expit(scale * logit(p) + shift), 1e-12, 1 - 1e-12)
    slope = calibration_slope(y, p, weight)
    size = 1 + np.abs(logit(p)).max()
    wide = 40 + abs(slope) * size
    intercept = brentq(lambda at: scores(y, p, weight, at, slope)[0], -wide, wide, xtol=1e-14)
    assert np.abs(scores(y, p, weight, intercept, slope)).max() < 1e-11 * size


def test_the_true_line_is_recovered():
    y, p, _ = cohort(200_000, intercept=0.5, slope=0.7)
    # standard errors at this size are about .006
    assert calibration_slope(y, p) == pytest.approx(0.7, abs=0.03)
    assert calibration_intercept(*cohort(200_000, intercept=0.5)[:2]) == pytest.approx(0.5, abs=0.03)


def test_true_probabilities_have_intercept_zero_slope_one_and_little_error():
    y, p, _ = cohort(200_000)
    assert calibration_intercept(y, p) == pytest.approx(0, abs=0.03)
    assert calibration_slope(y, p) == pytest.approx(1, abs=0.03)
    assert ece(y, p) < 0.005


@pytest.mark.parametrize("name", CALIBRATION)
def test_many_weightings_equal_one_call_each(name):
    y, p, weight = cohort(200)
    factors = np.random.default_rng(3).exponential(size=(4, 200)) * weight
    many = CALIBRATION[name].judge(y, p)(factors)
    single = [CALIBRATION[name](y, p, row) for row in factors]
    np.testing.assert_allclose(many, single, rtol=1e-10)


@pytest.mark.parametrize("name", ["calibration_intercept", "calibration_slope", "ece"])
def test_integer_weights_equal_repeated_rows(name):
    y, p, _ = cohort(200)
    count = np.random.default_rng(3).integers(1, 4, 200)
    repeated = CALIBRATION[name](np.repeat(y, count), np.repeat(p, count))
    assert CALIBRATION[name](y, p, count) == pytest.approx(repeated, rel=1e-9)


@pytest.mark.parametrize("name", CALIBRATION)
def test_order_of_rows_does_not_matter(name):
    y, p, weight = cohort(200)
    order = np.random.default_rng(1).permutation(200)
    shuffled = CALIBRATION[name](y[order], p[order], weight[order])
    assert shuffled == pytest.approx(CALIBRATION[name](y, p, weight), rel=1e-10)


@pytest.mark.parametrize("name", CALIBRATION)
def test_every_measure_has_an_interval(name):
    y, p, weight = cohort(400)
    found = bootstrap(name, y, p, resamples=50, weight=weight)
    assert found.low < found.high
    assert found.low < CALIBRATION[name](y, p, weight) + 0.05


def test_ece_is_the_weighted_gap_of_equal_width_bins():
    y, p, weight = cohort(300)
    naive = 0.0
    for low in np.arange(10) / 10:
        rows = (p > low) & (p <= low + 0.1)
        naive += abs((weight[rows] * (y[rows] - p[rows])).sum()) / weight.sum()
    assert ece(y, p, weight) == pytest.approx(naive, rel=1e-12)


def test_ece_of_one_bin_is_the_gap_in_the_large():
    y, p, _ = cohort(300)
    assert ECE(1)(y, p) == pytest.approx(abs(y.mean() - p.mean()))


def test_ends_of_the_unit_interval_lie_in_a_bin():
    assert ece([0, 1, 1, 0], [0.0, 1.0, 0.1, 1.0]) == pytest.approx((0.9 + 1) / 4)


def naive_curve(y, p, weight):
    """Local lines by weighted least squares at every row, one after the other."""
    fitted = []
    for at in p:
        distance = np.abs(p - at)
        reach = np.sort(distance)[int(np.ceil(0.75 * len(p))) - 1]
        local = weight * np.clip(1 - (distance / reach) ** 3, 0, None) ** 3
        design = np.stack([np.ones_like(p), p - at], axis=1)
        root = np.sqrt(local)[:, None]
        fitted.append(np.linalg.lstsq(design * root, y * root[:, 0], rcond=None)[0][0])
    return np.array(fitted)


def test_ici_is_the_mean_gap_of_a_curve_of_local_lines():
    y, p, weight = cohort(150)
    gap = np.abs(naive_curve(y, p, weight) - p)
    assert ici(y, p, weight) == pytest.approx(np.average(gap, weights=weight), rel=1e-9)


def test_ici_interpolates_between_two_hundred_points_of_many_rows():
    y, p, _ = cohort(1500)
    gap = np.abs(naive_curve(y, p, np.ones(1500)) - p)
    assert ici(y, p) == pytest.approx(gap.mean(), abs=1e-4)


def test_ici_of_one_risk_is_the_gap_in_the_large():
    assert ici([0, 1, 1, 0, 0], [0.5] * 5) == pytest.approx(0.1)


def test_ici_where_most_rows_share_a_risk_takes_their_own_mean():
    y, p = np.array([0, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1]), np.array([0.2] * 10 + [0.9])
    at_02 = y[:10].mean()
    assert ici(y, p) >= 10 / 11 * abs(at_02 - 0.2) - 1e-12


def test_probabilities_that_separate_the_labels_have_no_slope():
    with pytest.raises(ValueError, match=r"calibration_slope is undefined here: .* separated by the score"):
        calibration_slope([0, 0, 1, 1], [0.1, 0.3, 0.3, 0.8])


def test_one_probability_for_all_has_no_slope():
    with pytest.raises(ValueError, match="one score only"):
        calibration_slope([0, 1, 1], [0.4] * 3)


def test_replicates_without_a_slope_are_refused_not_averaged():
    y, p = [0, 1, 0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    counts = resample_weights(np.arange(6), 200, 0, y)
    with pytest.raises(ValueError, match=r"calibration_slope: \d+ of 200 replicates are separated"):
        replicates("calibration_slope", y, p, counts)


def test_rounded_zeros_and_ones_have_a_finite_intercept():
    found = calibration_intercept([0, 1, 1, 0], [0.0, 1.0, 0.5, 0.5])
    assert found == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("metric", [calibration_intercept, calibration_slope])
def test_one_label_only_is_refused(metric):
    with pytest.raises(ValueError, match="all 3 rows with weight have label 1"):
        metric([1, 1, 1], [0.2, 0.3, 0.4])


def test_ece_needs_a_bin():
    with pytest.raises(ValueError, match="bins is 0"):
        ECE(0)
