"""Mixture margins: uniform under the model, invertible, finite far out, and never collapsed."""

import math

import pytest
import torch
from scipy.stats import kstest

from sklar.marginals import (
    GaussianMixture,
    MixtureMarginal,
    inverse_rosenblatt_together,
    rosenblatt_together,
)
from sklar.marginals.transform import in_logs, rosenblatt

SHAPES = [(d, k) for d in (1, 4, 64, 512) for k in (1, 3)]


def mixture(d: int, k: int, dtype=torch.float32, requires_grad: bool = False) -> GaussianMixture:
    """Components whose coordinates are informative but not decisive about the label."""
    generator = torch.Generator().manual_seed(d + k)
    logits = torch.randn(k, generator=generator, dtype=torch.float64)
    loc = 1.5 * torch.randn(k, d, generator=generator, dtype=torch.float64) / math.sqrt(d)
    scale = 0.5 + torch.rand(k, d, generator=generator, dtype=torch.float64)
    return GaussianMixture(*(t.to(dtype).requires_grad_(requires_grad) for t in (logits, loc, scale)))


@pytest.mark.parametrize(("d", "k"), SHAPES)
def test_rosenblatt_is_uniform_under_the_model(d: int, k: int):
    model = mixture(d, k)
    z = model.sample((2000,), torch.Generator().manual_seed(1))
    log_u, log_sf = model.rosenblatt(z)
    u = log_u.double().exp()
    assert float(log_u.max()) <= 0.0
    torch.testing.assert_close(u + log_sf.double().exp(), torch.ones_like(u))
    p_values = [kstest(u[:, j].numpy(), "uniform").pvalue for j in range(0, d, max(1, d // 8))]
    assert min(p_values) > 1e-3  # fixed seed; about 50 such tests run
    # Independent over coordinates: neighbouring scores are uncorrelated.
    scores = torch.special.ndtri(u.clamp(1e-12, 1 - 1e-12))
    if d > 1:
        assert abs(float((scores[:, 1:] * scores[:, :-1]).mean())) < 4.0 / math.sqrt(2000 * (d - 1))


@pytest.mark.parametrize("k", [1, 3])
def test_marginal_cdf_is_uniform_under_the_model(k: int):
    model = mixture(4, k)
    z = model.sample((2000,), torch.Generator().manual_seed(2))
    for j in range(4):
        assert kstest(model.log_cdf(z)[:, j].double().exp().numpy(), "uniform").pvalue > 1e-3
    torch.testing.assert_close(model.log_cdf(z).exp() + model.log_sf(z).exp(), torch.ones_like(z))


@pytest.mark.parametrize(("d", "k"), SHAPES)
def test_inverse_rosenblatt_returns(d: int, k: int):
    model = mixture(d, k)
    z = model.sample((16,), torch.Generator().manual_seed(3))
    back = model.inverse_rosenblatt(*model.rosenblatt(z))
    torch.testing.assert_close(back, z, rtol=1e-4, atol=1e-4)  # rounding of u in the tails, magnified by 1/f


def test_inverse_rosenblatt_is_exact_in_double_precision():
    model = mixture(32, 3, torch.float64)
    log_u = -torch.empty(8, 32, dtype=torch.float64).exponential_(generator=torch.Generator().manual_seed(4))
    back, _ = model.rosenblatt(model.inverse_rosenblatt(log_u))
    torch.testing.assert_close(back, log_u, rtol=1e-11, atol=1e-12)


def test_inverse_crosses_the_gap_between_distant_components():
    model = GaussianMixture(
        torch.zeros(2, dtype=torch.float64),
        torch.tensor([[-50.0], [50.0]], dtype=torch.float64),
        torch.ones(2, 1, dtype=torch.float64),
    )
    u = torch.tensor([1e-3, 0.3, 0.499, 0.5 - 1e-12, 0.5 + 1e-12, 0.7], dtype=torch.float64).unsqueeze(-1)
    z = model.inverse_rosenblatt(u.log(), torch.log1p(-u))
    torch.testing.assert_close(model.log_cdf(z).exp(), u, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("d", "k"), SHAPES)
def test_thirty_sigma_is_finite(d: int, k: int):
    model = mixture(d, k, requires_grad=True)
    signs = torch.randn(6, d, generator=torch.Generator().manual_seed(5)).sign()
    z = torch.cat([30.0 * signs, torch.full((1, d), 30.0), torch.full((1, d), -30.0)]).requires_grad_()
    values = [*model.rosenblatt(z), *model.marginal_cdf(z), model.log_prob(z)]
    assert all(bool(torch.isfinite(value).all()) for value in values)
    total = sum(value.sum() for value in values)
    gradients = torch.autograd.grad(total, [z, model.logits, model.loc, model.scale])
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


@pytest.mark.parametrize("k", [1, 3])
def test_log_prob_is_the_jacobian_of_the_rosenblatt_transform(k: int):
    model = mixture(3, k, torch.float64)
    z = model.sample((), torch.Generator().manual_seed(6))
    jacobian = torch.autograd.functional.jacobian(lambda point: model.rosenblatt(point)[0].exp(), z)
    torch.testing.assert_close(torch.linalg.det(jacobian).log(), model.log_prob(z))


@pytest.mark.parametrize("k", [1, 3])
def test_rosenblatt_has_exact_derivatives(k: int):
    model = mixture(3, k, torch.float64, requires_grad=True)
    z = model.sample((2,), torch.Generator().manual_seed(7)).requires_grad_()

    def transform(z, logits, loc, scale):
        return GaussianMixture(logits, loc, scale).rosenblatt(z)

    arguments = (z, model.logits, model.loc, model.scale)
    assert torch.autograd.gradcheck(transform, arguments)
    assert torch.autograd.gradgradcheck(transform, arguments, atol=1e-4)


def test_pathwise_gradient_is_exact_for_one_component():
    model = mixture(3, 1, torch.float64, requires_grad=True)
    log_u = -torch.empty(4, 3, dtype=torch.float64).exponential_(generator=torch.Generator().manual_seed(8))

    def inverse(log_u, loc, scale):
        return GaussianMixture(model.logits.detach(), loc, scale).inverse_rosenblatt(log_u)

    assert torch.autograd.gradcheck(inverse, (log_u.requires_grad_(), model.loc, model.scale))


def test_pathwise_gradient_of_several_components_is_implicit_and_exact():
    model = mixture(4, 3, torch.float64, requires_grad=True)
    log_u = -torch.empty(3, 4, dtype=torch.float64).exponential_(generator=torch.Generator().manual_seed(9))

    def inverse(log_u, logits, loc, scale):
        return GaussianMixture(logits, loc, scale).inverse_rosenblatt(log_u)

    arguments = (log_u.requires_grad_(), model.logits, model.loc, model.scale)
    assert torch.autograd.gradcheck(inverse, arguments)


def expectation_gradient(model: GaussianMixture) -> tuple[torch.Tensor, ...]:
    """d E[h(z)], h(z) = sin(z_1 + 2 z_2), in closed form: E sin(N(a, b^2)) = sin(a) exp(-b^2 / 2)."""
    direction = torch.tensor([1.0, 2.0], dtype=model.loc.dtype)
    mean, variance = model.loc @ direction, model.scale.square() @ direction.square()
    value = (model.logits.softmax(-1) * torch.sin(mean) * torch.exp(-0.5 * variance)).sum()
    return torch.autograd.grad(value, (model.logits, model.loc, model.scale))


def read(z: torch.Tensor) -> torch.Tensor:
    return torch.sin(z[..., 0] + 2.0 * z[..., 1])


@pytest.mark.parametrize("how", ["pathwise", "stratified"])
def test_draws_have_an_unbiased_gradient(how: str):
    model = mixture(2, 3, torch.float64, requires_grad=True)
    generator = torch.Generator().manual_seed(20)
    batches = []
    for _ in range(20):
        if how == "pathwise":
            value = read(model.rsample((4000,), generator)).mean()
        else:
            log_weights, draws = model.stratified((4000,), generator)
            value = (log_weights.exp() * read(draws)).sum(-1).mean()
        batches.append(torch.autograd.grad(value, (model.logits, model.loc, model.scale)))
    for found, wanted in zip(zip(*batches, strict=True), expectation_gradient(model), strict=True):
        found = torch.stack(found)
        error = found.std(0) / math.sqrt(len(found))
        assert ((found.mean(0) - wanted).abs() < 4.5 * error).all()  # 15 numbers, twice
        assert (error < 0.05).all()


def test_the_stratified_gradient_in_the_weights_has_less_variance_than_the_pathwise_one():
    model = mixture(2, 3, torch.float64, requires_grad=True)
    generator = torch.Generator().manual_seed(21)
    spread = {}
    for how in ("pathwise", "stratified"):
        found = []
        for _ in range(200):
            if how == "pathwise":
                value = read(model.rsample((64,), generator)).mean()
            else:
                log_weights, draws = model.stratified((64,), generator)
                value = (log_weights.exp() * read(draws)).sum(-1).mean()
            found.append(torch.autograd.grad(value, model.logits)[0])
        spread[how] = float(torch.stack(found).std(0).mean())
    assert spread["stratified"] < 0.6 * spread["pathwise"]


def stacked(m: int, k: int, n: int, d: int, dtype=torch.float64, seed: int = 30):
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(m, n, d, generator=g, dtype=torch.float64)
    logits = torch.randn(m, k, 1, generator=g, dtype=torch.float64)
    loc = torch.randn(m, k, d, generator=g, dtype=torch.float64)
    scale = 0.4 + torch.rand(m, k, d, generator=g, dtype=torch.float64)
    return tuple(t.to(dtype).requires_grad_() for t in (z, logits.log_softmax(1), loc, scale))


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("k", [1, 3])
def test_the_fast_transform_equals_the_one_in_logs(k: int, separate: bool):
    arguments = stacked(2, k, 6, 9)
    results = []
    for function in (rosenblatt, in_logs):
        values = function(*arguments, separate)
        weight = [torch.cos(torch.arange(float(v.numel()))).view(v.shape).to(v) for v in values]
        results.append((*values, *torch.autograd.grad(values, arguments, weight)))
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-11, atol=1e-11)


def test_separate_gradients_reach_z_through_u_and_the_mixture_through_the_density():
    z, *parameters = stacked(2, 3, 6, 9)
    log_u, log_sf, log_prob = rosenblatt(z, *parameters, separate=True)
    through_u = torch.autograd.grad(
        (log_u + log_sf).sum(), [z, *parameters], allow_unused=True, retain_graph=True
    )
    through_density = torch.autograd.grad(log_prob.sum(), [z, *parameters], allow_unused=True)
    assert through_u[0].abs().sum() > 0
    assert through_u[1:] == (None, None, None)
    assert through_density[0] is None
    assert all(part.abs().sum() > 0 for part in through_density[1:])


def test_uniforms_that_underflow_fall_back_to_logs():
    arguments = stacked(1, 2, 3, 4, torch.float32)
    with torch.no_grad():
        arguments[0][0, 0, 2] = 40.0
    log_u, log_sf, _ = rosenblatt(*arguments)
    expected = in_logs(*(a.double() for a in arguments))
    assert float(log_sf.detach().min()) < -200.0
    torch.testing.assert_close(log_sf.double(), expected[1], rtol=1e-5, atol=1e-6)
    gradient = torch.autograd.grad((log_u + log_sf).sum(), arguments[0])[0]
    assert bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize("per_row", [False, True])
def test_mixtures_together_equal_each_alone(per_row: bool):
    models = [mixture(5, 3), mixture(5, 3)]
    models[1] = GaussianMixture(models[1].logits, models[1].loc + 0.5, models[1].scale)
    if per_row:
        shift = torch.linspace(-1, 1, 7).unsqueeze(1) * torch.tensor([1.0, 0.0, -1.0])
        models = [GaussianMixture(m.logits + shift, m.loc, m.scale) for m in models]
    z = [
        m.loc[0] + torch.randn(7, 5, generator=torch.Generator().manual_seed(i)) for i, m in enumerate(models)
    ]
    log_u, log_sf, log_prob = rosenblatt_together(models, z)
    pairs = []
    for i, model in enumerate(models):
        alone = model.rosenblatt(z[i])
        torch.testing.assert_close((log_u[i], log_sf[i]), alone)
        torch.testing.assert_close(log_prob[i], model.log_prob(z[i]), rtol=1e-5, atol=1e-5)
        pairs.append((alone[0].expand(2, -1, -1), alone[1].expand(2, -1, -1)))
    for back, wanted in zip(inverse_rosenblatt_together(models, pairs), z, strict=True):
        torch.testing.assert_close(back, wanted.expand(2, -1, -1), rtol=1e-4, atol=1e-4)


def test_gradient_can_be_refused():
    model = mixture(3, 3, requires_grad=True)
    assert not model.inverse_rosenblatt(torch.full((2, 3), -1.0), grad="none").requires_grad
    assert model.rsample((2,)).requires_grad
    assert not model.sample((2,)).requires_grad


def test_weights_may_differ_between_rows():
    base = mixture(3, 2, torch.float64)
    logits = torch.tensor([[0.0, 0.0], [2.0, -1.0]], dtype=torch.float64)
    z = torch.zeros(2, 3, dtype=torch.float64)
    together = GaussianMixture(logits, base.loc, base.scale)
    for row in range(2):
        alone = GaussianMixture(logits[row], base.loc, base.scale)
        torch.testing.assert_close(together.log_prob(z)[row], alone.log_prob(z[row]))
        torch.testing.assert_close(together.rosenblatt(z)[0][row], alone.rosenblatt(z[row])[0])
    assert together.sample((5,)).shape == (5, 2, 3)
    assert together.rsample((5,)).shape == (5, 2, 3)


def test_em_finds_separate_components():
    generator = torch.Generator().manual_seed(10)
    centres = torch.tensor([-2.0, 0.0, 3.0])
    latents = torch.cat([0.3 * torch.randn(300, 8, generator=generator) + centre for centre in centres])
    marginal = MixtureMarginal(8, 3)
    assert not marginal.initialised
    marginal.initialise(latents, generator)
    assert marginal.initialised
    found = marginal()
    assert found.loc.mean(1).sort().values.tolist() == pytest.approx(centres.tolist(), abs=0.1)
    assert found.scale.mean(1).tolist() == pytest.approx([0.3] * 3, abs=0.05)
    assert marginal.logits.softmax(-1).tolist() == pytest.approx([1 / 3] * 3, abs=0.02)


def test_em_raises_the_likelihood_of_one_component():
    generator = torch.Generator().manual_seed(11)
    latents = torch.randn(500, 4, generator=generator) * torch.tensor([0.5, 1.0, 2.0, 4.0]) + 1.0
    three, one = MixtureMarginal(4, 3), MixtureMarginal(4, 1)
    three.initialise(latents, generator)
    one.initialise(latents, generator)
    with torch.no_grad():
        assert float(three().log_prob(latents).mean()) > float(one().log_prob(latents).mean())
    torch.testing.assert_close(one().mean, latents.mean(0), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(one().stddev, latents.std(0), rtol=1e-2, atol=0)


@pytest.mark.parametrize("logits", [[0.0], [0.3, -0.4], [[0.3, -0.4], [2.0, 0.0]]])
def test_the_spread_of_a_mixture_far_from_zero_is_exact_in_single_precision(logits: list):
    weights = torch.tensor(logits)
    loc, scale = torch.tensor([[1e4, -3.0], [1e4 + 2.0, 5.0]]), torch.tensor([[0.5, 1.0], [1.5, 2.0]])
    count = weights.shape[-1]
    found = GaussianMixture(weights, loc[:count], scale[:count]).stddev
    share, centre = weights.double().softmax(-1), loc[:count].double() - loc[0].double()
    second = share @ (scale[:count].double() ** 2 + centre**2)
    wanted = (second - (share @ centre) ** 2).sqrt()
    torch.testing.assert_close(found.double(), wanted, rtol=1e-3, atol=0)  # a step of floats at 1e4 is .001


@pytest.mark.parametrize("rows", ["constant", "duplicated", "few"])
def test_components_are_never_identical(rows: str):
    latents = {
        "constant": torch.zeros(20, 4),
        "duplicated": torch.tensor([[0.0] * 4, [1.0] * 4]).repeat(10, 1),
        "few": torch.randn(3, 4, generator=torch.Generator().manual_seed(12)),
    }[rows]
    marginal = MixtureMarginal(4, 3)
    marginal.initialise(latents, torch.Generator().manual_seed(13))
    loc = marginal.loc.detach()
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert float((loc[first] - loc[second]).abs().max()) > 1e-3
    assert bool(torch.isfinite(marginal().log_prob(latents)).all())
    assert float(marginal().scale.detach().min()) >= marginal.min_scale


def test_untrained_components_differ():
    loc = MixtureMarginal(4, 3).loc
    assert loc[:, 0].tolist() == sorted(set(loc[:, 0].tolist()))


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"logits \(\.\.\., K\)"):
        GaussianMixture(torch.zeros(2), torch.zeros(3, 4), torch.ones(3, 4))
    marginal = MixtureMarginal(4, 3)
    with pytest.raises(ValueError, match=r"\(rows, 4\)"):
        marginal.initialise(torch.zeros(5, 3))
    with pytest.raises(ValueError, match="at least 3 rows"):
        marginal.initialise(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="leave absent rows out"):
        marginal.initialise(torch.full((5, 4), float("nan")))
