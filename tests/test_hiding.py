"""Hiding modalities: what is hidden, stress curves, Shapley shares, coverage, subgroups."""

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sklar.evaluation import (
    auroc,
    bootstrap,
    by_pattern,
    by_subgroup,
    coalitions,
    hide,
    interval_coverage,
    log_loss,
    modality_shapley,
    shapley,
    stress_curve,
    withheld,
)
from sklar.report.shareable import coarse

MODALITIES = ("a", "b", "c")
SIGNAL = np.array([1.5, 0.8, 0.0])


def expit(x):
    return 1 / (1 + np.exp(-x))


class Cohort:
    """Three independent pieces of evidence, of which the third is noise; some are missing."""

    def __init__(self, rows=500, seed=0, missing=0.2):
        random = np.random.default_rng(seed)
        self.y = (random.random(rows) < 0.3).astype(int)
        self.evidence = random.normal(self.y[:, None] * SIGNAL, 1.0, (rows, 3))
        self.present = random.random((rows, 3)) >= missing
        self.present[~self.present.any(1), 0] = True
        self.asked = 0

    def predict(self, present):
        """Bayes' rule on what is seen."""
        assert present.any(1).all(), "a model is never asked about nothing"
        self.asked += 1
        ratio = SIGNAL * self.evidence - SIGNAL**2 / 2
        return expit(np.log(0.3 / 0.7) + (ratio * present).sum(1))


@given(rate=st.floats(0, 1), seed=st.integers(0, 50))
def test_hidden_modalities_were_present_and_a_row_keeps_one(rate, seed):
    present = Cohort(seed=seed, rows=60).present
    left = hide(present, rate, seed)
    assert not (left & ~present).any()
    assert left.any(1).all()


@given(low=st.floats(0, 1), high=st.floats(0, 1), seed=st.integers(0, 50))
def test_what_is_hidden_at_a_rate_is_hidden_at_every_higher_one(low, high, seed):
    low, high = sorted((low, high))
    present = Cohort(rows=60).present
    assert not (hide(present, high, seed) & ~hide(present, low, seed)).any()


def test_the_rate_is_the_share_that_is_hidden():
    present = np.ones((20_000, 5), dtype=bool)
    # five standard errors; rows that would lose all five (.3^5) keep one
    assert hide(present, 0.3).mean() == pytest.approx(0.7, abs=0.01)


def test_the_ends_hide_nothing_and_all_but_one():
    present = Cohort().present
    assert (hide(present, 0) == present).all()
    assert (hide(present, 1).sum(1) == 1).all()


def test_only_chosen_rows_and_columns_lose():
    present = np.ones((50, 3), dtype=bool)
    left = hide(present, 1, rows=np.arange(50) < 10, columns=[1])
    assert (left[:10] == [True, False, True]).all()
    assert left[10:].all()


def test_stress_curve_starts_where_nothing_is_hidden_and_falls():
    cohort = Cohort(2000)
    curve = stress_curve("auroc", cohort.predict, cohort.y, cohort.present, resamples=50)
    assert curve.rates == tuple(k / 10 for k in range(10))
    full = bootstrap("auroc", cohort.y, cohort.predict(cohort.present), resamples=50)
    assert curve.estimates[0] == full
    assert curve.kept[0] == 1
    assert (np.diff(curve.kept) < 0).all()
    assert curve.estimates[-1].value < curve.estimates[4].value < full.value


def test_stress_in_one_subgroup_leaves_the_others():
    cohort = Cohort(2000)
    women = np.arange(2000) % 2 == 0
    options = {"rates": (0.0, 0.9), "resamples": 20, "rows": women}
    hit = stress_curve("auroc", cohort.predict, cohort.y, cohort.present, judged=women, **options)
    spared = stress_curve("auroc", cohort.predict, cohort.y, cohort.present, judged=~women, **options)
    assert hit.estimates[1].value < hit.estimates[0].value
    assert spared.estimates[1] == spared.estimates[0]


