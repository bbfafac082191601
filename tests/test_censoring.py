import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sklar.data.censoring import ipcw_weights, kaplan_meier
from sklar.errors import DataError

# Small whole times, so that ties between events and censorings are the rule and not the exception.
cohorts = st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=60)
horizons = st.one_of(st.integers(0, 13), st.floats(0, 13))


def arrays(cohort):
    return np.array([t for t, _ in cohort], dtype=float), np.array([e for _, e in cohort], dtype=bool)


def test_kaplan_meier_by_hand():
    # at risk 5, 4, 2, 1: one event at 1; one event and one censoring at 2; censoring at 3; event at 4
    curve = kaplan_meier(np.array([1, 2, 2, 3, 4]), np.array([1, 1, 0, 0, 1]))
    np.testing.assert_array_equal(curve.times, [1, 2, 3, 4])
    np.testing.assert_allclose(curve.survival, [4 / 5, 4 / 5 * 3 / 4, 3 / 5, 0], rtol=1e-15)


def test_events_leave_before_censorings_of_the_same_time():
    # at time 2 the event is gone when its neighbour is censored: 3 of 4 are at risk of censoring
    curve = kaplan_meier(np.array([1, 2, 2, 3, 4]), np.array([1, 1, 0, 0, 1]), censoring=True)
    np.testing.assert_allclose(curve.survival, [1, 2 / 3, 1 / 3, 1 / 3], rtol=1e-15)


def test_a_curve_includes_its_drop_and_its_left_limit_does_not():
    curve = kaplan_meier(np.array([1, 2]), np.array([1, 0]))
    np.testing.assert_array_equal(curve.before([0, 1, 1.5]), [1, 1, 0.5])
    np.testing.assert_array_equal(curve.at([0, 1, 1.5]), [1, 0.5, 0.5])


@given(cohorts)
def test_without_censoring_the_curve_is_the_fraction_that_outlives(cohort):
    time, _ = arrays(cohort)
    curve = kaplan_meier(time, np.ones(len(time)))
    np.testing.assert_allclose(curve.survival, [(time > t).mean() for t in curve.times], atol=1e-12)


@given(cohorts, horizons)
def test_without_censoring_every_weight_is_one(cohort, horizon):
    time, _ = arrays(cohort)
    np.testing.assert_array_equal(ipcw_weights(time, np.ones(len(time)), horizon), np.ones(len(time)))


@given(cohorts)
def test_at_time_zero_nobody_alive_is_weighted_up(cohort):
    # no censoring before 0 can have happened, those censored at 0 excepted
    time, event = arrays([(t + 1, e) for t, e in cohort])
    np.testing.assert_array_equal(ipcw_weights(time, event, 0), np.ones(len(time)))


@given(cohorts, horizons)
def test_weighted_event_rate_is_the_kaplan_meier_risk(cohort, horizon):
    # Satten & Datta (2001); exact whatever the ties, so the tolerance is rounding alone
    time, event = arrays(cohort)
    weights = ipcw_weights(time, event, horizon)
    risk = (weights * (event & (time <= horizon))).sum() / len(time)
    np.testing.assert_allclose(risk, 1 - kaplan_meier(time, event).at(horizon), atol=1e-12)


@given(cohorts, horizons)
def test_weights_add_up_to_everyone_while_someone_is_followed(cohort, horizon):
    # Beyond the last follow-up the curve stops short of the unknown rest, and so do the weights.
    time, event = arrays(cohort)
    followed = (time > horizon).any()
    total = ipcw_weights(time, event, horizon).sum()
    if followed:
        np.testing.assert_allclose(total, len(time), rtol=1e-12)
    else:
        assert total <= len(time) * (1 + 1e-12)


@given(cohorts, horizons)
def test_only_those_censored_by_the_horizon_weigh_nothing(cohort, horizon):
    time, event = arrays(cohort)
    unknown = ~event & (time <= horizon)
    np.testing.assert_array_equal(ipcw_weights(time, event, horizon) == 0, unknown)


@given(cohorts, horizons)
def test_weights_of_events_grow_with_time(cohort, horizon):
    time, event = arrays(cohort)
    died = event & (time <= horizon)
    order = np.argsort(time[died], kind="stable")
    weights = ipcw_weights(time, event, horizon)[died][order]
    assert (np.diff(weights) >= -1e-12).all()
    assert (weights >= 1).all()


def test_the_weights_undo_a_known_censoring():
    # true risk of an exponential with rate 0.1 by time 5 is 1 - exp(-0.5); four standard errors allowed
    draw = np.random.default_rng(0)
    lifetime, censored = draw.exponential(10, 20_000), draw.exponential(5, 20_000)
    time, event = np.minimum(lifetime, censored), lifetime <= censored
    weights = ipcw_weights(time, event, 5.0)
    died = event & (time <= 5)
    truth = 1 - np.exp(-0.5)
    assert abs((weights * died).sum() / weights.sum() - truth) < 0.018
    assert abs(died[weights > 0].mean() - truth) > 0.05


@pytest.mark.parametrize(
    ("time", "event", "message"),
    [
        ([1, np.nan], [0, 1], "nan in row 1"),
        ([-2, 1], [0, 1], "-2.0 in row 0"),
        ([1, 2], [0, 1, 1], "equally long"),
    ],
)
def test_impossible_follow_up_is_refused(time, event, message):
    with pytest.raises(DataError, match=message):
        kaplan_meier(np.array(time), np.array(event))
