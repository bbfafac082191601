"""Image backbones: stages that equal the whole network, single rows, what is frozen, what is refused."""

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from sklar.encoders import (
    Backbone,
    EncoderConfig,
    Feature,
    ImageShape,
    ResNetImage,
    ResNetImageConfig,
    ViTImage,
    ViTImageConfig,
    build,
)
from sklar.encoders.build import ImageConfig
from sklar.errors import UserError
from sklar.types import Batch, Image

SHAPE = ImageShape(1, 32, 48)
KINDS: dict[str, dict[str, Any]] = {
    "basic": {"kind": "resnet18", "widths": (4, 6, 8, 10), "depths": (1, 2, 1, 1)},
    "bottleneck": {"kind": "resnet50", "widths": (8, 8, 12, 16), "depths": (1, 1, 2, 1)},
    "vit": {"kind": "vit", "hidden": 12, "layers": 6, "heads": 3, "intermediate": 16, "patch": 8},
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def make(kind: str, **changes: object) -> Backbone:
    torch.manual_seed(0)
    config = EncoderConfig.model_validate({"dim": 4, "image": {**KINDS[kind], **changes}})
    return build({"scan": SHAPE}, config).backbone("scan")


def images(rows: int = 3, seed: int = 0) -> Image:
    g = torch.Generator().manual_seed(seed)
    return Image(torch.randn(rows, SHAPE.channels, SHAPE.height, SHAPE.width, generator=g))


def walk(backbone: Backbone, item: Image, rows: Tensor | None = None) -> list[Feature]:
    """The input, then the output of every stage."""
    features = [backbone.start(item, rows)]
    for stage in range(len(backbone.widths)):
        features.append(backbone.step(stage, features[-1]))
    return features


@pytest.mark.parametrize(
    ("config", "count"),
    # published sizes without the head; the ViT without its pooler
    [
        (ResNetImageConfig(kind="resnet18"), 11_176_512),
        (ResNetImageConfig(kind="resnet34"), 21_284_672),
        (ResNetImageConfig(kind="resnet50"), 23_508_032),
        (ViTImageConfig(), 85_798_656),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_default_sizes_are_the_published_ones(config: ResNetImageConfig | ViTImageConfig, count: int) -> None:
    with torch.device("meta"):
        backbone = build({"x": ImageShape(3, 224, 224)}, EncoderConfig(image=config)).backbone("x")
    assert sum(p.numel() for p in backbone.parameters()) == count


def test_maps_of_a_residual_network_shrink_as_published() -> None:
    with torch.device("meta"):
        backbone = ResNetImage(3, ResNetImageConfig(kind="resnet34"))
        features = walk(backbone, Image(torch.zeros(1, 3, 224, 224)))
    assert [tuple(f.x.shape[1:]) for f in features[1:]] == [
        (64, 56, 56), (64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)
    ]  # fmt: skip
    assert backbone.widths == (64, 64, 128, 256, 512)


@every_kind
def test_the_stages_together_are_the_whole_network(kind: str) -> None:
    backbone = make(kind).eval()
    item = images()
    features = walk(backbone, item)
    whole = backbone.network(item.pixels).last_hidden_state  # transformers' own forward pass
    torch.testing.assert_close(features[-1].x, whole, rtol=0, atol=0)
    summary = whole.mean((2, 3)) if whole.ndim == 4 else whole[:, 0]
    torch.testing.assert_close(backbone.pool(features[-1]), summary)
    channel = 1 if whole.ndim == 4 else 2
    assert tuple(f.x.shape[channel] for f in features[1:]) == backbone.widths
    assert backbone.pool(features[-1]).shape == (3, backbone.out_dim)


def test_a_vision_transformer_has_a_token_per_patch_and_one_more() -> None:
    tokens, there = walk(make("vit"), images())[-1].tokens()
    assert tokens.shape == (3, 1 + 4 * 6, 12)
    assert there.all()
    assert make("vit", layers=12).widths == (12,) * 5
    assert make("vit", layers=2).widths == (12,) * 3


@every_kind
def test_absent_images_are_not_run(kind: str) -> None:
    backbone = make(kind).eval()
    rows = torch.tensor([0, 2])
    some = backbone.pool(walk(backbone, images(), rows)[-1])
    whole = backbone.pool(walk(backbone, images())[-1])
    torch.testing.assert_close(some[rows], whole[rows], rtol=1e-5, atol=1e-6)
    assert (some[1] == 0).all()


@every_kind
def test_batch_statistics_come_from_present_rows(kind: str) -> None:
    rows = torch.tensor([0, 2])
    one, other = make(kind).train(), make(kind).train()
    walk(one, images(), rows)
    walk(other, images().rows(rows))
    for (name, value), (_, wanted) in zip(one.named_buffers(), other.named_buffers(), strict=True):
        torch.testing.assert_close(value, wanted, rtol=0, atol=0, msg=name)


@every_kind
def test_a_single_image_trains(kind: str) -> None:
    backbone = make(kind, dropout=0.0).train()
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    pooled = backbone.pool(walk(backbone, images(1))[-1])
    pooled.square().sum().backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    # by the running statistics, as in evaluation, which it leaves as they are
    torch.testing.assert_close(pooled, backbone.eval().pool(walk(backbone, images(1))[-1]))
    for name, value in backbone.named_buffers():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, msg=name)


@every_kind
def test_a_frozen_backbone_does_not_learn_or_change(kind: str) -> None:
    backbone = make(kind, freeze=True, dropout=0.0).train()
    assert not any(p.requires_grad for p in backbone.parameters())
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    one = backbone.pool(walk(backbone, images())[-1])
    torch.testing.assert_close(one, backbone.eval().pool(walk(backbone, images())[-1]))
    for name, value in backbone.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, msg=name)


def test_recomputing_blocks_changes_no_gradient() -> None:
    plain, recomputed = make("vit", dropout=0.0).train(), make("vit", dropout=0.0, checkpointing=True).train()
    for backbone in (plain, recomputed):
        backbone.pool(walk(backbone, images())[-1]).square().sum().backward()
    for (name, one), other in zip(plain.named_parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, msg=name)


def test_recomputing_blocks_keeps_fewer_activations() -> None:
    kept = {}
    for checkpointing in (False, True):
        backbone = make("vit", checkpointing=checkpointing).train()
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, s=sizes: s.append(t.numel()) or t, lambda t: t
        ):
            walk(backbone, images())
        kept[checkpointing] = sum(sizes)
    assert kept[True] < kept[False] / 5


