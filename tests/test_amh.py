"""What the family of Ali, Mikhail and Haq alone has: two ends, one of which is a Clayton copula."""

import pytest
import torch

from sklar.copulas import AMH, Clayton

DOUBLE = {"dtype": torch.float64}


def test_next_to_one_it_is_clayton_with_theta_one():
    high, limit = AMH(odds=torch.tensor(1e40, **DOUBLE), dim=3), Clayton(torch.tensor(1.0, **DOUBLE), dim=3)
    # Its limit is reached where u is far above 1 - theta.
    log_u = torch.tensor([[-0.1, -0.7, -3.0], [-1e-8, -40.0, -0.5]], **DOUBLE)
    torch.testing.assert_close(high.log_density(log_u), limit.log_density(log_u), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(high.log_cdf(log_u), limit.log_cdf(log_u), rtol=1e-10, atol=1e-10)


def test_odds_keep_the_digits_that_theta_loses_next_to_one():
    # Where u and v are far below 1 - theta, the density is 1 / (1 - theta).
    odds = torch.tensor(1e20, **DOUBLE, requires_grad=True)
    value = AMH(odds=odds).log_density(torch.tensor([-100.0, -100.0], **DOUBLE))
    torch.testing.assert_close(value.detach(), torch.log(odds.detach()))
    (slope,) = torch.autograd.grad(value, odds)
    assert slope.item() == pytest.approx(1e-20, rel=1e-9)


def test_the_slope_in_theta_is_finite_next_to_one():
    theta = torch.tensor(1.0 - 1e-12, **DOUBLE, requires_grad=True)
    log_u = torch.tensor([-0.3, -1.2], **DOUBLE)
    (slope,) = torch.autograd.grad(AMH(theta).log_density(log_u), theta)
    u, v = log_u.exp()
    # c = (D_u D_v + theta u v) / N^3 with D = 1 - theta (1-u), N = 1 - theta (1-u)(1-v), differentiated at 1.
    n, s = u + v - u * v, (1.0 - u) * (1.0 - v)
    by_numerator = -(1.0 - u) * v - (1.0 - v) * u + u * v
    torch.testing.assert_close(slope, by_numerator / (2.0 * u * v) + 3.0 * s / n, rtol=1e-9, atol=0)


def test_at_its_lowest_the_density_vanishes_where_both_are_one():
    lowest = AMH(torch.tensor(-1.0, **DOUBLE))
    near = torch.tensor([[-1e-10, -2e-10]], **DOUBLE)
    torch.testing.assert_close(lowest.log_density(near), torch.log(-2.0 * near.sum(-1)), rtol=1e-9, atol=0)
    assert lowest.log_prob(torch.ones(2, **DOUBLE)) == -torch.inf


def test_on_the_faces_the_density_has_its_limit():
    copula = AMH(torch.tensor(0.7, **DOUBLE))
    u = torch.tensor([[0.0, 0.4], [1.0, 0.4], [1.0, 0.0]], **DOUBLE)
    near = u.clamp(1e-15, 1.0 - 1e-15)
    torch.testing.assert_close(copula.log_prob(u), copula.log_prob(near), rtol=1e-12, atol=1e-12)


def test_a_cap_holds_on_both_sides_and_beyond_the_reach_caps_nothing():
    raw = torch.tensor([8.0], **DOUBLE)
    assert AMH.from_raw(raw, 3, 0.95).theta.item() == pytest.approx(torch.sigmoid(raw[0]).item(), rel=1e-12)
    assert AMH.from_raw(raw, 2, 0.95).theta.item() == pytest.approx(torch.tanh(raw[0] / 2).item(), rel=1e-12)
    torch.testing.assert_close(AMH.from_raw(raw, 2, 0.95).to_raw(0.95), raw)
    raw = torch.tensor([2.0], **DOUBLE)
    below = AMH.from_raw(-raw, 2, 0.1)
    assert -0.1 < below.kendall_tau().item() < 0
    torch.testing.assert_close(below.to_raw(0.1), -raw)
