"""DAFT: what its block computes, and that the others reach the prediction through it alone."""

import pytest
import torch
from torch import nn

from sklar.encoders import Feature
from sklar.errors import UserError
from sklar.models.daft import DAFT, Affine
from stays import stays, tiny_model

ALL = torch.ones(6, 2, dtype=torch.bool)


def model(**settings: object) -> DAFT:
    built = tiny_model("daft", "ehr+cxr", **settings)
    assert isinstance(built, DAFT)
    return built


def block(**settings: object) -> Affine:
    torch.manual_seed(0)
    return Affine("image", "series", {"image": 5, "series": 1}, {"image": 5, "series": 2}, **settings)


def pair() -> dict[str, Feature]:
    valid = torch.tensor([[True, True, False], [True, False, False]])
    return {
        "image": Feature(torch.randn(2, 5, 3, 3), None, None, 2),
        "series": Feature(torch.randn(2, 3, 2), valid, None, 2),
    }


@pytest.mark.parametrize("activation", ["linear", "tanh", "sigmoid"])
@pytest.mark.parametrize("residual", [False, True])
def test_the_block_scales_and_shifts_by_both_channel_means(activation: str, residual: bool) -> None:
    affine, features = block(activation=activation, residual=residual), pair()
    assert affine.squeeze.weight.shape == (3, 7)  # int((16 + 5) / 7)
    assert not any("bias" in name for name, _ in affine.named_parameters())
    out = affine(features, ALL[:2])
    assert set(out) == {"series"}
    function = {"linear": lambda x: x, "tanh": torch.tanh, "sigmoid": torch.sigmoid}[activation]
    for row, steps in ((0, 2), (1, 1)):
        means = torch.cat([features["image"].x[row].mean((1, 2)), features["series"].x[row, :steps].mean(0)])
        both = affine.expand.weight @ (affine.squeeze.weight @ means).clamp(min=0)
        scale = function(both[:2]) + float(residual)
        torch.testing.assert_close(out["series"].x[row], scale * features["series"].x[row] + both[2:])


def test_without_input_the_scale_and_the_shift_are_zero() -> None:
    features = {name: Feature(torch.zeros_like(own.x), own.valid, None, 2) for name, own in pair().items()}
    features["series"].x[0, 2] = 5.0  # padding, which no mean sees
    assert (block()(features, ALL[:2])["series"].x == 0).all()


def test_the_image_reaches_the_prediction_only_through_the_block() -> None:
    built = model()
    image = built.get_submodule("encoders.backbones.cxr")
    built(stays(ALL, "ehr+cxr")).logits.sum().backward()
    assert sum(float(p.grad.abs().sum()) for p in image.network.embedder.parameters()) > 0
    cut = model()
    cut.exchanges = nn.ModuleList()
    cut(stays(ALL, "ehr+cxr")).logits.sum().backward()
    assert all(p.grad is None for p in cut.get_submodule("encoders.backbones.cxr").parameters())


def test_the_original_lets_a_table_or_series_modulate_the_image() -> None:
    built = model(target="cxr", place="late")
    (affine,) = built.exchanges
    assert (affine.condition, affine.target, affine.at) == ("ehr", "cxr", {"ehr": 2, "cxr": 5})
    assert set(built(stays(ALL, "ehr+cxr")).latents) == {"cxr"}


def test_the_published_block_all_but_silences_its_target_at_first_and_the_residual_one_does_not() -> None:
    torch.manual_seed(0)
    states = Feature(torch.randn(64, 24, 256).tanh() * 0.3, None, None, 64)
    features = {"image": Feature(torch.rand(64, 512, 2, 2), None, None, 64), "series": states}
    sizes = []
    for residual in (False, True):
        affine = Affine(
            "image", "series", {"image": 5, "series": 1}, {"image": 512, "series": 256}, residual=residual
        )
        out = affine(features, torch.ones(64, 2, dtype=torch.bool))["series"].x
        sizes.append(float(out.detach().var(1).mean() / states.x.var(1).mean()))
    assert sizes[0] < 0.05 < 0.7 < sizes[1] < 1.5


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(UserError, match=r"model.target is 'notes'; name one of ehr, cxr"):
        model(target="notes")
