"""Student's t: univariate functions in both tails, the copula's own properties, its estimate, its errors."""

import math

import mpmath as mp
import pytest
import torch

from sklar.copulas import FAMILIES, Gaussian, LearnedCopula, StudentT
from sklar.copulas.student_cdf import StudentTail, log_half_ratio
from sklar.copulas.student_quantile import student_quantile
from sklar.special import log1mexp

DOUBLE = {"dtype": torch.float64}
DEGREES = (0.5, 1.0, 2.5, 4.0, 30.0, 200.0, 1000.0)


def pair(rho: float) -> torch.Tensor:
    return torch.tensor([[1.0, rho], [rho, 1.0]], **DOUBLE)


def exact_log_tail(nu: float, y: float) -> mp.mpf:
    """Log P(Y > y) with y = asinh(x / sqrt(nu)), by mpmath's incomplete beta function."""
    half, v = mp.mpf(nu) / 2, mp.sech(mp.mpf(y)) ** 2
    return mp.log(mp.betainc(half, mp.mpf(1) / 2, 0, v, regularized=True) / 2)


@pytest.mark.parametrize("nu", DEGREES)
def test_log_cdf_has_its_digits_in_both_tails(nu: float):
    y = torch.tensor([0.0, 1e-9, 1e-3, 0.1, 1.0, 3.0, 20.0, 600.0], **DOUBLE)
    log_cdf, log_sf = StudentTail.of(torch.tensor(nu, **DOUBLE)).log_cdf(y)
    with mp.workdps(60):
        tails = [exact_log_tail(nu, value) for value in y.tolist()]
        expected_sf = torch.tensor([float(tail) for tail in tails], **DOUBLE)
        expected = torch.tensor([float(mp.log1p(-mp.exp(tail))) for tail in tails], **DOUBLE)
    torch.testing.assert_close(log_sf, expected_sf, rtol=2e-14, atol=0)
    torch.testing.assert_close(
        log_cdf, expected, rtol=1e-15 * (20.0 + 600.0 * nu), atol=0
    )  # log F is minus 1 - F there, whose log is -600 nu


@pytest.mark.parametrize("nu", DEGREES)
def test_quantile_and_cdf_are_inverses_from_one_end_to_the_other(nu: float):
    log_p = torch.tensor(
        [-5000.0, -721.0, -719.0, -30.0, -1.0, -0.6932, -0.6931, -0.3, -1e-8, -1e-30], **DOUBLE
    )
    tail = StudentTail.of(torch.tensor(nu, **DOUBLE))
    log_cdf, log_sf = tail.log_cdf(student_quantile(tail, log_p))
    torch.testing.assert_close(log_cdf, log_p, rtol=1e-13, atol=0)
    # The survival function carries what log u rounds away.
    again, _ = tail.log_cdf(student_quantile(tail, log_cdf, log_sf))
    torch.testing.assert_close(again, log_p, rtol=1e-13, atol=0)


def test_quantile_from_the_survival_function_goes_where_log_u_is_zero():
    tail = StudentTail.of(torch.tensor(4.0, **DOUBLE))
    log_sf = torch.tensor([-2000.0, -80.0], **DOUBLE)
    upper = student_quantile(tail, torch.zeros(2, **DOUBLE), log_sf)
    torch.testing.assert_close(upper, -student_quantile(tail, log_sf), rtol=0, atol=0)


def test_quantile_reaches_the_ends():
    tail = StudentTail.of(torch.tensor(3.0, **DOUBLE))
    ends = student_quantile(tail, torch.tensor([-math.inf, 0.0], **DOUBLE))
    assert ends.tolist() == [-math.inf, math.inf]


@pytest.mark.parametrize("nu", DEGREES)
def test_quantile_moves_with_df_as_mpmath_says(nu: float):
    df = torch.tensor(nu, **DOUBLE, requires_grad=True)
    log_u = torch.tensor([-3000.0, -50.0, -3.0, -0.75], **DOUBLE)
    y = student_quantile(StudentTail.of(df), log_u)
    found = torch.stack([torch.autograd.grad(value, df, retain_graph=True)[0] for value in y])
    expected = []
    with mp.workdps(60):
        for value, goal in zip(y.tolist(), log_u.tolist(), strict=True):
            step = mp.mpf(nu) * mp.mpf(10) ** -20
            by_df = (exact_log_tail(nu + step, -value) - exact_log_tail(nu - step, -value)) / (2 * step)
            density = mp.sech(mp.mpf(value)) ** nu / mp.beta(mp.mpf(nu) / 2, mp.mpf(1) / 2)
            expected.append(float(-by_df * mp.exp(goal) / density))
    torch.testing.assert_close(found, torch.tensor(expected, **DOUBLE), rtol=1e-10, atol=0)