def test_stress_needs_something_to_hide():
    cohort = Cohort()
    with pytest.raises(ValueError, match="no modality can be hidden"):
        stress_curve("auroc", cohort.predict, cohort.y, cohort.present, rows=np.zeros(500, dtype=bool))


def naive_shapley(value, count):
    """The definition: mean gain over all orders."""
    shares = np.zeros(count)
    for order in permutations(range(count)):
        seen = frozenset()
        for modality in order:
            shares[modality] += value[seen | {modality}] - value[seen]
            seen |= {modality}
    return shares / math.factorial(count)


@given(seed=st.integers(0, 100), count=st.integers(2, 4))
def test_shares_are_mean_gains_over_all_orders(seed, count):
    subsets = (np.arange(2**count)[:, None] >> np.arange(count)) % 2 == 1
    values = np.random.default_rng(seed).normal(size=2**count)
    named = {frozenset(np.flatnonzero(s).tolist()): v for s, v in zip(subsets, values, strict=True)}
    shares = shapley(subsets, values)
    np.testing.assert_allclose(shares, naive_shapley(named, count), atol=1e-12)
    assert shares.sum() == pytest.approx(values[-1] - values[0])


def test_shares_of_a_row_sum_to_its_answer_and_skip_what_it_lacks():
    cohort = Cohort(200)
    subsets, answers = coalitions(cohort.predict, cohort.present, base=0.3)
    shares = shapley(subsets, answers)
    np.testing.assert_allclose(shares.sum(0), cohort.predict(cohort.present) - 0.3, atol=1e-12)
    np.testing.assert_allclose(shares[~cohort.present.T], 0, atol=1e-12)
    assert cohort.asked == 2**3 - 1 + 1


def test_what_is_absent_has_no_share_though_answers_depend_on_the_batch():
    cohort, random = Cohort(200), np.random.default_rng(0)

    def predict(present):  # as sums of floats do, whose order depends on the rows beside a row
        return cohort.predict(present) + random.uniform(-1e-8, 1e-8, len(present))

    subsets, answers = coalitions(predict, cohort.present, base=0.3)
    assert (shapley(subsets, answers)[~cohort.present.T] == 0).all()
    assert not cohort.present.all()


def test_shares_of_a_metric_find_the_informative_modality():
    cohort = Cohort(1500)
    subsets, answers = coalitions(cohort.predict, cohort.present, base=0.3)
    shares = modality_shapley("auroc", subsets, answers, cohort.y, resamples=50)
    values = [share.value for share in shares]
    assert values[0] > values[1] > 0.01
    # its only contribution: 0.3 and the logistic of its logit differ in the last bit, which breaks a tie
    assert values[2] == pytest.approx(0, abs=1e-3)
    assert sum(values) == pytest.approx(auroc(cohort.y, cohort.predict(cohort.present)) - 0.5)
    assert shares[0].low < values[0] < shares[0].high


def test_shares_of_a_loss_start_from_the_constant_answer():
    cohort = Cohort(500)
    subsets, answers = coalitions(cohort.predict, cohort.present, base=0.3)
    shares = modality_shapley("log_loss", subsets, answers, cohort.y, resamples=10)
    gain = log_loss(cohort.y, cohort.predict(cohort.present)) - log_loss(cohort.y, np.full(500, 0.3))
    assert sum(share.value for share in shares) == pytest.approx(gain)


def test_too_many_modalities_are_refused():
    with pytest.raises(ValueError, match=r"13 modalities have 2\^13 subsets"):
        coalitions(lambda _: [], np.ones((2, 13), dtype=bool), 0.5)


class Imputer:
    """An answer that is a fixed number where all is seen, and normal draws around it otherwise."""

    def __init__(self, rows, spread, error, draws=400):
        random = np.random.default_rng(0)
        self.full = random.uniform(0.3, 0.7, rows)
        self.centre = self.full + error * random.normal(size=rows)
        self.noise = spread * random.normal(size=(draws, rows))

    def draw(self, present):
        return np.where(present.all(1), self.full, self.centre + self.noise)


