"""Copulas on a GPU: the CPU's numbers, and no step that makes the host wait."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from sklar.copulas import FAMILIES, Copula
from sklar.copulas.estimation import mean_kendall_tau

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is visible to torch"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype"),
]
DEVICE = "cuda"
TYPES = [pytest.param(torch.float64, id="float64"), pytest.param(torch.float32, id="float32")]
EVERY = list(itertools.product(FAMILIES, (2, 3)))
LEARNED = [(family, dim) for family, dim in EVERY if FAMILIES[family].raw_size(dim)]


def member(family: str, dim: int, dtype: torch.dtype) -> tuple[type[Copula], Tensor]:
    """The class, and the unconstrained parameters of a member of middling strength."""
    kind = FAMILIES[family]
    copula = kind.from_tau(torch.tensor(0.5 * kind.tau_range[1], dtype=torch.float64), dim)
    return kind, copula.to_raw(0.95).to(dtype)


def points(dim: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Log u and log(1-u): the middle of the cube, both tails, and the latents' regime far to the left."""
    u = torch.rand(500, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(dim))
    log_u, log_sf = u.log(), torch.log1p(-u)
    tail = -30.0 * torch.rand(100, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    far = 40.0 * log_u[:50]
    log_u = torch.cat([log_u, tail, torch.log1p(-tail.exp()), far])
    log_sf = torch.cat([log_sf, torch.log1p(-tail.exp()), tail, torch.log1p(-far.exp())])
    return log_u.to(dtype), log_sf.to(dtype)


def evaluated(family: str, dim: int, dtype: torch.dtype, device: str, both: bool) -> list[Tensor]:
    """Log density and its gradients in the parameters and the points, in double precision on the CPU."""
    kind, raw = member(family, dim, dtype)
    inputs = [raw.to(device).requires_grad_()]
    inputs += [log.to(device).requires_grad_() for log in points(dim, dtype)[: 1 + both]]
    value = kind.from_raw(inputs[0], dim, 0.95).log_density(*inputs[1:])
    found = [value]
    if value.requires_grad:
        found += torch.autograd.grad(value.sum(), inputs, allow_unused=True, materialize_grads=True)
    assert all(part.device.type == device for part in found)
    return [part.detach().cpu().double() for part in found]


def assert_near(found: Tensor, known: Tensor, tolerance: float, scale: Tensor | float = 0.0) -> None:
    assert torch.isfinite(known).all()
    assert ((found - known).abs() <= tolerance * (1.0 + known.abs() + scale)).all()


@pytest.mark.parametrize("both", [False, True], ids=["log_u", "log_u and log_sf"])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("family", "dim"), EVERY)
def test_density_and_gradients_are_those_of_the_cpu(family: str, dim: int, dtype: torch.dtype, both: bool):
    value, *gradients = evaluated(family, dim, dtype, DEVICE, both)
    known, *slopes = evaluated(family, dim, dtype, "cpu", both)
    single = dtype == torch.float32
    scale = points(dim, dtype)[0].double().abs().sum(-1)
    assert_near(value, known, 64 * torch.finfo(dtype).eps if single else 1e-12, scale)
    for found, slope in zip(gradients, slopes, strict=True):
        # Far from the diagonal a single-precision log u leaves a slope three or four digits.
        assert_near(found, slope, 5e-3 if single else 1e-9)


@contextmanager
def waiting_is_an_error() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("family", "dim"), LEARNED)
def test_a_training_step_never_waits(family: str, dim: int, dtype: torch.dtype):
    kind, raw = member(family, dim, dtype)
    raw = raw.to(DEVICE).requires_grad_()
    logs = [log.to(DEVICE).requires_grad_() for log in points(dim, dtype)]

    def step(*given: Tensor) -> tuple[Tensor, ...]:
        value = kind.from_raw(raw, dim, 0.95).log_density(*given)
        return value, *torch.autograd.grad(value.sum(), [raw, *given])

    for given in (logs[:1], logs):
        step(*given)  # the first call moves tables of quadrature nodes to the GPU
        with waiting_is_an_error():
            found = step(*given)
        assert all(torch.isfinite(part).all() for part in found)


def test_waiting_would_be_noticed():
    value = torch.ones(3, device=DEVICE)
    with pytest.raises(RuntimeError, match="synchroniz"), waiting_is_an_error():
        value.sum().item()


@pytest.mark.parametrize(("family", "dim"), LEARNED)
def test_second_derivatives_are_those_of_the_cpu(family: str, dim: int):
    kind, raw = member(family, dim, torch.float64)

    def curvature(device: str) -> list[Tensor]:
        inputs = [part.to(device).requires_grad_() for part in (raw, points(dim, torch.float64)[0][:500])]
        value = kind.from_raw(inputs[0], dim, 0.95).log_density(inputs[1])
        slopes = torch.autograd.grad(value.sum(), inputs, create_graph=True)
        total = sum((slope.square().sum() for slope in slopes), torch.zeros((), device=device))
        return [part.cpu() for part in torch.autograd.grad(total, inputs)]

    for found, known in zip(curvature(DEVICE), curvature("cpu"), strict=True):
        torch.testing.assert_close(found, known, rtol=1e-7, atol=1e-7 * float(known.abs().max()))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("family", "dim"), EVERY)
def test_samples_have_the_copulas_tau_and_a_gradient(family: str, dim: int, dtype: torch.dtype):
    kind, raw = member(family, dim, dtype)
    raw = raw.to(DEVICE).requires_grad_()
    copula = kind.from_raw(raw, dim, 0.95)
    drawn = copula.rsample_log((8_192,), torch.Generator(DEVICE).manual_seed(0))
    assert drawn.device.type == DEVICE
    assert drawn.shape == (8_192, dim)
    assert (drawn.detach() <= 0).all()
    tau = mean_kendall_tau(drawn.detach().cpu().unbind(-1))
    assert abs(float(tau) - float(copula.kendall_tau().detach().mean())) < 0.03
    if raw.numel():
        (slope,) = torch.autograd.grad(drawn.exp().prod(-1).mean(), raw)
        assert torch.isfinite(slope).all()
        assert slope.abs().max() > 0


@pytest.mark.parametrize("given", [(0,), (0, 2)], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_conditional_quantile_inverts_the_conditional_cdf(family: str, given: tuple[int, ...]):
    kind, raw = member(family, 3, torch.float64)
    copula = kind.from_raw(raw.to(DEVICE), 3, 0.95)
    log_u, log_sf = (log[:500].to(DEVICE) for log in points(3, torch.float64))
    known = {index: (log_u[:, index], log_sf[:, index]) for index in given}
    solved = copula.conditional_quantile(log_u[:, 1], 1, known, log_sf[:, 1])
    columns = [[log.clone() for log in logs.unbind(-1)] for logs in (log_u, log_sf)]
    for logs, part in zip(columns, solved, strict=True):
        logs[1] = part
    back, back_sf = copula.conditional_log_cdf(
        torch.stack(columns[0], -1), 1, given, torch.stack(columns[1], -1)
    )
    torch.testing.assert_close(back.exp(), log_u[:, 1].exp(), rtol=0, atol=1e-11)
    torch.testing.assert_close(back_sf.exp(), log_sf[:, 1].exp(), rtol=0, atol=1e-11)
