"""What aligns the encoders, on which scale, and what bad input is told."""

import math

import pytest
import torch
from torch import Generator, Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from sklar.alignment import GRADIENTS, TERMS, CopulaAlignment
from sklar.alignment.terms import decorrelation

NAMES = ("a", "b", "c")
ALL = torch.ones(32, 3, dtype=torch.bool)
SOME = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 0, 0]], dtype=torch.bool).repeat(8, 1)


def latents(rows: int = 32, dim: int = 4, seed: int = 0) -> dict[str, Tensor]:
    g = Generator().manual_seed(seed)
    shared = torch.randn(rows, dim, generator=g)
    return {
        name: ((shared + torch.randn(rows, dim, generator=g)) / math.sqrt(2)).requires_grad_()
        for name in NAMES
    }


def joint(**options: object) -> CopulaAlignment:
    torch.manual_seed(0)
    given = {"components": 3, "weight": 1.0, "average": "paired", "warmup": 10**6, **options}
    return CopulaAlignment(dict.fromkeys(NAMES, 4), **given)  # type: ignore[arg-type]


def test_cosine_is_one_minus_the_mean_cosine_of_present_pairs() -> None:
    z = latents()
    found = joint(term="cosine").loss(z, SOME)["cosine"]
    values = [
        1 - torch.nn.functional.cosine_similarity(z[one][i], z[other][i], dim=0)
        for i in range(32)
        for one, other in (("a", "b"), ("a", "c"), ("b", "c"))
        if SOME[i, NAMES.index(one)] and SOME[i, NAMES.index(other)]
    ]
    torch.testing.assert_close(found, torch.stack(values).mean())


def test_softmax_divergence_is_the_released_one_for_two_modalities() -> None:
    z = {name: value for name, value in latents().items() if name != "c"}
    module = CopulaAlignment(dict.fromkeys("ab", 4), term="kl_softmax", weight=1.0)
    found = module.loss(z, ALL[:, :2])["kl_softmax"]
    target = (z["a"] / 0.2).softmax(1).detach()
    wanted = torch.nn.functional.kl_div((z["b"] / 0.2).log_softmax(1), target, reduction="batchmean")
    torch.testing.assert_close(found, wanted)
    grads = torch.autograd.grad(found, list(z.values()), allow_unused=True)
    assert grads[0] is None or (grads[0] == 0).all()
    assert grads[1].abs().sum() > 0


def test_gaussian_divergence_is_that_of_the_shrunk_moments() -> None:
    z = {name: value for name, value in latents().items() if name != "c"}
    module = CopulaAlignment(dict.fromkeys("ab", 4), term="kl_gaussian", weight=1.0)
    found = module.loss(z, ALL[:, :2])["kl_gaussian"]
    laws = [
        MultivariateNormal(
            value.mean(0), (32 * torch.cov(value.T, correction=0) + 4 * torch.eye(4)) / (32 + 4)
        )
        for value in z.values()
    ]
    torch.testing.assert_close(found, kl_divergence(*laws) / 4, rtol=1e-4, atol=1e-5)
    assert all(grad.abs().sum() > 0 for grad in torch.autograd.grad(found, list(z.values())))


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("pattern", [[1, 0, 0], [0, 0, 0]])
def test_without_a_pair_every_term_is_exactly_zero_and_backward_works(term: str, pattern: list[int]) -> None:
    z = latents()
    present = torch.tensor([pattern], dtype=torch.bool).expand(32, -1)
    terms = joint(term=term).eval().loss(z, present)
    assert all(value == 0 for name, value in terms.items() if name != "margins")
    (sum(terms.values()) + sum(value.sum() for value in z.values())).backward()  # type: ignore[union-attr]
    assert all((value.grad == 1).all() for value in z.values())


@pytest.mark.parametrize("term", [name for name in TERMS if name != "none"])
def test_every_term_pulls_its_rows_and_leaves_rows_without_a_pair_alone(term: str) -> None:
    z = latents()
    joint(term=term).loss(z, SOME)[term].backward()
    lonely = SOME.sum(1) < 2
    for name, value in z.items():
        gradient = value.grad if value.grad is not None else torch.zeros_like(value)
        assert torch.isfinite(gradient).all()
        assert (gradient[lonely] == 0).all()
        assert (gradient != 0).any() == (term != "kl_softmax" or name != "a")  # its first side is detached


@pytest.mark.parametrize("term", TERMS)
def test_with_any_term_mixtures_and_moments_are_fitted(term: str) -> None:
    module = joint(term=term, warmup=64, cache=64).train()
    before = module.estimator.product.clone()
    for seed in range(2):
        terms = module.loss(latents(seed=seed), ALL)
    assert set(terms) == {term, "margins"} - {"none"}
    assert all(margin.initialised for margin in module.margins.values())
    assert (module.estimator.product != before).any()
    assert module.loss(latents(), ALL)["margins"].requires_grad
    assert module.impute(latents(), SOME).latents["a"].shape[1:] == (32, 4)


