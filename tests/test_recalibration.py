"""Recalibration and conformal sets, fitted on rows kept aside."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

from sklar.evaluation import (
    Conformal,
    Isotonic,
    Logistic,
    assign_folds,
    auroc,
    brier,
    calibration_intercept,
    calibration_slope,
    cross_fitted,
    fit_conformal,
    log_loss,
    recalibrate,
    recalibration_from,
)

KINDS = ("logistic", "isotonic")


def overconfident(rows=2000, seed=0):
    """Predictions that are twice as extreme as they should be."""
    random = np.random.default_rng(seed)
    truth = random.normal(-1, 1.2, rows)
    y = (random.random(rows) < expit(truth)).astype(int)
    return y, expit(2 * truth + 0.5), random.exponential(size=rows)


def test_the_logistic_map_has_slope_one_and_intercept_zero_on_its_own_rows():
    y, p, weight = overconfident()
    q = recalibrate("logistic", y, p, weight)(p)
    assert calibration_slope(y, q, weight) == pytest.approx(1, abs=1e-9)
    assert calibration_intercept(y, q, weight) == pytest.approx(0, abs=1e-9)


def test_the_logistic_map_undoes_a_known_distortion():
    y, p, _ = overconfident(50_000)
    found = recalibrate("logistic", y, p)
    # logit p = 2 t + .5, so t = (logit p - .5) / 2; standard errors about .01
    assert isinstance(found, Logistic)
    assert (found.intercept, found.slope) == pytest.approx((-0.25, 0.5), abs=0.05)


@given(seed=st.integers(0, 300))
def test_the_isotonic_map_equals_scikit_learn(seed):
    y, p, weight = overconfident(80, seed)
    p = np.round(p, 1)
    oracle = IsotonicRegression(out_of_bounds="clip").fit(p, y, sample_weight=weight)
    new = np.linspace(0, 1, 41)
    np.testing.assert_allclose(recalibrate("isotonic", y, p, weight)(new), oracle.predict(new), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_recalibration_helps_new_rows(kind):
    y, p, _ = overconfident()
    new_y, new_p, _ = overconfident(seed=1)
    fitted = recalibrate(kind, y, p)
    for loss in (brier, log_loss) if kind == "logistic" else (brier,):
        assert loss(new_y, fitted(new_p)) < loss(new_y, new_p)


@pytest.mark.parametrize("kind", KINDS)
def test_maps_rise_within_the_unit_interval_and_travel_as_json(kind):
    y, p, weight = overconfident(300)
    fitted = recalibrate(kind, y, p, weight)
    grid = np.linspace(0, 1, 101)
    q = fitted(grid)
    assert (np.diff(q) >= 0).all()
    assert q.min() >= 0
    assert q.max() <= 1
    read = recalibration_from(json.loads(json.dumps(fitted.to_dict())))
    assert read == fitted
    np.testing.assert_array_equal(read(grid.reshape(1, -1))[0], q)


def test_a_logistic_map_keeps_the_ranking():
    y, p, _ = overconfident(400)
    assert auroc(y, recalibrate("logistic", y, p)(p)) == auroc(y, p)


def test_integer_weights_equal_repeated_rows():
    y, p, _ = overconfident(200)
    count = np.random.default_rng(0).integers(0, 4, 200)
    for kind in KINDS:
        weighted, repeated = (
            recalibrate(kind, y, p, count),
            recalibrate(kind, np.repeat(y, count), np.repeat(p, count)),
        )
        np.testing.assert_allclose(weighted(p), repeated(p), atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_cross_fitting_judges_each_row_without_its_fold(kind):
    y, p, _ = overconfident(300)
    groups = np.arange(300) // 3
    q = cross_fitted(kind, y, p, groups, seed=2)
    fold = assign_folds(y, groups, 5, seed=2)
    kept = fold != 3
    np.testing.assert_array_equal(q[~kept], recalibrate(kind, y[kept], p[kept])(p[~kept]))


def test_folds_keep_groups_whole_and_spread_events():
    y, _, _ = overconfident(300)
    groups = np.arange(300) // 3
    fold = assign_folds(y, groups, 4)
    assert all(len(np.unique(fold[groups == g])) == 1 for g in np.unique(groups))
    eventful = [len(np.unique(groups[(fold == k) & np.isin(groups, groups[y == 1])])) for k in range(4)]
    assert max(eventful) - min(eventful) <= 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: recalibrate("logistic", [1, 1], [0.1, 0.2]), "2 rows to calibrate on have one label"),
        (lambda: recalibrate("isotonic", [0, 1], [0.1, 0.2], [1, 0]), "1 rows to calibrate on have one"),
        (lambda: recalibrate("logistic", [0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4]), "separate the labels"),
        (lambda: recalibrate("logistic", [1, 0, 1, 0], [0.1, 0.2, 0.3, 0.4]), "fall as risk rises"),
        (lambda: recalibrate("platt", [0, 1], [0.1, 0.2]), "no recalibration is called 'platt'"),
        (lambda: recalibrate("logistic", [0, 1], [0.1, np.nan]), "score nan"),
        (lambda: recalibration_from({"kind": "spline"}), "no recalibration is called 'spline'"),
        (lambda: assign_folds([0, 1], ["a", "b"], 3), "3 folds of 2 groups"),
        (lambda: fit_conformal([0, 1], [0.1, 0.2], level=1), "level is 1"),
        (lambda: fit_conformal([0, 2], [0.1, 0.2]), "whole numbers from 0 to 1"),
        (lambda: fit_conformal([0, np.nan], [0.1, 0.2]), "known for every row"),
        (lambda: fit_conformal([], []), "at least one row"),
        (lambda: fit_conformal([0, 1], [0.1, 1.2]), "probability 1.2"),
        (lambda: fit_conformal([0, 1], [0.1, 0.2]).sets([[0.1, 0.2, 0.7]]), "3 classes for 2 thresholds"),
    ],
)
def test_unusable_rows_are_refused_with_the_reason(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def three_classes(rows, seed):
    random = np.random.default_rng(seed)
    y = random.choice(3, rows, p=(0.7, 0.2, 0.1))
    raw = np.array([0.7, 0.2, 0.1]) * np.exp(random.normal(size=(rows, 3)) + 1.5 * np.eye(3)[y])
    return y, raw / raw.sum(1, keepdims=True)


def covered(sets, y):
    return sets[np.arange(len(y)), y]


@pytest.mark.parametrize("level", [0.8, 0.9])
@pytest.mark.parametrize("by_label", [False, True])
def test_sets_hold_the_truth_as_often_as_promised(level, by_label):
    shares = []
    for seed in range(100):
        fitted = fit_conformal(*three_classes(200, seed), level, by_label=by_label)
        y, p = three_classes(400, 1000 + seed)
        rare = y == 2
        shares.append(covered(fitted.sets(p), y)[rare if by_label else slice(None)].mean())
    # 20 rare rows make at most 1 / 21 of overshoot; standard error of the mean below .01
    assert level - 0.02 <= np.mean(shares) <= level + (0.07 if by_label else 0.02)


def test_sets_by_label_protect_the_rare_one():
    y, p = three_classes(5000, 0)
    new_y, new_p = three_classes(5000, 1)
    plain, protected = (fit_conformal(y, p, 0.9, by_label=by_label) for by_label in (False, True))
    rare = new_y == 2
    assert covered(plain.sets(new_p), new_y)[rare].mean() < 0.88
    assert covered(protected.sets(new_p), new_y)[rare].mean() == pytest.approx(0.9, abs=0.04)


def test_binary_sets_are_those_of_two_classes():
    y, p, _ = overconfident(300)
    one, two = fit_conformal(y, p), fit_conformal(y, np.stack((1 - p, p), axis=1))
    assert one == two
    assert (one.sets(p) == two.sets(np.stack((1 - p, p), axis=1))).all()
    assert len(set(one.thresholds)) == 1


def test_the_threshold_is_the_conformal_order_statistic():
    y, p = np.zeros(10, dtype=int), np.arange(10) / 10
    # ceil(11 * .9) = 10: the largest of ten scores; at .95 there is no 11th
    assert fit_conformal(y, p, 0.9).thresholds == pytest.approx((0.9, 0.9))
    assert fit_conformal(y, p, 0.95).thresholds == (np.inf, np.inf)
    assert fit_conformal(y, p, 0.8).thresholds == pytest.approx((0.8, 0.8))


def test_equal_weights_change_nothing():
    y, p, _ = overconfident(157)
    assert fit_conformal(y, p, weight=np.full(157, 0.3)) == fit_conformal(y, p)


def test_too_few_rows_leave_no_label_out():
    fitted = fit_conformal([0, 1, 0], [0.2, 0.9, 0.4], by_label=True)
    assert fitted.sets([0.01, 0.99]).all()


def test_sets_travel_as_json():
    for fitted in (fit_conformal([0, 1, 0], [0.2, 0.9, 0.4]), Conformal(0.9, (0.3, np.inf), True, 40)):
        assert Conformal.from_dict(json.loads(json.dumps(fitted.to_dict(), allow_nan=False))) == fitted


def test_isotonic_points_are_the_ends_of_its_steps():
    fitted = recalibrate("isotonic", [0, 1, 0, 1], [0.1, 0.3, 0.5, 0.9])
    assert fitted == Isotonic((0.1, 0.3, 0.5, 0.9), (0.0, 0.5, 0.5, 1.0))
    assert fitted(logit(0.5) + 0.7) == pytest.approx(0.75)
