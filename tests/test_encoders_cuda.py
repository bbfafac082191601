"""Backbones on a GPU: the numbers of the CPU, and finite ones in half precision (``pytest -m cuda``)."""

from typing import Any

import pytest
import torch

from batches import ALL, SHAPES, some_batch
from sklar.encoders import EncoderConfig, Encoders, ImageShape, build
from sklar.types import Batch, Image

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use"),
]

KINDS: dict[str, dict[str, Any]] = {
    "gru, resnet18": {"image": {"kind": "resnet18"}},
    "transformer, resnet50": {"series": {"kind": "transformer"}, "image": {"kind": "resnet50"}},
    "lstm, vit": {"series": {"kind": "lstm"}, "image": {"kind": "vit", "layers": 4, "checkpointing": True}},
}


def bank(settings: dict[str, Any]) -> Encoders:
    torch.manual_seed(0)
    config = EncoderConfig.model_validate(settings)
    return build({**SHAPES, "scan": ImageShape(3, 64, 64)}, config)


def batch() -> Batch:
    inputs = dict(some_batch(ALL).inputs)
    inputs["scan"] = Image(torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(1)))
    present = torch.ones(8, 4, dtype=torch.bool)
    present[1:, 3] = torch.arange(7) % 2 == 0
    return Batch(inputs, present)


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_the_gpu_computes_what_the_cpu_does(settings: dict[str, Any]) -> None:
    encoders = bank(settings).eval()
    wanted = encoders(batch()).latents
    found = encoders.cuda()(batch().to("cuda")).latents
    for name, latent in wanted.items():
        # convolutions and products may round to 10 bits of mantissa there
        torch.testing.assert_close(found[name].cpu(), latent, rtol=1e-2, atol=1e-2, msg=name)


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_half_precision_trains(settings: dict[str, Any]) -> None:
    encoders = bank(settings).cuda().train()
    with torch.autocast("cuda", dtype=torch.bfloat16):
        latents = encoders(batch().to("cuda")).latents
    sum(latent.float().square().mean() for latent in latents.values()).backward()
    for name, parameter in encoders.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
