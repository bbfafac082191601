"""Parameters of the compared systems at the paper's sizes: the released layouts without what never learns.

The released totals were counted in the code that accompanies CM² (commit 4f807b7). What it registers and
never trains is subtracted by name: unused classifiers of encoders, the text encoder's pooler, MMTM's and
DAFT's blocks at other stages. Our text encoder knows one kind of segment, TinyBERT's table has two.
"""

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from sklar.encoders import EncoderConfig, ImageShape, InputShape, SeriesShape, TextShape
from sklar.models import FusionModel, ModelConfig, create
from sklar.models.crossing import Crossing
from sklar.models.daft import Affine
from sklar.models.interleaved import InterleavedConfig, TwoViews
from sklar.models.interpolation import TimeAttention
from sklar.models.mmtm import Excitation
from sklar.models.perceiver import Perceiver, PerceiverConfig

SHAPES: dict[str, InputShape] = {
    "ehr": SeriesShape(76, 59),
    "cxr": ImageShape(3, 224, 224),
    "note": TextShape(30_522, 0),
}

POOLER = 312 * 312 + 312
SEGMENT = 312
EHR_HEAD, WIDE_HEAD = 256 + 1, 512 + 1

LSTM, RESNET34, TINYBERT = 868_352, 21_284_672, 14_252_592 - SEGMENT + 160_256


def encoders(**sections: Any) -> EncoderConfig:
    plain = {
        "dim": 256,
        "projection": "where_needed",
        "series": {"kind": "lstm", "hidden": 256, "layers": 2, "summaries": False},
        "image": {"kind": "resnet34"},
        "text": {
            "hidden": 312,
            "layers": 4,
            "heads": 12,
            "intermediate": 1200,
            "out_dim": 512,
            "length": 512,
        },
    }
    return EncoderConfig.model_validate(plain | sections)


DRFUSE = {
    "series": {
        "kind": "transformer",
        "hidden": 256,
        "layers": 2,
        "heads": 4,
        "intermediate": 2048,
        "summaries": False,
    },
    "image": {"kind": "resnet50"},
}

VIT = {"image": {"kind": "vit"}}


def built(model: str, names: str, settings: dict[str, Any], **sections: Any) -> FusionModel:
    shapes = {name: SHAPES[name] for name in names.split("+")}
    config: ModelConfig = TypeAdapter(ModelConfig).validate_python(
        {"name": model, "encoders": encoders(**sections), **settings}
    )
    with torch.device("meta"):
        return create(shapes, config)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("model", "names", "released", "unused"),
    [
        ("mmtm", "ehr+cxr", 23_494_083, 616_704),
        ("mmtm", "ehr+note", 16_103_211, POOLER + SEGMENT),
        ("mmtm", "ehr+cxr+note", 37_979_884, POOLER + SEGMENT),
        ("daft", "ehr+cxr", 22_324_930, 75_649),
        ("daft", "ehr+note", 15_475_626, POOLER + SEGMENT + WIDE_HEAD),
        ("daft", "ehr+cxr+note", 36_856_811, POOLER + SEGMENT + 2 * WIDE_HEAD),
        ("medfuse", "ehr+cxr", 23_862_595, EHR_HEAD + WIDE_HEAD),
        ("medfuse", "ehr+note", 17_088_427, EHR_HEAD + WIDE_HEAD + POOLER + SEGMENT),
        ("medfuse", "ehr+cxr+note", 38_504_940, EHR_HEAD + 2 * WIDE_HEAD + POOLER + SEGMENT),
        # a gate of the domain that nothing calls
        ("drfuse", "ehr+cxr", 52_670_534, EHR_HEAD + 33_025),
        ("drfuse", "ehr+note", 33_866_583, EHR_HEAD + 2 * (POOLER + SEGMENT + WIDE_HEAD)),
        ("drfuse", "ehr+cxr+note", 81_955_481, EHR_HEAD + 33_025 + 2 * (POOLER + SEGMENT + WIDE_HEAD)),
    ],
)
def test_totals_are_the_released_ones_without_what_never_learns(
    model: str, names: str, released: int, unused: int
) -> None:
    sections = DRFUSE if model == "drfuse" else {}
    assert count(built(model, names, {}, **sections)) == released - unused


