"""The joint of latents: a density, its routing, its margins over patterns, and draws from it."""

import math

import pytest
import torch
from scipy import stats
from torch import Generator, Tensor

from sklar.alignment import CopulaAlignment, Standardise, effective_rank, shuffled, uniformity
from sklar.alignment.moments import ScoreMoments
from sklar.alignment.patterns import patterns
from sklar.alignment.uniforms import Uniforms
from sklar.copulas import FAMILIES, Gaussian

NAMES = ("a", "b", "c")


def joint(dim: int = 4, names: tuple[str, ...] = NAMES, **options: object) -> CopulaAlignment:
    torch.manual_seed(0)
    given = {"components": 3, **options}
    module = CopulaAlignment(dict.fromkeys(names, dim), **given)  # type: ignore[arg-type]
    for margin in module.margins.values():
        margin.initialised.fill_(True)
        torch.nn.init.normal_(margin.loc, std=1.5)
    return module


def latents(rows: int, dim: int = 4, names: tuple[str, ...] = NAMES, seed: int = 0) -> dict[str, Tensor]:
    g = Generator().manual_seed(seed)
    shared = torch.randn(rows, dim, generator=g)
    return {name: (shared + torch.randn(rows, dim, generator=g)) / math.sqrt(2) for name in names}


ALL = torch.ones(64, 3, dtype=torch.bool)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_joint_of_two_scalar_latents_integrates_to_one(family: str) -> None:
    module = joint(dim=1, names=("a", "b"), family=family, components=2)
    axis = torch.linspace(-12, 12, 600)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        density = module.log_prob({"a": grid[:, :1], "b": grid[:, 1:]}).exp()
    mass = density.reshape(600, 600).sum() * (axis[1] - axis[0]) ** 2
    # a Riemann sum over a density with a ridge (tail dependence)
    torch.testing.assert_close(float(mass), 1.0, rtol=0, atol=5e-3)


def test_the_margin_over_a_pattern_is_the_density_without_the_other_modality() -> None:
    module = joint(family="gaussian")
    z = latents(64)
    present = ALL.clone()
    present[:, 1] = False
    two = CopulaAlignment({"a": 4, "c": 4}, family="gaussian", components=3)
    two.margins.load_state_dict(
        {k: v for k, v in module.margins.state_dict().items() if not k.startswith("b.")}
    )
    two.copula.assign(module.copula().marginal((0, 2)))
    torch.testing.assert_close(
        module.log_prob(z, present), two.log_prob({"a": z["a"], "c": z["c"]}), rtol=1e-5, atol=1e-4
    )


def test_rows_with_fewer_than_two_modalities_contribute_nothing() -> None:
    module = joint().train()
    z = {name: value.requires_grad_() for name, value in latents(64).items()}
    present = torch.zeros_like(ALL)
    present[:, 0] = True
    present[:32, 1] = True
    module.loss(z, present)["copula"].backward()
    for name, rows in (("a", slice(32)), ("b", slice(32))):
        assert (z[name].grad[rows] != 0).any(1).all()
        assert (z[name].grad[32:] == 0).all()
    assert (z["c"].grad == 0).all()
    assert module.eval().loss(z, present & ~present)["copula"] == 0


def test_under_ifm_the_margins_never_move_the_latents_nor_the_copula_the_margins() -> None:
    module = joint(routing="ifm").train()
    z = {name: value.requires_grad_() for name, value in latents(64).items()}
    terms = module.loss(z, ALL)
    assert not any(
        g is not None
        for g in torch.autograd.grad(terms["margins"], list(z.values()), allow_unused=True, retain_graph=True)
    )
    margins = list(module.margins.parameters())
    assert not any(
        g is not None
        for g in torch.autograd.grad(terms["copula"], margins, allow_unused=True, retain_graph=True)
    )
    assert all(
        g.abs().sum() > 0 for g in torch.autograd.grad(terms["copula"], list(z.values()), retain_graph=True)
    )
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(terms["margins"], margins))


def test_joint_routing_lets_every_gradient_through() -> None:
    module = joint(routing="joint").train()
    z = {name: value.requires_grad_() for name, value in latents(64).items()}
    terms = module.loss(z, ALL)
    grads = torch.autograd.grad(terms["margins"], list(z.values()), retain_graph=True)
    assert all(g.abs().sum() > 0 for g in grads)
    assert torch.autograd.grad(terms["copula"], list(module.margins.parameters()))[0].abs().sum() > 0


def test_the_encoders_get_a_gradient_from_the_start() -> None:
    """At independence the copula term would have none; the families start at tau 0.35."""
    for family in set(FAMILIES) - {"independence"}:
        module = CopulaAlignment(dict.fromkeys(NAMES, 4), family=family)
        z = {name: value.requires_grad_() for name, value in latents(64).items()}
        module.loss(z, ALL)["copula"].backward()
        assert all(value.grad is not None and value.grad.abs().max() > 1e-6 for value in z.values()), family


