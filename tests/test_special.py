"""Special functions against mpmath, in both precisions, with first and second derivatives."""

import mpmath as mp
import pytest
import torch

from sklar import special

LOG_NORMAL = (-5000.0, -800.0, -691.0, -100.0, -30.0, -5.0, -1.0, -0.5, -0.1, -1e-3, -1e-10, -1e-25)
SCORES = (-100.0, -37.0, -35.0, -13.0, -11.0, -5.0, -1.0, -0.1, 0.1, 1.0, 5.0, 8.0)


def log_ndtr(x):
    return mp.log(mp.erfc(-x / mp.sqrt(2)) / 2)


def ndtri_log(log_u):
    with torch.no_grad():
        z = mp.mpf(float(special.ndtri_log(torch.tensor(float(log_u), dtype=torch.float64))))
    for _ in range(6):  # a start is all that is taken from the code under test
        p = mp.erfc(-z / mp.sqrt(2)) / 2
        z -= (mp.log(p) - log_u) * p * mp.sqrt(2 * mp.pi) * mp.exp(z * z / 2)
    return z


def moment(k):
    return lambda x: mp.gammainc(k + 1, 0, x) / x ** (k + 1)


FUNCTIONS = {
    "log1mexp": (special.log1mexp, lambda x: mp.log(-mp.expm1(-x)), (1e-12, 0.1, 0.6, 0.7, 1.0, 3.0, 20.0)),
    "moment-0": (lambda x: special.exp_moment(x), moment(0), (1e-6, 0.1, 0.99, 1.01, 3.0, 20.0, 80.0)),
    "moment-1": (lambda x: special.exp_moment(x, 1), moment(1), (1e-6, 0.1, 0.99, 1.01, 3.0, 20.0, 80.0)),
    "log-expm1-ratio": (
        special.log_expm1_ratio,
        lambda x: mp.log(-mp.expm1(-x) / x),
        (0.01, 0.99, 1.01, 20.0, 80.0, -0.01, -0.3, -3.0, -80.0),
    ),
    "log1mexp-of-log": (
        special.log1mexp_of_log,
        lambda a: mp.log(-mp.expm1(-mp.exp(a))),
        (-12.0, -3.0, -0.1, 1.0, 3.0),
    ),
    "log1p-moment-0": (
        special.log1p_moment,
        lambda y: mp.log1p(y) / y,
        (1e-6, 0.1, 0.24, 0.26, 3.0, 1e4, -0.1, -0.16, -0.17, -0.9, -0.999),
    ),
    "log1p-moment-1": (
        lambda y: special.log1p_moment(y, 1),
        lambda y: (mp.log1p(y) - y / (1 + y)) / y**2,
        (1e-6, 0.1, 0.24, 0.26, 3.0, 1e4, -0.1, -0.16, -0.17, -0.9),
    ),
    "log-log1p-ratio": (
        lambda a: special.log_log1p_ratio(torch.full_like(a, 0.25), a),
        lambda a: mp.log(mp.log1p(mp.exp(a) / 4) * 4),
        (-50.0, -3.0, 0.5, 1.38, 1.39, 5.0, 90.0),
    ),
    "log-log1p-ratio-in-theta": (
        lambda theta: special.log_log1p_ratio(theta, torch.full_like(theta, 0.5)),
        lambda theta: mp.log(mp.log1p(theta * mp.exp(0.5)) / theta),
        (1e-9, 0.1, 0.6, 0.7, 30.0),
    ),
    "log-neg-log1mexp": (
        special.log_neg_log1mexp,
        lambda a: mp.log(-mp.log1p(-mp.exp(a))),
        (-1e-3, -0.5, -0.8, -5.0, -9.4, -9.6, -12.0, -19.0, -20.0, -50.0),
    ),
    "log-log1pexp": (
        special.log_log1pexp,
        lambda a: mp.log(mp.log1p(mp.exp(a))),
        (-50.0, -20.0, -19.0, -9.6, -9.4, -3.0, 0.5, 5.0, 25.0, 90.0),
    ),
    "log-ndtr": (special.log_ndtr, log_ndtr, SCORES),
    "log-ndtr-above": (
        lambda x: special.log_ndtr_both(x)[1],
        lambda x: log_ndtr(-x),
        tuple(-x for x in SCORES),
    ),
    "ndtri-log": (special.ndtri_log, ndtri_log, LOG_NORMAL),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_value_and_derivatives(name: str, dtype: torch.dtype):
    function, reference, points = FUNCTIONS[name]
    x = torch.tensor(points, dtype=dtype, requires_grad=True)
    value = function(x)
    (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), x)
    double = dtype == torch.float64
    # Derivatives in the normal's tails are differences of nearly equal logs: x^2 eps, then again.
    allowed = (1e-14, 1e-12, 1e-6) if double else (2e-6, 3e-4, None)
    with mp.workdps(60):
        for order, found in enumerate((value, slope, curvature)):
            floor = 0.1 if order == 0 else 0.0  # near zero a log counts absolutely
            if allowed[order] is None:
                assert bool(torch.isfinite(found).all()) or name in {"log1mexp", "ndtri-log"}
                continue
            for at, got in zip(x.tolist(), found.tolist(), strict=True):
                exact = mp.mpf(at)
                step = mp.mpf(10) ** -16 * min(abs(exact), 1)
                expected = mp.diff(reference, exact, order, h=step) if order else reference(exact)
                assert abs(got - expected) <= allowed[order] * max(abs(expected), floor), (
                    at,
                    order,
                )


def test_quantile_takes_the_complement_where_log_u_rounds_to_zero():
    z = torch.tensor([12.0, 20.0, 30.0], requires_grad=True)
    log_u, log_sf = special.log_ndtr_both(z)
    assert log_u[-1] == 0
    back = special.ndtri_log(log_u, log_sf)
    torch.testing.assert_close(back, z)
    (slope,) = torch.autograd.grad(back.sum(), z)
    torch.testing.assert_close(slope, torch.ones(3), rtol=1e-3, atol=0)  # 30^2 eps, twice


def test_ends_are_limits():
    ends = torch.tensor([-torch.inf, 0.0], dtype=torch.float64)
    assert special.ndtri_log(ends).tolist() == [-torch.inf, torch.inf]
    assert special.log1mexp(torch.tensor([0.0, torch.inf])).tolist() == [-torch.inf, 0.0]
    assert special.log1mexp_of_log(torch.tensor(-500.0)) == -500.0
    assert special.exp_moment(torch.tensor(0.0)) == 1.0
    assert special.log_expm1_ratio(torch.tensor(0.0)) == 0.0


def test_expm1_ratio_is_smooth_through_zero():
    x = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(special.log_expm1_ratio(x), x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope, x)
    slope = slope.detach()
    assert slope.item() == -0.5
    assert curvature.item() == pytest.approx(1.0 / 12.0, abs=1e-15)


def test_softplus_does_not_turn_into_the_identity():
    x = torch.tensor(25.0, dtype=torch.float64)
    assert float(special.softplus(x) - x) == pytest.approx(1.3887943864771144e-11, rel=1e-3)  # rounding at 25


def test_log_neg_log_takes_the_complement_next_to_one():
    log_sf = torch.tensor([-500.0, -1.0])
    log_u = special.log1mexp(-log_sf)
    torch.testing.assert_close(
        special.log_neg_log(log_u, log_sf), torch.stack([log_sf[0], (-log_u[1]).log()])
    )
