"""Parity with the released code: its loss written out naively, row by row and component by component."""

import math

import pytest
import torch
from torch import Tensor

from sklar.alignment import CopulaAlignment
from sklar.alignment.official import Official

ROWS, WIDTH, COMPONENTS = 24, 7, 3


def released_loss(official: Official, family: str, z: list[Tensor]) -> float:
    """The released formulas in double precision with loops, from the parameters alone."""
    theta = float(official.theta.detach())
    rows = len(z[0])
    log_pi = official.logits.detach().double().log_softmax(-1)
    mu, raw = official.loc.detach().double(), official.raw_scale.detach().double()
    per_row = [[0.0] * COMPONENTS for _ in range(rows)]
    for k in range(COMPONENTS):
        log_u = []
        for m, latent in enumerate(z):
            scale = torch.log1p(torch.exp(raw[m, k]))
            products = []
            for i in range(rows):
                below = 0.0
                for j in range(WIDTH):
                    t = float((latent[i, j].double() - mu[m, k, j]) / scale[j])
                    below += math.log(max(0.5 * math.erfc(-t / math.sqrt(2)), 1e-15))
                    log_normal = -0.5 * t * t - math.log(float(scale[j])) - 0.5 * math.log(2 * math.pi)
                    per_row[i][k] += log_normal
                products.append(below)
                per_row[i][k] += float(log_pi[m, k])
            ceiling = max(value for value in products if value < 0)
            log_u.append([min(value, ceiling) for value in products])
        for i, value in enumerate(pseudo_log_density(family, theta, log_u)):
            per_row[i][k] += value
    return -sum(float(torch.tensor(row, dtype=torch.float64).logsumexp(0)) for row in per_row) / rows


def pseudo_log_density(family: str, theta: float, log_u: list[list[float]]) -> list[float]:
    if family == "gumbel":
        strength = max(theta, 1.0)
        return [-(sum((-v) ** strength for v in row) ** (1 / strength)) for row in zip(*log_u, strict=True)]
    folded = []
    for column in log_u:
        mean = sum(column) / len(column)
        deviation = math.sqrt(sum((v - mean) ** 2 for v in column) / (len(column) - 1))
        folded.append([math.exp(-(((v - mean) / deviation) ** 2) / 2) for v in column])
    out = []
    for u, v in zip(*folded, strict=True):
        if family == "frank":
            top = max((math.exp(-theta) - 1) * -theta * math.exp(-theta * (u + v)), 1e-5)
            bottom = (
                math.exp(-theta) + math.exp(-theta * u) + math.exp(-theta * v) + math.exp(-theta * (u + v))
            )
            out.append(math.log(top) - 2 * math.log(bottom))
        else:
            rho = math.tanh(theta)
            x, y = (
                math.sqrt(2) * float(torch.erfinv(torch.tensor(2 * w - 1, dtype=torch.float64)))
                for w in (min(max(u, 1e-6), 0.99999), min(max(v, 1e-6), 0.99999))
            )
            kept = 1 - rho**2
            form = (x * x + y * y) * rho**2 - 2 * x * y * rho
            out.append(-form / (2 * kept) - 0.5 * math.log(max(kept, 0.001)))
    return out


def module(family: str, modalities: int, dtype: torch.dtype = torch.float64) -> CopulaAlignment:
    torch.manual_seed(0)
    names = "abc"[:modalities]
    joint = CopulaAlignment(
        dict.fromkeys(names, WIDTH),
        family,
        COMPONENTS,
        "official",
        weight=1.0,
        average="paired",
        warmup=10**6,
    ).to(dtype)
    assert isinstance(joint.pit, Official)
    with torch.no_grad():  # away from the start, where components are identical
        joint.pit.theta.fill_(1.7)
        joint.pit.logits.normal_()
        joint.pit.loc.normal_(std=0.3)
        joint.pit.raw_scale.normal_(mean=-1.0, std=0.3)
    return joint


