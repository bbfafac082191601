"""The percentile bootstrap by count weights."""

import time

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from sklar.evaluation import (
    METRICS,
    auroc,
    bootstrap,
    replicates,
    resample_weights,
)

NO_ROUNDING = 1e-13


def cohort(rows=300, seed=0, groups=None):
    """Tied scores that know something of a 20 % outcome."""
    random = np.random.default_rng(seed)
    y = (random.random(rows) < 0.2).astype(int)
    score = np.round(np.clip(random.normal(0.3 + 0.15 * y, 0.2), 0, 1), 2)
    return y, score, random.integers(groups, size=rows) if groups else np.arange(rows)


@pytest.mark.parametrize(
    ("name", "oracle"), [("auroc", roc_auc_score), ("average_precision", average_precision_score)]
)
def test_replicates_equal_the_metric_of_the_rows_drawn(name, oracle):
    y, score, groups = cohort(groups=120)
    counts = resample_weights(groups, 50, 1, y)
    drawn = [oracle(np.repeat(y, count), np.repeat(score, count)) for count in counts]
    np.testing.assert_allclose(replicates(name, y, score, counts), drawn, rtol=NO_ROUNDING)


def test_case_weights_multiply_the_counts():
    y, score, groups = cohort()
    weight = np.random.default_rng(5).exponential(size=len(y))
    counts = resample_weights(groups, 20, 1, y, weight)
    expected = [roc_auc_score(y, score, sample_weight=count * weight) for count in counts]
    np.testing.assert_allclose(replicates("auroc", y, score, counts, weight), expected, rtol=NO_ROUNDING)


@pytest.mark.parametrize("name", METRICS)
def test_interval_is_the_percentiles_of_the_replicates(name):
    y, score, groups = cohort(groups=100)
    estimate = bootstrap(name, y, score, groups, resamples=200, seed=3)
    values = replicates(name, y, score, resample_weights(groups, 200, 3, y))
    assert (estimate.low, estimate.high) == tuple(np.percentile(values, (2.5, 97.5)))
    assert estimate.value == METRICS[name](y, score)


def test_metric_may_be_given_itself():
    y, score, _ = cohort()
    assert bootstrap(auroc, y, score, resamples=20) == bootstrap("auroc", y, score, resamples=20)


def test_perfect_scores_have_a_degenerate_interval():
    y, _, _ = cohort()
    estimate = bootstrap("auroc", y, y, resamples=50)
    assert (estimate.value, estimate.low, estimate.high) == (1, 1, 1)


def test_rows_of_a_group_are_drawn_together():
    groups = np.array(["b", "a", "b", "c"])
    counts = resample_weights(groups, 100, 0)
    assert (counts[:, 0] == counts[:, 2]).all()
    assert (counts[:, [0, 1, 3]].sum(1) == 3).all()


def test_draws_depend_on_the_seed_alone():
    y, _, groups = cohort()
    assert (resample_weights(groups, 10, 4, y) == resample_weights(groups, 10, 4, y)).all()
    assert (resample_weights(groups, 10, 4, y) != resample_weights(groups, 10, 5, y)).any()


def test_each_group_is_drawn_once_on_average():
    counts = resample_weights(np.arange(20), 20_000, 0)
    # a mean of 20,000 counts of variance 0.95 has a standard error of 0.007; five of them
    np.testing.assert_allclose(counts.mean(0), 1, atol=0.035)
    np.testing.assert_allclose(counts.var(0), 0.95, atol=0.1)


def test_replicates_with_one_class_are_drawn_again():
    y = np.array([1] + [0] * 9)
    counts = resample_weights(np.arange(10), 500, 0, y)
    assert (counts[:, 0] > 0).all()
    assert (counts[:, 1:].sum(1) > 0).all()


def test_label_whose_rows_have_no_weight_counts_as_absent():
    y, weight = np.array([1, 1, 0, 0]), np.array([0.0, 1, 1, 1])
    counts = resample_weights(np.arange(4), 200, 0, y, weight)
    assert (counts[:, 1] > 0).all()


def test_replicates_with_one_class_are_refused_not_averaged():
    counts = np.array([[2, 0], [1, 1]], dtype=np.uint16)
    with pytest.raises(ValueError, match="1 of 2 replicates hold one label"):
        replicates("auroc", [0, 1], [0.1, 0.2], counts)


def test_clustered_rows_widen_the_interval():
    y, score, _ = cohort(rows=200)
    y, score, patient = np.tile(y, 5), np.tile(score, 5), np.tile(np.arange(200), 5)
    grouped, naive = bootstrap("auroc", y, score, patient), bootstrap("auroc", y, score)
    # five copies of each row: the naive interval is too narrow by sqrt(5)
    assert (grouped.high - grouped.low) / (naive.high - naive.low) == pytest.approx(5**0.5, rel=0.2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"resamples": 0}, "resamples is 0"),
        ({"metric": "brier", "groups": [1] * 12}, "12 rows form 1 group"),
        ({"groups": [1] * 12}, "auroc: events in 1 groups, fewer than 5; that is too few"),
        ({"groups": [1, 2, 3, 4, 5, 6] * 2, "weight": [1] * 10 + [0] * 2}, "4 events, fewer than 5"),
        ({"y": [0] * 4 + [1] * 8}, "4 non-events, fewer than 5"),
        ({"groups": [1, 2]}, "2 groups for 12 labels"),
        ({"metric": "accuracy"}, "no metric is called 'accuracy'; choose one of auroc, average_precision"),
        ({"y": [1] * 12}, "both labels must occur"),
        ({"y": [0, 1, 2] * 4}, "label 2 at row 2"),
        ({"weight": [1] * 6 + [0] * 6}, "both labels must occur"),
    ],
)
def test_unusable_requests_are_refused_with_the_reason(arguments, message):
    request = {
        "metric": "auroc",
        "y": [0] * 6 + [1] * 6,
        "score": np.linspace(0.1, 0.9, 12),
        "resamples": 10,
    } | arguments
    with pytest.raises(ValueError, match=message):
        bootstrap(**request)


def test_labels_without_weight_cannot_be_resampled():
    with pytest.raises(ValueError, match="only one label carries weight"):
        resample_weights([1, 2], 10, 0, [0, 1], [1, 0])


def test_counts_of_other_rows_are_refused():
    with pytest.raises(ValueError, match=r"counts have shape \(5, 3\) for 2 labels"):
        replicates("auroc", [0, 1], [0.1, 0.2], resample_weights([1, 2, 3], 5))


def test_a_thousand_replicates_of_five_thousand_rows_take_less_than_a_second():
    y, score, groups = cohort(rows=5000)
    start = time.process_time()
    bootstrap("auroc", y, score, groups, resamples=1000)
    assert time.process_time() - start < 1
