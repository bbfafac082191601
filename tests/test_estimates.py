"""Copula parameters for imputation follow the latents, whatever the family, and leave learned ones behind."""

import pytest
import torch
from torch import Generator

from sklar.alignment import CopulaAlignment
from sklar.alignment.ranks import RunningTau
from sklar.alignment.refit import LatentFit, Learned, estimator
from sklar.alignment.uniforms import Uniforms
from sklar.copulas import BB1, FAMILIES, Clayton, Copula, Gaussian, StudentT

DEPENDENT = sorted(set(FAMILIES) - {"independence"})


def stream(
    update: torch.nn.Module, truth: Copula, batches: int, dim: int = 8, missing: float = 0.3, seed: int = 0
) -> None:
    """Batches of pseudo-observations of a known copula, some modalities absent."""
    g = Generator().manual_seed(seed)
    pool = truth.rsample_log((2048, dim), g).detach()
    for _ in range(batches):
        log_u = pool[torch.randint(len(pool), (64,), generator=g)]
        present = torch.rand(64, truth.dim, generator=g) >= missing
        update.update(Uniforms(log_u, torch.log(-torch.expm1(log_u))), present)  # type: ignore[operator]


@pytest.mark.parametrize("family", DEPENDENT)
def test_moments_find_the_strength_of_every_family(family: str) -> None:
    kind = FAMILIES[family]
    tau = 0.5 * kind.tau_range[1]
    truth = kind.from_tau(torch.tensor(tau), 3)
    moments = estimator("moments", family, 3, 8, (), 0.1)
    stream(moments, truth, 150)
    found = moments.copula(kind.from_tau(torch.tensor(0.1), 3))  # type: ignore[operator]
    assert isinstance(found, kind)
    # a momentum of .02 averages about 50 batches of 512 points: standard error below .01, and what is
    # left of the start is .98^150 of .4
    assert float(found.kendall_tau()) == pytest.approx(tau, abs=0.04)


def test_ranks_are_right_where_correlations_of_scores_are_not() -> None:
    truth = Clayton(torch.tensor(4.0))
    ranks = RunningTau(2, (), 0.3, momentum=0.05)
    stream(ranks, truth, 150, missing=0.0)
    assert float(ranks.tau[0, 1]) == pytest.approx(float(truth.kendall_tau()), abs=0.02)
    scores = truth.rsample_log((20_000,), Generator().manual_seed(1))
    z = torch.special.ndtri(scores.exp().clamp(1e-7, 1 - 1e-7))
    implied = torch.asin(torch.corrcoef(z.T)[0, 1]) * 2 / torch.pi
    assert abs(float(implied) - float(truth.kendall_tau())) > 0.02


def test_ranks_of_pairs_that_never_occur_stay() -> None:
    ranks = RunningTau(3, (), 0.3)
    log_u = torch.rand(40, 4, 3, generator=Generator().manual_seed(0)).log()
    present = torch.ones(40, 3, dtype=torch.bool)
    present[:20, 0] = False
    present[20:, 1] = False
    ranks.update(Uniforms(log_u, torch.log(-torch.expm1(log_u))), present)
    assert float(ranks.tau[0, 1]) == pytest.approx(0.3)
    assert float(ranks.tau[0, 2]) != pytest.approx(0.3, abs=1e-6)


def test_a_batch_of_one_row_leaves_the_ranks() -> None:
    ranks = RunningTau(2, (4,), 0.3)
    ranks.update(Uniforms(-torch.ones(1, 4, 2), -torch.ones(1, 4, 2)), torch.ones(1, 2, dtype=torch.bool))
    torch.testing.assert_close(ranks.tau, torch.full((4, 2, 2), 0.3))


@pytest.mark.parametrize(
    ("truth", "names"),
    [
        (BB1(torch.tensor(0.5), torch.tensor(2.0)), ("theta", "delta")),
        (StudentT(torch.tensor([[1.0, 0.6], [0.6, 1.0]]), torch.tensor(4.0)), ("df",)),
    ],
    ids=["bb1", "student_t"],
)
def test_a_fit_finds_the_parameters_that_tau_leaves_open(truth: Copula, names: tuple[str, ...]) -> None:
    fit = LatentFit(truth.name, 2, 16, ())
    stream(fit, truth, 10, dim=16, missing=0.0)
    found = fit.copula(truth)
    assert bool(fit.fitted)
    for name in names:
        wanted = float(truth.parameters()[name])
        # 4,096 points
        assert float(found.parameters()[name]) == pytest.approx(wanted, rel=0.3), name
    assert float(found.kendall_tau()) == pytest.approx(float(truth.kendall_tau()), abs=0.03)


def test_a_fit_reads_complete_rows_only_and_waits_for_enough() -> None:
    truth = Gaussian(torch.tensor([[1.0, 0.7], [0.7, 1.0]]))
    fit = LatentFit("gaussian", 2, 4, (), rows=128)
    start = Gaussian(torch.eye(2))
    stream(fit, truth, 3, dim=4, missing=0.6)
    assert fit.copula(start) is start
    stream(fit, truth, 30, dim=4, missing=0.6, seed=1)
    assert float(fit.copula(start).parameters()["correlation"][0, 1]) == pytest.approx(0.7, abs=0.1)


def test_each_coordinate_may_have_its_own_fit() -> None:
    truth = Clayton(torch.tensor([0.5, 4.0]))
    fit = LatentFit("clayton", 2, 2, (2,))
    g = Generator().manual_seed(0)
    for _ in range(6):
        log_u = truth.rsample_log((64,), g)
        fit.update(Uniforms(log_u, torch.log(-torch.expm1(log_u))), torch.ones(64, 2, dtype=torch.bool))
    found = fit.copula(truth).kendall_tau()
    torch.testing.assert_close(found, truth.kendall_tau(), rtol=0, atol=0.1)


def test_learned_parameters_are_themselves() -> None:
    truth = Clayton(torch.tensor(2.0))
    learned = Learned()
    stream(learned, truth, 1)
    assert learned.copula(truth) is truth


@pytest.mark.parametrize("estimate", ["moments", "fit"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_imputes_with_every_estimate(estimate: str, family: str) -> None:
    torch.manual_seed(0)
    module = CopulaAlignment({"a": 4, "b": 4, "c": 4}, family=family, estimate=estimate).train()  # type: ignore[arg-type]
    g = Generator().manual_seed(1)
    for _ in range(5):
        shared = torch.randn(64, 4, generator=g)
        z = {name: shared + torch.randn(64, 4, generator=g) for name in "abc"}
        module.loss(z, torch.ones(64, 3, dtype=torch.bool))
    present = torch.tensor([[1, 0, 1], [0, 0, 1]], dtype=torch.bool).repeat(32, 1)
    latents = module.impute(z, present, generator=g).latents
    assert all(torch.isfinite(value).all() for value in latents.values())


def test_an_estimate_travels_with_the_weights() -> None:
    truth = Clayton(torch.tensor(3.0))
    one, other = (CopulaAlignment({"a": 4, "b": 4}, "clayton", estimate="fit") for _ in range(2))
    stream(one.estimator, truth, 6, dim=4, missing=0.0)
    other.load_state_dict(one.state_dict())
    found = (float(module.imputation_copula().kendall_tau()) for module in (one, other))
    assert next(found) == next(found)
    assert float(one.imputation_copula().kendall_tau()) == pytest.approx(0.6, abs=0.05)