def test_the_papers_scale_sums_over_coordinates() -> None:
    z = latents()
    mean, total = (joint(scale=scale, weight=0.5).loss(z, ALL) for scale in ("mean", "sum"))
    torch.testing.assert_close(total["copula"], 4 * mean["copula"])
    torch.testing.assert_close(total["margins"], mean["margins"])  # margins learn alone: their own scale
    jointly = joint(scale="sum", weight=0.5, routing="joint").loss(z, ALL)
    torch.testing.assert_close(jointly["margins"], 4 * 0.5 * mean["margins"])


@pytest.mark.parametrize("term", [name for name in TERMS if name != "none"])
def test_a_term_weighs_as_much_as_the_rows_that_have_pairs(term: str) -> None:
    z, present = latents(32), ALL.clone()
    present[8:, 1:] = False  # a quarter of the rows has more than one modality
    rows, paired = (
        joint(term=term, average=average).loss(z, present)[term] for average in ("rows", "paired")
    )
    torch.testing.assert_close(rows, paired / 4)
    torch.testing.assert_close(
        joint(term=term, average="rows").loss(z, ALL)[term], joint(term=term).loss(z, ALL)[term]
    )


def test_the_printed_sign_diverges_and_the_correct_one_does_not() -> None:
    z = {name: value.detach() for name, value in latents(256).items()}
    present = ALL[:1].expand(256, -1)
    reached = {}
    for sign in ("correct", "as_printed"):
        module = joint(objective_sign=sign, warmup=256, cache=256, weight=1.0).train()
        module.loss(z, present)
        optimiser = torch.optim.Adam(module.parameters(), 0.05)
        for _ in range(150):
            total = sum(module.loss(z, present).values())
            if not torch.isfinite(total):  # type: ignore[arg-type]
                break
            optimiser.zero_grad()
            total.backward()  # type: ignore[union-attr]
            optimiser.step()
        reached[sign] = float(module.log_prob(z).mean().detach())
    assert reached["correct"] > -20
    assert not reached["as_printed"] > -10_000


def test_decorrelation_is_zero_for_uncorrelated_coordinates_and_d_minus_one_for_one_factor() -> None:
    g = Generator().manual_seed(0)
    free = torch.linalg.qr(torch.cat([torch.ones(40, 1), torch.randn(40, 5, generator=g)], 1)).Q[:, 1:]
    one = torch.randn(40, 1, generator=g).expand(-1, 5)
    everyone = torch.ones(40, 2, dtype=torch.bool)
    assert float(decorrelation(torch.stack([free, free]), everyone)) == pytest.approx(0, abs=1e-9)
    assert float(decorrelation(torch.stack([one, one]), everyone)) == pytest.approx(4, rel=1e-4)
    assert float(decorrelation(torch.stack([free, one]), everyone)) == pytest.approx(2, rel=1e-4)
    nobody_has_the_second = everyone & torch.tensor([True, False])
    assert float(decorrelation(torch.stack([free, one]), nobody_has_the_second)) == pytest.approx(0, abs=1e-9)


def test_decorrelation_reads_present_rows_only() -> None:
    z = torch.randn(3, 32, 4, generator=Generator().manual_seed(1))
    noisy = torch.where(SOME.T.unsqueeze(2), z, 50.0)
    torch.testing.assert_close(decorrelation(noisy, SOME), decorrelation(z, SOME))
    one = decorrelation(z[:1], SOME[:, :1])
    wanted = torch.corrcoef(z[0][SOME[:, 0]].T)
    torch.testing.assert_close(one, (wanted.square().sum() - 4) / 4, rtol=1e-4, atol=1e-5)


def test_the_decorrelation_term_has_its_weight_and_is_off_by_default() -> None:
    z = latents()
    assert "decorrelation" not in joint().loss(z, ALL)
    found = joint(decorrelation=0.3).loss(z, ALL)["decorrelation"]
    torch.testing.assert_close(found, 0.3 * decorrelation(torch.stack(list(z.values())), ALL))


