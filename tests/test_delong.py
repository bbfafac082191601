"""DeLong's test against the published case, against all pairs one by one, and against resampling."""

import numpy as np
import pytest
from scipy.stats import norm

from sklar.evaluation import auroc, auroc_covariance, compare, delong, delong_interval

PRINTED = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1
3.8 5.7 5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0
2.3 4.4 6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1
3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1  3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0
3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1
3.3 5.7 6 1  3.7 6.9 5 1  3.6 6.6 5 1
"""
"""Albumin, total protein, Krebs-Goplerud score and outcome: the example of DeLong et al. (1988), as printed
with its results in the SAS/STAT user's guide, "Comparing Receiver Operating Characteristic Curves"."""
OVARIAN = np.array(PRINTED.split(), dtype=float).reshape(-1, 4)
Y, ALBUMIN, PROTEIN, KREBS = OVARIAN[:, 3], OVARIAN[:, 0], OVARIAN[:, 1], -OVARIAN[:, 2]


def clustered(patients=40, rows=4, seed=0):
    """Rows of patients that share what makes them ill; scores are tied."""
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), rows)
    severity = random.normal(size=patients)[patient]
    y = (severity + random.normal(size=len(patient)) > 0.7).astype(int)
    scores = np.round(severity + random.normal(size=(2, len(patient))), 1)
    return y, *scores, patient


def test_the_published_example_is_reproduced():
    values, covariance = auroc_covariance(Y, (KREBS, ALBUMIN, PROTEIN))
    np.testing.assert_allclose(values, [0.7258, 0.7366, 0.6478], atol=5e-5)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), [0.1028, 0.0927, 0.1000], atol=5e-5)
    contrast = np.array([[-1, 1, 0], [-1, 0, 1]])
    differences = contrast @ values
    chi_square = differences @ np.linalg.solve(contrast @ covariance @ contrast.T, differences)
    assert chi_square == pytest.approx(2.5340, abs=5e-5)
    found = delong(Y, PROTEIN, KREBS)
    assert found.difference == pytest.approx(-0.0780, abs=5e-5)
    assert (found.low, found.high) == pytest.approx((-0.2830, 0.1271), abs=5e-5)
    assert found.p_value == pytest.approx(0.4561, abs=5e-5)


def naive_covariance(y, scores, groups):
    """Obuchowski (1997), equation by equation, from all pairs of rows."""
    events, others = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
    m, n, count = len(events), len(others), len(scores)
    values, placed_events, placed_others = [], [], []
    for score in scores:
        wins = np.array([[np.heaviside(score[i] - score[j], 0.5) for j in others] for i in events])
        values.append(wins.mean())
        placed_events.append(wins.mean(1))
        placed_others.append(wins.mean(0))
    names = np.unique(groups)
    with_events, with_others = len(np.unique(groups[events])), len(np.unique(groups[others]))
    covariance = np.zeros((count, count))
    for a in range(count):
        for b in range(count):
            s10 = s01 = s11 = 0.0
            for name in names:
                own_events, own_others = groups[events] == name, groups[others] == name
                x = [(placed_events[k][own_events] - values[k]).sum() for k in (a, b)]
                z = [(placed_others[k][own_others] - values[k]).sum() for k in (a, b)]
                s10, s01, s11 = s10 + x[0] * x[1], s01 + z[0] * z[1], s11 + x[0] * z[1] + x[1] * z[0]
            s10 *= with_events / ((with_events - 1) * m)
            s01 *= with_others / ((with_others - 1) * n)
            s11 *= len(names) / (len(names) - 1)
            covariance[a, b] = s10 / m + s01 / n + s11 / (m * n)
    return np.array(values), covariance


@pytest.mark.parametrize("seed", range(3))
def test_the_clustered_form_equals_all_pairs_one_by_one(seed):
    y, a, b, patient = clustered(seed=seed)
    values, covariance = auroc_covariance(y, (a, b), patient)
    wanted_values, wanted = naive_covariance(y, (a, b), patient)
    np.testing.assert_allclose(values, wanted_values, rtol=1e-12)
    np.testing.assert_allclose(covariance, wanted, rtol=1e-12)


def test_rows_on_their_own_are_clusters_of_one():
    y, a, b, _ = clustered()
    assert delong(y, a, b) == delong(y, a, b, groups=np.arange(len(y)))
    np.testing.assert_allclose(
        auroc_covariance(y, (a, b))[1], naive_covariance(y, (a, b), np.arange(len(y)))[1]
    )