def test_honest_intervals_cover_as_often_as_they_say():
    model = Imputer(4000, spread=0.05, error=0.05)
    (by_one, by_two) = interval_coverage(model.draw, np.ones((4000, 3), dtype=bool), resamples=50)
    assert (by_one.hidden, by_two.hidden) == (1, 2)
    # standard errors below .008
    np.testing.assert_allclose([e.value for e in by_one.actual], by_one.nominal, atol=0.03)
    assert by_one.rows == 4000
    assert by_one.width[-1] == pytest.approx(2 * 1.96 * 0.05, rel=0.05)


def test_narrow_intervals_are_found_out():
    model = Imputer(2000, spread=0.02, error=0.05)
    (found,) = interval_coverage(model.draw, np.ones((2000, 2), dtype=bool), levels=(0.95,), resamples=50)
    assert found.actual[0].high < 0.7


def test_only_complete_rows_are_counted():
    present = np.ones((100, 2), dtype=bool)
    present[:40, 1] = False
    model = Imputer(100, 0.05, 0.05)
    assert interval_coverage(model.draw, present, resamples=10)[0].rows == 60
    with pytest.raises(ValueError, match="no row has every modality"):
        interval_coverage(model.draw, present[:40])


def test_levels_are_shares():
    with pytest.raises(ValueError, match="lie between 0 and 1"):
        interval_coverage(lambda p: np.ones((1, len(p))), np.ones((4, 2), dtype=bool), levels=(95,))


def test_patterns_partition_the_rows_and_equal_their_own_bootstrap():
    cohort = Cohort(800)
    p = cohort.predict(cohort.present)
    found = by_pattern(["auroc"], cohort.y, p, cohort.present, MODALITIES, resamples=30)
    assert sum(part.rows for part in found) == 800
    assert [part.rows for part in found] == sorted((part.rows for part in found), reverse=True)
    complete = cohort.present.all(1)
    part = next(part for part in found if part.name == MODALITIES)
    assert part.estimates["auroc"] == bootstrap("auroc", cohort.y[complete], p[complete], resamples=30)
    assert part.observed == cohort.y[complete].mean()


def test_subgroups_need_events_for_estimates():
    y = np.array([0, 1] * 50 + [0] * 30)
    p = np.linspace(0.1, 0.9, 130)
    found = by_subgroup(["auroc", "brier"], y, p, ["x"] * 100 + ["y"] * 30, resamples=20)
    assert [part.name for part in found] == ["x", "y"]
    assert set(found[0].estimates) == {"auroc", "brier"}
    assert found[1].reason == "0 events, fewer than 5"
    assert not found[1].estimates


def test_small_cells_are_withheld_and_cannot_be_told_from_the_total():
    y = np.array([0, 1] * 60)
    group = np.array(["big"] * 70 + ["middle"] * 30 + ["small"] * 20)
    parts = by_subgroup(["auroc"], y, np.linspace(0, 1, 120), group, resamples=20, smallest=21)
    found = {part.name: part for part in parts}
    assert found["big"].rows == 70
    for name in ("middle", "small"):
        part = found[name]
        assert (part.rows, part.events, part.observed, part.predicted, part.estimates) == (None,) * 4 + ({},)
        assert part.reason == "fewer than 21 rows, or next to such"


def test_few_events_are_withheld_with_their_share():
    y = np.array([1] * 8 + [0] * 92)
    (part,) = by_subgroup(["auroc"], y, np.linspace(0, 1, 100), ["all"] * 100, resamples=20, smallest=20)
    assert (part.rows, part.events, part.observed) == (100, None, None)
    assert part.estimates


def test_the_reason_gives_no_small_count_away():
    y = np.array([1] * 3 + [0] * 97)
    (part,) = by_subgroup(["auroc"], y, np.linspace(0, 1, 100), ["all"] * 100, smallest=20)
    assert part.reason == "fewer than 20 events or non-events"


