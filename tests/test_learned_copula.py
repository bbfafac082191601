"""Learned copulas: where they start, what caps them, what they refuse; and what each family's domain is."""

import math

import pytest
import torch

from sklar.copulas import AMH, BB1, FAMILIES, Clayton, Frank, Gaussian, Gumbel, Independence, LearnedCopula

LEARNABLE = [name for name, kind in FAMILIES.items() if kind.tau_range[1] > 0]


@pytest.mark.parametrize("family", LEARNABLE)
@pytest.mark.parametrize("dim", [2, 3, 4])
@pytest.mark.parametrize("batch_shape", [(), (5,)])
def test_starts_at_its_tau(family: str, dim: int, batch_shape: tuple[int, ...]):
    learned = LearnedCopula(family, dim, batch_shape)
    tau = learned().kendall_tau()
    expected = min(0.35, 0.8 * FAMILIES[family].tau_range[1])
    torch.testing.assert_close(tau, torch.full(batch_shape, expected), rtol=1e-5, atol=1e-6)
    learned.set_tau(0.5 * expected)
    torch.testing.assert_close(
        learned().kendall_tau(), torch.full(batch_shape, 0.5 * expected), rtol=1e-5, atol=1e-6
    )


def test_independence_has_nothing_to_learn():
    learned = LearnedCopula("independence", 3)
    assert sum(p.numel() for p in learned.parameters()) == 0
    assert isinstance(learned(), Independence)


@pytest.mark.parametrize("family", LEARNABLE)
def test_tau_stays_below_its_cap(family: str):
    cap = 0.6 * FAMILIES[family].tau_range[1]
    learned = LearnedCopula(family, 3, init_tau=0.5 * cap, max_tau=cap)
    with torch.no_grad():
        learned.raw.fill_(50.0)
    tau = learned().kendall_tau()
    assert 0.6 * cap < tau.item() <= cap + 1e-5
    free = LearnedCopula(family, 2, max_tau=None)
    with torch.no_grad():
        free.raw.fill_(3.0)
    assert free().kendall_tau().item() > LearnedCopula(family, 2, init_tau=0.01)().kendall_tau().item()


@pytest.mark.parametrize("family", LEARNABLE)
def test_takes_over_an_estimate(family: str):
    truth = FAMILIES[family].from_tau(torch.tensor(0.5 * FAMILIES[family].tau_range[1]), 3)
    log_u = truth.rsample_log((2000,), torch.Generator().manual_seed(0)).detach()
    learned = LearnedCopula(family, 3)
    estimate = FAMILIES[family].estimate(log_u)
    learned.assign(estimate)
    torch.testing.assert_close(learned().kendall_tau(), estimate.kendall_tau(), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"3 modalities, got \w+ with 2"):
        learned.assign(truth.marginal((0, 1)))


@pytest.mark.parametrize("family", LEARNABLE)
def test_learns_by_gradient_and_freezes(family: str):
    kind = FAMILIES[family]
    truth = kind.from_tau(torch.tensor(0.6 * kind.tau_range[1]), 2)
    log_u = truth.rsample_log((1000,), torch.Generator().manual_seed(1)).detach()
    learned = LearnedCopula(family, 2)
    optimiser = torch.optim.Adam(learned.parameters(), lr=0.1)
    for _ in range(100):
        optimiser.zero_grad()
        (-learned().log_density(log_u).mean()).backward()
        optimiser.step()
    tau = learned().kendall_tau().item()
    assert tau == pytest.approx(truth.kendall_tau().item(), abs=0.05)  # 3 standard errors of 1000 rows
    learned.requires_grad_(False)
    assert not learned().log_density(log_u).requires_grad
    again = LearnedCopula(family, 2)
    again.load_state_dict(learned.state_dict())
    assert again().kendall_tau().item() == pytest.approx(tau)


def test_eta_keeps_its_digits_in_single_precision():
    learned = LearnedCopula("gumbel", 2, init_tau=1e-6)
    assert learned().eta.item() == pytest.approx(1e-6, rel=1e-5)


