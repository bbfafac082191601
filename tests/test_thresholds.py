"""What acting above a threshold would do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from sklar.evaluation import (
    NPV,
    PPV,
    NetBenefit,
    Sensitivity,
    Specificity,
    at_thresholds,
    bootstrap,
    replicates,
    resample_weights,
)

KINDS = {"sensitivity": Sensitivity, "specificity": Specificity, "ppv": PPV, "npv": NPV}


def cohort(seed=0, rows=200):
    random = np.random.default_rng(seed)
    y = (random.random(rows) < 0.3).astype(int)
    p = np.round(np.clip(random.normal(0.3 + 0.2 * y, 0.2), 0, 1), 1)
    return y, p, random.exponential(size=rows)


def expected(y, p, weight, cut):
    """Everything from scikit-learn's confusion matrix."""
    spared, false, missed, true = confusion_matrix(y, p >= cut, sample_weight=weight, labels=[0, 1]).ravel()
    return {
        "sensitivity": true / (true + missed),
        "specificity": spared / (spared + false),
        "ppv": true / (true + false),
        "npv": spared / (spared + missed),
        "net_benefit": (true - cut / (1 - cut) * false) / weight.sum(),
        "called": (true + false) / weight.sum(),
    }


@given(seed=st.integers(0, 500), cut=st.sampled_from([0.1, 0.2, 0.25, 0.4, 0.5]))
def test_measures_equal_scikit_learns_confusion_matrix(seed, cut):
    y, p, weight = cohort(seed)
    wanted = expected(y, p, weight, cut)
    table = at_thresholds(y, p, [cut], weight)
    for name, value in wanted.items():
        assert getattr(table, name)[0] == pytest.approx(value, rel=1e-12), name
    for name, kind in (KINDS | {"net_benefit": NetBenefit}).items():
        assert kind(cut)(y, p, weight) == pytest.approx(wanted[name], rel=1e-12), name


def test_many_thresholds_equal_one_call_each():
    y, p, weight = cohort()
    cuts = np.array([0.5, 0.1, 0.3])
    many = at_thresholds(y, p, cuts, weight)
    for index, cut in enumerate(cuts):
        one = at_thresholds(y, p, cut, weight)
        assert many.ppv[index] == one.ppv[0]
        assert many.treat_all[index] == one.treat_all[0]


def test_calling_everybody_is_treating_all():
    y, _, weight = cohort()
    table = at_thresholds(y, np.ones(len(y)), [0.05, 0.2], weight)
    assert table.net_benefit == pytest.approx(table.treat_all)


def test_net_benefit_of_perfect_predictions_is_the_prevalence():
    y, _, _ = cohort()
    assert at_thresholds(y, y.astype(float), [0.1, 0.9]).net_benefit == pytest.approx([y.mean()] * 2)


def test_a_threshold_of_a_half_weighs_false_alarms_like_events():
    assert NetBenefit(0.5)([1, 0, 0, 1], [0.9, 0.8, 0.1, 0.2]) == 0


def test_measures_have_intervals_by_name_of_their_threshold():
    y, p, _ = cohort()
    metric = Sensitivity(0.3)
    assert metric.name == "sensitivity@0.3"
    found = bootstrap(metric, y, p, resamples=100)
    assert found.low < found.value < found.high


def test_a_predictive_value_of_nobody_is_not_a_number_in_the_table_and_refused_as_a_metric():
    y, p = [0, 1, 0], [0.1, 0.2, 0.3]
    table = at_thresholds(y, p, [0.9])
    assert np.isnan(table.ppv[0])
    assert table.sensitivity[0] == 0
    with pytest.raises(
        ValueError, match=r"ppv@0.9 is undefined here: these rows all lie below the threshold"
    ):
        PPV(0.9)(y, p)
    with pytest.raises(ValueError, match=r"npv@0.05 is undefined here"):
        NPV(0.05)(y, p)


def test_sides_that_do_not_occur_have_no_rate():
    assert np.isnan(at_thresholds([1, 1], [0.4, 0.6], [0.5]).specificity[0])
    with pytest.raises(ValueError, match="hold no event"):
        Sensitivity(0.5)([0, 0], [0.4, 0.6])
    with pytest.raises(ValueError, match="hold events only"):
        Specificity(0.5)([1, 1], [0.4, 0.6])


def test_replicates_in_which_nobody_is_called_are_refused():
    y, p = np.array([0, 1] * 20), np.array([0.1] * 39 + [0.9])
    counts = resample_weights(np.arange(40), 100, 0, y)
    with pytest.raises(ValueError, match=r"ppv@0.5: \d+ of 100 replicates all lie below the threshold"):
        replicates(PPV(0.5), y, p, counts)


@pytest.mark.parametrize("cut", [0, 1, -0.1, np.nan])
def test_thresholds_lie_between_zero_and_one(cut):
    with pytest.raises(ValueError, match="both excluded"):
        NetBenefit(cut)
    with pytest.raises(ValueError, match="both excluded"):
        at_thresholds([0, 1], [0.1, 0.2], [cut])