def test_univariate_functions_differentiate_twice():
    df = torch.tensor([1.5, 7.0], **DOUBLE, requires_grad=True)
    log_u = torch.tensor([[-3.0, -0.1], [-0.6, -40.0]], **DOUBLE, requires_grad=True)
    y = torch.tensor([[-3.0, -0.1], [0.6, 2.0]], **DOUBLE, requires_grad=True)
    for function, argument in (
        (lambda x, df: student_quantile(StudentTail.of(df), x), log_u),
        (lambda x, df: StudentTail.of(df).log_cdf(x), y),
    ):
        assert torch.autograd.gradcheck(function, (argument, df))
        assert torch.autograd.gradgradcheck(function, (argument, df))


def test_a_third_derivative_in_df_is_refused():
    df = torch.tensor(3.0, **DOUBLE, requires_grad=True)
    slope = StudentTail.of(df).log_cdf(torch.tensor(1.0, **DOUBLE))[0]
    for _ in range(2):
        (slope,) = torch.autograd.grad(slope, df, create_graph=True)
    with pytest.raises(NotImplementedError, match="third derivatives"):
        torch.autograd.grad(slope, df)


def test_gamma_ratio_keeps_digits_that_two_lgammas_lose():
    a = torch.tensor([0.01, 0.5, 3.0, 500.0, 1e6], **DOUBLE)
    with mp.workdps(40):
        expected = [float(mp.loggamma(mp.mpf(v) + 0.5) - mp.loggamma(mp.mpf(v))) for v in a.tolist()]
    torch.testing.assert_close(log_half_ratio(a), torch.tensor(expected, **DOUBLE), rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize("nu", [1e4, 1e6])
def test_large_df_tends_to_the_gaussian(nu: float):
    log_u = torch.tensor([[-3.0, -0.1], [-0.7, -0.7], [-9.0, -7.0]], **DOUBLE)
    student, gaussian = StudentT(pair(0.6), nu), Gaussian(pair(0.6))
    gap = (student.log_density(log_u) - gaussian.log_density(log_u)).abs().max()
    assert float(gap) < 100.0 / nu  # the first correction is a polynomial of the scores over nu


def test_uncorrelated_modalities_share_their_extremes():
    lower, upper = StudentT(torch.eye(2, **DOUBLE), 3.0).tail_dependence()
    assert float(lower) == float(upper) == pytest.approx(0.1161169, abs=1e-6)  # 2 T_4(-2)
    corner = torch.tensor([-20.0, -20.0], **DOUBLE)
    assert float(StudentT(torch.eye(2, **DOUBLE), 3.0).log_density(corner)) > 10.0


def test_spearman_rho_tends_to_the_gaussian_and_is_smaller():
    gaussian = float(Gaussian(pair(0.7)).spearman_rho())
    rhos = [float(StudentT(pair(0.7), nu).spearman_rho()) for nu in (1.0, 4.0, 30.0, 1e5)]
    assert rhos == sorted(rhos)
    assert rhos[-1] == pytest.approx(gaussian, abs=1e-5)
    ranks = StudentT(pair(0.7), 1.0).sample((20_000,), torch.Generator().manual_seed(0)).argsort(0).argsort(0)
    assert float(torch.corrcoef(ranks.double().T)[0, 1]) == pytest.approx(
        rhos[0], abs=0.025
    )  # 4 standard errors


def test_conditioning_keeps_both_tails_where_x_overflows():
    copula = StudentT(pair(0.5), 1.0)
    log_u = torch.tensor([[-900.0, -1500.0], [-1500.0, -900.0], [-900.0, -0.4]], **DOUBLE)
    log_h, log_h_sf = copula.conditional_log_cdf(log_u, 1, (0,))
    assert bool((torch.isfinite(log_h) & torch.isfinite(log_h_sf)).all())
    solved, _ = copula.conditional_quantile(log_h, 1, {0: log_u[:, 0]}, log_h_sf)
    # Beside an x that is e^600 times larger, the other's is not represented in the residual.
    torch.testing.assert_close(solved[0], log_u[0, 1], rtol=1e-12, atol=0)


def test_estimate_finds_correlations_and_df():
    matrix = torch.tensor([[1.0, 0.7, -0.3], [0.7, 1.0, 0.1], [-0.3, 0.1, 1.0]], **DOUBLE)
    truth = StudentT(matrix, torch.tensor([3.0, 12.0], **DOUBLE))
    log_u = truth.rsample_log((6000,), torch.Generator().manual_seed(1))
    found = StudentT.estimate(log_u)
    torch.testing.assert_close(found.correlation, truth.correlation, rtol=0, atol=0.05)  # 4 standard errors
    ratio = found.df / truth.df
    assert 0.85 < float(ratio[0]) < 1.18  # 4 standard errors, the second from the likelihood's curvature
    assert 0.6 < float(ratio[1]) < 1.7


def test_a_tenth_of_outliers_hardly_moves_the_estimated_correlation():
    copula = StudentT(pair(0.8), 8.0)
    log_u = copula.rsample_log((4000,), torch.Generator().manual_seed(2))
    log_u[:400] = torch.tensor([-1e-12, -600.0], **DOUBLE)
    assert (
        float(StudentT.estimate(log_u).correlation[0, 1]) > 0.35
    )  # the normal scores' correlation is negative
    assert float(Gaussian.estimate(log_u).correlation[0, 1]) < 0.0


def test_one_df_per_coordinate_equals_one_copula_each():
    df = torch.tensor([0.7, 4.0, 90.0], **DOUBLE)
    log_u = -torch.empty(5, 3, 2, **DOUBLE).exponential_(generator=torch.Generator().manual_seed(3))
    value = StudentT(pair(0.4), df).log_density(log_u)
    for j in range(3):
        torch.testing.assert_close(value[:, j], StudentT(pair(0.4), df[j]).log_density(log_u[:, j]))


def test_df_may_differ_by_row(monkeypatch):
    monkeypatch.setattr("sklar.copulas.analytic._CHUNK", 30)  # so that df goes through the kernel in pieces
    df = torch.linspace(1.0, 50.0, 100, **DOUBLE)
    log_u = -torch.empty(100, 2, **DOUBLE).exponential_(generator=torch.Generator().manual_seed(4))
    value = StudentT(pair(0.4), df).log_density(log_u)
    for row in (0, 50, 99):
        torch.testing.assert_close(value[row], StudentT(pair(0.4), df[row]).log_density(log_u[row]))


def test_learns_one_copula_per_coordinate_in_single_precision():
    learned = LearnedCopula("student_t", 3, (64,))
    log_u = learned().rsample_log((32,), torch.Generator().manual_seed(5)).detach()
    optimiser = torch.optim.Adam(learned.parameters(), lr=0.05)
    losses = []
    for _ in range(10):
        optimiser.zero_grad()
        loss = -learned().log_density(log_u).mean()
        loss.backward()
        assert bool(torch.isfinite(learned.raw.grad).all())
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_learned_df_round_trips_and_stays_in_its_range():
    learned = LearnedCopula("student_t", 2)
    learned.assign(StudentT(pair(0.5), 7.0))
    assert float(learned().df.detach()) == pytest.approx(7.0, rel=1e-5)
    for far in (-60.0, 60.0):
        with torch.no_grad():
            learned.raw[..., -1] = far
        assert 0.5 <= float(learned().df.detach()) <= 1000.1


def test_report_parameters_build_the_copula_again():
    copula = StudentT(pair(0.5), torch.tensor(3.0, **DOUBLE))
    again = FAMILIES["student_t"](**copula.parameters())
    log_u = torch.tensor([-1.0, -0.2], **DOUBLE)
    torch.testing.assert_close(again.log_density(log_u), copula.log_density(log_u))


def test_survival_given_apart_equals_survival_recovered():
    log_u = torch.tensor([[-0.2, -3.0], [-1e-4, -0.6], [-40.0, -1e-9]], **DOUBLE)
    copula = StudentT(pair(-0.3), 2.0)
    log_sf = log1mexp(-log_u)
    torch.testing.assert_close(copula.log_density(log_u, log_sf), copula.log_density(log_u))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: StudentT(pair(0.5), 0.0), r"df > 0 and finite, got 0\. Gaussian is its limit"),
        (lambda: StudentT(pair(0.5), float("nan")), "df > 0 and finite, got nan"),
        (lambda: StudentT(pair(0.5), float("inf")), "got inf. Gaussian"),
        (lambda: StudentT(pair(1.5)), r"not positive definite: its smallest eigenvalue is -0\.5"),
        (lambda: StudentT(df=3.0), "StudentT takes a correlation matrix or its Cholesky factor"),
        (
            lambda: StudentT(pair(0.5).expand(3, 2, 2), torch.ones(2)),
            r"\(3,\) .* of shape \(2,\) do not broad",
        ),
        (lambda: StudentT.from_tau(-0.5, 3), r"between -0\.333 and 1"),
        (lambda: StudentT.estimate(torch.tensor([[0.0, -1.0], [-1.0, -2.0]])), "strictly between 0 and 1"),
        (lambda: Gaussian(torch.eye(1)), "dim >= 2"),
    ],
)
def test_parameters_outside_the_domain_are_named(build, message: str):
    with pytest.raises(ValueError, match=message):
        build()
