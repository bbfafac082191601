"""The Gaussian copula at normal scores, for callers that have them already."""

import pytest
import torch

from sklar.copulas import Gaussian
from sklar.special import log_ndtr_both


@pytest.fixture
def copula() -> Gaussian:
    return Gaussian(torch.tensor([[1.0, 0.6, -0.3], [0.6, 1.0, 0.2], [-0.3, 0.2, 1.0]], dtype=torch.float64))


def test_scores_have_the_density_of_their_uniforms_with_its_derivatives(copula: Gaussian):
    z = torch.linspace(-30.0, 30.0, 33, dtype=torch.float64).reshape(11, 3).requires_grad_()
    value = copula.log_density_of_scores(z)
    known = copula.log_density(*log_ndtr_both(z))
    torch.testing.assert_close(value, known, rtol=1e-12, atol=1e-12)
    pair = [torch.autograd.grad(v.square().sum(), z)[0] for v in (value, known)]
    torch.testing.assert_close(*pair, rtol=1e-10, atol=1e-10)
    lower = torch.linalg.cholesky(copula.correlation).requires_grad_()
    assert torch.autograd.gradgradcheck(
        lambda z, lower: Gaussian(scale_tril=lower, validate_args=False).log_density_of_scores(z),
        (z.detach()[4:7].requires_grad_(), lower),
    )


def test_scores_at_the_ends_take_the_limit_of_the_density(copula: Gaussian):
    z = torch.tensor([[torch.inf, 0.0, 0.0], [-torch.inf, 1.0, 1.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    found = copula.log_density_of_scores(z)
    torch.testing.assert_close(found, copula.log_density(*log_ndtr_both(z)))
    assert found[:2].tolist() == [-torch.inf, -torch.inf]
    raw = torch.empty(3, device="meta")  # an accelerator is not made to wait for a look at them
    assert Gaussian.from_raw(raw, 3, 0.95).log_density_of_scores(z.to("meta")).shape == (3,)
    alone = Gaussian(torch.eye(2, dtype=torch.float64))
    assert float(alone.log_density_of_scores(z[0, :2])) == 0.0
