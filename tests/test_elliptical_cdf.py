"""Joint CDFs of the elliptical families: closed forms, far tails, derivatives, and the error beyond three."""

import math

import mpmath as mp
import pytest
import torch

from sklar.copulas import Elliptical, Gaussian, StudentT

DOUBLE = {"dtype": torch.float64}
MATRIX = torch.tensor([[1.0, 0.7, -0.3], [0.7, 1.0, 0.1], [-0.3, 0.1, 1.0]], **DOUBLE)


def equal(dim: int, rho: float) -> torch.Tensor:
    return torch.full((dim, dim), rho, **DOUBLE).fill_diagonal_(1.0)


def both(matrix: torch.Tensor) -> list[Elliptical]:
    return [Gaussian(matrix), *[StudentT(matrix, nu) for nu in (0.5, 1.0, 4.0, 300.0)]]


@pytest.mark.parametrize("index", range(5))
def test_medians_have_the_orthant_probability(index: int):
    """It is the same for every elliptical distribution."""
    medians = torch.full((3,), 0.5, **DOUBLE).log()
    pair = both(MATRIX[:2, :2])[index].log_cdf(medians[:2]).exp()
    assert float(pair) == pytest.approx(0.25 + math.asin(0.7) / (2.0 * math.pi), abs=1e-12)
    triple = both(MATRIX)[index].log_cdf(medians).exp()
    angles = math.asin(0.7) + math.asin(-0.3) + math.asin(0.1)
    assert float(triple) == pytest.approx(0.125 + angles / (4.0 * math.pi), abs=1e-12)


def exact_student_pair(nu: str, rho: str, log_u: tuple[float, float]) -> float:
    """Log C(u, v) by mpmath: one quadrature of incomplete betas, in panels about every turn."""
    with mp.workdps(40):
        n, r = mp.mpf(nu), mp.mpf(rho)

        def cdf(df, y):
            tail = mp.betainc(df / 2, mp.mpf(1) / 2, 0, mp.sech(y) ** 2, regularized=True) / 2
            return tail if y < 0 else 1 - tail

        ys = []
        for log_p in log_u:
            goal, low, high = mp.mpf(log_p), mp.mpf(-3000), mp.mpf(3000)
            for _ in range(160):
                middle = (low + high) / 2
                low, high = (middle, high) if mp.log(cdf(n, middle)) < goal else (low, middle)
            ys.append(low)
        one, other = ys
        spread = mp.sqrt(1 - r * r)

        def integrand(y):
            residual = (mp.sinh(other) - r * mp.sinh(y)) / (spread * mp.cosh(y))
            return mp.sech(y) ** n * cdf(n + 1, mp.asinh(residual))

        reach, median = max(abs(one), abs(other)) + 120 / n, mp.asinh(mp.sinh(other) / r)
        shifts = (-20, -8, -4, -2, -1, 0, 1, 2, 4, 8, 20)
        turns = [p + shift for p in (one, other, -other, median, mp.mpf(0)) for shift in shifts]
        places = sorted({-reach, one, *[p for p in turns if -reach < p < one]})
        return float(mp.log(mp.quad(integrand, places) / mp.beta(n / 2, mp.mpf(1) / 2)))


@pytest.mark.parametrize(
    ("nu", "rho", "log_u"),
    [
        ("4", "0.5", (-1.0, -2.0)),
        ("1", "-0.75", (-30.0, -25.0)),
        ("4", "0.75", (-300.0, -310.0)),
        ("2.5", "-0.5", (-300.0, -0.1)),
        ("30", "-0.75", (-40.0, -3.0)),
    ],
)
def test_pairs_keep_relative_precision_in_the_far_tails(nu: str, rho: str, log_u: tuple[float, float]):
    copula = StudentT(equal(2, float(rho)), float(nu))
    found = float(copula.log_cdf(torch.tensor(log_u, **DOUBLE)))
    assert found == pytest.approx(exact_student_pair(nu, rho, log_u), rel=1e-10, abs=1e-10)


def test_triples_keep_relative_precision_in_the_far_tails():
    """The probability that all three are extreme tends to a constant times each one's, whatever the scale."""
    copula = StudentT(MATRIX, torch.tensor(3.0, **DOUBLE))
    ratio = copula.log_cdf(torch.tensor([[-60.0] * 3, [-300.0] * 3], **DOUBLE)) + torch.tensor([60.0, 300.0])
    assert float(ratio[1] - ratio[0]) == pytest.approx(0.0, abs=1e-10)
    assert float(ratio[0]) > -12.0


