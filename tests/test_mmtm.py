"""MMTM: what a block computes, whom the losses reach, and mistakes in its settings."""

import pytest
import torch
from torch import nn

from sklar.encoders import Feature
from sklar.errors import UserError
from sklar.models.mmtm import MMTM, Excitation
from stays import patterns, stays, tiny_model

ALL = torch.ones(6, 2, dtype=torch.bool)


def model(**settings: object) -> MMTM:
    built = tiny_model("mmtm", "ehr+cxr", **settings)
    assert isinstance(built, MMTM)
    return built


def pair() -> dict[str, Feature]:
    valid = torch.tensor([[True, True, False], [True, False, False]])
    return {
        "image": Feature(torch.randn(2, 4, 3, 3), None, None, 2),
        "series": Feature(torch.randn(2, 3, 2), valid, None, 2),
    }


def silent(block: Excitation) -> Excitation:
    for layer in block.excite.values():
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return block


def test_a_block_gates_channels_by_a_mixture_of_channel_means() -> None:
    torch.manual_seed(0)
    block = Excitation({"image": 5, "series": 1}, {"image": 4, "series": 2}, ratio=3)
    features = pair()
    out = block(features, ALL[:2])
    for row, steps in ((0, 2), (1, 1)):
        image = features["image"].x[row].mean((1, 2))
        series = features["series"].x[row, :steps].mean(0)  # valid steps only
        hidden = (block.squeeze.weight @ torch.cat([image, series]) + block.squeeze.bias).clamp(min=0)
        assert hidden.shape == (4,)
        for name in features:
            layer = block.excite[name]
            gate = 1 / (1 + (-(layer.weight @ hidden + layer.bias)).exp())
            x = features[name].x[row]
            wanted = x * gate[:, None, None] if name == "image" else x * gate
            torch.testing.assert_close(out[name].x[row], wanted)


@pytest.mark.parametrize(("gain", "factor"), [(1, 0.5), (2, 1.0)])
def test_zero_excitation_halves_everything_or_is_the_identity(gain: float, factor: float) -> None:
    block = silent(Excitation({"image": 5, "series": 1}, {"image": 4, "series": 2}, gain=gain))
    features = pair()
    for name, feature in block(features, ALL[:2]).items():
        torch.testing.assert_close(feature.x, factor * features[name].x, rtol=0, atol=0)


def test_the_joint_loss_alone_reaches_both_streams_and_the_whole_block() -> None:
    built = model().train()
    built(stays(ALL, "ehr+cxr")).logits.sum().backward()
    for part in (
        "encoders.backbones.cxr.network.embedder",
        "encoders.backbones.ehr.layers.0",
        "exchanges.0.squeeze",
        "exchanges.0.excite.ehr",
        "exchanges.0.excite.cxr",
    ):
        gradients = [p.grad for p in built.get_submodule(part).parameters()]
        assert all(g is not None and g.abs().sum() > 0 for g in gradients if g is None or g.ndim > 1), part


def test_blank_inputs_and_skipped_rows_agree_where_everything_is_there() -> None:
    batch = stays(ALL, "ehr+cxr")
    blank, skip = model().train(), model(absent="skip").train()
    for built in (blank, skip):
        built(batch)  # batch statistics, without which a network makes nothing of a blank image
        built.eval()
    torch.testing.assert_close(blank(batch).logits, skip(batch).logits)
    partly = stays(patterns("ehr+cxr"), "ehr+cxr")
    assert (blank(partly).logits - skip(partly).logits).abs().max() > 1e-5


def test_a_modality_s_own_loss_counts_the_rows_that_have_it() -> None:
    built = model().eval()
    batch = stays(patterns("ehr+cxr"), "ehr+cxr")
    terms = built.objective(built(batch), batch.target).terms
    for name in ("ehr", "cxr"):
        own = batch.rows(batch.has(name))
        alone = built.objective(built(own), own.target).terms
        torch.testing.assert_close(terms[f"head_{name}"], alone[f"head_{name}"])


def test_three_modalities_have_two_blocks_with_the_first_one_as_hub() -> None:
    blocks = list(tiny_model("mmtm").get_submodule("exchanges").children())
    assert [block.at for block in blocks] == [{"cxr": 5, "ehr": 1}, {"note": 2, "ehr": 1}]
    every = list(tiny_model("mmtm", after="every").get_submodule("exchanges").children())
    assert [block.at["cxr"] for block in every if "cxr" in block.at] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hub": "crx"}, "model.hub is 'crx'; name one of ehr, cxr; did you mean cxr"),
        ({"after": 9}, "model.after is 9, but the backbone of 'cxr' has 5 stages: choose from 1 to 5"),
        ({"ratio": 100.0}, "model.ratio is 100; with 14 channels it must be at most 28"),
    ],
)
def test_mistakes_are_named_with_the_way_out(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        model(**settings)
