"""Paired comparison of two models."""

import numpy as np
import pytest

from sklar.evaluation import METRICS, Comparison, compare, contrast, replicates, resample_weights


def pair(rows=400, seed=0, gain=0.0, prevalence=0.2):
    """Two equally noisy scores of one outcome; ``gain`` is what the first knows beyond the second."""
    random = np.random.default_rng(seed)
    y = (random.random(rows) < prevalence).astype(int)
    common = y + random.normal(size=rows)
    scores = common + random.normal(size=(2, rows))
    return y, scores[0] + gain * y, scores[1]


def unit(score):
    return 1 / (1 + np.exp(-score))


@pytest.mark.parametrize("name", ["auroc", "average_precision", "brier", "calibration_slope"])
def test_swapping_the_models_negates_the_comparison(name):
    y, a, b = pair()
    there, back = (compare(y, unit(one), unit(other), name, resamples=200) for one, other in ((a, b), (b, a)))
    assert there.difference == -back.difference
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.p_value == back.p_value


def test_interval_is_the_percentiles_of_paired_differences():
    y, a, b = pair()
    counts = resample_weights(np.arange(len(y)), 300, 7, y)
    paired = replicates("auroc", y, a, counts) - replicates("auroc", y, b, counts)
    result = compare(y, a, b, "auroc", resamples=300, seed=7)
    assert (result.low, result.high) == tuple(np.percentile(paired, (2.5, 97.5)))


def test_a_model_does_not_differ_from_itself():
    y, a, _ = pair()
    assert compare(y, a, a, "auroc", resamples=100) == Comparison(0, 0, 0, 1)


def test_a_clear_gain_has_the_smallest_p_value_the_resamples_allow():
    y, a, b = pair(gain=2.0)
    result = compare(y, a, b, "average_precision", resamples=999)
    assert result.low > 0
    assert result.p_value == pytest.approx(2 / 1000)


def test_p_value_counts_replicates_on_the_far_side_with_one_imaginary_each():
    result = contrast(0.1, np.array([-0.1, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]))
    assert result.p_value == pytest.approx(2 * (1 + 2) / 10)


def test_pairing_is_narrower_than_two_intervals():
    y, a, b = pair()
    counts = resample_weights(np.arange(len(y)), 500, 0, y)
    a_values, b_values = (replicates("auroc", y, score, counts) for score in (a, b))
    assert np.std(a_values - b_values) < np.hypot(a_values.std(), b_values.std())


def test_groups_and_weights_reach_both_models():
    y, a, b = pair()
    weight = np.random.default_rng(1).exponential(size=len(y))
    groups = np.arange(len(y)) // 2
    result = compare(y, a, b, "auroc", groups, resamples=100, weight=weight)
    assert result.difference == METRICS["auroc"](y, a, weight) - METRICS["auroc"](y, b, weight)
    assert result != compare(y, a, b, "auroc", resamples=100, weight=weight)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["auroc", "average_precision"])
def test_equal_models_are_told_apart_in_five_percent_of_cohorts(name):
    rejected = sum(compare(*pair(1000, seed), name, resamples=400).p_value < 0.05 for seed in range(200))
    # 200 trials at 5 %: 10 expected, standard deviation 3.1; P(fewer than 2 or more than 20) < 0.2 %
    assert 2 <= rejected <= 20