@pytest.mark.parametrize("dim", [2, 3])
def test_derivatives_in_df_and_correlation_match_differences(dim: int):
    log_u = torch.tensor([[-0.3, -1.5, -0.9], [-6.0, -4.0, -5.0]], **DOUBLE)[:, :dim]
    df = torch.tensor(3.5, **DOUBLE, requires_grad=True)
    matrix = MATRIX[:dim, :dim].clone().requires_grad_()

    def value(df, matrix):
        return StudentT(matrix, df).log_cdf(log_u).sum()

    by_df, by_matrix = torch.autograd.grad(value(df, matrix), (df, matrix))
    step, move = 1e-5, torch.zeros_like(MATRIX[:dim, :dim])
    move[0, 1] = move[1, 0] = step
    with torch.no_grad():
        slope = (value(df + step, matrix) - value(df - step, matrix)) / (2.0 * step)
        turn = (value(df, matrix + move) - value(df, matrix - move)) / (2.0 * step)
    assert float(by_df) == pytest.approx(float(slope), rel=1e-6)  # the differences' own error
    assert float(by_matrix[0, 1] + by_matrix[1, 0]) == pytest.approx(float(turn), rel=1e-6)


def test_a_second_derivative_in_df_is_refused():
    df = torch.tensor(3.5, **DOUBLE, requires_grad=True)
    value = StudentT(equal(2, 0.3), df).log_cdf(torch.tensor([-1.0, -2.0], **DOUBLE))
    (slope,) = torch.autograd.grad(value, df, create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivatives of a joint CDF"):
        torch.autograd.grad(slope, df)


def test_points_in_pieces_equal_points_at_once(monkeypatch):
    df = torch.linspace(1.0, 9.0, 7, **DOUBLE)
    log_u = -torch.empty(3, 7, 2, **DOUBLE).exponential_(generator=torch.Generator().manual_seed(0))
    whole = StudentT(equal(2, 0.4), df).log_cdf(log_u)
    monkeypatch.setattr("sklar.copulas.student_joint._AT_ONCE", 1000)
    torch.testing.assert_close(StudentT(equal(2, 0.4), df).log_cdf(log_u), whole, rtol=1e-14, atol=0)


@pytest.mark.parametrize("index", range(5))
@pytest.mark.parametrize("dim", [4, 5])
def test_beyond_three_the_error_is_reported_and_true(index: int, dim: int):
    """Equal correlations of one half give medians the probability 1 / (dim + 1)."""
    copula = both(equal(dim, 0.5))[index]
    value, error = copula.log_cdf_with_error(torch.full((dim,), 0.5, **DOUBLE).log())
    gap = abs(float(value) + math.log(dim + 1.0))
    assert gap < 5.0 * float(error)  # normal would be 4; eight scrambles estimate the error to a quarter
    assert float(error) < 1e-3
    assert float(copula.log_cdf(torch.full((dim,), 0.5, **DOUBLE).log())) == pytest.approx(
        -math.log(dim + 1.0), abs=20.0 * float(error)
    )


def test_more_scrambles_and_another_seed_change_the_estimate_within_its_error():
    copula, log_u = StudentT(equal(4, 0.3), 3.0), torch.tensor([-1.0, -0.4, -3.0, -0.7], **DOUBLE)
    one, first_error = copula.log_cdf_with_error(log_u)
    again, _ = copula.log_cdf_with_error(log_u)
    other, second_error = copula.log_cdf_with_error(log_u, scrambles=16, seed=100)
    assert float(one) == float(again)
    assert 0.0 < abs(float(one - other)) < 5.0 * math.hypot(float(first_error), float(second_error))


def test_up_to_three_the_error_is_zero():
    log_u = torch.tensor([-1.0, -2.0, -0.5], **DOUBLE)
    value, error = Gaussian(MATRIX).log_cdf_with_error(log_u)
    assert float(error) == 0.0
    torch.testing.assert_close(value, Gaussian(MATRIX).log_cdf(log_u))


def test_an_error_needs_two_scrambles():
    with pytest.raises(ValueError, match="at least 2 scrambles, got 1"):
        Gaussian(equal(4, 0.5)).log_cdf_with_error(torch.full((4,), -1.0), scrambles=1)


@pytest.mark.parametrize("index", range(5))
def test_joint_conditional_of_two_is_exact_at_both_ends(index: int):
    """Where h is next to one, 1 - h is next to the sum of the two separate tails."""
    copula = both(equal(3, 0.2))[index]
    log_sf = torch.tensor([-0.7, -40.0, -45.0], **DOUBLE)
    log_u = torch.log1p(-torch.exp(log_sf))
    log_h, log_h_sf = copula.conditional_log_cdf(log_u, (1, 2), (0,), log_sf)
    tails = [copula.conditional_log_cdf(log_u, k, (0,), log_sf)[1] for k in (1, 2)]
    assert float(log_h) > -1e-12
    low, high = float(max(tails)), float(torch.logaddexp(*tails))
    assert low < float(log_h_sf) <= high + 1e-9


def test_given_nothing_the_conditional_is_the_margin():
    log_u = torch.tensor([-1.0, -2.0, -0.5], **DOUBLE)
    for copula in both(MATRIX):
        log_h, _ = copula.conditional_log_cdf(log_u, 1, ())
        assert float(log_h) == pytest.approx(-2.0, abs=1e-13)
        log_h, _ = copula.conditional_log_cdf(log_u, (0, 1), ())
        assert float(log_h) == pytest.approx(float(copula.marginal((0, 1)).log_cdf(log_u[:2])), abs=1e-12)