def test_amortized_weights_follow_the_presence_of_the_other_modalities() -> None:
    """A modality whose cluster depends on whether another one was measured."""
    g = Generator().manual_seed(0)
    rows = 1024
    present = torch.ones(rows, 3, dtype=torch.bool)
    present[: rows // 2, 1] = False
    z = {name: torch.randn(rows, 4, generator=g) for name in NAMES}
    z["a"] = z["a"] * 0.3 + torch.where(present[:, 1:2], 2.0, -2.0)
    modules = {}
    for kind in ("global", "amortized"):
        module = joint(mixture_weights=kind, components=2, warmup=rows, cache=rows).train()
        module.loss(z, present)
        optimiser = torch.optim.Adam(module.margins.parameters(), 0.05)
        for _ in range(60):
            optimiser.zero_grad()
            module.loss(z, present)["margins"].backward()
            optimiser.step()
        modules[kind] = module.eval()
    with torch.no_grad():
        gain = (modules["amortized"].log_prob(z, present) - modules["global"].log_prob(z, present)).mean()
        weights = modules["amortized"].margin("a", present).logits.softmax(-1)
    assert float(gain) == pytest.approx(math.log(2), abs=0.1)  # one bit: which cluster
    assert weights[0].max() > 0.95
    assert weights[0].argmax() != weights[-1].argmax()


@pytest.mark.parametrize(
    ("method", "gradient"),
    [(method, gradient) for method, offered in GRADIENTS.items() for gradient in offered],
)
def test_what_is_imputed_follows_the_weights_of_its_own_row(method: str, gradient: str) -> None:
    """Two components far apart, of which the presence of c decides."""
    module = joint(mixture_weights="amortized", components=2)
    for name in NAMES:
        module.margins[name].initialised.fill_(True)
        torch.nn.init.zeros_(module.margins[name].log_scale)
        with torch.no_grad():
            module.margins[name].loc.copy_(torch.tensor([[-9.0], [9.0]]).expand(2, 4))
            module.margins[name].logits.zero_()
            for parameter in module.margins[name].network.parameters():
                parameter.zero_()
    first = module.margins["a"].network
    with torch.no_grad():
        first[0].weight[0] = torch.tensor([0.0, 20.0])  # of b and c
        first[0].bias[0] = -10.0
        first[2].weight[:, 0] = torch.tensor([-9.0, 9.0])
    present = torch.tensor([[0, 1, 0], [0, 1, 1]], dtype=torch.bool).repeat(8, 1)
    z = {name: 9.0 + value for name, value in latents(16).items()}  # within a component
    found = module.impute(z, present, method, draws=4, gradient=gradient)  # type: ignore[arg-type]
    a = found.latents["a"]
    if found.weight is not None:  # one draw of each component, of which the row's own has all the weight
        a = (a * found.weight.unsqueeze(2)).sum(0, keepdim=True)
    assert (a[:, ::2] < -3).all()
    assert (a[:, 1::2] > 3).all()


def test_amortized_weights_never_read_whether_their_own_modality_is_there() -> None:
    module = joint(mixture_weights="amortized")
    torch.nn.init.normal_(module.margins["b"].network[2].weight)
    flipped = SOME.clone()
    flipped[:, 1] = ~flipped[:, 1]
    torch.testing.assert_close(
        module.margins["b"](module._context("b", SOME)).logits,
        module.margins["b"](module._context("b", flipped)).logits,
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"components": 0}, "components must be at least 1, got 0"),
        ({"weight": -0.1}, r"weight \(lambda\) must be at least 0, got -0.1"),
        ({"weight": math.nan}, r"weight \(lambda\) must be at least 0, got nan"),
        ({"decorrelation": -1.0}, "decorrelation must be at least 0, got -1.0"),
        ({"heads": 5, "pit": "head"}, "heads must be between 1 and 4, got 5"),
        ({"cache": 2}, "cache must be at least 3, got 2"),
        ({"warmup": 0}, "warmup must be at least 1, got 0"),
        ({"term": "kl"}, "term must be one of copula, cosine, kl_softmax, kl_gaussian, none; got 'kl'"),
        ({"term": "cosine", "estimate": "learned"}, "use estimate='moments'"),
        ({"pit": "kendall", "estimate": "learned"}, "use estimate='moments'"),
        ({"pit": "kendall", "term": "cosine"}, "pit='kendall' has no say"),
    ],
)
def test_options_out_of_range_or_at_odds_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        joint(**options)


def test_latents_without_coordinates_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one coordinate, got a width of 0"):
        CopulaAlignment({"a": 0, "b": 0})


def test_a_modality_that_is_never_present_is_named_at_the_end_of_the_warmup() -> None:
    module = joint(warmup=64).train()
    present = ALL & torch.tensor([True, True, False])
    module.loss(latents(), present)
    with pytest.raises(ValueError, match="none of the first 64 training rows has 'c'"):
        module.loss(latents(), present)


def test_a_rare_modality_waits_for_rows_enough_for_its_components() -> None:
    module = joint(warmup=32, cache=128).train()
    present = ALL.clone()
    present[2:, 2] = False
    module.loss(latents(seed=0), present)
    assert module.margins["a"].initialised
    assert not module.margins["c"].initialised
    assert module.margin("c").components == module.margin("a").components
    module.loss(latents(seed=1), present)
    assert module.margins["c"].initialised


def test_a_batch_without_pairs_is_warned_of_once_in_training() -> None:
    module = joint().train()
    present = ALL & torch.tensor([True, False, False])
    with pytest.warns(UserWarning, match="a batch of 32 rows has none with two modalities"):
        module.loss(latents(), present)
    module.loss(latents(), present)  # a second warning would be an error here
