"""Several models on one set of draws, several tests at once, and the test not to use."""

import sys
import warnings

import numpy as np
import pytest
from scipy.stats import ttest_ind

from sklar.errors import DataError
from sklar.evaluation import (
    EvaluationError,
    bootstrap,
    by_outcome,
    check_disjoint,
    compare,
    contrast,
    delong,
    holm,
    match_rows,
    replicate_t_test,
    replicates,
    resample,
    resample_weights,
    too_few,
)

METRICS = ("auroc", "average_precision", "brier")


def cohort(rows=600, gains=(2.0, 2.0, 0.3), seed=1):
    random = np.random.default_rng(seed)
    y = (random.random(rows) < 0.25).astype(int)
    common = random.normal(size=rows)
    noisy = [gain * y + common + 0.3 * random.normal(size=rows) for gain in gains]
    return y, {name: 1 / (1 + np.exp(-s)) for name, s in zip("abc", noisy, strict=False)}


def test_models_are_judged_as_they_would_be_alone():
    y, scores = cohort()
    found = resample(METRICS, y, scores, resamples=100, seed=4)
    for metric in METRICS:
        assert found.estimate("b", metric) == bootstrap(metric, y, scores["b"], resamples=100, seed=4)
        assert found.compare("a", "c", metric) == compare(
            y, scores["a"], scores["c"], metric, resamples=100, seed=4
        )


def test_groups_weights_and_strata_reach_all():
    y, scores = cohort()
    groups, weight = np.arange(600) // 2, np.random.default_rng(1).exponential(size=600)
    options = {"groups": groups, "resamples": 50, "weight": weight, "stratified": True}
    found = resample(["auroc"], y, scores, **options)
    assert found.estimate("a", "auroc") == bootstrap("auroc", y, scores["a"], **options)


def test_the_best_and_what_cannot_be_told_from_it_are_tied():
    y, scores = cohort()
    ranking = resample(METRICS, y, scores, resamples=999).rank("auroc")
    assert ranking.best in ranking.tied
    assert ranking.tied == {"a", "b"}
    assert ranking.comparisons["c"].high < 0
    assert ranking.adjusted["c"] == pytest.approx(2 * 2 / 1000)
    assert list(ranking.comparisons) == [name for name in "abc" if name != ranking.best]


def test_the_lowest_loss_is_the_best():
    y, scores = cohort(gains=(2.0, 2.0, 0.0))
    sharp = {name: np.where(y == 1, p, 1 - p) if name == "b" else p for name, p in scores.items()}
    values = resample(["brier"], y, sharp, resamples=50)
    assert values.rank("brier").best == min(values.values, key=lambda m: values.values[m]["brier"])


def test_intervals_to_the_best_are_as_wide_as_their_rank_demands():
    y, scores = cohort()
    found = resample(["auroc"], y, scores, resamples=1000)
    ranking = found.rank("auroc")
    best = ranking.best
    (second,) = ranking.tied - {best}
    assert ranking.comparisons["c"] == found.compare("c", best, "auroc", 0.05 / 2)
    assert ranking.comparisons[second] == found.compare(second, best, "auroc", 0.05)


def test_a_model_alone_is_the_best():
    y, scores = cohort()
    ranking = resample(["auroc"], y, {"a": scores["a"]}, resamples=20).rank("auroc")
    assert (ranking.best, ranking.tied, ranking.comparisons) == ("a", {"a"}, {})


def test_nothing_to_judge_is_refused():
    with pytest.raises(ValueError, match="0 metrics of 1 models"):
        resample([], [0, 1], {"a": [0.1, 0.2]})


def test_too_few_events_are_refused_before_anything_is_drawn():
    y, scores = cohort()
    rare = np.zeros_like(y)
    rare[:4] = 1
    with pytest.raises(EvaluationError, match="4 events, fewer than 5"):
        resample(METRICS, rare, scores)
    assert resample(["brier"], rare, scores, resamples=20).estimate("a", "brier").value > 0


def test_events_are_counted_by_patient():
    assert too_few([1] * 20 + [0] * 20, [1] * 20 + list(range(20))) == "events in 1 groups, fewer than 5"
    assert too_few([1] * 20 + [0] * 20, range(40)) == ""


def test_refusals_are_errors_of_the_data():
    assert issubclass(EvaluationError, DataError)
    assert issubclass(EvaluationError, ValueError)


def test_repeated_ids_without_groups_are_warned_about_everywhere():
    y, scores = cohort()
    ids = np.arange(600) // 3
    for judge in (
        lambda: bootstrap("auroc", y, scores["a"], resamples=10, ids=ids),
        lambda: compare(y, scores["a"], scores["b"], resamples=10, ids=ids),
        lambda: resample(["auroc"], y, scores, resamples=10, ids=ids),
    ):
        with pytest.warns(UserWarning, match="400 of 600 ids occur before"):
            judge()


def test_strata_keep_their_sizes():
    y, _ = cohort(rows=100)
    counts = resample_weights(np.arange(100), 50, 0, strata=y)
    assert (counts @ y == y.sum()).all()
    assert (counts.sum(1) == 100).all()


def test_patients_with_an_event_are_a_stratum_whatever_their_other_rows():
    y, patient = np.array([1, 0, 0, 0, 1, 1]), np.array(["a", "a", "b", "c", "d", "d"])
    strata = by_outcome(y, patient)
    assert strata.tolist() == [1, 1, 0, 0, 1, 1]
    counts = resample_weights(patient, 100, 0, strata=strata)
    assert (counts[:, [0, 4]].sum(1) == 2).all()


