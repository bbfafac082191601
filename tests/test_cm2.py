"""CM²: imputed latents are read, hidden modalities still align, draws follow the generator."""

import pytest
import torch
from torch import Generator

from batches import ALL, SHAPES, SOME, TINY, some_batch
from sklar.alignment import Imputed
from sklar.models import CM2, CM2Config, create
from sklar.models.tokens import Tokens
from sklar.types import Batch


def make(**settings: object) -> CM2:
    torch.manual_seed(0)
    model = create(SHAPES, CM2Config.model_validate({"encoders": TINY, **settings}))
    assert isinstance(model, CM2)
    return model


@pytest.mark.parametrize("missing", range(3))
@pytest.mark.parametrize("linear_path", [False, True])
def test_each_imputed_latent_changes_the_prediction(missing: int, linear_path: bool) -> None:
    model = make(linear_path=linear_path).eval()
    present = ALL.clone()
    present[:, missing] = False
    draws = model.predict_draws(some_batch(present), 6, Generator().manual_seed(0))
    assert (draws.std(0) > 1e-5).all()


def test_complete_rows_do_not_depend_on_the_draws() -> None:
    model = make().eval()
    draws = model.predict_draws(some_batch(SOME), 6, Generator().manual_seed(0))
    complete = SOME.all(1)
    assert (draws[:, complete].std(0) == 0).all()
    assert (draws[:, ~complete].std(0) > 0).all()


def test_zero_imputation_draws_nothing() -> None:
    draws = make(imputation="zero").eval().predict_draws(some_batch(SOME), 4)
    assert (draws.std(0) == 0).all()


def test_probabilities_average_over_draws() -> None:
    model = make().eval()
    batch = some_batch(SOME)
    draws = model.predict_draws(batch, 5, Generator().manual_seed(3))
    torch.testing.assert_close(model.predict_proba(batch, 5, Generator().manual_seed(3)), draws.mean(0))


def test_modality_dropout_hides_present_modalities_but_never_all_of_a_row() -> None:
    model = make(modality_dropout=0.7).train()
    present = SOME.repeat(200, 1)
    kept = model._hide(present)
    assert not (kept & ~present).any()
    assert kept.any(1).all()
    hidden = 1 - model._hide(ALL.repeat(400, 1)).float().mean()
    # of three modalities the one with the largest noise always stays
    assert 0.45 < float(hidden) < 0.7


def test_modality_dropout_spares_what_few_rows_have() -> None:
    present = torch.ones(4000, 3, dtype=torch.bool)
    present[400:, 1] = False
    hidden = 1 - make(modality_dropout=0.5).train()._hide(present)[:400].float().mean(0)
    # at most one in twenty of the rare one, half of the others but where all are hidden
    assert float(hidden[1]) < 0.1
    assert float(hidden[[0, 2]].min()) > 0.35


def test_hidden_modalities_still_take_part_in_the_alignment() -> None:
    batch = some_batch(ALL)
    terms = []
    for share in (0.0, 0.9):
        model = make(modality_dropout=share, dropout=0).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.encoders.backbone("notes").bert.config.attention_probs_dropout_prob = 0.0  # type: ignore[union-attr]
        model.encoders.backbones["notes"].eval()
        terms.append(model(batch).penalties["copula"])
    torch.testing.assert_close(*terms, rtol=1e-5, atol=1e-6)


def test_the_task_loss_reaches_the_encoders_through_observed_tokens_only() -> None:
    model = make(modality_dropout=0).eval()
    present = ALL.clone()
    present[:, 1] = False
    batch = some_batch(present)
    model(batch).logits.sum().backward()
    touched = {
        name: any(p.grad is not None and p.grad.abs().sum() > 0 for p in backbone.parameters())
        for name, backbone in model.encoders.backbones.items()
    }
    assert touched == {"labs": True, "notes": False, "table": True}


def test_a_batch_in_which_nothing_is_observed_is_predicted_from_the_margins() -> None:
    model = make().eval()
    batch = some_batch(ALL & ~ALL)
    assert isinstance(batch, Batch)
    draws = model.predict_draws(batch, 3, Generator().manual_seed(0))
    assert torch.isfinite(draws).all()


def test_a_looser_imputed_token_is_pulled_further_towards_its_centre() -> None:
    tokens = Tokens(3, 6, mark=False)
    present = ALL.clone()
    present[:, 1] = False
    z = torch.randn(1, 8, 6)
    centre = torch.randn(8, 6)
    blank = torch.zeros(8, 6)
    read = torch.ones_like(present)
    distance = []
    for spread in (0.1, 0.9):
        loose = {"a": blank, "b": torch.full((8, 6), spread), "c": blank}
        imputed = Imputed(dict.fromkeys("abc", z), {"a": blank, "b": centre, "c": blank}, loose, read)
        out = tokens(imputed, present)
        torch.testing.assert_close(out[:, :, 0], z)
        distance.append(((out[0, :, 1] - centre) / (z[0] - centre)).mean())
    assert 0 < distance[1] < distance[0] < 1


def test_the_gate_is_learned() -> None:
    model = make().train()
    batch = some_batch(SOME)
    model.objective(model(batch), batch.target).total.backward()
    for parameter in model.tokens.gate.values():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0
