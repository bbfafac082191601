"""Several outcomes at once, against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from sklar.evaluation import (
    Macro,
    Micro,
    auroc,
    average_precision,
    bootstrap,
    brier,
    compare,
    multiclass_brier,
    multiclass_log_loss,
    one_vs_rest,
    replicates,
    resample_weights,
)

RANKED = {"auroc": (auroc, oracle.roc_auc_score), "ap": (average_precision, oracle.average_precision_score)}


def labels(seed=0, rows=120, outcomes=3):
    """Multilabel truth, tied probabilities and weights."""
    random = np.random.default_rng(seed)
    y = (random.random((rows, outcomes)) < (0.2, 0.5, 0.7)[:outcomes]).astype(int)
    return y, np.round(np.clip(random.normal(0.3 + 0.2 * y, 0.2), 0, 1), 1), random.exponential(size=rows)


def classes(seed=0, rows=150, count=4):
    random = np.random.default_rng(seed)
    y = random.integers(0, count, rows)
    y[:count] = np.arange(count)
    raw = np.exp(random.normal(size=(rows, count)) + 1.2 * np.eye(count)[y])
    return y, raw / raw.sum(1, keepdims=True), random.exponential(size=rows)


@pytest.mark.parametrize("name", RANKED)
@given(seed=st.integers(0, 200))
def test_multilabel_averages_equal_scikit_learn(name, seed):
    metric, reference = RANKED[name]
    y, p, weight = labels(seed)
    for average in (Macro, Micro):
        wanted = reference(y, p, average=average.__name__.lower(), sample_weight=weight)
        assert average(metric)(y, p, weight) == pytest.approx(wanted, rel=1e-12)


@given(seed=st.integers(0, 200))
def test_multiclass_scores_equal_scikit_learn(seed):
    y, p, weight = classes(seed)
    one_hot = one_vs_rest(y, 4)
    wanted = oracle.roc_auc_score(y, p, multi_class="ovr", average="macro", sample_weight=weight)
    assert Macro(auroc)(one_hot, p, weight) == pytest.approx(wanted, rel=1e-12)
    assert multiclass_log_loss(one_hot, p, weight) == pytest.approx(
        oracle.log_loss(y, p, sample_weight=weight), rel=1e-12
    )
    naive = np.average([((p[i] - np.eye(4)[c]) ** 2).sum() for i, c in enumerate(y)], weights=weight)
    assert multiclass_brier(one_hot, p, weight) == pytest.approx(naive, rel=1e-12)


def test_two_classes_are_the_binary_case():
    y, p, weight = classes(count=2)
    pair = one_vs_rest(y, 2)
    assert Macro(auroc)(pair, p, weight) == pytest.approx(auroc(y, p[:, 1], weight), rel=1e-12)
    assert multiclass_brier(pair, p, weight) == pytest.approx(2 * brier(y, p[:, 1], weight), rel=1e-12)


@pytest.mark.parametrize("average", [Macro, Micro])
def test_rows_of_unknown_label_count_in_the_other_outcomes(average):
    y, p, weight = labels()
    y = y.astype(float)
    y[:30, 0] = np.nan
    known = [(y[30:, 0], p[30:, 0], weight[30:]), *((y[:, k], p[:, k], weight) for k in (1, 2))]
    if average is Macro:
        wanted = np.mean([auroc(*columns) for columns in known])
    else:
        wanted = auroc(*(np.concatenate(parts) for parts in zip(*known, strict=True)))
    assert average(auroc)(y, p, weight) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("average", [Macro, Micro])
def test_replicates_draw_rows_not_pairs(average):
    y, p, _ = labels()
    counts = resample_weights(np.arange(len(y)) // 2, 20, 0, y)
    drawn = [
        oracle.roc_auc_score(np.repeat(y, c, 0), np.repeat(p, c, 0), average=average.__name__.lower())
        for c in counts
    ]
    np.testing.assert_allclose(replicates(average(auroc), y, p, counts), drawn, rtol=1e-12)


def test_replicates_keep_both_labels_of_every_outcome():
    y = np.zeros((40, 2), dtype=int)
    y[:2, 0] = y[5:7, 1] = 1
    counts = resample_weights(np.arange(40), 500, 0, y)
    assert ((counts @ y) > 0).all()


def test_bootstrap_and_comparison_take_several_outcomes():
    y, p, _ = labels()
    estimate = bootstrap(Macro(auroc), y, p, resamples=100)
    assert estimate.low < estimate.value < estimate.high
    assert compare(y, p, p[::-1], Micro(auroc), resamples=100).difference > 0


def test_the_unknown_class_stays_unknown():
    np.testing.assert_array_equal(one_vs_rest([0, np.nan, 2], 3), [[1, 0, 0], [np.nan] * 3, [0, 0, 1]])


@pytest.mark.parametrize(
    ("metric", "y", "score", "message"),
    [
        (
            Macro(auroc),
            [[0, 1], [1, 1]],
            [[0.1, 0.2], [0.3, 0.4]],
            r"outcome 1 \(1 such outcomes\) has one label",
        ),
        (Micro(auroc), [[0, 0], [0, 0]], [[0.1, 0.2], [0.3, 0.4]], "label 0"),
        (Macro(auroc), [[0, 2], [1, 0]], [[0.1, 0.2], [0.3, 0.4]], "label 2.0 at row 0 of outcome 1"),
        (Macro(auroc), [[0, 1], [1, 0]], [[0.1], [0.3]], "they must be alike"),
        (Macro(auroc), [[0, 1], [1, 0]], [[0.1, np.nan], [0.3, 0.4]], "score nan"),
        (Macro(auroc), [[[0]]], [[0.1]], "rows times outcomes"),
        (multiclass_brier, [[0, 1], [1, 1]], [[0.1, 0.9], [0.3, 0.7]], "needs one class a row"),
        (multiclass_log_loss, [[0, 1], [1, 0]], [[0.1, 0.8], [0.3, 0.7]], "row 0 sum to 0.9"),
        (multiclass_log_loss, [[0, 1], [1, 0]], [[-0.1, 1.1], [0.3, 0.7]], "probability -0.1 at row 0"),
    ],
)
def test_unusable_outcomes_are_refused_with_the_reason(metric, y, score, message):
    with pytest.raises(ValueError, match=message):
        metric(y, score)


@pytest.mark.parametrize("y", [[0, 3], [0.5, 1], [[0], [1]], []])
def test_classes_are_whole_numbers_within_range(y):
    with pytest.raises(ValueError, match="whole numbers from 0 to 2"):
        one_vs_rest(y, 3)
