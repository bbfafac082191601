"""Metrics against scikit-learn, the oracle, and against their own invariances."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as oracle

from sklar.evaluation import (
    METRICS,
    auroc,
    average_precision,
    brier,
    log_loss,
    precision_recall_curve,
    reliability,
    roc_curve,
)

ORACLES = {
    "auroc": oracle.roc_auc_score,
    "average_precision": oracle.average_precision_score,
    "brier": oracle.brier_score_loss,
    "log_loss": oracle.log_loss,
}
CLOSED = (*ORACLES, "ece")
"""Metrics in closed form, defined on every draw below; calibration has its own file."""
RANKS = ("auroc", "average_precision")
# a sum of N products rounds to about sqrt(N) units of 1e-16; N is at most 2,000 here
ROUNDING = 1e-14


@st.composite
def judged_rows(draw, tied=True):
    """Labels with both classes, probabilities (ties likely) and positive weights."""
    rows = draw(st.integers(2, 40))
    y = draw(arrays(np.int64, rows, elements=st.integers(0, 1)))
    y[0], y[1] = 0, 1
    grid = st.integers(0, 6 if tied else 10_000)
    score = draw(arrays(np.int64, rows, elements=grid, unique=not tied)) / (6 if tied else 10_000)
    weight = draw(arrays(np.float64, rows, elements=st.floats(0.01, 10)))
    return y, score, weight


@pytest.mark.parametrize("name", ORACLES)
@given(rows=judged_rows())
def test_metric_equals_scikit_learn_under_ties_and_weights(name, rows):
    y, score, weight = rows
    expected = ORACLES[name](y, score, sample_weight=weight)
    assert METRICS[name](y, score, weight) == pytest.approx(expected, rel=ROUNDING, abs=ROUNDING)


@pytest.mark.parametrize("name", ORACLES)
def test_metric_equals_scikit_learn_on_a_large_tied_cohort(name):
    random = np.random.default_rng(0)
    y = (random.random(2000) < 0.15).astype(int)
    score = np.round(np.clip(random.normal(0.3 + 0.2 * y, 0.2), 0, 1), 2)
    for weight in (None, random.exponential(size=2000), random.integers(0, 3, 2000)):
        expected = ORACLES[name](y, score, sample_weight=weight)
        assert METRICS[name](y, score, weight) == pytest.approx(expected, rel=ROUNDING)


@pytest.mark.parametrize("name", RANKS)
@given(rows=judged_rows(tied=False))
def test_ranking_metric_ignores_a_monotone_map(name, rows):
    y, score, weight = rows
    metric = METRICS[name]
    assert metric(y, np.exp(3 * score) - 7, weight) == metric(y, score, weight)


@pytest.mark.parametrize("name", CLOSED)
@given(rows=judged_rows(), data=st.data())
def test_integer_weights_equal_repeated_rows(name, rows, data):
    y, score, _ = rows
    count = data.draw(arrays(np.int64, len(y), elements=st.integers(1, 4)))
    repeated = METRICS[name](np.repeat(y, count), np.repeat(score, count))
    assert METRICS[name](y, score, count) == pytest.approx(repeated, rel=ROUNDING, abs=ROUNDING)


@pytest.mark.parametrize("name", CLOSED)
@given(rows=judged_rows(), data=st.data())
def test_matrix_of_weights_equals_one_call_per_row(name, rows, data):
    y, score, weight = rows
    factors = data.draw(arrays(np.float64, (3, len(y)), elements=st.floats(0.5, 2)))
    many = METRICS[name].judge(y, score)(factors * weight)
    single = [METRICS[name](y, score, row) for row in factors * weight]
    np.testing.assert_allclose(many, single, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("name", CLOSED)
@given(rows=judged_rows(), data=st.data())
def test_order_of_rows_does_not_matter(name, rows, data):
    y, score, weight = rows
    order = data.draw(st.permutations(range(len(y))))
    shuffled = METRICS[name](y[order], score[order], weight[order])
    assert shuffled == pytest.approx(METRICS[name](y, score, weight), rel=ROUNDING, abs=ROUNDING)


@given(rows=judged_rows())
def test_auroc_of_reversed_scores_is_the_complement(rows):
    y, score, weight = rows
    assert auroc(y, -score, weight) == pytest.approx(1 - auroc(y, score, weight), abs=ROUNDING)


def test_auroc_is_the_share_of_pairs_won_with_half_credit_for_ties():
    assert auroc([0, 0, 1, 1], [0.1, 0.5, 0.5, 0.9]) == 3.5 / 4


def test_constant_scores_have_auroc_one_half_and_the_prevalence_as_average_precision():
    y = [1, 0, 0, 0]
    assert auroc(y, [0.3] * 4) == 0.5
    assert average_precision(y, [0.3] * 4) == 0.25


def test_perfect_scores_are_perfect():
    y = [0, 1, 0, 1]
    assert (auroc(y, y), average_precision(y, y), brier(y, y)) == (1, 1, 0)


def test_infinite_scores_rank_at_the_ends():
    assert auroc([0, 1, 0], [-math.inf, math.inf, 0.0]) == 1


def test_certain_and_wrong_costs_a_finite_log_loss():
    assert log_loss([1], [0.0]) == pytest.approx(36.04, abs=0.01)


def test_brier_is_defined_for_one_class():
    assert brier([0, 0], [0.5, 0.1]) == pytest.approx(0.13)


def test_rows_without_weight_do_not_count():
    assert auroc([0, 1, 1], [0.2, 0.9, 0.1], [1, 1, 0]) == 1


def test_names_of_the_registry_are_the_names_of_the_metrics():
    assert {name: metric.name for name, metric in METRICS.items()} == dict(zip(METRICS, METRICS, strict=True))


@pytest.mark.parametrize(
    ("y", "score", "weight", "message"),
    [
        ([0, 1], [0.1, math.nan], None, r"score nan at row 1 \(1 such rows\)"),
        ([0, 2], [0.1, 0.2], None, r"label 2 at row 1 .* must be 0 or 1"),
        ([0, math.nan], [0.1, 0.2], None, "drop rows without a label"),
        ([1, 1], [0.1, 0.2], None, "all 2 rows with weight have label 1"),
        ([0, 1], [0.1, 0.2], [1, 0], "all 1 rows with weight have label 0"),
        ([0, 1], [0.1], None, r"shape \(1,\) for 2 labels"),
        ([0, 1], [0.1, 0.2], [1], r"weights have shape \(1,\)"),
        ([0, 1], [0.1, 0.2], [1, -2], r"weight -2.0 at row 1"),
        ([0, 1], [0.1, 0.2], [0, 0], "at least one row must count"),
        ([], [], None, "at least one row"),
        ([[0, 1]], [[0.1, 0.2]], None, "one label a row"),
    ],
)
def test_unusable_rows_are_refused_with_the_reason(y, score, weight, message):
    with pytest.raises(ValueError, match=message):
        auroc(y, score, weight)


@pytest.mark.parametrize("name", ["brier", "log_loss"])
def test_logits_are_refused_where_probabilities_are_needed(name):
    with pytest.raises(ValueError, match=r"probability 1.5 at row 1 .* sigmoid"):
        METRICS[name]([0, 1], [0.5, 1.5])


@given(rows=judged_rows())
def test_roc_curve_has_the_area_of_auroc(rows):
    curve = roc_curve(*rows)
    area = np.diff(curve.x) @ (curve.y[1:] + curve.y[:-1]) / 2
    assert area == pytest.approx(auroc(*rows), abs=ROUNDING)


@given(rows=judged_rows())
def test_precision_recall_steps_have_the_area_of_average_precision(rows):
    curve = precision_recall_curve(*rows)
    assert np.diff(curve.x) @ curve.y[1:] == pytest.approx(average_precision(*rows), abs=ROUNDING)


def test_reliability_bins_hold_equal_numbers_of_rows():
    probability = np.random.default_rng(0).random(1000)
    assert reliability(probability > 0.5, probability).rows.tolist() == [100] * 10


@given(rows=judged_rows())
def test_reliability_averages_back_to_the_cohort(rows):
    y, score, _ = rows
    curve = reliability(y, score, bins=4)
    assert curve.rows.sum() == len(y)
    assert curve.rows @ curve.observed == pytest.approx(y.sum())
    assert curve.rows @ curve.predicted == pytest.approx(score.sum())
    assert (np.diff(curve.predicted) > 0).all()


def test_reliability_keeps_equal_probabilities_in_one_bin():
    curve = reliability([0, 1, 1, 0], [0.2, 0.2, 0.2, 0.7])
    assert curve.rows.tolist() == [3, 1]
    assert curve.observed == pytest.approx([2 / 3, 0])


def test_reliability_counts_weights():
    assert reliability([0, 1], [0.5, 0.5], [3, 1]).observed == pytest.approx([0.25])


def test_reliability_needs_a_bin():
    with pytest.raises(ValueError, match="bins is 0"):
        reliability([0, 1], [0.5, 0.5], bins=0)