@given(
    cells=arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(2, 3)), elements=st.integers(0, 90)),
    smallest=st.sampled_from([5, 20]),
)
def test_no_few_events_can_be_told_from_totals_or_from_other_classes(cells, smallest):
    """Of every class, what is withheld of a partition is none, or that of two subgroups and not few."""
    assume(all(cells.sum(0) >= 2 * smallest))
    level, kind = (own.repeat(cells.ravel()) for own in np.indices(cells.shape).reshape(2, -1))
    tables = []
    for k in range(cells.shape[1]):
        y, p = (kind == k).astype(int), np.full(len(kind), 0.5)
        parts = by_subgroup([], y, p, level, resamples=2, smallest=smallest, classes=kind)
        tables.append({part.name: (part.rows, part.events) for part in parts})
    names = [name for name in range(len(cells)) if cells[name].any()]
    for k, found in enumerate(tables):
        untold = [name for name in names if found[name][1] is None]
        assert [name for name in names if tables[0][name][1] is None] == untold
        assert all(not 0 < cells[name, k] < smallest for name in names if name not in untold)
        left = cells[untold, k].sum()
        assert not untold or untold == names or (len(untold) > 1 and not 0 < left < smallest)
    rows = [name for name in names if tables[0][name][0] is None]
    assert not rows or rows == names or (len(rows) > 1 and cells[rows].sum() >= smallest)


@given(seed=st.integers(0, 50), rows=st.integers(2, 400), levels=st.sampled_from([3, 40, 1000]))
def test_coarse_ranks_hold_enough_of_both_and_keep_the_order(seed, rows, levels):
    rng = np.random.default_rng(seed)
    p = rng.integers(0, levels, rows) / levels
    y = (rng.random(rows) < 0.4).astype(np.int64)
    rank = coarse(y, p, 20)
    assert (np.diff(rank[np.argsort(p, kind="stable")]) >= 0).all()
    for value in np.unique(p):
        assert len(set(rank[p == value])) == 1
    if len(np.unique(rank)) > 1:
        _, code = np.unique(rank, return_inverse=True)
        assert np.bincount(code, y).min() >= 20
        assert np.bincount(code, 1 - y).min() >= 20


def test_coarse_ranks_are_as_fine_as_may_be():
    y, p = np.tile([0, 1], 100), np.linspace(0, 1, 200)
    assert len(np.unique(coarse(y, p, 20))) == 5


@pytest.mark.parametrize(
    ("counts", "hidden"),
    [
        ([50, 30, 4], [False, True, True]),
        ([50, 3, 4], [True, True, True]),  # else the total told that 7 rows are rare
        ([90, 50, 18, 4], [False, False, True, True]),
        ([50, 30, 0], [False, False, False]),
        ([4], [True]),
        ([30, 20], [False, False]),
    ],
)
def test_a_single_small_count_takes_the_next_one_with_it(counts, hidden):
    assert withheld(counts, 20).tolist() == hidden


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hide([[True, False]], 1.5), "rate is 1.5"),
        (lambda: hide([[1, 0]], 0.5), "it is a boolean"),
        (lambda: hide([True], 0.5), "it is a boolean"),
        (lambda: hide([[True]], 0.5, rows=[True, False]), "rows has shape"),
        (lambda: by_subgroup(["auroc"], [0, 1], [0.1, 0.2], ["x"]), "1 subgroups for 2 labels"),
        (lambda: by_pattern(["auroc"], [0, 1], [0.1, 0.2], [[True]], ["m"]), "for 2 rows"),
        (lambda: by_pattern(["auroc"], [0], [0.1], [[True]], ["m", "n"]), "1 columns for 2 modalities"),
    ],
)
def test_unusable_masks_are_refused_with_the_reason(call, message):
    with pytest.raises(ValueError, match=message):
        call()
