"""No copula makes an accelerator wait: shown on the meta device, whose tensors have no values to look at."""

import pytest
import torch

from sklar.copulas import FAMILIES, Copula


def learned(family: str, batch: tuple[int, ...] = (5,), dim: int = 3) -> tuple[Copula, torch.Tensor]:
    """One copula per coordinate, or one for all, as LearnedCopula builds it."""
    kind = FAMILIES[family]
    raw = torch.empty(*batch, kind.raw_size(dim), device="meta", requires_grad=True)
    return kind.from_raw(raw, dim, 0.95), raw


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("batch", [(5,), ()], ids=["per coordinate", "for all"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_training_step_never_looks_at_values(family: str, batch: tuple[int, ...], dim: int):
    log_u, log_sf = (torch.empty(8, 5, dim, device="meta") for _ in range(2))
    for pair in ((log_u,), (log_u, log_sf)):
        copula, raw = learned(family, batch, dim)
        inputs = [part.requires_grad_() for part in pair]
        value = copula.log_density(*inputs)
        assert value.shape == (8, 5)
        if value.requires_grad:
            torch.autograd.grad(value.sum(), [*inputs, raw])


@pytest.mark.parametrize("family", FAMILIES)
def test_conditional_draws_never_look_at_values(family: str):
    known = torch.empty(8, 5, device="meta")
    with torch.no_grad():
        given = learned(family)[0].condition({0: known, 2: (known, known)})
        assert given.rsample_both((2,))[0].shape == (2, 8, 5, 1)


def test_looking_would_be_noticed():
    with pytest.raises(RuntimeError, match="meta"):
        bool(torch.empty(3, device="meta").sum() > 0)
