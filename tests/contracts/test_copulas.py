"""Every family of the table through one battery: what a copula is, at several strengths and dimensions."""

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, kstest

from contracts.copula_cases import CORRELATION, Case, cases, interior, rebuild, unequal
from sklar.copulas import FAMILIES, Copula, StudentT

EVERY = [pytest.param(case.build(), id=str(case)) for case in cases()] + [
    pytest.param(copula, id=name) for name, copula in unequal().items()
]
# Next to the boundary of a support, h varies faster than log u and log(1-u) can tell.
WHOLE_CUBE = [param for param in EVERY if param.id != "clayton-negative"]
SMALL = [param for param in EVERY if param.values[0].dim < 4]


def log_pair(u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return u.log(), torch.log1p(-u)


@pytest.mark.parametrize("copula", SMALL)
def test_density_is_the_mixed_derivative_of_the_cdf(copula: Copula):
    u = interior(copula.dim).requires_grad_()
    slope = copula.cdf(u)
    for axis in range(copula.dim):
        slope = torch.autograd.grad(slope.sum(), u, create_graph=True)[0][..., axis]
    # The CDF's third derivative costs digits where a steep copula makes the density small beside it.
    torch.testing.assert_close(copula.log_prob(u).exp(), slope, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("copula", SMALL)
def test_density_integrates_to_one(copula: Copula):
    # The trapezoidal rule in normal scores, whose error falls faster than any power of the step.
    scores = torch.linspace(-8.0, 8.0, 600 if copula.dim == 2 else 90, dtype=torch.float64)
    step = scores[1] - scores[0]
    if step > 0.1 and copula.kendall_tau() > 0.5:
        pytest.skip("a steep ridge in three dimensions needs more points than a fast test has")
    cumulative = torch.special.log_ndtr(torch.stack([scores, -scores]))
    log_u, log_sf = (torch.cartesian_prod(*[part] * copula.dim) for part in cumulative)
    weight = -0.5 * torch.cartesian_prod(*[scores] * copula.dim).square().sum(-1)
    normaliser = copula.dim * (step.log() - 0.5 * torch.log(torch.tensor(2.0 * torch.pi)))
    total = torch.logsumexp(copula.log_density(log_u, log_sf) + weight, 0) + normaliser
    assert abs(float(total.exp()) - 1.0) < 1e-6


@pytest.mark.parametrize("copula", EVERY)
def test_margins_are_uniform(copula: Copula):
    u = torch.ones(copula.dim, copula.dim, dtype=torch.float64)
    u.fill_diagonal_(0.3)
    torch.testing.assert_close(
        copula.cdf(u), torch.full((copula.dim,), 0.3, dtype=torch.float64), rtol=1e-9, atol=0
    )


@pytest.mark.parametrize("case", cases(), ids=str)
def test_members_with_equal_pairs_are_exchangeable(case: Case):
    copula, u = case.build(), interior(case.dim)
    turned = u[:, torch.arange(case.dim).roll(1)]
    torch.testing.assert_close(copula.log_prob(u), copula.log_prob(turned), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dim", [2, 3, 4])
def test_density_tends_to_one_at_independence(family: str, dim: int):
    """Where the family contains it; of the others, tau = 0 is a dependent member."""
    tau = 1e-9 if FAMILIES[family].tau_range[1] > 0 else 0.0
    copula = FAMILIES[family].from_tau(torch.tensor(tau, dtype=torch.float64), dim)
    furthest = float(copula.log_prob(interior(dim)).abs().max())
    assert (furthest < 1e-7) == copula.contains_independence


@pytest.mark.parametrize("copula", EVERY)
def test_conditional_quantile_inverts_the_conditional_cdf(copula: Copula):
    u = interior(copula.dim)
    log_u, log_sf = log_pair(u)
    w = interior(1, len(u), seed=1)[:, 0]
    for size in range(1, copula.dim):
        for known in combinations(range(copula.dim), size):
            target = (known[-1] + 1) % copula.dim
            if target in known:
                continue
            pairs = {i: (log_u[:, i], log_sf[:, i]) for i in known}
            solved, solved_sf = copula.conditional_quantile(w.log(), target, pairs, torch.log1p(-w))
            at, at_sf = log_u.clone(), log_sf.clone()
            at[:, target], at_sf[:, target] = solved, solved_sf
            log_h, log_h_sf = copula.conditional_log_cdf(at, target, known, at_sf)
            assert float((log_h.exp() - w).abs().max()) <= 1e-12
            assert float((log_h_sf.exp() - (1.0 - w)).abs().max()) <= 1e-12


@pytest.mark.parametrize("copula", WHOLE_CUBE)
def test_conditional_quantile_inverts_in_the_corners(copula: Copula):
    # Log odds are the scale on which both tails count; 1e-9 of them is far below anything that is used.
    odds = torch.tensor([-200.0, -40.0, -3.0, 0.0, 3.0, 40.0, 200.0], dtype=torch.float64)
    goal, known = torch.meshgrid(odds, odds, indexing="ij")
    sigmoid = torch.nn.functional.logsigmoid
    pairs = {i: (sigmoid(known + i), sigmoid(-known - i)) for i in range(copula.dim - 1)}
    last = copula.dim - 1
    solved = copula.conditional_quantile(sigmoid(goal), last, pairs, sigmoid(-goal))
    columns = torch.stack([*[pair[0] for pair in pairs.values()], solved[0]], -1)
    columns_sf = torch.stack([*[pair[1] for pair in pairs.values()], solved[1]], -1)
    log_h, log_h_sf = copula.conditional_log_cdf(columns, last, tuple(pairs), columns_sf)
    error = (log_h - log_h_sf - goal).abs() / (1.0 + goal.abs())
    assert float(error.max()) < 1e-9


@pytest.mark.parametrize("copula", EVERY)
def test_conditional_quantile_has_the_implicit_gradient(copula: Copula):
    """Against central differences, in w, the known values and the parameters."""
    dim = copula.dim
    raw = copula.to_raw(None).requires_grad_()
    u = interior(dim, 4)
    known = u[:, :-1].log().requires_grad_()
    log_w = u[:, -1].log().requires_grad_()

    def solve(raw, known, log_w):
        given = {i: known[:, i] for i in range(dim - 1)}
        return rebuild(copula, raw).conditional_icdf(log_w, dim - 1, given).sum()

    arguments = (raw, known, log_w)
    used = [a for a in arguments if a.numel()]
    found = torch.autograd.grad(solve(*arguments), used, allow_unused=True)
    for argument, gradient in zip(used, found, strict=True):
        direction = torch.ones_like(argument)
        step = 1e-5
        ends = []
        for sign in (1.0, -1.0):
            moved = tuple(
                (a + sign * step * direction).detach() if a is argument else a.detach() for a in arguments
            )
            ends.append(float(solve(*moved)))
        expected = (ends[0] - ends[1]) / (2.0 * step)
        slope = 0.0 if gradient is None else float((gradient * direction).sum())
        assert slope == pytest.approx(expected, rel=1e-5, abs=1e-6)  # h^2 of the differences


@pytest.mark.parametrize("copula", EVERY)
def test_joint_density_is_margin_times_conditional(copula: Copula):
    u = interior(copula.dim)
    log_u, log_sf = log_pair(u)
    for known in ((0,), (copula.dim - 1,), (0, copula.dim - 1))[: copula.dim - 1 + (copula.dim > 2)]:
        if len(known) == copula.dim:
            continue
        rest = [i for i in range(copula.dim) if i not in known]
        given = {i: (log_u[:, i], log_sf[:, i]) for i in known}
        conditional = copula.condition(given)
        assert conditional.event_shape == (len(rest),)
        margin = copula.marginal(known).log_density(log_u[:, list(known)])
        both = margin + conditional.log_density(log_u[:, rest], log_sf[:, rest])
        torch.testing.assert_close(copula.log_density(log_u, log_sf), both, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("copula", EVERY)
def test_conditional_density_is_the_derivative_of_the_conditional_cdf(copula: Copula):
    u = interior(copula.dim)
    known = tuple(range(copula.dim - 1))
    log_u = u.log().requires_grad_()
    log_h, _ = copula.conditional_log_cdf(log_u, copula.dim - 1, known)
    slope = torch.autograd.grad(log_h.sum(), log_u)[0][:, -1] * log_h.exp() / u[:, -1]
    conditional = copula.condition({i: u[:, i].log() for i in known})
    torch.testing.assert_close(conditional.log_prob(u[:, -1:]).exp(), slope, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("copula", EVERY)
def test_first_and_second_derivatives_are_exact(copula: Copula):
    dim = copula.dim
    raw = copula.to_raw(None).requires_grad_()
    log_u = interior(dim, 2).log().requires_grad_()

    def density(raw, log_u):
        return rebuild(copula, raw).log_density(log_u)

    inputs = (raw, log_u) if raw.numel() else (log_u,)
    function = density if raw.numel() else lambda log_u: density(raw.detach(), log_u) + 0.0 * log_u.sum(-1)
    assert torch.autograd.gradcheck(function, inputs, rtol=1e-4, atol=1e-6)
    if raw.numel():
        assert torch.autograd.gradgradcheck(function, inputs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("copula", EVERY)
def test_samples_have_uniform_margins_and_the_right_tau(copula: Copula):
    generator = torch.Generator().manual_seed(3)
    u = copula.sample((4000,), generator)
    assert u.shape == (4000, copula.dim)
    assert not u.requires_grad
    p_values = [kstest(u[:, i].numpy(), "uniform").pvalue for i in range(copula.dim)]
    assert min(p_values) > 1e-3  # fixed seed; about 120 such tests run
    taus = [kendalltau(u[:, i], u[:, j]).statistic for i, j in combinations(range(copula.dim), 2)]
    assert sum(taus) / len(taus) == pytest.approx(float(copula.kendall_tau()), abs=0.042)  # 4 standard errors


@pytest.mark.parametrize("copula", EVERY)
def test_conditional_samples_are_uniform_through_the_conditional_cdf(copula: Copula):
    generator = torch.Generator().manual_seed(4)
    log_u = copula.rsample_log((2000,), generator)
    rest = copula.condition({0: log_u[:, 0]}).rsample_log(generator=generator)
    drawn = torch.cat([log_u[:, :1], rest], -1)
    log_h, _ = copula.conditional_log_cdf(drawn, copula.dim - 1, tuple(range(copula.dim - 1)))
    assert kstest(log_h.exp().detach().numpy(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("case", [c for c in cases() if FAMILIES[c.family].tau_range[1] > 0], ids=str)
def test_rsample_differentiates_along_its_path(case: Case):
    copula = case.build()
    raw = copula.to_raw(None).detach().requires_grad_()

    def mean_product(raw):
        generator = torch.Generator().manual_seed(5)
        drawn = type(copula).from_raw(raw, case.dim, None).rsample((200,), generator)
        return drawn.prod(-1).mean()

    (slope,) = torch.autograd.grad(mean_product(raw), raw)
    step = 1e-5
    difference = (mean_product(raw.detach() + step) - mean_product(raw.detach() - step)) / (2 * step)
    assert float(slope.sum()) == pytest.approx(float(difference), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("case", cases(), ids=str)
def test_tau_and_back(case: Case):
    kind = FAMILIES[case.family]
    tau = case.share * kind.tau_range[1]
    copula = kind.from_tau(torch.tensor([tau, tau], dtype=torch.float64), case.dim)
    assert copula.batch_shape == (2,)
    assert copula.kendall_tau().tolist() == pytest.approx([tau, tau], abs=1e-12)


@pytest.mark.parametrize("case", cases(), ids=str)
def test_estimate_finds_tau(case: Case):
    copula = case.build()
    generator = torch.Generator().manual_seed(6)
    log_u = copula.rsample_log((4000, 2), generator)  # two coordinates, estimated apart
    found = type(copula).estimate(log_u)
    assert found.batch_shape == (2,)
    tau = float(copula.kendall_tau())
    assert found.kendall_tau().tolist() == pytest.approx([tau, tau], abs=0.042)  # 4 standard errors


CORNERS = (-1e-30, -1e-10, -1e-3, -0.7, -30.0, -5000.0)


@settings(derandomize=True, max_examples=40)
@given(
    family=st.sampled_from(sorted(FAMILIES)),
    share=st.sampled_from([1e-6, 0.01, 0.4, 0.9, 0.97]),
    corner=st.lists(st.sampled_from(CORNERS), min_size=2, max_size=4),
)
def test_corners_are_finite_in_single_precision(family: str, share: float, corner: list[float]):
    kind = FAMILIES[family]
    copula = kind.from_tau(torch.tensor(share * kind.tau_range[1]), len(corner))
    raw = copula.to_raw(None).requires_grad_()
    log_u = torch.tensor([corner], requires_grad=True)
    value = kind.from_raw(raw, len(corner), None).log_density(log_u)
    assert bool(torch.isfinite(value).all())
    if not value.requires_grad:
        return
    for gradient in torch.autograd.grad(value.sum(), (log_u, raw), allow_unused=True):
        assert gradient is None or bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize("case", cases(), ids=str)
def test_thirty_sigma_is_finite_in_single_precision(case: Case):
    z = torch.tensor([[30.0, -30.0, 25.0, -1.0], [30.0, 30.0, 30.0, 30.0], [-30.0, -30.0, -30.0, -30.0]])
    z = z[:, : case.dim].clone().requires_grad_()
    copula = case.build(torch.float32)
    value = copula.log_density(torch.special.log_ndtr(z), torch.special.log_ndtr(-z))
    assert bool(torch.isfinite(value).all())
    if value.requires_grad:
        assert bool(torch.isfinite(torch.autograd.grad(value.sum(), z)[0]).all())


@pytest.mark.parametrize("copula", EVERY)
def test_the_boundary_has_its_limit_or_minus_infinity(copula: Copula):
    u = torch.tensor([[0.0, 0.5], [1.0, 0.5], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    u = torch.cat([u, torch.full((5, copula.dim - 2), 0.5, dtype=torch.float64)], -1).requires_grad_()
    value = copula.log_prob(u)
    assert not bool(torch.isnan(value).any() | (value == torch.inf).any())
    alone = torch.stack([copula.log_prob(row) for row in u])
    torch.testing.assert_close(alone, value, msg="a point's density depends on the points beside it")
    assert copula.cdf(torch.zeros(copula.dim, dtype=torch.float64)) == 0
    assert copula.cdf(torch.ones(copula.dim, dtype=torch.float64)) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_copula_per_coordinate(family: str):
    kind = FAMILIES[family]
    tau = torch.linspace(0.2, 0.6, 5, dtype=torch.float64) * kind.tau_range[1]
    copula = kind.from_tau(tau, 3)
    log_u = interior(15, 7).log().reshape(7, 5, 3)
    value = copula.log_density(log_u)
    assert value.shape == (7, 5)
    for j in range(5):
        torch.testing.assert_close(value[:, j], kind.from_tau(tau[j], 3).log_density(log_u[:, j]))
    assert copula.rsample_log((7,)).shape == (7, 5, 3)
    assert copula.condition({1: log_u[..., 1]}).rsample_log().shape == (7, 5, 2)
    assert kind.from_tau(tau[0], 3).expand((5,)).log_density(log_u).shape == (7, 5)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_point_serves_many_copulas(family: str):
    kind = FAMILIES[family]
    tau = torch.linspace(0.2, 0.6, 3, dtype=torch.float64) * kind.tau_range[1]  # as many as modalities
    log_u = interior(3, 1)[0].log().requires_grad_()
    value = kind.from_tau(tau, 3).log_density(log_u)
    apart = [kind.from_tau(each, 3).log_density(log_u) for each in tau]
    torch.testing.assert_close(value, torch.stack(apart))
    known = {0: log_u[0].detach(), 2: log_u[2].detach()}
    for ask in (
        lambda copula: copula.conditional_log_cdf(log_u.detach(), 1, (0, 2)),
        lambda copula: copula.conditional_log_cdf(log_u.detach(), (1, 2), (0,)),
        lambda copula: copula.conditional_quantile(log_u[1].detach(), 1, known),
        lambda copula: (copula.log_cdf(log_u.detach()),),
    ):
        together = ask(kind.from_tau(tau, 3))
        for whole, *parts in zip(together, *[ask(kind.from_tau(each, 3)) for each in tau], strict=True):
            torch.testing.assert_close(whole.expand(len(tau)), torch.stack(parts))
    if value.requires_grad:
        (together,), (summed,) = (torch.autograd.grad(v.sum(), log_u) for v in (value, torch.stack(apart)))
        torch.testing.assert_close(together, summed)


def test_one_point_serves_many_degrees_of_freedom():
    df = torch.tensor([2.0, 5.0, 30.0], dtype=torch.float64)
    log_u = interior(3, 1)[0].log()
    correlation = CORRELATION[:3, :3]
    together = StudentT(correlation, df)
    apart = [StudentT(correlation, each) for each in df]
    for ask in (
        lambda copula: copula.log_density(log_u),
        lambda copula: copula.conditional_log_cdf(log_u, 1, (0, 2))[0],
        lambda copula: copula.conditional_quantile(log_u[1], 1, {0: log_u[0], 2: log_u[2]})[0],
    ):
        torch.testing.assert_close(ask(together), torch.stack([ask(copula) for copula in apart]))


def test_copulas_of_either_sign_serve_one_point():
    theta = torch.tensor([-5.0, 3.0], dtype=torch.float64)
    log_u = interior(2, 1)[0].log()
    for kind in (FAMILIES["frank"], FAMILIES["clayton"]):
        both = kind(theta.clamp(min=-0.5))
        apart = torch.stack([kind(each.clamp(min=-0.5)).log_density(log_u) for each in theta])
        torch.testing.assert_close(both.log_density(log_u), apart)


@pytest.mark.parametrize("family", FAMILIES)
def test_wrong_arguments_are_named(family: str):
    copula = FAMILIES[family].from_tau(0.0 if family == "independence" else 0.2, 3)
    with pytest.raises(ValueError, match="has 3 modalities"):
        copula.log_density(torch.zeros(4, 2))
    with pytest.raises(ValueError, match="NaN"):
        copula.log_density(torch.tensor([-1.0, float("nan"), -1.0]))
    with pytest.raises(ValueError, match=r"0\.5"):
        copula.log_density(torch.tensor([-1.0, 0.5, -1.0]))
    with pytest.raises(ValueError, match=r"1\.5"):
        copula.log_prob(torch.tensor([0.5, 1.5, 0.5]))
    with pytest.raises(ValueError, match="distinct"):
        copula.marginal((0, 0))
    with pytest.raises(ValueError, match="none is left"):
        copula.condition({i: torch.tensor(-1.0) for i in range(3)})


@pytest.mark.parametrize("both", [False, True], ids=["log_u", "log_u and log_sf"])
@pytest.mark.parametrize("copula", EVERY)
def test_one_copula_in_pieces_is_a_batch_of_equal_ones(
    copula: Copula, both: bool, monkeypatch: pytest.MonkeyPatch
):
    """A lone copula's parameters are numbers to its kernel, and many points are seen a few at a time."""
    raw = copula.to_raw(None)
    logs = log_pair(interior(copula.dim, 90))[: 1 + both]

    def evaluate(shape: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
        inputs = [part.clone().requires_grad_() for part in (raw, *logs)]
        value = rebuild(copula, inputs[0].expand(*shape, *raw.shape)).log_density(*inputs[1:])
        if not value.requires_grad:
            return (value,)
        return value, *torch.autograd.grad(value.sum(), inputs, allow_unused=True, materialize_grads=True)

    batch = evaluate((90,))
    monkeypatch.setattr("sklar.copulas.analytic._CHUNK", 30)
    for found, known in zip(evaluate(()), batch, strict=True):
        torch.testing.assert_close(found, known, rtol=1e-11, atol=1e-12)