def test_unknown_family_is_named():
    with pytest.raises(ValueError, match=r"no copula family 'vine'; there are .*gaussian"):
        LearnedCopula("vine", 2)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Gumbel(0.4), r"theta >= 1 .* got 0\.4.*Frank and Gaussian do"),
        (lambda: Gumbel(float("nan")), "theta >= 1 .* got nan"),
        (lambda: Gumbel(), "theta or eta"),
        (lambda: Gumbel(2.0, dim=1), "dim >= 2"),
        (lambda: Gumbel.from_tau(-0.2, 2), "negative dependence.*Gaussian"),
        (lambda: AMH(1.0), r"-1 <= theta < 1 .* for 2 modalities, got 1\..*Clayton and Frank"),
        (lambda: AMH(-0.5, dim=3), r"0 <= theta < 1 .* for 3 modalities, got -0\.5"),
        (lambda: AMH(odds=-2.0), "theta < 1"),
        (lambda: AMH(), "theta or odds"),
        (lambda: AMH.from_tau(0.4, 2), r"between -0\.18\d+ and 0\.333.*Frank"),
        (lambda: BB1(-0.5, 2.0), r"theta >= 0 and delta >= 1 .* got theta = -0\.5.*Frank and Gaussian do"),
        (lambda: BB1(1.0, 0.5), r"got delta = 0\.5"),
        (lambda: BB1(1.0), "delta or eta"),
        (lambda: BB1.from_tau(-0.1, 3), "Gaussian"),
        (lambda: Clayton(-0.1, dim=3), r"theta >= 0 .* for 3 modalities, got -0\.1.*Gaussian"),
        (lambda: Clayton(-1.0), "theta > -1 serves"),
        (lambda: Clayton.from_tau(-0.2, 3), "Gaussian"),
        (lambda: Frank(-2.0, dim=3), r"theta >= 0 .* for 3 modalities, got -2.*Gaussian"),
        (lambda: Frank(float("inf")), "got inf"),
        (lambda: Frank.from_tau(1.0, 2), "between -1 and 1"),
        (lambda: Gaussian(torch.tensor([[1.0, 1.5], [1.5, 1.0]])), r"smallest eigenvalue is -0\.5"),
        (lambda: Gaussian(torch.tensor([[2.0, 0.5], [0.5, 1.0]])), "ones on its diagonal"),
        (lambda: Gaussian(torch.zeros(2, 3)), r"square, got shape \(2, 3\)"),
        (lambda: Gaussian(), "correlation matrix or its Cholesky"),
        (lambda: Gaussian.from_tau(-0.5, 3), r"between -0\.333 and 1"),
        (lambda: Independence.from_tau(0.1, 2), "tau = 0, got"),
    ],
)
def test_parameters_outside_the_domain_are_named(build, message: str):
    with pytest.raises(ValueError, match=message):
        build()


def test_estimates_of_contradicting_scores_are_made_positive_definite():
    u = torch.rand(50, 2, generator=torch.Generator().manual_seed(2))
    log_u = torch.cat([u, u[:, :1]], -1).log()  # two modalities are one
    found = Gaussian.estimate(log_u)
    assert torch.linalg.eigvalsh(found.correlation).min().item() > 0
    assert found.correlation[0, 2].item() == pytest.approx(1.0, abs=1e-3)


def test_second_derivative_through_a_numeric_inverse_is_refused():
    theta = torch.tensor(2.0, requires_grad=True)
    log_u = Gumbel(theta).conditional_icdf(torch.tensor(math.log(0.3)), 1, {0: torch.tensor(-1.0)})
    (slope,) = torch.autograd.grad(log_u, theta, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.backward()


def test_boundary_limits_that_exist_are_returned():
    u = torch.tensor([[0.0, 0.4], [1.0, 0.4]], dtype=torch.float64)
    double = {"dtype": torch.float64}
    assert Gumbel(torch.tensor(1.0, **double)).log_prob(u).tolist() == [0.0, 0.0]
    assert Gumbel(torch.tensor(2.0, **double)).log_prob(u).tolist() == [-math.inf, -math.inf]
    near = torch.tensor([[1e-14, 0.4], [1.0 - 1e-14, 0.4]], dtype=torch.float64)
    frank = Frank(torch.tensor(5.0, **double))
    torch.testing.assert_close(frank.log_prob(u), frank.log_prob(near), rtol=1e-10, atol=1e-10)
    apart = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.5], [0.0, 0.5, 1.0]], **double)
    u = torch.tensor([[0.0, 0.4, 0.3], [0.5, 0.0, 0.3]], dtype=torch.float64)
    value = Gaussian(apart).log_prob(u)
    torch.testing.assert_close(value[0], Gaussian(apart[1:, 1:]).log_prob(u[0, 1:]))
    assert value[1] == -math.inf
