"""What the BB1 family alone has: two parameters, each of which alone is another family."""

import pytest
import torch

from sklar.copulas import BB1, Clayton, Gumbel, LearnedCopula

DOUBLE = {"dtype": torch.float64}
LOG_U = torch.tensor([[-0.1, -0.7, -3.0], [-1e-8, -40.0, -0.5], [-2.0, -2.0, -1e-3]], **DOUBLE)


@pytest.mark.parametrize("theta", [1e-6, 0.3, 5.0])
def test_delta_one_is_clayton(theta: float):
    theta = torch.tensor(theta, **DOUBLE)
    one, other = BB1(theta, torch.tensor(1.0, **DOUBLE), dim=3), Clayton(theta, dim=3)
    torch.testing.assert_close(one.log_density(LOG_U), other.log_density(LOG_U), rtol=1e-13, atol=1e-13)
    for known in ((0,), (0, 1)):
        found = one.conditional_log_cdf(LOG_U, 2, known)
        torch.testing.assert_close(found, other.conditional_log_cdf(LOG_U, 2, known), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("delta", [1.0, 1.2, 6.0])
def test_theta_zero_is_gumbel(delta: float):
    delta = torch.tensor(delta, **DOUBLE)
    one, other = BB1(torch.tensor(0.0, **DOUBLE), delta, dim=3), Gumbel(delta, dim=3)
    torch.testing.assert_close(one.log_density(LOG_U), other.log_density(LOG_U), rtol=1e-13, atol=1e-13)
    for known in ((0,), (0, 1)):
        found = one.conditional_log_cdf(LOG_U, 2, known)
        torch.testing.assert_close(found, other.conditional_log_cdf(LOG_U, 2, known), rtol=1e-13, atol=1e-13)


def test_at_delta_one_no_power_underflows_in_single_precision():
    copula = BB1(torch.tensor(0.5), torch.tensor(1.0), dim=3)
    value = copula.log_density(torch.full((3,), -1e-30))
    # Clayton at u = 1: log of the product of 1 + k theta.
    assert value.item() == pytest.approx(torch.tensor(1.5 * 2.0).log().item(), rel=1e-4)


def test_from_tau_gives_both_parts_the_same_share():
    copula = BB1.from_tau(torch.tensor(0.6, **DOUBLE), 2)
    torch.testing.assert_close(copula.delta, 1.0 + 0.5 * copula.theta)
    assert all(float(tail) > 0.1 for tail in copula.tail_dependence())


@pytest.mark.parametrize(("theta", "delta"), [(3.0, 1.1), (0.1, 2.5), (1.0, 1.5)])
def test_the_likelihood_finds_the_split(theta: float, delta: float):
    true = BB1(torch.tensor(theta, **DOUBLE), torch.tensor(delta, **DOUBLE))
    log_u = true.rsample_log((4000,), torch.Generator().manual_seed(0))
    found = BB1.estimate(log_u)
    for tail, expected in zip(found.tail_dependence(), true.tail_dependence(), strict=True):
        assert float(tail) == pytest.approx(float(expected), abs=0.08)  # 2 cells of the grid, and the sample


def test_the_cap_keeps_the_split():
    learned = LearnedCopula("bb1", 3, max_tau=0.6)
    strong = BB1(torch.tensor(8.0), torch.tensor(5.0**0.5), dim=3)  # log(1 + theta/2) = 2 log delta
    learned.assign(strong)
    copula = learned()
    assert copula.kendall_tau().item() == pytest.approx(0.6, abs=0.01)
    ratio = torch.log1p(0.5 * copula.theta) / torch.log(copula.delta)
    assert ratio.item() == pytest.approx(2.0, rel=1e-4)


def test_estimates_leave_the_boundary_aside():
    u = BB1(torch.tensor(1.0), torch.tensor(1.5)).sample((500,), torch.Generator().manual_seed(0))
    clean = BB1.estimate(u.log())
    u = torch.cat([u, torch.tensor([[0.0, 0.0], [1.0, 1.0]])])
    touched = BB1.estimate(u.log(), torch.log1p(-u))
    assert float(touched.theta) == pytest.approx(float(clean.theta), rel=0.1)
