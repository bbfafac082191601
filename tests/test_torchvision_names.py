"""Residual networks under torchvision's names: a network written by hand, converted, computes the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from sklar.encoders import Backbone, EncoderConfig, ImageShape, build
from sklar.encoders.torchvision import renamed
from sklar.errors import DataError
from sklar.types import Image
from sklar.weights import add

RESNET = {"kind": "resnet18", "widths": (4, 6, 8, 10), "depths": (1, 2, 1, 1)}


@pytest.fixture(autouse=True)
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKLAR_WEIGHTS", str(tmp_path / "registry"))


def image_backbone(**settings: Any) -> Backbone:
    config = EncoderConfig.model_validate({"image": settings})
    return build({"scan": ImageShape(3, 32, 32)}, config).backbone("scan").eval()


def run(backbone: Backbone, item: Image) -> Tensor:
    return backbone.pool(backbone.advance(backbone.start(item, None), 0, len(backbone.widths)))


def pixels() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    """A basic residual block, written from its published description and with torchvision's names."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        if before != after or stride > 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )
        else:
            self.downsample = nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(inner)) + self.downsample(x))


class Bottleneck(nn.Module):
    """A bottleneck with its stride in the 3 x 3 convolution."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        inside = after // 4
        self.conv1, self.bn1 = nn.Conv2d(before, inside, 1, bias=False), nn.BatchNorm2d(inside)
        self.conv2 = nn.Conv2d(inside, inside, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inside)
        self.conv3, self.bn3 = nn.Conv2d(inside, after, 1, bias=False), nn.BatchNorm2d(after)
        if before != after or stride > 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )
        else:
            self.downsample = nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.bn1(self.conv1(x)))
        inner = functional.relu(self.bn2(self.conv2(inner)))
        return functional.relu(self.bn3(self.conv3(inner)) + self.downsample(x))


class Published(nn.Module):
    """A whole residual network with torchvision's names."""

    def __init__(self, block: type[nn.Module], stem: int, widths: tuple[int, ...], depths: tuple[int, ...]):
        super().__init__()
        self.conv1 = nn.Conv2d(3, stem, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        before = stem
        for k, (width, depth) in enumerate(zip(widths, depths, strict=True), 1):
            blocks = []
            for j in range(depth):
                blocks.append(block(before, width, 2 if k > 1 and j == 0 else 1))
                before = width
            setattr(self, f"layer{k}", nn.Sequential(*blocks))
        self.fc = nn.Linear(before, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for k in (1, 2, 3, 4):
            x = getattr(self, f"layer{k}")(x)
        return x.mean((2, 3))


@pytest.mark.parametrize(
    ("kind", "block", "stem", "widths", "depths"),
    [
        ("resnet18", Block, 4, (4, 6, 8, 10), (1, 2, 1, 2)),
        ("resnet50", Bottleneck, 2, (8, 8, 12, 16), (2, 1, 1, 1)),
    ],
)
@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_a_network_with_torchvision_names_computes_the_same(
    tmp_path: Path, kind: str, block: type[nn.Module], stem: int, widths: Any, depths: Any, ending: str
) -> None:
    torch.manual_seed(2)
    published = Published(block, stem, widths, depths)
    for module in published.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    file = tmp_path / f"network.{ending}"
    if ending == "pth":
        torch.save(published.state_dict(), file)
        add("network", str(file))
    else:
        save_file(published.state_dict(), file)
    backbone = image_backbone(
        kind=kind, widths=widths, depths=depths, pretrained="network" if ending == "pth" else str(file)
    )
    torch.testing.assert_close(
        run(backbone, Image(pixels())), published.eval()(pixels()), rtol=1e-4, atol=1e-5
    )
    assert backbone.loaded is not None
    assert backbone.loaded.left_out == ("fc.bias", "fc.weight")


def test_counters_of_batch_norm_may_be_missing(tmp_path: Path) -> None:
    published = Published(Block, 4, (4, 6, 8, 10), (1, 2, 1, 1)).state_dict()
    old = {name: tensor for name, tensor in published.items() if "num_batches" not in name}
    save_file(old, tmp_path / "old.safetensors")
    backbone = image_backbone(pretrained=str(tmp_path / "old.safetensors"), **RESNET)
    assert backbone.loaded is not None
    assert backbone.loaded.tensors == len(old) - 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: {k: v for k, v in t.items() if k != "layer2.1.bn2.weight"}, "1 missing .*1.layers.1"),
        (lambda t: {**t, "layer5.0.conv1.weight": torch.zeros(1)}, r"1 unknown \(encoder.stages.4.layers.0"),
        (lambda t: {**t, "conv1.weight": torch.zeros(4, 3, 3, 3)}, r"\(4, 3, 3, 3\), not \(4, 3, 7, 7\)"),
    ],
    ids=["missing", "unknown", "shape"],
)  # fmt: skip
def test_tensors_that_do_not_fill_a_residual_network_are_refused(
    tmp_path: Path, change: Any, message: str
) -> None:
    published = Published(Block, 4, (4, 6, 8, 10), (1, 2, 1, 1)).state_dict()
    save_file(change(published), tmp_path / "x.safetensors")
    with pytest.raises(DataError, match=message):
        image_backbone(pretrained=str(tmp_path / "x.safetensors"), **RESNET)


def test_other_depths_than_the_settings_ask_for_are_refused(tmp_path: Path) -> None:
    save_file(Published(Block, 4, (4, 6, 8, 10), (1, 1, 1, 1)).state_dict(), tmp_path / "x.safetensors")
    with pytest.raises(DataError, match=r"10 missing .*not loaded in part"):
        image_backbone(pretrained=str(tmp_path / "x.safetensors"), **RESNET)


def test_unknown_names_stay_as_they_are() -> None:
    assert list(renamed({"fc.weight": torch.zeros(1)})) == ["fc.weight"]
