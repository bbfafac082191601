"""Uniforms of every mode: uniform under the model, finite far out, and of unit mass where they promise it."""

import math

import pytest
import torch
from scipy import stats
from torch import Generator, Tensor

from sklar.alignment import PITS, CopulaAlignment
from sklar.copulas import Clayton, Frank, Gumbel, LearnedCopula
from sklar.marginals.gamma import log_gamma_tails

VALID = ("rosenblatt", "marginal", "head", "kendall")


def joint(pit: str, dim: int, components: int, modalities: int = 2, **options: object) -> CopulaAlignment:
    """An alignment whose mixtures are known, and whose scalar margins have been fitted to draws from them."""
    torch.manual_seed(dim + components)
    names = "abc"[:modalities]
    module = CopulaAlignment(dict.fromkeys(names, dim), components=components, pit=pit, **options)  # type: ignore[arg-type]
    for margin in module.margins.values():
        margin.initialised.fill_(True)
        torch.nn.init.normal_(margin.logits)
        torch.nn.init.normal_(margin.loc, std=1.5 / math.sqrt(dim))
        torch.nn.init.normal_(margin.log_scale, std=0.2)
    if pit == "head" or (pit, components > 1) == ("kendall", True):
        z, present = draws(module, 4000, seed=9), torch.ones(4000, modalities, dtype=torch.bool)
        for layer in getattr(module.pit, "standardise", []):  # running statistics as after a long training
            layer.momentum = 1.0
        with torch.no_grad():
            module.train().pit.fit(module._latents(z, present))
    return module.eval()


def draws(module: CopulaAlignment, rows: int, seed: int = 0) -> dict[str, Tensor]:
    """Independent latents from the mixtures."""
    return {
        name: module.margin(name).sample((rows,), Generator().manual_seed(100 * seed + i))
        for i, name in enumerate(module.modalities)
    }


