"""Every model on every set of modalities and every backbone keeps the promises of a fusion model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sklar.encoders import Backbone
from sklar.models import MODELS, FusionModel
from stays import COMBINATIONS, MODELS_TINY, PAIRED, SETS, longer, noisy, patterns, stays, tiny_model

every = pytest.mark.parametrize(
    ("model", "names", "series", "image"),
    [(model, *combination) for model in MODELS for combination in COMBINATIONS],
    ids=lambda value: value,
)

each_backbone = pytest.mark.parametrize(
    ("model", "names", "series", "image"),
    [(model, *combination) for model in MODELS for combination in PAIRED],
    ids=lambda value: value,
)
"""Enough where what is asked of one backbone does not depend on the other."""


def read_by(model: str, names: str) -> tuple[str, ...]:
    return ("ehr",) if model == "single" else SETS[names]


def step(model: FusionModel, batch: Any) -> None:
    model.zero_grad()
    model.objective(model(batch), batch.target).total.backward()


def gradients_are_finite(model: FusionModel) -> bool:
    return all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_every_model_takes_part() -> None:
    assert set(MODELS_TINY) == set(MODELS)


@every
def test_absent_content_never_matters(model: str, names: str, series: str, image: str) -> None:
    for training in (False, True):
        results = []
        for change in (lambda batch, names: batch, noisy):
            built = tiny_model(model, names, series, image).train(training)
            batch = change(stays(patterns(names), names), names)
            torch.manual_seed(3)
            output = built(batch)
            terms = built.objective(output, batch.target).terms
            results.append((output.logits, output.latents, terms, dict(built.named_buffers())))
        torch.testing.assert_close(*results, rtol=0, atol=0)


@every
def test_all_parameters_learn_and_the_logits_alone_reach_every_encoder(
    model: str, names: str, series: str, image: str
) -> None:
    built = tiny_model(model, names, series, image).train()
    batch = stays(torch.ones(12, len(SETS[names]), dtype=torch.bool), names)
    for _ in range(2):  # the mixtures of CM² learn from the second batch on
        step(built, batch)
    for name, parameter in built.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    built.zero_grad()
    built.eval()(batch).logits.square().sum().backward()
    for name, module in built.named_modules():
        if isinstance(module, Backbone):
            reached = [p for p in module.parameters() if p.grad is not None and p.grad.abs().sum() > 0]
            assert reached, name


@every
def test_padding_and_other_rows_change_nothing(model: str, names: str, series: str, image: str) -> None:
    built = tiny_model(model, names, series, image).train()
    batch = stays(patterns(names), names)
    built(batch)
    built.eval()
    logits = built(batch).logits
    torch.testing.assert_close(built(longer(batch)).logits, logits, rtol=1e-5, atol=1e-5)
    order = torch.arange(len(batch)).flip(0)
    torch.testing.assert_close(built(batch.rows(order)).logits, logits[order], rtol=1e-5, atol=1e-5)
    alone = torch.cat([built(batch.rows(torch.tensor([row]))).logits for row in range(len(batch))])
    torch.testing.assert_close(alone, logits, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:a batch of . rows has none with two modalities")  # CM² says so
@each_backbone
def test_batches_of_one_and_of_one_pattern_are_finite(
    model: str, names: str, series: str, image: str
) -> None:
    """One row with any subset; one modality in the whole batch; one per row; a modality that nobody has."""
    count = len(SETS[names])
    subsets = patterns(names)
    batches = [*subsets.split(1), torch.eye(count, dtype=torch.bool)]
    batches += [subset.repeat(3, 1) for subset in subsets.split(1)]
    built = tiny_model(model, names, series, image).train()
    built(stays(torch.ones(4, count, dtype=torch.bool), names))  # CM² starts its mixtures from such rows
    for present in batches:
        batch = stays(present, names)
        step(built, batch)
        assert gradients_are_finite(built), present
        with torch.no_grad():
            assert torch.isfinite(built.eval()(batch).logits).all(), present
        built.train()


@every
def test_presence_and_content_of_every_modality_matter(
    model: str, names: str, series: str, image: str
) -> None:
    built = tiny_model(model, names, series, image).double().eval()
    there = torch.ones(4, len(SETS[names]), dtype=torch.bool)
    batch, other = doubled(stays(there, names)), doubled(stays(there, names, seed=1))
    before = built(batch).logits
    for name in read_by(model, names):
        absent = there.clone()
        absent[:, SETS[names].index(name)] = False
        without = type(batch)(batch.inputs, absent)
        assert (built(without).logits - before).abs().amax() > 1e-9, name
        changed = type(batch)({**batch.inputs, name: other.inputs[name]}, there)
        assert (built(changed).logits - before).abs().amax() > 1e-9, name


def doubled(batch: Any) -> Any:
    def wide(tensor: Any) -> Any:
        return tensor.double() if tensor is not None and tensor.is_floating_point() else tensor

    inputs = {
        name: type(item)(**{key: wide(own) for key, own in vars(item).items()})
        for name, item in batch.inputs.items()
    }
    return type(batch)(inputs, batch.present, batch.target)


@each_backbone
def test_shapes_with_many_labels_and_weights_on_disk(
    model: str, names: str, series: str, image: str, tmp_path: Path
) -> None:
    labels = 25
    built, again, other = (
        tiny_model(model, names, series, image, labels, "multilabel", seed).eval() for seed in (0, 0, 1)
    )
    batch = stays(patterns(names), names, outputs=labels)
    output = built(batch)
    assert output.logits.shape == (len(batch), labels)
    for name in read_by(model, names):
        latent = output.latents.get(name)
        if latent is not None:
            assert latent.shape[0] == len(batch)
            assert (latent[~batch.has(name)] == 0).all()
    if output.attention is not None:
        torch.testing.assert_close(output.attention.sum(2), torch.ones(len(batch), labels))
    assert torch.isfinite(built.objective(output, batch.target).total)
    torch.testing.assert_close(again(batch).logits, output.logits, rtol=0, atol=0)
    save_file(built.state_dict(), tmp_path / "weights.safetensors")
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    torch.testing.assert_close(other(batch).logits, output.logits, rtol=0, atol=0)
