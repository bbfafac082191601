"""No copula makes an accelerator wait: shown on the meta device, whose tensors have no values to look at."""

import pytest
import torch

from sklar.copulas import FAMILIES, Copula


def learned(family: str) -> tuple[Copula, torch.Tensor]:
    """One copula per coordinate, as LearnedCopula builds it."""
    kind = FAMILIES[family]
    raw = torch.empty(5, kind.raw_size(3), device="meta", requires_grad=True)
    return kind.from_raw(raw, 3, 0.95), raw


@pytest.mark.parametrize("family", FAMILIES)
def test_a_training_step_never_looks_at_values(family: str):
    log_u, log_sf = (torch.empty(8, 5, 3, device="meta") for _ in range(2))
    for pair in ((log_u,), (log_u, log_sf)):
        copula, raw = learned(family)
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