@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("dim", [1, 16, 128, 512])
@pytest.mark.parametrize("pit", VALID)
def test_uniforms_are_uniform_under_the_model(pit: str, dim: int, components: int) -> None:
    module = joint(pit, dim, components)
    with torch.no_grad():
        log_u, log_sf = module.uniforms(draws(module, 1000))
    assert log_u.shape == (1000, module.pit.coordinates, 2)
    torch.testing.assert_close(log_u.exp() + log_sf.exp(), torch.ones_like(log_u), rtol=0, atol=2e-6)
    u = log_u.exp().flatten(1)
    columns = u[:, :: max(1, u.shape[1] // 8)]
    distances = [stats.kstest(column.double().numpy(), "uniform").statistic for column in columns.T]
    # the 0.1 % critical value at n = 1000 is .0617; margins fitted to 4000 draws add their own error
    assert max(distances) < 0.0617 + (0.02 if pit == "head" or (pit, components) == ("kendall", 3) else 0)


@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("dim", [1, 16, 128, 512])
@pytest.mark.parametrize("pit", [*VALID, "literal"])
@pytest.mark.filterwarnings("ignore:pit='literal'")
def test_gradients_are_finite_at_thirty_sigma(pit: str, dim: int, components: int) -> None:
    module = joint(pit, dim, components)
    signs = torch.randn(12, dim, generator=Generator().manual_seed(1)).sign()
    far = torch.cat([30 * signs, torch.full((2, dim), 30.0), torch.full((2, dim), -30.0)])
    for family in ("gaussian", "gumbel", "frank", "clayton", "joe", "student_t"):
        module.copula = LearnedCopula(family, 2)
        z = {"a": far.clone().requires_grad_(), "b": far.flip(0).clone().requires_grad_()}
        terms = module.loss(z, torch.ones(16, 2, dtype=torch.bool))
        sum(terms.values()).backward()  # type: ignore[union-attr]
        assert torch.isfinite(terms["copula"].detach()), family
        assert all(torch.isfinite(value.grad).all() for value in z.values()), family
        for name, parameter in module.named_parameters():
            assert parameter.grad is None or torch.isfinite(parameter.grad).all(), (family, name)


def mean_ratio(module: CopulaAlignment, rows: int) -> tuple[float, float]:
    """Mean and standard error of the joint density over the independent one, at independent latents."""
    values = []
    with torch.no_grad():
        for seed in range(rows // 20_000):
            z = draws(module, 20_000, seed)
            present = torch.ones(20_000, len(z), dtype=torch.bool)
            values.append((module.pit.coordinates * module.log_density(z, present)).double().exp())
    c = torch.cat(values)
    return float(c.mean()), float(c.std() / math.sqrt(len(c)))


@pytest.mark.parametrize("family", [Gumbel, Frank, Clayton])
@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize(("pit", "dim"), [("rosenblatt", 2), ("kendall", 2), ("kendall", 16), ("head", 16)])
def test_the_copula_has_unit_mass_over_independent_latents(
    pit: str, dim: int, components: int, family: type[Gumbel]
) -> None:
    module = joint(pit, dim, components, family=family.name, max_tau=None)
    module.copula.assign(family(1.5, dim=2))
    mass, error = mean_ratio(module, 100_000)
    # scalar margins fitted to 4000 draws are off by about a hundredth of u
    fitted = 0.01 if pit == "head" or (pit, components) == ("kendall", 3) else 0.0
    assert abs(mass - 1) < 4 * error + fitted
    assert error < 0.02


@pytest.mark.parametrize(
    ("family", "dim", "wanted"), [(Gumbel, 2, 1.57), (Clayton, 2, 1.82), (Gumbel, 4, 5.9)]
)
@pytest.mark.filterwarnings("ignore:pit='literal'")
def test_the_papers_formula_has_not(family: type[Gumbel], dim: int, wanted: float) -> None:
    """A negative test: with F_m(z_m) taken for a uniform the "joint density" has too much mass."""
    module = joint("literal", dim, 1, family=family.name, max_tau=None)
    module.copula.assign(family(2.0, dim=2))
    mass, error = mean_ratio(module, 200_000)
    assert mass > 1 + 10 * error
    assert mass == pytest.approx(wanted, rel=0.1)


@pytest.mark.parametrize("pit", ["rosenblatt", "marginal", "kendall", "literal"])
def test_every_density_agrees_with_the_others_for_scalar_latents(pit: str) -> None:
    """For d = 1 all take the CDF of the mixture; kendall fits it anew for K > 1."""
    module, reference = (joint(name, 1, 1) for name in (pit, "rosenblatt"))
    z = draws(module, 500)
    torch.testing.assert_close(module.log_prob(z), reference.log_prob(z), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("pit", "options", "density"),
    [
        ("rosenblatt", {}, True),
        ("kendall", {}, True),
        ("head", {}, True),
        ("head", {"heads": 3}, False),
        ("marginal", {}, False),
        ("marginal", {"components": 1}, True),
    ],
)
def test_only_a_density_has_a_log_prob(pit: str, options: dict[str, int], density: bool) -> None:
    given = {"components": 3, **options}
    module = CopulaAlignment({"a": 4, "b": 4}, pit=pit, **given)  # type: ignore[arg-type]
    z = {name: torch.randn(5, 4) for name in "ab"}
    if density:
        assert torch.isfinite(module.log_prob(z)).all()
    else:
        with pytest.raises(ValueError, match="no part of a density"):
            module.log_prob(z)


def test_the_papers_formula_warns_once_that_it_is_no_density() -> None:
    with pytest.warns(UserWarning, match="takes the 4-variate CDF of a latent for a uniform"):
        module = CopulaAlignment({"a": 4, "b": 4}, pit="literal")
    z = {name: torch.randn(5, 4) for name in "ab"}
    module.loss(z, torch.ones(5, 2, dtype=torch.bool))  # a second warning would be an error here
    CopulaAlignment({"a": 1, "b": 1}, pit="literal")  # scalar latents: a density, no warning


def test_marginal_uniforms_of_several_components_take_ifm_routing_only() -> None:
    with pytest.raises(ValueError, match="needs routing='ifm'"):
        CopulaAlignment({"a": 4, "b": 4}, pit="marginal", routing="joint", components=3)
    CopulaAlignment({"a": 4, "b": 4}, pit="marginal", routing="joint", components=1)


SOME = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=torch.bool)


@pytest.mark.parametrize("pit", PITS)
@pytest.mark.parametrize("parameters", ["shared", "per_coordinate"])
@pytest.mark.filterwarnings("ignore:pit='literal'")
def test_rows_with_any_subset_present_are_taken_and_absent_content_never_matters(
    pit: str, parameters: str
) -> None:
    present = SOME.repeat(8, 1)
    torch.manual_seed(0)
    module = CopulaAlignment(
        dict.fromkeys("abc", 4),
        "gumbel",
        3,
        pit=pit,
        parameters=parameters,
        warmup=10**6,  # type: ignore[arg-type]
    ).train()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    z = {name: torch.randn(48, 4) for name in "abc"}
    other = {name: torch.where(present[:, i, None], value, 7.0) for i, (name, value) in enumerate(z.items())}
    found = []
    for content in (z, other):
        module.load_state_dict(state)
        leaves = {name: value.clone().requires_grad_() for name, value in content.items()}
        terms = module.loss(leaves, present)
        sum(terms.values()).backward()  # type: ignore[union-attr]
        assert all(torch.isfinite(leaf.grad).all() for leaf in leaves.values())
        for column, leaf in enumerate(leaves.values()):
            assert (leaf.grad[~present[:, column]] == 0).all()
        found.append(terms)
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=0, atol=0)
    assert (module.log_density(z, present)[present.sum(1) < 2] == 0).all()


@pytest.mark.parametrize("pit", ["rosenblatt", "marginal", "head", "kendall"])
def test_the_margins_likelihood_gives_the_latents_exactly_no_gradient(pit: str) -> None:
    module = joint(pit, 4, 3).train()
    z = {name: value.requires_grad_() for name, value in draws(module, 64).items()}
    terms = module.loss(z, torch.ones(64, 2, dtype=torch.bool))
    grads = torch.autograd.grad(terms["margins"], list(z.values()), allow_unused=True, retain_graph=True)
    assert all(grad is None or (grad == 0).all() for grad in grads)
    assert all(grad.abs().sum() > 0 for grad in torch.autograd.grad(terms["copula"], list(z.values())))


def test_projections_learn_from_the_copula_only_and_their_margins_from_the_likelihood_only() -> None:
    module = joint("head", 6, 2, heads=2).train()
    terms = module.loss(draws(module, 64), torch.ones(64, 2, dtype=torch.bool))
    own = [module.pit.weight, *module.pit.margins.parameters()]
    by_copula = torch.autograd.grad(terms["copula"], own, allow_unused=True, retain_graph=True)
    by_margins = torch.autograd.grad(terms["margins"], own, allow_unused=True)
    assert by_copula[0].abs().sum() > 0
    assert all(grad is None for grad in by_copula[1:])
    assert by_margins[0] is None
    assert all(grad.abs().sum() > 0 for grad in by_margins[1:])
    norms = module.pit.projections().norm(dim=-1)
    torch.testing.assert_close(norms, torch.ones_like(norms))


def test_a_projection_finds_the_direction_that_two_modalities_share() -> None:
    g = Generator().manual_seed(0)
    torch.manual_seed(0)
    rows, dim = 2000, 6
    shared = torch.randn(rows, 1, generator=g)
    z = {}
    directions = torch.nn.functional.normalize(torch.randn(2, dim, generator=g), dim=1)
    for name, direction in zip("ab", directions, strict=True):
        noise = torch.randn(rows, dim, generator=g)
        noise = noise - (noise @ direction).unsqueeze(1) * direction
        own = 0.9 * shared + math.sqrt(1 - 0.81) * torch.randn(rows, 1, generator=g)
        z[name] = noise + own * direction
    module = CopulaAlignment(dict.fromkeys("ab", dim), components=1, pit="head", weight=1.0, warmup=rows)
    module.train()
    optimiser = torch.optim.Adam(module.parameters(), 0.05)
    present = torch.ones(rows, 2, dtype=torch.bool)
    for _ in range(150):
        optimiser.zero_grad()
        sum(module.loss(z, present).values()).backward()  # type: ignore[union-attr]
        optimiser.step()
    cosines = (module.pit.projections()[:, 0].detach() * directions).sum(1).abs()
    assert (cosines > 0.98).all()
    assert abs(float(module.copula().correlation[0, 1].detach())) == pytest.approx(0.81, abs=0.04)  # type: ignore[attr-defined]


@pytest.mark.parametrize("shape", [1, 2, 16, 512])
def test_gamma_tails_equal_scipys_in_logs(shape: int) -> None:
    x = torch.linspace(0.02, 6.0, 60, dtype=torch.float64) * shape
    gamma = stats.gamma(shape)
    for found, wanted in zip(log_gamma_tails(x.log(), shape), (gamma.logcdf, gamma.logsf), strict=True):
        known = torch.from_numpy(wanted(x.numpy()))
        inside = known > -640  # beyond, scipy gives -inf
        torch.testing.assert_close(found[inside], known[inside], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", [1, 16, 512])
def test_gamma_tails_have_their_derivatives_and_stay_finite_everywhere(shape: int) -> None:
    log_x = torch.tensor([0.3, 1.0, 1.5], dtype=torch.float64).mul(shape).log().requires_grad_()
    assert torch.autograd.gradcheck(lambda point: log_gamma_tails(point, shape), (log_x,))
    far = torch.tensor([-400.0, -3.0, math.log(450.0 * shape), 20.0], dtype=torch.float64).requires_grad_()
    values = log_gamma_tails(far, shape)
    gradient = torch.autograd.grad(sum(v.sum() for v in values), far)[0]
    assert all(torch.isfinite(v).all() for v in values)
    assert torch.isfinite(gradient).all()


def test_the_survival_of_one_exponential_is_exact_however_far_out() -> None:
    log_x = torch.tensor([1.0, 700.0, 1e4, 1e6], dtype=torch.float64).log()
    torch.testing.assert_close(log_gamma_tails(log_x, 1)[1], -log_x.exp(), rtol=1e-12, atol=0)
