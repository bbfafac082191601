"""What the Clayton family alone has: a support that ends, two signs, samples at any strength."""

import pytest
import torch

from sklar.copulas import Clayton, LearnedCopula

DOUBLE = {"dtype": torch.float64}
OUTSIDE = torch.tensor([[0.1, 0.05], [0.3, 1e-4]], **DOUBLE)  # u^.4 + v^.4 < 1


def test_beyond_its_support_the_density_is_zero_and_flat():
    theta = torch.tensor(-0.4, **DOUBLE, requires_grad=True)
    log_u = OUTSIDE.log().requires_grad_()
    value = Clayton(theta).log_density(log_u)
    assert value.tolist() == [-torch.inf, -torch.inf]
    by_theta, by_u = torch.autograd.grad(value.sum(), (theta, log_u))
    assert by_theta == 0
    assert torch.equal(by_u, torch.zeros(2, 2, **DOUBLE))


def test_beyond_its_support_probabilities_are_zero():
    copula = Clayton(torch.tensor(-0.4, **DOUBLE))
    assert copula.cdf(OUTSIDE).tolist() == [0.0, 0.0]
    log_h, log_h_sf = copula.conditional_log_cdf(OUTSIDE.log(), 1, (0,))
    assert log_h.tolist() == [-torch.inf, -torch.inf]
    assert log_h_sf.tolist() == [0.0, 0.0]


def test_negative_samples_stay_inside_the_support():
    u = Clayton(torch.tensor(-0.9, **DOUBLE)).sample((1000,), torch.Generator().manual_seed(0))
    # Next to the boundary, rounding of u moves the sum by a few units in the last place.
    assert bool((u.pow(0.9).sum(-1) > 1.0 - 1e-14).all())


@pytest.mark.parametrize("dim", [2, 3, 4])
def test_at_independence_the_slope_in_theta_is_the_score_of_logs(dim: int):
    # d log c / d theta at 0 is the sum over pairs of (1 + log u)(1 + log v).
    theta = torch.tensor(0.0, **DOUBLE, requires_grad=True)
    log_u = torch.tensor([-0.1, -0.7, -3.0, -40.0], **DOUBLE)[:dim]
    (slope,) = torch.autograd.grad(Clayton(theta, dim).log_density(log_u), theta)
    score = 1.0 + log_u
    expected = 0.5 * (score.sum() ** 2 - score.square().sum())
    torch.testing.assert_close(slope, expected, rtol=1e-13, atol=1e-14)  # rounding of the sum


def test_a_batch_may_mix_signs():
    theta = torch.tensor([-0.5, 0.0, 1e-9, 0.05, 3.0], **DOUBLE)
    log_u = torch.tensor([-0.4, -0.2], **DOUBLE)
    mixed = Clayton(theta)
    for j in range(5):
        alone = Clayton(theta[j])
        torch.testing.assert_close(mixed.log_density(log_u)[j], alone.log_density(log_u))
        torch.testing.assert_close(mixed.log_cdf(log_u)[j], alone.log_cdf(log_u))


@pytest.mark.parametrize("theta", [0.0, 1e-6, 100.0])
def test_samples_underflow_at_no_strength(theta: float):
    copula = Clayton(torch.tensor(theta), dim=3)
    log_u = copula.rsample_log((20_000,), torch.Generator().manual_seed(0))
    assert bool((torch.isfinite(log_u) & (log_u < 0)).all())


def test_two_modalities_learn_negative_dependence_below_the_cap():
    learned = LearnedCopula("clayton", 2, init_tau=-0.3, max_tau=0.6)
    assert learned().kendall_tau().item() == pytest.approx(-0.3, abs=1e-6)
    with torch.no_grad():
        learned.raw.fill_(-50.0)
    assert -0.6 - 1e-6 <= learned().kendall_tau().item() < -0.4


def test_on_the_faces_where_u_is_one_the_density_has_its_limit():
    copula = Clayton(torch.tensor(2.0, **DOUBLE))
    u = torch.tensor([[1.0, 0.4], [1.0, 1.0], [0.0, 0.4]], **DOUBLE)  # the last sets boundary points apart
    near = torch.tensor([[1.0 - 1e-14, 0.4], [1.0 - 1e-14, 1.0 - 1e-14]], **DOUBLE)
    value = copula.log_prob(u)
    torch.testing.assert_close(value[:2], copula.log_prob(near), rtol=1e-12, atol=1e-12)
    assert value[2] == -torch.inf
