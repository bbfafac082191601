"""The Joe family where its formulas have a removable singularity or lose their digits."""

import mpmath as mp
import pytest
import torch

from sklar.copulas import Joe

ETAS = (1e-9, 1e-3, 0.5, 0.9999, 1.0, 1.0001, 5.0, 199.0)


def tau_by_digamma(eta: float) -> mp.mpf:
    theta = 1 + mp.mpf(eta)
    if theta == 2:
        return 1 - mp.psi(1, 2)
    return 1 + 2 / (2 - theta) * (mp.psi(0, 2) - mp.psi(0, 2 / theta + 1))


@pytest.mark.parametrize("eta", ETAS)
def test_tau_is_the_digamma_formula_to_the_last_digit(eta: float):
    found = float(Joe(eta=torch.tensor(eta, dtype=torch.float64)).kendall_tau())
    with mp.workdps(40):
        expected = float(tau_by_digamma(eta))
    assert found == pytest.approx(expected, rel=1e-15 * 4, abs=0)  # a few roundings


@pytest.mark.parametrize("eta", ETAS)
def test_the_strength_of_a_tau_is_found_next_to_both_ends(eta: float):
    tau = Joe(eta=torch.tensor(eta, dtype=torch.float64)).kendall_tau()
    # 1 - tau falls like 2 / theta, which costs that many digits at the far end.
    assert float(Joe.strength_of_tau(tau)) == pytest.approx(eta, rel=1e-15 * (4 + eta), abs=0)


def test_the_strength_differentiates_in_tau():
    tau = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Joe.strength_of_tau, (tau,))


def conditional(theta: mp.mpf, log_u: list[float]) -> tuple[mp.mpf, mp.mpf]:
    """(log h, log(1-h)) of the last modality given one or two others, from ratios of psi's derivatives."""
    power = [(-mp.expm1(mp.mpf(value))) ** theta for value in log_u]
    alpha, size = 1 / theta, len(log_u) - 1

    def generator(values: list[mp.mpf]) -> mp.mpf:
        h = mp.fprod(1 - value for value in values)
        total = h * (1 - h) ** (alpha - size)
        return total if size == 1 else total * (1 - h + (1 - alpha) * h)

    h = generator(power) / generator(power[:-1])
    return mp.log(h), mp.log(1 - h)


@pytest.mark.parametrize(
    "dtype", [pytest.param(torch.float64, id="float64"), pytest.param(torch.float32, id="float32")]
)
@pytest.mark.parametrize("theta", [1.5, 30.0, 100.0])
def test_both_tails_of_the_conditional_survive_next_to_one(theta: float, dtype: torch.dtype):
    near = torch.tensor([-1e-25, -1.1e-25, -0.3], dtype=dtype)
    points = torch.cartesian_prod(near, near, near)
    # theta log(1-u), with log(1-u) near -58, carries that many roundings of its own.
    tolerance = (64 + 58 * theta) * torch.finfo(dtype).eps
    for size in (2, 3):
        log_u = points[:9, 1:] if size == 2 else points
        copula = Joe(torch.tensor(theta, dtype=dtype), dim=size)
        found = copula.conditional_log_cdf(log_u, size - 1, tuple(range(size - 1)))
        with mp.workdps(int(60 + 30 * theta)):
            expected = [conditional(mp.mpf(float(copula.theta)), row) for row in log_u.tolist()]
        for part, reference in zip(found, zip(*expected, strict=True), strict=True):
            wanted = torch.tensor([float(value) for value in reference], dtype=torch.float64)
            assert float(((part.double() - wanted).abs() / (1.0 + wanted.abs())).max()) <= tolerance


@pytest.mark.parametrize("dim", [2, 3, 4])
def test_independence_is_exact_however_near_to_one(dim: int):
    log_sf = torch.full((1, dim), -150.0, requires_grad=True)
    copula = Joe(eta=torch.tensor(0.0), dim=dim)
    value = copula.log_density(torch.zeros(1, dim), log_sf)
    assert float(value.detach()) == 0.0
    assert bool((torch.autograd.grad(value.sum(), log_sf)[0] == 0).all())


def test_the_density_has_its_limit_at_zero():
    v = torch.tensor([0.2, 0.7], dtype=torch.float64)
    found = Joe(torch.tensor(3.0, dtype=torch.float64)).log_prob(torch.stack([torch.zeros_like(v), v], -1))
    torch.testing.assert_close(found.exp(), 3.0 * (1.0 - v) ** 2)


def test_a_parameter_outside_the_domain_is_named():
    with pytest.raises(ValueError, match=r"theta >= 1.*got 0\.4.*Frank"):
        Joe(0.4)
    with pytest.raises(ValueError, match="one of them only"):
        Joe(2.0, eta=1.0)