def test_copies_of_a_cohort_by_patient_keep_the_test():
    y, a, b, _ = clustered()
    rows = np.arange(len(y))
    once, copied = delong(y, a, b), delong(*(np.tile(part, 5) for part in (y, a, b)), groups=np.tile(rows, 5))
    assert (copied.difference, copied.p_value) == pytest.approx((once.difference, once.p_value), rel=1e-9)
    assert delong(*(np.tile(part, 5) for part in (y, a, b))).p_value < once.p_value


def test_repeated_ids_without_groups_are_warned_about():
    y, a, b, patient = clustered()
    with pytest.warns(UserWarning, match=r"120 of 160 ids occur before.*groups=ids"):
        plain = delong(y, a, b, ids=patient)
    assert plain == delong(y, a, b)
    assert delong(y, a, b, patient, ids=patient) != plain


def test_ids_that_do_not_repeat_are_fine():
    y, a, b, _ = clustered()
    assert delong(y, a, b, ids=np.arange(len(y)).astype(str)) == delong(y, a, b)


def test_swapping_the_models_negates_the_comparison():
    y, a, b, patient = clustered()
    there, back = delong(y, a, b, patient), delong(y, b, a, patient)
    assert there.difference == -back.difference
    assert (there.low, there.p_value) == pytest.approx((-back.high, back.p_value))


def test_a_model_does_not_differ_from_a_monotone_map_of_itself():
    y, a, _, _ = clustered()
    found = delong(y, a, np.exp(a))
    assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_weights_of_one_change_nothing_and_others_do():
    y, a, b, patient = clustered()
    assert delong(y, a, b, patient, np.full(len(y), 2.0)) == delong(y, a, b, patient)
    weight = np.random.default_rng(0).exponential(size=len(y))
    found = delong(y, a, b, patient, weight)
    assert found.difference == pytest.approx(auroc(y, a, weight) - auroc(y, b, weight), rel=1e-9)


def test_rows_of_weight_zero_do_not_count():
    y, a, b, patient = clustered()
    weight = (patient > 10).astype(float)
    kept = weight > 0
    found, wanted = delong(y, a, b, patient, weight), delong(y[kept], a[kept], b[kept], patient[kept])
    assert (found.difference, found.p_value) == pytest.approx((wanted.difference, wanted.p_value), rel=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_standard_errors_agree_with_resampling_patients(weighted):
    y, a, b, patient = clustered(patients=400)
    weight = np.random.default_rng(1).exponential(size=len(y)) if weighted else None
    asymptotic = delong(y, a, b, patient, weight)
    drawn = compare(y, a, b, "auroc", patient, resamples=1000, weight=weight)
    # 1,000 replicates know the ends of an interval to about 5 %
    assert drawn.high - drawn.low == pytest.approx(asymptotic.high - asymptotic.low, rel=0.12)


def test_the_interval_of_one_auroc_is_normal_on_the_logit_scale():
    y, a, _, patient = clustered()
    found = delong_interval(y, a, patient)
    error = np.sqrt(auroc_covariance(y, (a,), patient)[1][0, 0])
    logits = [np.log(p / (1 - p)) for p in (found.low, found.value, found.high)]
    assert logits[2] - logits[1] == pytest.approx(logits[1] - logits[0])
    slope = found.value * (1 - found.value)
    assert (logits[2] - logits[0]) * slope / error == pytest.approx(2 * norm.ppf(0.975))


def test_a_nearly_perfect_auroc_keeps_its_interval_below_one():
    y = np.array([0] * 50 + [1] * 50)
    score = np.arange(100.0)
    score[49], score[50] = score[50], score[49]
    found = delong_interval(y, score)
    assert found.value < found.high < 1


def test_perfect_scores_have_no_normal_interval():
    with pytest.raises(ValueError, match="AUROC is 1: the scores separate the labels"):
        delong_interval([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4])


def test_constant_scores_are_a_coin():
    y, a, _, _ = clustered()
    found = delong(y, a, np.zeros(len(y)))
    assert found.difference == pytest.approx(auroc(y, a) - 0.5)
    assert found.p_value < 0.05


def test_a_difference_without_variance_is_refused():
    with pytest.raises(ValueError, match="variance is estimated as zero"):
        delong([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1])


@pytest.mark.parametrize(
    ("y", "a", "groups", "message"),
    [
        ([1, 1, 1], [0.1, 0.2, 0.3], None, "have label 1"),
        ([0, 0, 1], [0.1, 0.2, 0.3], None, "all events with weight lie in one group"),
        ([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.1], [1, 1, 2, 3], "all non-events with weight lie in one group"),
        ([0, 0, 1, 1], [0.1, np.nan, 0.3, 0.1], None, "score nan at row 1"),
        ([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.1], [1, 2], "2 groups for 4 labels"),
    ],
)
def test_unusable_rows_are_refused_with_the_reason(y, a, groups, message):
    with pytest.raises(ValueError, match=message):
        delong(y, a, a, groups)