@pytest.mark.parametrize(
    ("model", "names", "lean"),
    [("mmtm", "ehr+cxr", 22_877_379), ("daft", "ehr+cxr", 22_249_281), ("drfuse", "ehr+cxr", 52_637_252)],
)
def test_lean_totals(model: str, names: str, lean: int) -> None:
    assert count(built(model, names, {}, **(DRFUSE if model == "drfuse" else {}))) == lean


@pytest.mark.parametrize(
    ("model", "names", "fusion", "settings"),
    [
        ("unified", "ehr+cxr", 131_841, {"head_weight": 0}),
        ("unified", "ehr+note", 131_841, {"head_weight": 0}),
        ("unified", "ehr+cxr+note", 263_425, {"head_weight": 0}),
        ("medfuse", "ehr+cxr", 1_576_960 + 513 + 131_328, {}),
        ("lsmt", "ehr+cxr", 9_004_995, {}),
        ("lsmt", "ehr+note", 8_928_195, {}),
        ("lsmt", "ehr+cxr+note", 9_125_187, {}),
        ("lsmt", "ehr+cxr", 9_215_595, {"series": "backbone"}),
        ("interleaved", "ehr+cxr", 2_427_778, {}),
        ("interleaved", "ehr+note", 2_222_978, {}),
        ("interleaved", "ehr+cxr+note", 4_308_354, {}),
    ],
)
def test_what_comes_on_top_of_the_backbones(
    model: str, names: str, fusion: int, settings: dict[str, Any]
) -> None:
    made = built(model, names, settings)
    backbones = next(m for name, m in made.named_modules() if name.endswith("encoders.backbones"))
    assert count(made) - count(backbones) == fusion


def test_backbones_of_the_paper() -> None:
    bank = built("late", "ehr+cxr+note", {}).get_submodule("encoders.backbones")
    assert {name: count(m) for name, m in bank.named_children()} == {
        "ehr": LSTM,
        "cxr": RESNET34,
        "note": TINYBERT,
    }


@pytest.mark.parametrize(
    ("stage", "image", "mmtm", "daft"),
    [
        (1, {}, 102_880, 9_152),
        (2, {}, 102_880, 9_152),
        (3, {}, 148_032, 17_920),
        (4, {}, 262_912, 38_912),
        (5, {}, 590_976, 96_000),
        (5, VIT, 1_050_112, 172_032),
    ],
)
def test_blocks_of_mmtm_and_daft_at_every_stage(
    stage: int, image: dict[str, Any], mmtm: int, daft: int
) -> None:
    blocks = {}
    for model in ("mmtm", "daft"):
        made = built(model, "ehr+cxr", {"after": "every"}, **image)
        blocks[model] = made.get_submodule(f"exchanges.{stage - 1}")
    assert isinstance(blocks["mmtm"], Excitation)
    assert isinstance(blocks["daft"], Affine)
    assert {name: count(block) for name, block in blocks.items()} == {"mmtm": mmtm, "daft": daft}
    assert not any("bias" in name for name, _ in blocks["daft"].named_parameters())


def test_pieces_of_drfuse() -> None:
    made = built("drfuse", "ehr+cxr", {}, **DRFUSE)
    assert count(made.get_submodule("projector")) == 328_704
    assert count(made.get_submodule("attention")) == 197_376
    branches = made.get_submodule("forks.cxr.backbones")
    sizes = [count(branches.get_submodule(name)) for name in ("shared", "own")]
    assert sizes == [9_536 + 23_498_496, 23_498_496]
    assert count(made.get_submodule("forks.ehr")) == 4_054_785 - EHR_HEAD


@pytest.mark.parametrize(
    ("channels", "size"), [(34, 43_264), (118, 129_280), (312, 327_936), (512, 532_736), (768, 794_880)]
)
def test_attention_over_time(channels: int, size: int) -> None:
    assert count(TimeAttention(channels, 128)) == size


def test_pieces_of_lsmt_and_interleaved() -> None:
    assert count(Perceiver(76, PerceiverConfig())) == 4_420_802
    layers = built("lsmt", "ehr+cxr", {}).get_submodule("layers")
    assert count(layers) == 4_336_128
    gates = {level: TwoViews(59, 76, InterleavedConfig(gate=level)).gate for level in ("patient", "feature")}
    assert {level: count(gate) for level, gate in gates.items()} == {"patient": 33_025, "feature": 49_408}
    # the original stack with its 48 positions, without norms that it never applies
    assert count(Crossing(("one", "two"), 48, 128, 8, 3, 0.1)) == 1_597_184 - 3_072
