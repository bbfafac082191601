"""Calibrated intervals: they cover as promised, whatever the draws, and say what they do not know."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from sklar.evaluation import ConformalInterval, EvaluationError, fit_conformal_interval, interval_coverage

PATTERNS = np.array([[True, False], [False, True]])


def answers(rows, seed, spread, draws=40, outputs=()):
    """Answers with everything, and draws for two patterns, spread so many times as far as they should be."""
    random = np.random.default_rng(seed)
    full = random.normal(size=(rows, *outputs))
    error = np.array([0.3, 1.0]).reshape(2, 1, *[1] * len(outputs))
    centre = full + error * random.normal(size=(2, *full.shape))
    drawn = centre[:, None] + spread * error[:, None] * random.normal(size=(2, draws, *full.shape))
    return expit(full), expit(drawn)


def ends(found, full, drawn, pattern, level=0.9):
    low, high = np.quantile(drawn[pattern], ((1 - level) / 2, (1 + level) / 2), axis=0)
    present = np.repeat(PATTERNS[pattern : pattern + 1], len(full), axis=0)
    return found.widen(level, drawn[pattern].mean(0), low, high, present)


@pytest.mark.parametrize("outputs", [(), (3,)])
@pytest.mark.parametrize("spread", [0.0, 0.2, 1.0, 5.0])
def test_whatever_the_draws_new_rows_are_covered_as_often_as_promised(spread, outputs):
    found = fit_conformal_interval(*answers(1000, 0, spread, outputs=outputs), PATTERNS, (0.5, 0.9))
    full, drawn = answers(2000, 1, spread, outputs=outputs)
    for pattern in (0, 1):
        for level in (0.5, 0.9):
            low, high = ends(found, full, drawn, pattern, level)
            held = ((low <= full) & (full <= high)).mean(0)
            # standard errors of calibration and test rows together are .019 and .012
            assert (held > level - 0.06).all()
            if spread <= 1:  # beyond, many intervals would not hold their own prediction, and are made to
                assert (held < level + 0.06).all()


def test_the_reach_is_the_score_of_the_rank_that_the_promise_asks_for():
    full = expit(np.arange(1.0, 20.0) / 2)  # 19 scores .5, 1, ... 9.5 above draws at 0
    drawn = np.full((1, 3, 19), 0.5)
    found = fit_conformal_interval(full, drawn, PATTERNS[:1], (0.5, 0.95, 0.99))
    # ceil(20 x .5) = 10, ceil(20 x .95) = 19, ceil(20 x .99) = 20, which is beyond all rows
    np.testing.assert_allclose(found.reach[0, :, 0], [5, 9.5, np.inf])
    assert (found.draws, found.rows) == (3, 19)


def test_too_few_rows_promise_nothing_less_than_everything():
    found = fit_conformal_interval(*answers(5, 0, 1.0), PATTERNS, (0.95,))
    full, drawn = answers(3, 1, 1.0)
    low, high = ends(found, full, drawn, 0, 0.95)
    np.testing.assert_array_equal(low, 0)
    np.testing.assert_array_equal(high, 1)
    assert json.dumps(found.to_dict()).count("null") == 2
    assert (ConformalInterval.from_dict(json.loads(json.dumps(found.to_dict()))).reach == np.inf).all()


def test_complete_rows_keep_their_interval_and_unknown_patterns_get_the_widest():
    found = fit_conformal_interval(*answers(500, 0, 0.2), PATTERNS, (0.9,))
    present = np.array([[True, True], [True, False], [False, True], [False, False]])
    p, low, high = np.full(4, 0.4), np.full(4, 0.38), np.full(4, 0.42)
    below, above = found.widen(0.9, p, low, high, present)
    assert (below[0], above[0]) == (0.38, 0.42)
    assert below[2] < below[1] < 0.38 < 0.42 < above[1] < above[2]
    assert (below[3], above[3]) == (below[2], above[2])


@given(p=st.floats(0, 1), gap=st.floats(0, 1), seed=st.integers(0, 5))
def test_the_interval_lies_in_the_unit_interval_and_holds_its_prediction(p, gap, seed):
    found = fit_conformal_interval(*answers(60, seed, 3.0), PATTERNS, (0.5, 0.95))
    for level in found.levels:  # draws that spread too far make the reach negative
        low, high = found.widen(level, [p], [p * (1 - gap)], [p + gap * (1 - p)], PATTERNS[:1])
        assert 0 <= low[0] <= p <= high[0] <= 1


def test_what_was_read_back_says_the_same():
    found = fit_conformal_interval(*answers(100, 0, 0.2, outputs=(2,)), PATTERNS, (0.5, 0.9))
    again = ConformalInterval.from_dict(json.loads(json.dumps(found.to_dict())))
    full, drawn = answers(10, 1, 0.2, outputs=(2,))
    for own, other in zip(ends(found, full, drawn, 1), ends(again, full, drawn, 1), strict=True):
        np.testing.assert_array_equal(own, other)


def test_coverage_of_what_is_reported_is_asked_of_the_interval():
    full = np.full(50, 0.4)

    def interval(present, level):
        return full - level / 10, full - (0.2 if level < 0.8 else 0) / 10

    present, levels = np.ones((50, 2), bool), (0.5, 0.9)
    found = interval_coverage(lambda _: full[None], present, levels, resamples=5, interval=interval)
    assert [share.value for share in found[0].actual] == [0, 1]
    assert found[0].width == pytest.approx((0.03, 0.09))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": (95,)}, "for levels between 0 and 1, such as 0.95"),
        ({"full": np.zeros(0), "drawn": np.zeros((2, 4, 0))}, "0 rows"),
        ({"full": np.zeros(3)}, r"shape \(2, 4, 5\) for answers of shape \(3,\)"),
    ],
)
def test_arguments_that_make_no_interval_are_refused(change, message):
    given = {"full": np.full(5, 0.5), "drawn": np.full((2, 4, 5), 0.5)}
    given |= {"patterns": PATTERNS, "levels": (0.9,)}
    with pytest.raises(EvaluationError, match=message):
        fit_conformal_interval(**(given | change))


def test_other_levels_and_other_modalities_are_refused():
    found = fit_conformal_interval(*answers(60, 0, 1.0), PATTERNS, (0.9,))
    with pytest.raises(EvaluationError, match=r"no interval of level 0.8; calibrated are \(0.9,\)"):
        found.widen(0.8, [0.5], [0.4], [0.6], PATTERNS[:1])
    with pytest.raises(EvaluationError, match="the interval is of 2 modalities"):
        found.widen(0.9, [0.5], [0.4], [0.6], np.ones((1, 3), bool))
