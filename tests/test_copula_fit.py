"""Fitting every family of the table to samples of known truth, and ranks."""

import pytest
import torch
from scipy.stats import rankdata

from sklar.copulas import FAMILIES, Clayton, Gaussian, Gumbel, pseudo_observations
from sklar.copulas.ascent import maximise

LEARNABLE = [name for name, family in FAMILIES.items() if family.tau_range[1] > 0]


def truth(family: str, dim: int = 3):
    kind = FAMILIES[family]
    return kind.from_tau(torch.tensor(0.5 * kind.tau_range[1], dtype=torch.float64), dim)


def mean_log_density(copula, u: torch.Tensor) -> float:
    return float(copula.log_density(u.log(), torch.log1p(-u)).mean())


@pytest.mark.parametrize("family", LEARNABLE)
@pytest.mark.parametrize("method", ["mle", "itau"])
def test_known_truth_is_recovered(family: str, method: str):
    true = truth(family)
    u = true.sample((4000,), torch.Generator().manual_seed(0))
    fitted = FAMILIES[family].fit(u, method)
    # The standard error of a sample's tau is about 2/3 of n^-1/2 at tau = 0, less for more dependence.
    assert float(fitted.kendall_tau()) == pytest.approx(float(true.kendall_tau()), abs=4 * 0.67 / 4000**0.5)


@pytest.mark.parametrize("family", LEARNABLE)
def test_maximum_likelihood_is_a_maximum(family: str):
    u = truth(family).sample((500,), torch.Generator().manual_seed(1))
    kind = FAMILIES[family]
    fitted = kind.fit(u)
    best = mean_log_density(fitted, u)
    assert best >= mean_log_density(truth(family), u)
    assert best >= mean_log_density(kind.fit(u, "itau"), u) - 1e-12
    raw = fitted.to_raw(None).requires_grad_()
    value = kind.from_raw(raw, 3, None).log_density(u.log(), torch.log1p(-u)).mean()
    (slope,) = torch.autograd.grad(value, raw)
    assert float(slope.abs().max()) < 1e-6


def test_a_likelihood_whose_support_moves_is_climbed_inside_it():
    # tau alone would take Clayton to a theta under which most of these rows are impossible
    generator = torch.Generator().manual_seed(4)
    x, noise = torch.randn(2, 200, dtype=torch.float64, generator=generator)
    u = pseudo_observations(torch.stack([x, 1.5 * noise - x], -1))
    assert mean_log_density(Clayton.fit(u, "itau"), u) == -torch.inf
    grid = Clayton(torch.linspace(-0.49, 0.0, 50, dtype=torch.float64).unsqueeze(-1))
    best = grid.log_density(u.log(), torch.log1p(-u)).mean(-1).max()
    assert float(best) <= mean_log_density(Clayton.fit(u), u) < float(best) + 1e-3


def test_a_fit_to_the_edge_of_a_support_says_so():
    u = Clayton(torch.tensor(-0.7, dtype=torch.float64)).sample((60,), torch.Generator().manual_seed(6))
    with pytest.warns(UserWarning, match=r'theta = -0\.7.*no maximum.*method="itau"'):
        Clayton.fit(u)
    assert float(Clayton.fit(u, "itau").theta) == pytest.approx(-0.7, abs=0.1)


@pytest.mark.parametrize("family", ["gumbel", "clayton", "frank", "joe", "bb1", "gaussian", "student_t"])
def test_a_likelihood_without_maximum_is_refused(family: str):
    x = torch.randn(30, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    u = pseudo_observations(torch.stack([x, x.exp()], -1))
    with pytest.raises(ValueError, match="carry one variable"):
        FAMILIES[family].fit(u)
    assert float(FAMILIES[family].fit(u, "itau").kendall_tau()) > 0.95


def test_each_element_of_a_batch_is_fitted_on_its_own():
    true = Gumbel(torch.tensor([1.2, 2.0, 4.0], dtype=torch.float64), dim=2)
    u = true.sample((1000,), torch.Generator().manual_seed(2))
    together = Gumbel.fit(u)
    for j in range(3):
        alone = Gumbel.fit(u[:, j])
        torch.testing.assert_close(together.theta[j], alone.theta, rtol=1e-6, atol=0)


def test_many_functions_are_climbed_side_by_side_and_inside_their_walls():
    a = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64)

    def valley(point: torch.Tensor) -> torch.Tensor:  # Rosenbrock's, and nothing beyond x = 2.5
        x, y = point.unbind(-1)
        value = -((a - x) ** 2) - 10.0 * (y - x * x) ** 2
        return torch.where(x < 2.5, value, torch.nan)

    found = maximise(valley, torch.zeros(3, 2, dtype=torch.float64))
    torch.testing.assert_close(found, torch.stack([a, a * a], -1), rtol=0, atol=1e-8)


def test_a_fit_keeps_the_type_of_its_data():
    u = truth("gaussian").sample((50,), torch.Generator().manual_seed(3)).float()
    assert Gaussian.fit(u).correlation.dtype == torch.float32


def test_what_cannot_be_fitted_is_named():
    u = torch.full((4, 2), 0.5)
    with pytest.raises(ValueError, match="mle, itau"):
        Gumbel.fit(u, "moments")
    with pytest.raises(ValueError, match=r"1\.0.*pseudo_observations"):
        Gumbel.fit(torch.tensor([[0.5, 0.5], [1.0, 0.5]]))
    with pytest.raises(ValueError, match="at least 2 rows"):
        Gumbel.fit(u[:1])
    with pytest.raises(ValueError, match="NaN"):
        pseudo_observations(torch.tensor([0.1, float("nan")]))


def test_pseudo_observations_are_mean_ranks():
    x = torch.tensor([[3.0, 1.0], [1.0, 1.0], [2.0, 5.0], [1.0, 0.0]])
    expected = torch.from_numpy(rankdata(x.numpy(), axis=0) / 5).float()
    torch.testing.assert_close(pseudo_observations(x), expected)
