"""What every way to make uniforms, term, imputation and fusion promises inside CM²: it trains."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from batches import SHAPES, SOME, TINY, some_batch
from sklar.alignment import GRADIENTS, IMPUTATIONS, PITS, TERMS
from sklar.models import CM2, FUSIONS, CM2Config
from sklar.models import create as create_model
from sklar.types import Batch

TABLES: dict[str, Mapping[str, Any]] = {
    "pit": PITS,
    "term": TERMS,
    "imputation": IMPUTATIONS,
    "fusion": FUSIONS,
}
"""The tables whose every entry is under contract, by the setting that chooses from it."""

SECTIONS: Mapping[str, Any] = {
    "pit": lambda name: {"alignment": {"pit": name, "family": "gumbel"}},  # the released code's one for M = 3
    "term": lambda name: {"alignment": {"term": name}},
    "imputation": lambda name: {"imputation": name},
    "fusion": lambda name: {"fusion": {"kind": name}},
}

every_option = pytest.mark.parametrize(
    ("setting", "name"), [(setting, name) for setting, table in TABLES.items() for name in table]
)
any_number = pytest.mark.parametrize("modalities", [2, 3])
# the paper's formula says so itself: it is no density
pytestmark = pytest.mark.filterwarnings("ignore:pit='literal':UserWarning")


def make(settings: Mapping[str, Any], modalities: int) -> CM2:
    torch.manual_seed(0)
    shapes = {name: SHAPES[name] for name in list(SHAPES)[-modalities:]}
    model = create_model(shapes, CM2Config.model_validate({"encoders": TINY, **settings}))
    assert isinstance(model, CM2)
    model.alignment.warmup = 1  # mixtures are fitted at once, so that the second step goes through them
    return model


def batch_of(present: torch.Tensor, seed: int = 0) -> Batch:
    """Rows of the last modalities, of which one at least is there."""
    batch = some_batch(torch.ones(len(present), 3, dtype=torch.bool), seed)
    names = list(SHAPES)[-present.shape[1] :]
    return Batch({name: batch.inputs[name] for name in names}, present, batch.target)


def patterns(modalities: int) -> torch.Tensor:
    rows = SOME[:, -modalities:]
    return rows[rows.any(1)].unique(dim=0)


def steps(model: CM2, rows: torch.Tensor) -> None:
    """Two steps: before the mixtures are fitted, and with them."""
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    for seed in (0, 1):
        batch = batch_of(rows, seed)
        objective = model.objective(model.train()(batch), batch.target)
        assert all(torch.isfinite(term) for term in objective.terms.values()), objective.terms
        optimiser.zero_grad()
        objective.total.backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name
        optimiser.step()


def judge_rows(model: CM2, modalities: int) -> None:
    """One row of every pattern on its own, evaluated as in prediction."""
    model.eval()
    for pattern in patterns(modalities):
        batch = batch_of(pattern.unsqueeze(0))
        output = model(batch)
        assert torch.isfinite(model.objective(output, batch.target).total)
        probability = model.predict_proba(batch, 2)
        assert probability.shape == (1, 1)
        assert ((probability > 0) & (probability < 1)).all()


@any_number
@every_option
def test_it_trains_and_predicts_whatever_is_present(setting: str, name: str, modalities: int) -> None:
    model = make(SECTIONS[setting](name), modalities)
    steps(model, patterns(modalities).repeat(4, 1))
    judge_rows(model, modalities)


@any_number
@pytest.mark.parametrize(
    ("imputation", "gradient"), [(name, kind) for name, kinds in GRADIENTS.items() for kind in kinds]
)
def test_every_gradient_of_an_imputation_is_finite(imputation: str, gradient: str, modalities: int) -> None:
    model = make({"imputation": imputation, "imputation_gradient": gradient}, modalities)
    steps(model, patterns(modalities).repeat(4, 1))


@any_number
def test_rows_that_all_lack_the_same_modality_train(modalities: int) -> None:
    rows = torch.ones(6, modalities, dtype=torch.bool)
    rows[1:, 0] = False  # the mixtures need a row of each
    model = make({}, modalities)
    steps(model, rows)
