"""Imputed latents: conditional ones beat unconditional ones, gradients are right, rows stand alone."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Generator, Tensor

from sklar.alignment import IMPUTATIONS, CopulaAlignment, Imputed, Noise
from sklar.alignment.coordinates import CoordinateMoments
from sklar.alignment.strata import stratified
from sklar.copulas import FAMILIES, Gaussian
from sklar.errors import UserError
from sklar.special import log_ndtr_both
from sklar.training.config import resolve

NAMES = ("a", "b", "c")
DIM = 3


def joint(modalities: int = 3, family: str = "gaussian", tau: float = 0.5, **more: object) -> CopulaAlignment:
    """A joint of known truth: separated components, a copula of known strength."""
    torch.manual_seed(0)
    options = {"components": 3, "estimate": "learned", **more}
    top = FAMILIES[family].tau_range[1]
    module = CopulaAlignment(
        dict.fromkeys(NAMES[:modalities], DIM), family=family, init_tau=min(tau, 0.8 * top), **options
    )
    for margin in module.margins.values():
        margin.initialised.fill_(True)
        torch.nn.init.normal_(margin.loc, std=1.5)
        torch.nn.init.normal_(margin.logits, std=0.5)
    return module.eval()


@torch.no_grad()
def drawn(module: CopulaAlignment, rows: int, seed: int = 1) -> dict[str, Tensor]:
    """Complete latents from the joint itself."""
    u = module.copula().sample((rows, DIM), Generator().manual_seed(seed))
    return {
        name: module.margin(name).inverse_rosenblatt(u[..., i].log(), torch.log1p(-u[..., i]))
        for i, name in enumerate(module.modalities)
    }


def all_but(rows: int, module: CopulaAlignment, *missing: int) -> Tensor:
    present = torch.ones(rows, len(module.modalities), dtype=torch.bool)
    present[:, list(missing)] = False
    return present


def energy_score(draws: Tensor, truth: Tensor) -> Tensor:
    """Per row, of (S, n, d) draws: E|X - y| - E|X - X'| / 2; smaller is better (Gneiting & Raftery 2007)."""
    s = len(draws)
    to_truth = (draws - truth).norm(dim=2).mean(0)
    pairs = sum((draws - draws.roll(k, 0)).norm(dim=2).mean(0) for k in range(1, s))
    return to_truth - pairs / (2 * (s - 1))


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"independence"}))
@pytest.mark.parametrize("modalities", [2, 3])
def test_conditional_draws_beat_unconditional_ones_in_energy_score(family: str, modalities: int) -> None:
    module = joint(modalities, family)
    z = drawn(module, 600)
    present = all_but(600, module, 1)
    score = {}
    for method in ("conditional", "unconditional"):
        latents = module.impute(z, present, method, draws=12, generator=Generator().manual_seed(2)).latents
        score[method] = energy_score(latents["b"].detach(), z["b"])
    gain = score["unconditional"] - score["conditional"]
    # rows are independent: the mean gain is several standard errors above zero
    assert float(gain.mean()) > 4 * float(gain.std()) / math.sqrt(600)


@torch.no_grad()
def test_two_missing_of_three_are_drawn_jointly() -> None:
    module = joint(3, tau=0.7)
    z, complete = drawn(module, 800), all_but(800, module)
    imputed = module.impute(z, all_but(800, module, 1, 2), generator=Generator().manual_seed(3))
    completed = {name: own[0] for name, own in imputed.latents.items()}
    log_density, truth = (module.log_density(own, complete) for own in (completed, z))
    # both are means of 800 rows of the same law
    error = math.sqrt(float(log_density.var() + truth.var()) / 800)
    assert abs(float((log_density - truth).mean())) < 4 * error


@pytest.mark.parametrize("method", ["conditional", "mean"])
def test_independence_leaves_nothing_to_learn_from_the_observed(method: str) -> None:
    module = joint(2, "independence")
    z, present = drawn(module, 40), all_but(40, joint(2, "independence"), 1)
    imputed = module.impute(z, present, method, noise=Noise(shared=True))
    assert float(imputed.latents["b"].std(1).max()) < 1e-4  # every row gets the same
    torch.testing.assert_close(imputed.spread["b"], torch.ones(40, DIM), rtol=1e-4, atol=0)


