"""LSMT: attention over what is there, a Perceiver that padding does not reach, positions that are counted."""

import math

import pytest
import torch
from torch import nn

from sklar.encoders import SeriesShape, TableShape
from sklar.models import LSMTConfig, create
from sklar.models.attention import Attention
from sklar.models.lsmt import LSMT, sinusoids
from sklar.models.perceiver import GatedFeedForward, Perceiver, PerceiverConfig, fourier, places
from stays import MODELS_TINY, encoders, patterns, stays, tiny_model


def copied(attention: Attention, reference: nn.MultiheadAttention) -> None:
    with torch.no_grad():
        for part, weight, bias in zip(
            (attention.query, attention.key, attention.value),
            reference.in_proj_weight.chunk(3),
            reference.in_proj_bias.chunk(3),
            strict=True,
        ):
            part.weight.copy_(weight)
            part.bias.copy_(bias)
        attention.out.load_state_dict(reference.out_proj.state_dict())


def test_attention_equals_torch_s_own() -> None:
    torch.manual_seed(0)
    ours, reference = Attention(8, 8, 2, 4, bias=True), nn.MultiheadAttention(8, 2, batch_first=True)
    copied(ours, reference)
    x, context, there = torch.randn(3, 4, 8), torch.randn(3, 5, 8), torch.rand(3, 5) < 0.6
    there[:, 0] = True
    wanted, _ = reference(x, context, context, key_padding_mask=~there)
    torch.testing.assert_close(ours(x, context, there), wanted)
    torch.testing.assert_close(ours(x, context), reference(x, context, context)[0])


def test_attention_to_nothing_is_zero_with_finite_slopes() -> None:
    attention = Attention(4, 3, 2, 2)
    x = torch.randn(2, 3, 4, requires_grad=True)
    out = attention(x, torch.randn(2, 5, 3), torch.tensor([[False] * 5, [True] * 5]))
    assert (out[0] == 0).all()
    assert (out[1] != 0).all()
    out.sum().backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("steps", [1, 2, 30])
def test_a_perceiver_gives_as_many_latents_for_any_length_and_reads_no_padding(steps: int) -> None:
    torch.manual_seed(0)
    perceiver = Perceiver(7, PerceiverConfig(depth=2))
    x, valid = torch.randn(2, steps, 7), torch.ones(2, steps, dtype=torch.bool)
    latents = perceiver(x, valid)
    assert latents.shape == (2, 64, 128)
    longer = torch.cat([x, torch.full((2, 4, 7), 9.0)], 1)
    hidden = torch.cat([valid, torch.zeros(2, 4, dtype=torch.bool)], 1)
    torch.testing.assert_close(perceiver(longer, hidden), latents, rtol=1e-5, atol=1e-5)
    other = x.clone()
    other[:, -1] += 1
    assert (perceiver(other, valid) - latents).abs().max() > 1e-3


def test_places_run_from_minus_one_to_one_over_the_valid_steps() -> None:
    valid = torch.tensor([[True, True, True, False], [True, False, False, False]])
    torch.testing.assert_close(places(valid)[0, :3], torch.tensor([-1.0, 0, 1]))
    assert places(valid)[1, 0] == -1


def test_positions_are_encoded_by_the_published_frequencies() -> None:
    values = fourier(torch.tensor([0.25]), 6, 10.0)
    wanted = [math.sin(0.25 * f * math.pi) for f in (1.0, 1.8, 2.6, 3.4, 4.2, 5.0)]
    wanted += [math.cos(0.25 * f * math.pi) for f in (1.0, 1.8, 2.6, 3.4, 4.2, 5.0)]
    torch.testing.assert_close(values, torch.tensor([[*wanted, 0.25]]))


def test_a_gated_layer_is_what_it_says() -> None:
    torch.manual_seed(0)
    layer, x = GatedFeedForward(3), torch.randn(2, 3)
    value, gate = layer.expand(layer.norm(x)).split(12, 1)
    wanted = layer.reduce(value * gate * (1 + torch.erf(gate / 2**0.5)) / 2)
    torch.testing.assert_close(layer(x), wanted)


def test_sinusoids_are_those_of_the_transformer() -> None:
    table = sinusoids(torch.arange(7), 6)
    for position in range(7):
        for pair in range(3):
            angle = position / 10_000 ** (2 * pair / 6)
            wanted = torch.tensor([math.sin(angle), math.cos(angle)])
            torch.testing.assert_close(table[position, 2 * pair : 2 * pair + 2], wanted)


def test_a_series_alone_is_finite_and_reaches_the_latents() -> None:
    built = tiny_model("lsmt")
    output = built(stays(torch.tensor([[True, False, False]])))
    assert torch.isfinite(output.logits).all()
    output.logits.sum().backward()
    for name in ("perceivers.ehr.latents", "perceivers.ehr.blocks.0.cross.key.weight", "start"):
        assert built.get_parameter(name).grad.abs().sum() > 0, name


def test_a_row_reads_what_it_has_as_if_there_were_nothing_else() -> None:
    built = tiny_model("lsmt").eval()
    assert isinstance(built, LSMT)
    batch = stays(patterns("ehr+cxr+note"))
    logits = built(batch).logits
    for row in range(len(batch)):
        alone = batch.rows(torch.tensor([row]))
        tokens, there, _ = built._tokens(alone)
        only = tokens[:, there[0]]
        states = only + sinusoids(torch.arange(only.shape[1]), only.shape[2])
        for layer in built.layers:
            states = layer(states, torch.ones(states.shape[:2], dtype=torch.bool))
        plain = built.classifier(built.norm(states[:, 0]))
        torch.testing.assert_close(plain, logits[row : row + 1], rtol=1e-5, atol=1e-5)


def test_two_series_have_a_perceiver_each_and_a_table_is_a_token() -> None:
    shapes = {"vitals": SeriesShape(4, 2), "age": TableShape(2, ()), "labs": SeriesShape(6, 2)}
    config = LSMTConfig.model_validate({"encoders": encoders(), **MODELS_TINY["lsmt"]})
    built = create(shapes, config)
    assert set(built.get_submodule("perceivers")._modules) == {"vitals", "labs"}
    assert built.order == ("age", "vitals", "labs")