def test_a_bank_reads_images_beside_other_modalities() -> None:
    config = EncoderConfig.model_validate({"dim": 4, "image": KINDS["basic"]})
    bank = build({"scan": SHAPE, "other": SHAPE}, config).train()
    present = torch.tensor([[True, False], [False, True], [True, False]])
    encoded = bank(Batch({"scan": images(), "other": images(seed=1)}, present))
    assert {name: latent.shape for name, latent in encoded.latents.items()} == {
        "scan": (3, 4), "other": (3, 4)
    }  # fmt: skip
    assert (encoded.latents["scan"][1] == 0).all()
    assert encoded.features["scan"].x.shape == (2, 10, 1, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "resnet99"}, "'resnet18', 'resnet34', 'resnet50', 'vit'"),
        ({"hidden": 12}, "Extra inputs are not permitted"),
        ({"kind": "vit", "widths": (1, 2, 3, 4)}, "Extra inputs are not permitted"),
        ({"kind": "vit", "heads": 7}, r"hidden \(768\) must be a multiple of heads \(7\)"),
        ({"kind": "resnet50", "widths": (4, 8, 10, 12)}, "widths of resnet50 are multiples of 4"),
        ({"widths": (4, 8, 0, 12)}, "widths and depths are at least 1"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(ImageConfig).validate_python(settings)


def test_images_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match=r"encoders.image.patch is 7; it must divide .* \(32 x 48\)"):
        ViTImage(1, 32, 48, ViTImageConfig(patch=7))
    with pytest.raises(ValueError, match="images have 3 channels; this encoder was built for 1"):
        make("basic").start(Image(torch.zeros(2, 3, 32, 48)), None)
    with pytest.raises(ValueError, match=r"images are 1 x 32 x 32 .* was built for 1 x 32 x 48"):
        make("vit").start(Image(torch.zeros(2, 1, 32, 32)), None)