def latents(modalities: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(1)
    shared = torch.randn(ROWS, WIDTH, generator=g)
    z = [shared + torch.randn(ROWS, WIDTH, generator=g) for _ in range(modalities)]
    return {
        name: torch.nn.functional.normalize(v, dim=1).to(dtype) for name, v in zip("abc", z, strict=False)
    }


CASES = [("gumbel", 2), ("frank", 2), ("gaussian", 2), ("gumbel", 3)]


@pytest.mark.parametrize(("family", "modalities"), CASES)
def test_the_loss_is_the_released_one(family: str, modalities: int) -> None:
    z = latents(modalities)
    present = torch.ones(ROWS, modalities, dtype=torch.bool)
    joint = module(family, modalities)
    wanted = released_loss(joint.pit, family, list(z.values()))  # type: ignore[arg-type]
    assert float(joint.loss(z, present)["copula"].detach()) == pytest.approx(wanted, rel=1e-5)
    found = joint.float().loss({name: value.float() for name, value in z.items()}, present)["copula"]
    assert float(found.detach()) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(("family", "modalities"), CASES)
def test_it_is_the_released_one_at_the_released_start(family: str, modalities: int) -> None:
    """Unit-norm latents under a scale of .018: hundreds of nats out, and most CDFs at the floor."""
    z = latents(modalities)
    joint = CopulaAlignment(
        dict.fromkeys(z, WIDTH), family, COMPONENTS, "official", weight=1.0, warmup=10**6
    ).double()
    wanted = released_loss(joint.pit, family, list(z.values()))  # type: ignore[arg-type]
    present = torch.ones(ROWS, modalities, dtype=torch.bool)
    assert float(joint.loss(z, present)["copula"].detach()) == pytest.approx(wanted, rel=1e-5)


def test_identical_components_get_identical_gradients_for_ever() -> None:
    z = latents(2)
    joint = CopulaAlignment(dict.fromkeys(z, WIDTH), "gumbel", COMPONENTS, "official", warmup=10**6).double()
    joint.loss(z, torch.ones(ROWS, 2, dtype=torch.bool))["copula"].backward()
    gradient = joint.pit.loc.grad
    assert gradient.abs().max() > 0
    torch.testing.assert_close(gradient, gradient[:, :1].expand_as(gradient), rtol=1e-12, atol=0)


def test_the_gumbel_parameter_rises_on_independent_latents() -> None:
    """Its "density" is a distribution function, which grows with theta whatever the data."""
    g = torch.Generator().manual_seed(2)
    joint = module("gumbel", 2, torch.float32)
    z = {name: torch.randn(256, WIDTH, generator=g) for name in "ab"}
    joint.loss(z, torch.ones(256, 2, dtype=torch.bool))["copula"].backward()
    assert float(joint.pit.theta.grad) < 0


def test_incomplete_rows_contribute_nothing() -> None:
    z = latents(2)
    joint = module("frank", 2)
    present = torch.ones(ROWS, 2, dtype=torch.bool)
    present[10:, 1] = False
    rest = {name: value[:10] for name, value in z.items()}
    some = joint.loss(z, present)["copula"]
    torch.testing.assert_close(some, joint.loss(rest, present[:10])["copula"])
    assert joint.eval().loss(z, present & ~present)["copula"] == 0
    assert (joint.log_density(z, present)[10:] == 0).all()


@pytest.mark.parametrize(("family", "modalities"), [("clayton", 2), ("frank", 3)])
def test_what_the_released_code_cannot_evaluate_is_refused(family: str, modalities: int) -> None:
    with pytest.raises(ValueError, match=f"the released code has no {family} for {modalities} modalities"):
        CopulaAlignment(dict.fromkeys("abc"[:modalities], WIDTH), family, pit="official")


def test_it_reports_its_own_parameter_and_has_no_density() -> None:
    joint = module("gumbel", 2, torch.float32).train()
    z = latents(2, torch.float32)
    joint.loss(z, torch.ones(ROWS, 2, dtype=torch.bool))
    assert float(joint.copula().kendall_tau().detach()) == pytest.approx(1 - 1 / 1.7, abs=1e-4)
    with pytest.raises(ValueError, match="no part of a density"):
        joint.log_prob(z)
