"""Maps of several outputs: their rows, their limits, and the maximum that they are fitted to."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from sklar.evaluation import (
    ByLabel,
    EvaluationError,
    OneVsRest,
    Softmax,
    cross_fitted_classes,
    joint_recalibration_from,
    multiclass_log_loss,
    one_vs_rest,
    recalibrate,
    recalibrate_classes,
)


def drawn(slope=0.5, biases=(0.0, 0.7, -0.4), rows=4000, seed=0):
    """Classes drawn from softmax(slope log p + bias), beside p."""
    random = np.random.default_rng(seed)
    p = softmax(2 * random.normal(size=(rows, len(biases))), axis=1)
    truth = softmax(slope * np.log(p) + np.array(biases), axis=1)
    y = (random.random((rows, 1)) > np.cumsum(truth, axis=1)).sum(1)
    return y, p, random.exponential(size=rows)


def test_two_classes_are_the_logistic_map():
    y, p, weight = drawn(biases=(0.0, 0.6), rows=500)
    pair = recalibrate_classes("logistic", y, p, weight)
    one = recalibrate("logistic", y, p[:, 1], weight)
    np.testing.assert_allclose(pair(p)[:, 1], one(p[:, 1]), rtol=1e-6)


def test_the_drawn_parameters_are_recovered():
    y, p, _ = drawn(rows=40_000)
    found = recalibrate_classes("logistic", y, p)
    assert isinstance(found, Softmax)
    np.testing.assert_allclose([found.slope, *found.biases[1:]], [0.5, 0.7, -0.4], atol=0.04)


def test_no_map_nearby_is_more_likely():
    y, p, weight = drawn(rows=300)
    labels = one_vs_rest(y, 3)
    found = recalibrate_classes("logistic", y, p, weight)
    assert isinstance(found, Softmax)
    least = multiclass_log_loss(labels, found(p), weight)
    for change in np.eye(3) * 1e-3:
        for sign in (1, -1):
            slope, *biases = np.array([found.slope, *found.biases[1:]]) + sign * change
            assert multiclass_log_loss(labels, Softmax(slope, (0.0, *biases))(p), weight) > least


@pytest.mark.parametrize("kind", ["logistic", "isotonic"])
@settings(max_examples=20)  # each fits a map
@given(seed=st.integers(0, 50), shrink=st.floats(0, 1))
def test_classes_sum_to_one_and_intervals_hold_their_probability(kind, seed, shrink):
    y, p, _ = drawn(rows=300, seed=seed)
    found = recalibrate_classes(kind, y, p)
    mapped = found(p)
    np.testing.assert_allclose(mapped.sum(1), 1)
    low, high = found.ends(p, p * shrink), found.ends(p, p + (1 - p) * shrink)
    assert ((low <= mapped + 1e-12) & (mapped <= high + 1e-12)).all()
    np.testing.assert_allclose(found.ends(p, p), mapped, rtol=1e-9)
    np.testing.assert_allclose(found(np.stack([p, p])), np.stack([mapped, mapped]))


def test_a_class_that_has_everything_keeps_its_interval():
    found = Softmax(0.5, (0.0, 1.0))
    sure = np.array([[1.0, 0.0]])
    np.testing.assert_allclose(found.ends(sure, sure), found(sure))


def test_isotonic_maps_are_divided_by_their_sum():
    y, p, weight = drawn(rows=500)
    found = recalibrate_classes("isotonic", y, p, weight)
    each = np.stack([recalibrate("isotonic", y == k, p[:, k], weight)(p[:, k]) for k in range(3)], axis=1)
    np.testing.assert_allclose(found(p), each / each.sum(1, keepdims=True))
    nothing = OneVsRest((recalibrate("isotonic", [0, 0, 1], [0.1, 0.2, 0.9]),) * 2)
    np.testing.assert_allclose(nothing([[0.1, 0.1]]), [[0.5, 0.5]])


def test_labels_have_maps_of_their_own():
    random = np.random.default_rng(0)
    p = random.random((400, 2))
    y = (random.random((400, 2)) < p**2).astype(float)
    found = ByLabel(tuple(recalibrate("logistic", y[:, k], p[:, k]) for k in (0, 1)))
    np.testing.assert_array_equal(found(p)[:, 0], found.maps[0](p[:, 0]))
    np.testing.assert_array_equal(found.ends(p, p / 2), found(p / 2))


@pytest.mark.parametrize("kind", ["logistic", "isotonic"])
def test_maps_read_back_from_plain_numbers(kind):
    y, p, _ = drawn(rows=300)
    each = ByLabel((recalibrate(kind, y == 0, p[:, 0]), recalibrate(kind, y == 1, p[:, 1])))
    for found in (recalibrate_classes(kind, y, p), each):
        assert joint_recalibration_from(found.to_dict()) == found


def test_cross_fitting_judges_a_row_by_a_map_that_does_not_know_it():
    y, p, _ = drawn(rows=300)
    groups = np.arange(300) // 2
    before = cross_fitted_classes("isotonic", y, p, groups)
    other = y.copy()
    other[:2] = (y[:2] + 1) % 3
    after = cross_fitted_classes("isotonic", other, p, groups)
    np.testing.assert_array_equal(before[:2], after[:2])
    np.testing.assert_allclose(before.sum(1), 1)
    assert (before[2:] != after[2:]).any()


@pytest.mark.parametrize(
    ("y", "p", "message"),
    [
        ([0, 1, 1], np.full((3, 3), 1 / 3), r"none of the 3 rows .* class 2"),
        ([0, 1, 2], np.eye(3), "separate the classes"),
        (
            [1, 0, 1, 0] * 9,
            np.tile([[0.8, 0.2], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]], (9, 1)),
            "fall as risk rises",
        ),
        ([0, 3, 1], np.full((3, 3), 1 / 3), "whole numbers from 0 to 2"),
    ],
)
def test_rows_that_support_no_map_are_refused(y, p, message):
    with pytest.raises(EvaluationError, match=message):
        recalibrate_classes("logistic", y, p)


def test_unknown_names_are_refused():
    with pytest.raises(EvaluationError, match="no recalibration is called 'platt'"):
        recalibrate_classes("platt", [0, 1], np.full((2, 2), 0.5))
    with pytest.raises(EvaluationError, match="labels, softmax or one_vs_rest"):
        joint_recalibration_from({"kind": "logistic"})
    with pytest.raises(EvaluationError, match="2 outputs for 1 maps"):
        ByLabel((recalibrate("isotonic", [0, 1], [0.2, 0.8]),))(np.ones((3, 2)))
