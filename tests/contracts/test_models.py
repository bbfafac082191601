"""What every fusion model promises, run over the table of models."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch import Generator
from torch.nn import functional

from batches import ALL, SHAPES, SOME, TINY, some_batch, with_noise_in_absent
from sklar.encoders import Backbone
from sklar.errors import UserError
from sklar.models import MODELS, CM2Config, Ensemble, FusionModel, ModelConfig, TaskName, create

SMALL: dict[str, dict[str, Any]] = {
    "interleaved": {"dim": 8, "heads": 2, "layers": 2, "embedding": 4, "time_heads": 2, "queries": 4},
    "lsmt": {
        "perceiver": {"latents": 3, "width": 4, "depth": 2, "cross_width": 4, "heads": 2, "head_width": 2},
        "width": 6,
        "heads": 2,
        "head_width": 3,
        "mlp": 6,
        "layers": 2,
    },
}
"""Sizes of models whose own default is the published one."""

SETTINGS: dict[str, dict[str, Any]] = {
    "cm2-gaussian": {"name": "cm2"},
    "cm2-gumbel": {"name": "cm2", "alignment": {"family": "gumbel"}},
    "cm2-frank": {"name": "cm2", "alignment": {"family": "frank", "estimate": "learned"}},
    "cm2-unconditional": {"name": "cm2", "imputation": "unconditional", "mark_imputed": False},
    "cm2-paper-fusion": {"name": "cm2", "linear_path": False, "mark_imputed": False, "modality_dropout": 0},
    "cm2-per-coordinate": {"name": "cm2", "alignment": {"parameters": "per_coordinate"}},
    "cm2-mean": {"name": "cm2", "imputation": "mean"},
    "cm2-zero": {"name": "cm2", "imputation": "zero"},
    "cm2-learned": {"name": "cm2", "imputation": "learned"},
    "cm2-skip": {"name": "cm2", "imputation": "skip"},
    "cm2-pathwise": {"name": "cm2", "imputation_gradient": "pathwise", "training_draws": 2},
    "cm2-stratified": {
        "name": "cm2",
        "imputation": "unconditional",
        "imputation_gradient": "stratified",
        "alignment": {"components": 2},
    },
    "cm2-concat": {"name": "cm2", "fusion": {"kind": "concat"}},
    "cm2-concat-skip": {"name": "cm2", "imputation": "skip", "fusion": {"kind": "concat"}},
    "cm2-mean-skip": {"name": "cm2", "imputation": "skip", "fusion": {"kind": "mean"}},
    "cm2-attention": {"name": "cm2", "fusion": {"kind": "attention"}},
    "cm2-attention-skip": {"name": "cm2", "imputation": "skip", "fusion": {"kind": "attention"}},
    "daft": {"name": "daft"},
    "daft-original": {"name": "daft", "target": "table", "place": "late", "residual": True},
    "daft-every-stage": {"name": "daft", "after": "every", "activation": "tanh"},
    "daft-skip": {"name": "daft", "absent": "skip", "activation": "sigmoid"},
    "drfuse": {"name": "drfuse"},
    "drfuse-bernoulli": {"name": "drfuse", "jsd": "bernoulli", "hub": "table"},
    "interleaved": {"name": "interleaved", **SMALL["interleaved"]},
    "interleaved-step": {"name": "interleaved", **SMALL["interleaved"], "gate": "step"},
    "interleaved-feature": {"name": "interleaved", **SMALL["interleaved"], "gate": "feature"},
    "interleaved-backbone": {"name": "interleaved", **SMALL["interleaved"], "series": "backbone"},
    "late": {"name": "late"},
    "lsmt": {"name": "lsmt", **SMALL["lsmt"]},
    "lsmt-backbone": {"name": "lsmt", **SMALL["lsmt"], "series": "backbone"},
    "medfuse": {"name": "medfuse"},
    "medfuse-learned": {"name": "medfuse", "missing": "learned"},
    "mmtm": {"name": "mmtm"},
    "mmtm-every-stage": {"name": "mmtm", "after": "every", "gain": 2, "hub": "notes"},
    "mmtm-first-stage": {"name": "mmtm", "after": 1, "head_weight": 0},
    "mmtm-skip": {"name": "mmtm", "absent": "skip"},
    "single-labs": {"name": "single", "modality": "labs"},
    "single-notes": {"name": "single", "modality": "notes"},
    "single-table": {"name": "single", "modality": "table"},
    "unified": {"name": "unified"},
    "unified-no-heads": {"name": "unified", "head_weight": 0},
}
"""Every model, and every option that changes what it computes."""


def make(case: str, outputs: int = 1, task: TaskName = "binary", seed: int = 0) -> FusionModel:
    torch.manual_seed(seed)
    config: ModelConfig = TypeAdapter(ModelConfig).validate_python({**SETTINGS[case], "encoders": TINY})
    return create(SHAPES, config, outputs, task)


every_model = pytest.mark.parametrize("case", SETTINGS)


def test_every_model_of_the_table_is_under_contract() -> None:
    assert {settings["name"] for settings in SETTINGS.values()} == set(MODELS)


@every_model
@pytest.mark.parametrize("training", [False, True])
def test_absent_content_never_matters(case: str, training: bool) -> None:
    model = make(case).train(training)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    results = []
    for batch in (some_batch(SOME), with_noise_in_absent(some_batch(SOME))):
        model.load_state_dict(state)
        torch.manual_seed(3)
        output = model(batch)
        objective = model.objective(output, batch.target)
        buffers = {name: value.clone() for name, value in model.named_buffers()}
        results.append((output.logits, objective.terms, output.latents, buffers))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@every_model
def test_every_parameter_gets_a_finite_gradient(case: str) -> None:
    model = make(case).train()
    if model.joint is not None:
        model.joint.warmup = 1  # the margins learn once they are initialised
    for seed in (0, 1):
        batch = some_batch(SOME.repeat(4, 1), seed)
        model.zero_grad()
        model.objective(model(batch), batch.target).total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@every_model
def test_the_logits_alone_reach_every_encoder(case: str) -> None:
    model = make(case).eval()
    model(some_batch(ALL)).logits.square().sum().backward()
    for name, module in model.named_modules():
        if isinstance(module, Backbone):
            assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters()), name


@every_model
def test_each_modality_changes_the_prediction(case: str) -> None:
    model = make(case).eval()
    batch, other = some_batch(ALL), some_batch(ALL, seed=5)
    before = model(batch).logits
    own = SETTINGS[case].get("modality")
    for name in [own] if own else SHAPES:
        changed = type(batch)({**batch.inputs, name: other.inputs[name]}, batch.present, batch.target)
        assert (model(changed).logits - before).abs().max() > 1e-6, name


@every_model
@pytest.mark.parametrize("pattern", SOME.unique(dim=0).tolist())
@pytest.mark.parametrize("training", [False, True])
def test_a_batch_of_one_works_with_any_subset_present(case: str, pattern: list[bool], training: bool) -> None:
    model = make(case).train(training)
    batch = some_batch(torch.tensor([pattern]))
    output = model(batch)
    objective = model.objective(output, batch.target)
    assert torch.isfinite(output.logits).all()
    assert torch.isfinite(objective.total)
    objective.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@every_model
def test_rows_do_not_depend_on_their_batch_in_evaluation(case: str) -> None:
    model = make(case).eval()
    batch, rows = some_batch(SOME), torch.arange(len(SOME)).flip(0)
    whole = model(batch).logits[rows]
    torch.testing.assert_close(model(batch.rows(rows)).logits, whole, rtol=1e-5, atol=1e-6)
    for row in (rows[:1], rows[1:2]):
        single = model(batch.rows(row)).logits
        torch.testing.assert_close(single, model(batch).logits[row], rtol=1e-5, atol=1e-6)


@every_model
def test_a_predicted_row_does_not_depend_on_the_rows_beside_it(case: str) -> None:
    model = make(case).eval()
    batch = some_batch(SOME)
    together = model.predict_draws(batch, 3, Generator().manual_seed(1))
    for row in range(1, len(SOME)):
        alone = model.predict_draws(batch.rows(torch.tensor([row])), 3, Generator().manual_seed(1))
        torch.testing.assert_close(alone[:, 0], together[:, row], rtol=1e-5, atol=1e-6)


@every_model
def test_probabilities_have_one_row_per_draw(case: str) -> None:
    model = make(case, 3, "multilabel").eval()
    batch = some_batch(SOME, target=torch.zeros(8, 3))
    draws = model.predict_draws(batch, 4, Generator().manual_seed(0))
    assert draws.shape in {(4, 8, 3), (1, 8, 3)}
    assert ((draws > 0) & (draws < 1)).all()
    again = model.predict_draws(batch, 4, Generator().manual_seed(0))
    torch.testing.assert_close(draws, again, rtol=0, atol=0)


@pytest.mark.parametrize("case", [*(case for case in SETTINGS if case.startswith("cm2")), "daft"])
def test_what_is_hidden_from_answers_is_as_if_it_were_absent(case: str) -> None:
    model, batch = Ensemble([make(case, seed=1), make(case, seed=2)]).eval(), some_batch(ALL)
    answer = model.answers(batch)
    for pattern in SOME.unique(dim=0):
        seen = pattern.expand(len(batch), -1).contiguous()
        wanted = model.predict_draws(replace(batch, present=seen), 3, Generator().manual_seed(1))
        found = answer(seen, 3, Generator().manual_seed(1))
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)


@every_model
def test_weights_survive_saving(case: str) -> None:
    model, other = make(case).eval(), make(case, seed=1).eval()
    batch = some_batch(ALL)
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other(batch).logits, model(batch).logits, rtol=0, atol=0)


@every_model
def test_unlabelled_rows_enter_no_task_loss(case: str) -> None:
    model = make(case).eval()
    batch = some_batch(ALL)
    target = batch.target.clone()
    target[3] = float("nan")
    rest = torch.tensor([0, 1, 2, 4, 5, 6, 7])
    output = model(batch)
    with_gap = model.objective(output, target).terms["task"]
    without = model.objective(model(batch.rows(rest)), target[rest]).terms["task"]
    torch.testing.assert_close(with_gap, without)


@every_model
def test_repeating_a_row_is_the_same_as_weighting_it(case: str) -> None:
    model = make(case).eval()
    batch = some_batch(ALL)
    weight = torch.tensor([1.0, 2, 1, 1, 0, 1, 3, 1])
    repeated = torch.repeat_interleave(torch.arange(8), weight.long())
    by_weight = model.objective(model(batch), batch.target, weight).terms["task"]
    by_copy = model.objective(model(batch.rows(repeated)), batch.target[repeated]).terms["task"]
    torch.testing.assert_close(by_weight, by_copy)


@every_model
def test_classes_have_probabilities_that_sum_to_one(case: str) -> None:
    model = make(case, 3, "multiclass").eval()
    probability = model.predict_proba(some_batch(SOME), 4, Generator().manual_seed(0))
    torch.testing.assert_close(probability.sum(1), torch.ones(len(SOME)))


@every_model
def test_the_loss_of_several_labels_is_the_mean_over_known_ones(case: str) -> None:
    model = make(case, 3, "multilabel").eval()
    target = torch.tensor([[0.0, 1, 1]]).repeat(8, 1)
    target[0, 1] = target[3] = float("nan")
    output = model(some_batch(SOME))
    known = ~target.isnan()
    wanted = functional.binary_cross_entropy_with_logits(output.logits[known], target[known])
    torch.testing.assert_close(model.objective(output, target).terms["task"], wanted)


@every_model
def test_the_loss_of_classes_is_the_mean_over_known_rows(case: str) -> None:
    model = make(case, 3, "multiclass").eval()
    target = torch.tensor([0.0, 1, 2, torch.nan, 1, 2, 0, 1])
    output = model(some_batch(SOME))
    known = ~target.isnan()
    wanted = functional.cross_entropy(output.logits[known], target[known].long())
    torch.testing.assert_close(model.objective(output, target).terms["task"], wanted)


@pytest.mark.parametrize(
    ("outputs", "task", "message"),
    [
        (2, "binary", "a binary target needs one output, got 2"),
        (1, "multiclass", "a multiclass target needs an output per class, two or more, got 1"),
    ],
)
def test_outputs_that_do_not_suit_the_task_are_refused(outputs: int, task: TaskName, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make("medfuse", outputs, task)


def test_a_class_beyond_the_outputs_is_refused() -> None:
    model = make("medfuse", 3, "multiclass").eval()
    with pytest.raises(ValueError, match=r"whole number from 0 to 2; targets reach from 0 to 3"):
        model.objective(model(some_batch(ALL)), torch.tensor([0.0, 1, 2, 3, 0, 0, 0, 0]))


def test_cm2_needs_two_modalities() -> None:
    with pytest.raises(UserError, match=r"two modalities or more, the data have 1 \(labs\)"):
        create({"labs": SHAPES["labs"]}, CM2Config(encoders=TINY))