def test_the_mean_is_exact_for_a_gaussian_copula_with_one_component() -> None:
    module = joint(3, components=1)
    torch.nn.init.normal_(module.margins["b"].log_scale, std=0.3)
    z = drawn(module, 30)
    rho = module.copula().correlation.detach()
    slope = torch.linalg.solve(rho[[0, 2]][:, [0, 2]], rho[[0, 2], 1])
    margin = {name: module.margin(name) for name in NAMES}
    score = {name: ((z[name] - m.loc[0]) / m.scale[0]).detach() for name, m in margin.items()}
    wanted = margin["b"].loc[0] + margin["b"].scale[0] * (slope[0] * score["a"] + slope[1] * score["c"])
    imputed = module.impute(z, all_but(30, module, 1), "mean")
    torch.testing.assert_close(imputed.latents["b"][0], wanted.detach(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(imputed.centre["b"], imputed.latents["b"][0])


@pytest.mark.parametrize("family", ["gaussian", "clayton", "gumbel"])
def test_the_mean_is_that_of_many_draws(family: str) -> None:
    module = joint(2, family, tau=0.6)
    z, present = drawn(module, 12), all_but(12, joint(2), 1)
    point = module.impute(z, present, "mean").latents["b"][0]
    many = module.impute(z, present, draws=4000, generator=Generator().manual_seed(0)).latents["b"]
    # 32 fixed points: within a third of a standard deviation of every coordinate, a tenth on average
    error = ((point - many.mean(0)) / many.std(0)).abs().detach()
    assert float(error.max()) < 0.5
    assert float(error.mean()) < 0.1


def test_the_mean_draws_nothing() -> None:
    module = joint()
    z, present = drawn(module, 10), all_but(10, joint(), 0)
    one, other = (
        module.impute(z, present, "mean", draws=3, generator=Generator().manual_seed(s)).latents["a"]
        for s in (0, 1)
    )
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    torch.testing.assert_close(one[0], one[2], rtol=0, atol=0)


def test_a_learned_token_stands_in_and_gets_the_gradient() -> None:
    module = joint()
    z, present = drawn(module, 10), all_but(10, joint(), 2)
    tokens = torch.randn(3, DIM, requires_grad=True)
    latents = module.impute(z, present, "learned", draws=2, tokens=tokens).latents
    torch.testing.assert_close(latents["c"], tokens[2].expand(2, 10, -1))
    latents["c"].sum().backward()
    torch.testing.assert_close(tokens.grad, torch.tensor([0.0, 0, 20])[:, None].expand(3, DIM))
    with pytest.raises(ValueError, match=r"tokens of shape \(3, 3\); pass tokens="):
        module.impute(z, present, "learned")


def test_zero_puts_zeros_and_skip_also_leaves_the_token_out() -> None:
    module = joint()
    z, present = drawn(module, 10), all_but(10, joint(), 1)
    for method in ("zero", "skip"):
        imputed = module.impute(z, present, method)
        assert (imputed.latents["b"] == 0).all()
        assert (imputed.read == (present if method == "skip" else torch.ones_like(present))).all()


@pytest.mark.parametrize("method", IMPUTATIONS)
@pytest.mark.parametrize("missing", [(), (0,), (1, 2), (0, 1, 2)])
def test_any_subset_may_be_missing_and_observed_latents_stay(method: str, missing: tuple[int, ...]) -> None:
    module = joint()
    z, present = drawn(module, 5), all_but(5, joint(), *missing)
    imputed = module.impute(z, present, method, draws=3, tokens=torch.zeros(3, DIM))
    for column, name in enumerate(NAMES):
        assert imputed.latents[name].shape == (3, 5, DIM)
        assert torch.isfinite(imputed.latents[name]).all()
        if column not in missing:
            torch.testing.assert_close(imputed.latents[name], z[name].expand(3, -1, -1), rtol=0, atol=0)
            assert (imputed.spread[name] == 0).all()
            assert (imputed.centre[name] == 0).all()


@pytest.mark.parametrize("method", IMPUTATIONS)
def test_the_latents_of_absent_modalities_are_never_read(method: str) -> None:
    module = joint()
    z = drawn(module, 6)
    present = torch.tensor(
        [[1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1]], dtype=torch.bool
    )
    results = []
    for noise in (0.0, 1e3):
        own = {name: torch.where(present[:, [c]], z[name], noise) for c, name in enumerate(NAMES)}
        results.append(
            module.impute(own, present, method, noise=Noise(4, shared=True), tokens=torch.ones(3, DIM))
        )
    for name in NAMES:  # to rounding: kernels choose their branch for a whole batch
        torch.testing.assert_close(results[0].latents[name], results[1].latents[name], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(results[0].centre[name], results[1].centre[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["conditional", "unconditional", "mean"])
def test_with_shared_noise_a_row_does_not_depend_on_the_rows_beside_it(method: str) -> None:
    module = joint(family="gumbel")
    z = drawn(module, 8)
    present = torch.tensor([[1, 0, 1], [0, 1, 1], [1, 0, 0], [0, 0, 0]], dtype=torch.bool).repeat(2, 1)

    def impute(rows: Tensor) -> Imputed:
        noise = Noise(5, Generator().manual_seed(3), shared=True)
        return module.impute({n: v[rows] for n, v in z.items()}, present[rows], method, noise=noise)

    whole = impute(torch.arange(8))
    for row in range(8):
        alone = impute(torch.tensor([row]))
        for name in NAMES:
            torch.testing.assert_close(
                alone.latents[name][:, 0], whole.latents[name][:, row], rtol=1e-4, atol=1e-4
            )


def alike(joint: CopulaAlignment, correlation: float) -> CopulaAlignment:
    """The joint, as if the coordinates of every latent had this correlation."""
    assert joint.coordinates is not None
    joint.coordinates.product.copy_(torch.full((DIM, DIM), correlation).fill_diagonal_(1.0))
    return joint


def test_the_correlation_between_coordinates_is_that_of_the_training_rows() -> None:
    moments, generator = CoordinateMoments(2, DIM), Generator().manual_seed(4)
    root = torch.linalg.cholesky(torch.tensor([[1.0, 0.9, -0.5], [0.9, 1.0, -0.3], [-0.5, -0.3, 1.0]]))
    for _ in range(250):  # by then less than .01 of the start is left
        score = torch.randn(512, DIM, generator=generator) @ root.mT
        moments.update(torch.stack([score, torch.full_like(score, torch.nan)]), torch.tensor([[1, 0]]) > 0)
    found, untouched = moments.factor()
    # standard error of the running correlations: .005
    torch.testing.assert_close(found @ found.mT, root @ root.mT, rtol=0, atol=0.03)
    torch.testing.assert_close(untouched, torch.eye(DIM))


@pytest.mark.parametrize("components", [1, 3])
def test_training_rows_move_the_correlation(components: int) -> None:
    module = joint(2, components=components).train()
    own = module.margin("a")
    score = torch.randn(64, 1, generator=Generator().manual_seed(4)).expand(-1, DIM)
    z = own.inverse_rosenblatt(*log_ndtr_both(score)).detach()
    module.loss({"a": z, "b": z}, torch.ones(64, 2, dtype=torch.bool))
    assert module.coordinates is not None
    standard = (z - own.mean) / own.stddev
    wanted = 0.98 * torch.eye(DIM) + 0.02 * standard.mT @ standard / len(z)
    torch.testing.assert_close(module.coordinates.product[0], wanted, rtol=1e-3, atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("family", ["gaussian", "clayton"])
def test_draws_vary_as_latents_do_and_each_coordinate_as_before(family: str) -> None:
    module = alike(joint(2, family, components=1), 0.9)
    z, present = drawn(module, 2), all_but(2, module, 1)
    own = module.impute(z, present, draws=4000, generator=Generator().manual_seed(5)).latents["b"][:, 0]
    module.coordinates = None
    other = module.impute(z, present, draws=4000, generator=Generator().manual_seed(6)).latents["b"][:, 0]
    # standard errors of means and deviations of unit scores are .016 and .011, of correlations .016
    torch.testing.assert_close(own.mean(0), other.mean(0), rtol=0, atol=0.1)
    torch.testing.assert_close(own.std(0), other.std(0), rtol=0.1, atol=0)
    between = (torch.corrcoef(part.T)[0, 1:] for part in (own, other))
    alike_now, alike_before = between
    assert float(alike_now.min()) > 0.85
    assert float(alike_before.abs().max()) < 0.1


@torch.no_grad()
def test_correlated_noise_is_mirrored_and_only_in_evaluation() -> None:
    module = alike(joint(2, components=1), 0.9)
    z, present = drawn(module, 5), all_but(5, module, 1)
    for draws in (2, 3):
        imputed = module.impute(z, present, noise=Noise(draws, Generator().manual_seed(7), shared=True))
        latents = imputed.latents["b"]
        assert len(latents) == draws
        # normal draws: a pair averages to the middle
        torch.testing.assert_close(latents[[0, -1]].mean(0), imputed.centre["b"], rtol=1e-4, atol=1e-4)
    module.train()
    own = module.impute(z, present, draws=2000, generator=Generator().manual_seed(5)).latents["b"]
    assert float(torch.corrcoef(own[:, 0].T)[0, 1].abs()) < 0.1  # standard error .02


def test_coordinates_that_never_vary_have_a_factor() -> None:
    module = alike(joint(2), 0.9)
    assert module.coordinates is not None
    module.coordinates.product[0] = 0
    torch.testing.assert_close(module.coordinates.factor()[0], torch.eye(DIM))


def test_noise_of_their_own_differs_between_rows_and_shared_noise_does_not() -> None:
    like = torch.zeros(1, DIM)
    for shared in (False, True):
        log_u, log_sf = Noise(4, Generator().manual_seed(0), shared).uniform(like, 50)
        torch.testing.assert_close(log_u.exp() + log_sf.exp(), torch.ones(4, 50, DIM))
        assert bool((log_u[:, 0] == log_u[:, 1]).all()) == shared
        assert (log_u[0] != log_u[1]).any()


def expectation(parameters: list[Tensor], h: Callable[[Tensor], Tensor], rows: int = 400_000) -> Tensor:
    """E[h(z)] from fixed noise, component by component: exact up to an error common to all parameters."""
    logits, loc, scale = parameters
    noise = torch.randn(rows, DIM, dtype=torch.float64, generator=Generator().manual_seed(8))
    per_component = torch.stack([h(loc[k] + scale[k] * noise).mean() for k in range(3)])
    return (logits.softmax(0) * per_component).sum()


def wavy(z: Tensor) -> Tensor:
    """Couples the coordinates, so that a gradient that forgets their order is wrong."""
    return torch.sin(z[..., 0] * z[..., 1]) + z[..., 2].tanh() * z[..., 0]


def distances(gradient: str) -> Tensor:
    """Standard errors between the mean of 16 estimates of the gradient and the truth, one per parameter."""
    module = joint(2).double()
    module.margins["b"].loc.data.mul_(0.5)  # far apart, the estimates have heavy tails
    parameters = [getattr(module.margins["b"], name) for name in ("logits", "loc", "log_scale")]
    rows, estimates = 4000, []
    z = {name: torch.zeros(rows, DIM, dtype=torch.float64) for name in module.modalities}
    for seed in range(16):
        g = Generator().manual_seed(seed)
        imputed = module.impute(z, all_but(rows, module, 1), "unconditional", generator=g, gradient=gradient)
        value = wavy(imputed.latents["b"])
        weight = torch.ones_like(value) if imputed.weight is None else imputed.weight
        found = torch.autograd.grad((value * weight).sum() / rows, parameters)
        estimates.append(torch.cat([part.flatten() for part in found]))
    own = module.margin("b")
    truth = torch.autograd.grad(expectation([own.logits, own.loc, own.scale], wavy), parameters)
    every = torch.stack(estimates)
    exact = torch.cat([part.flatten() for part in truth])
    return (every.mean(0) - exact).abs() / (every.std(0) / 4)


@pytest.mark.parametrize("gradient", ["pathwise", "stratified"])
def test_gradients_of_unconditional_draws_are_unbiased(gradient: str) -> None:
    # 21 parameters, t with 15 degrees of freedom: 5 has a probability below 1 %
    assert float(distances(gradient).max()) < 5


def test_strata_of_several_missing_modalities_cover_all_combinations_once() -> None:
    module = joint(3)
    present = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 0, 1]], dtype=torch.bool)
    draws, weight = stratified(module, present, Noise())
    assert weight.shape == (9, 3)
    torch.testing.assert_close(weight.sum(0), torch.ones(3))
    torch.testing.assert_close(weight[:, 0], torch.full((9,), 1 / 9))
    pi = {name: module.margin(name).logits.softmax(0) for name in NAMES}
    torch.testing.assert_close(weight[:, 2].reshape(3, 3), torch.outer(pi["b"], pi["a"]))
    assert [own.shape[1] for own in draws] == [1, 2, 0]


def test_too_many_strata_are_refused() -> None:
    module = CopulaAlignment(dict.fromkeys("abcdef", DIM), components=3)
    for margin in module.margins.values():
        margin.initialised.fill_(True)
    z = {name: torch.zeros(2, DIM) for name in "abcdef"}
    present = torch.zeros(2, 6, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"3 components and 6 missing .* make 729 strata, more than 81"):
        module.impute(z, present, "unconditional", gradient="stratified")


@pytest.mark.parametrize("family", ["gaussian", "frank"])
def test_pathwise_conditional_draws_differentiate_in_the_observed_latents(family: str) -> None:
    module = joint(2, family).double()
    z = {name: value.double() for name, value in drawn(joint(2, family), 4).items()}
    present = all_but(4, module, 1)
    z["a"].requires_grad_()

    def total(a: Tensor) -> Tensor:
        noise = Noise(2, Generator().manual_seed(3), shared=True)
        latents = module.impute({"a": a, "b": z["b"]}, present, noise=noise, gradient="pathwise").latents
        return latents["b"].square().sum()

    (found,) = torch.autograd.grad(total(z["a"]), z["a"])
    for index in itertools.product(range(4), range(DIM)):
        ends = []
        for step in (1e-5, -1e-5):
            moved = z["a"].detach().clone()
            moved[index] += step
            with torch.no_grad():
                ends.append(float(total(moved)))
        assert float(found[index]) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-3, abs=1e-4)


def test_without_a_gradient_imputed_latents_are_constants() -> None:
    module = joint()
    z = {name: value.requires_grad_() for name, value in drawn(module, 6).items()}
    latents = module.impute(z, all_but(6, module, 1)).latents
    found = torch.autograd.grad(latents["b"].sum(), [*z.values(), *module.parameters()], allow_unused=True)
    assert all(g is None or (g == 0).all() for g in found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 0}, "draws must be at least 1, got 0"),
        (
            {"gradient": "stratified"},
            "gradient of conditional must be one of none, pathwise, total; got",
        ),
        ({"method": "zero", "gradient": "pathwise"}, "gradient of zero must be one of none"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(options: dict[str, object], message: str) -> None:
    module = joint()
    with pytest.raises(ValueError, match=message):
        module.impute(drawn(module, 3), all_but(3, module, 0), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.draws=0", "training.draws = 0: .*greater than or equal to 1"),
        ("model.training_draws=0", "model.training_draws = 0: .*greater than or equal to 1"),
        ("model.alignment.components=0", "components = 0: .*greater than or equal to 1"),
        ("model.alignment.weight=-0.1", "weight = -0.1: .*greater than or equal to 0"),
        (
            "model.imputation_gradient=stratified",
            "for imputation 'conditional': choose none or pathwise",
        ),
    ],
)
def test_settings_out_of_range_are_named(setting: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve("cm2", [setting])


def test_a_gaussian_copula_is_what_the_joint_defaults_to() -> None:
    assert isinstance(CopulaAlignment({"a": 2, "b": 2}).copula(), Gaussian)