def test_mixtures_are_initialised_once_after_the_warmup_and_differ() -> None:
    module = CopulaAlignment(dict.fromkeys(NAMES, 4), components=3, warmup=128, cache=96).train()
    for seed in range(3):
        z = latents(64, seed=seed)
        z["a"] = z["a"] + 3 * (torch.arange(64) % 2).unsqueeze(1)
        module.loss(z, ALL)
        assert bool(module.margins["a"].initialised) == (seed >= 1)
    loc = module.margins["a"].loc
    assert torch.cdist(loc, loc).fill_diagonal_(9).min() > 0.1
    assert int(module.seen) == 128


def test_pseudo_observations_of_the_model_are_uniform() -> None:
    module = joint(dim=8)
    z = {name: module.margin(name).sample((4000,), Generator().manual_seed(1)) for name in NAMES}
    log_u, log_sf = module.uniforms(z)
    torch.testing.assert_close(log_u.exp() + log_sf.exp(), torch.ones_like(log_u), rtol=0, atol=1e-5)
    for column in range(3):
        # the 1 % critical value at n = 4000 is .026; a mean over coordinates lies well below it
        assert uniformity(log_u[..., column].exp().detach()) < 0.02


@pytest.mark.parametrize("family", ["gaussian", "gumbel", "frank"])
def test_conditional_draws_have_the_dependence_of_the_copula(family: str) -> None:
    module = joint(dim=2, family=family, estimate="learned", init_tau=0.5)
    rows = 3000
    complete = module.copula().sample((rows, 2), Generator().manual_seed(3))
    z = {
        name: module.margin(name).inverse_rosenblatt(complete[..., i].log(), torch.log1p(-complete[..., i]))
        for i, name in enumerate(NAMES)
    }
    z = {name: value.detach() for name, value in z.items()}
    present = torch.ones(rows, 3, dtype=torch.bool)
    present[: rows // 2, 1] = False
    present[rows // 2 :, 1:] = False
    imputed = module.impute(z, present, generator=Generator().manual_seed(4))
    drawn = {name: value[0] for name, value in imputed.latents.items()}
    torch.testing.assert_close(drawn["a"], z["a"])
    log_u, _ = module.uniforms(drawn)
    wanted = float(module.copula().kendall_tau().detach())
    for half in (slice(None, rows // 2), slice(rows // 2, None)):
        for one, other in ((0, 1), (1, 2), (0, 2)):
            for coordinate in range(2):
                pair = log_u[half][:, coordinate].detach()
                tau = stats.kendalltau(pair[:, one], pair[:, other]).statistic
                # standard error of tau at n = 1500 is about .012
                assert abs(tau - wanted) < 0.05


def test_unconditional_draws_come_from_the_margin_and_know_nothing_of_the_rest() -> None:
    module = joint(dim=2, estimate="learned", init_tau=0.6)
    z = latents(4000, dim=2)
    present = torch.ones(4000, 3, dtype=torch.bool)
    present[:, 2] = False
    drawn = module.impute(z, present, "unconditional", generator=Generator().manual_seed(0)).latents["c"][0]
    log_u, _ = module.margin("c").rosenblatt(drawn)
    assert uniformity(log_u.exp().detach()) < 0.03
    seen, _ = module.margin("a").rosenblatt(z["a"])
    assert abs(stats.kendalltau(seen[:, 0].detach(), log_u[:, 0].detach()).statistic) < 0.04


def test_imputation_repeats_observed_rows_and_reports_the_spread() -> None:
    module = joint(estimate="learned", init_tau=0.5)
    z = latents(64)
    present = ALL.clone()
    present[:10, 1] = False
    present[10:20, :2] = False
    present[20] = False
    imputed = module.impute(z, present, draws=5, generator=Generator().manual_seed(0))
    assert all(value.shape == (5, 64, 4) for value in imputed.latents.values())
    torch.testing.assert_close(imputed.latents["b"][:, 30:], z["b"][30:].expand(5, -1, -1))
    assert (imputed.latents["b"].std(0)[:20] > 0).all()
    assert (imputed.spread["b"][30:] == 0).all()
    assert (imputed.spread["b"][20] == 1).all()
    assert (
        imputed.spread["b"][0, 0] < imputed.spread["b"][10, 0] < 1
    )  # two known modalities say more than one


def test_draws_follow_the_generator() -> None:
    module = joint()
    z, present = latents(64), ALL.clone()
    present[:, 0] = False
    one, two, other = (
        module.impute(z, present, generator=Generator().manual_seed(seed)).latents["a"] for seed in (1, 1, 2)
    )
    torch.testing.assert_close(one, two, rtol=0, atol=0)
    assert (one - other).abs().max() > 0.1


def test_moments_find_the_correlation_of_partly_observed_scores() -> None:
    moments = ScoreMoments(3, (), 0.35, momentum=0.05)
    r = torch.tensor([[1.0, 0.7, 0.2], [0.7, 1.0, 0.4], [0.2, 0.4, 1.0]])
    g = Generator().manual_seed(0)
    for _ in range(200):
        present = torch.rand(64, 3, generator=g) < 0.7
        log_u = Gaussian(r).rsample_log((64, 8), g)
        moments.update(Uniforms(log_u, torch.log1p(-log_u.exp())), present)
    torch.testing.assert_close(moments.correlation(), r, rtol=0, atol=0.03)
    assert isinstance(moments.copula(Gaussian(torch.eye(3))), Gaussian)


def test_moments_of_a_contradictory_matrix_are_made_positive_definite() -> None:
    moments = ScoreMoments(3, (), 0.35)
    moments.product.copy_(torch.tensor([[1.0, 0.9, -0.9], [0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]]))
    r = moments.correlation()
    assert torch.linalg.eigvalsh(r)[0] > 5e-4
    assert (r.diagonal() == 1).all()


def test_standardise_uses_present_rows_only_and_running_statistics_in_evaluation() -> None:
    layer = Standardise(3, momentum=1.0)
    z = torch.randn(50, 3) * 4 + 2
    present = torch.arange(50) < 30
    z[~present] = 1e6
    out = layer(z, present)
    torch.testing.assert_close(out[:30].mean(0), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(out[:30].var(0, correction=0), torch.ones(3), rtol=1e-4, atol=0)
    assert (out[30:] == 0).all()
    layer.eval()
    wanted = (z[:1] - z[:30].mean(0)) / (z[:30].var(0) + 1e-5).sqrt()
    torch.testing.assert_close(layer(z[:1], present[:1]), wanted)
    layer.train()
    before = layer.mean.clone()
    torch.testing.assert_close(layer(z[:1], present[:1]), wanted)  # one row has no variance
    torch.testing.assert_close(layer.mean, before)


def test_a_shuffle_keeps_margins_and_breaks_every_pair() -> None:
    z = {name: torch.arange(12.0).unsqueeze(1) for name in NAMES}
    present = torch.ones(12, 3, dtype=torch.bool)
    present[10:, 0] = False  # a pattern smaller than the number of modalities
    out, mask = shuffled(z, present)
    rows = torch.cat([out[name][:10] for name in NAMES], 1)
    assert all(len(set(row)) == 3 for row in rows.tolist())
    assert all(sorted(out[name][:10, 0].tolist()) == list(range(10)) for name in NAMES)
    assert mask[:10].all()
    assert not mask[10:].any()


def test_effective_rank_counts_directions() -> None:
    g = Generator().manual_seed(0)
    full = torch.randn(5000, 6, generator=g)
    assert effective_rank(full) == pytest.approx(6, abs=0.05)
    assert effective_rank(full[:, :1] * torch.ones(6)) == pytest.approx(1, abs=1e-3)


def test_patterns_cover_every_row_once() -> None:
    present = torch.rand(100, 3, generator=Generator().manual_seed(0)) < 0.5
    seen = torch.zeros(100)
    for rows, columns in patterns(present):
        seen[rows] += 1
        assert all(present[rows, c].all() == (c in columns) for c in range(3))
    assert (seen == 1).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"family": "gumble"}, "family must be one of independence, gumbel"),
        ({"pit": "marginals"}, "pit must be one of rosenblatt, marginal, head, kendall, literal, official"),
        ({"routing": "both"}, "routing must be one of ifm, joint"),
        ({"estimate": "mle"}, "estimate must be one of moments, fit, learned"),
        ({"parameters": "own"}, "parameters must be one of shared, per_coordinate"),
    ],
)
def test_unknown_options_name_the_valid_ones(options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CopulaAlignment({"a": 4, "b": 4}, **options)  # type: ignore[arg-type]


def test_modalities_that_cannot_be_coupled_are_refused() -> None:
    with pytest.raises(ValueError, match="at least two modalities, got 1"):
        CopulaAlignment({"a": 4})
    with pytest.raises(ValueError, match=r"widths must agree; got \{'a': 4, 'b': 5\}"):
        CopulaAlignment({"a": 4, "b": 5})
    with pytest.raises(ValueError, match=r"method must be one of conditional, .*, skip; got 'guess'"):
        joint().impute(latents(4), ALL[:4], "guess")