def test_strata_that_cut_a_group_are_refused():
    with pytest.raises(ValueError, match="group p has rows in more than one stratum"):
        resample_weights(["p", "p", "q"], strata=[0, 1, 1])
    with pytest.raises(ValueError, match="2 strata for 3 rows"):
        resample_weights(["p", "p", "q"], strata=[0, 1])


def test_stratified_intervals_do_not_vary_with_the_prevalence():
    y = np.array([0] * 90 + [1] * 10)
    free = bootstrap("average_precision", y, np.zeros(100), resamples=200)
    kept = bootstrap("average_precision", y, np.zeros(100), resamples=200, stratified=True)
    assert (kept.low, kept.high) == pytest.approx((0.1, 0.1))
    assert free.low < 0.1 < free.high


def test_holm_multiplies_step_by_step():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]).tolist() == [1, 1]
    assert holm([0.02]).tolist() == [0.02]


@pytest.mark.parametrize("p", [[0.1, 1.2], [np.nan], [[0.1]]])
def test_holm_takes_p_values(p):
    with pytest.raises(ValueError, match="numbers from 0 to 1"):
        holm(p)


def test_the_replicate_t_test_is_welchs_and_warns():
    random = np.random.default_rng(0)
    a, b = random.normal(0, 1, 50), random.normal(0.3, 2, 60)
    with pytest.warns(UserWarning, match="no evidence of a difference"):
        found = replicate_t_test(a, b)
    wanted = ttest_ind(a, b, equal_var=False)
    assert found.statistic == pytest.approx(wanted.statistic)
    assert (found.df, found.p_value) == pytest.approx((wanted.df, wanted.pvalue))


def test_the_replicate_t_test_rejects_the_more_the_more_is_drawn():
    y, scores = cohort(gains=(1.0, 1.0))
    p_values = []
    for count in (100, 4000):
        counts = resample_weights(np.arange(600), count, 0, y)
        drawn = [replicates("auroc", y, scores[name], counts) for name in "ab"]
        with pytest.warns(UserWarning, match="shrinks with their number"):
            p_values.append(replicate_t_test(*drawn).p_value)
    assert p_values[1] < p_values[0]


def test_a_t_test_needs_replicates_that_vary():
    with pytest.warns(UserWarning, match="is no evidence"), pytest.raises(ValueError, match="no t statistic"):
        replicate_t_test([0.5, 0.5], [0.5, 0.5])
    with pytest.warns(UserWarning, match="is no evidence"), pytest.raises(ValueError, match="at least 2"):
        replicate_t_test([0.5], [0.5, 0.6])


def test_rows_of_two_runs_are_matched_by_id():
    ids, wanted = np.array(["c", "a", "b"]), np.array(["a", "b", "c"])
    assert (ids[match_rows(ids, wanted)] == wanted).all()


@pytest.mark.parametrize(
    ("ids", "wanted", "message"),
    [
        (["a", "b"], ["a", "c"], "2 and 2 ids, of which 1 are shared"),
        (["a"], ["a", "c"], "1 and 2 ids, of which 1"),
        (["a", "a"], ["a", "b"], "1 of 2 ids occur more than once"),
        (["a", "b"], ["b", "b"], "1 of 2 ids occur more than once"),
    ],
)
def test_rows_that_differ_or_repeat_are_refused(ids, wanted, message):
    with pytest.raises(EvaluationError, match=message):
        match_rows(ids, wanted)


def test_a_patient_in_two_splits_is_refused():
    check_disjoint(train=["a", "b", "a"], valid=["c"], test=["d"])
    with pytest.raises(EvaluationError, match="1 groups have rows in both train and test"):
        check_disjoint(train=["a", "b", "a"], valid=["c"], test=["d", "a"])


ALPHA = 0.05
SIMULATIONS = 2000


@pytest.mark.slow
def test_true_nulls_are_rejected_as_often_as_the_tests_say(capsys):
    """2,000 cohorts of 1,000 rows at 15 % prevalence, on which two models are equally good."""
    rejected = {"paired bootstrap": 0, "DeLong": 0, "replicate t-test": 0}
    for seed in range(SIMULATIONS):
        random = np.random.default_rng(seed)
        y = (random.random(1000) < 0.15).astype(int)
        a, b = y + random.normal(size=1000) + random.normal(size=(2, 1000))
        counts = resample_weights(np.arange(1000), 400, seed, y)
        drawn = [replicates("auroc", y, score, counts) for score in (a, b)]
        rejected["paired bootstrap"] += contrast(0.0, drawn[0] - drawn[1]).p_value < ALPHA
        rejected["DeLong"] += delong(y, a, b).p_value < ALPHA
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            rejected["replicate t-test"] += replicate_t_test(*drawn).p_value < ALPHA
    shares = {name: count / SIMULATIONS for name, count in rejected.items()}
    with capsys.disabled():
        sys.stdout.write(f"\nrejections of a true null at 5 %: {shares}\n")
    # 2,000 trials at 5 % have a standard deviation of 0.5 %
    assert 0.035 <= shares["paired bootstrap"] <= 0.065
    assert 0.035 <= shares["DeLong"] <= 0.065
    assert shares["replicate t-test"] > 0.5
