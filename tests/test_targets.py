"""Targets of several labels or classes, from validation to a whole training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from batches import SHAPES, SOME, TINY, some_batch
from sklar.errors import TrainingError
from sklar.evaluation import auroc
from sklar.models import TASKS, CM2Config, MedFuseConfig, create
from sklar.training.config import TrainingConfig
from sklar.training.fit import fit
from sklar.training.validation import judge
from sklar.types import TaskName

RNG = np.random.default_rng(0)
Y = RNG.integers(0, 2, (60, 3)).astype(float)
P = RNG.random((60, 3))
ONES = np.ones(60)


def test_labels_are_judged_one_by_one_where_they_are_known() -> None:
    y = Y.copy()
    y[:10, 1] = np.nan
    wanted = [auroc(y[:, 0], P[:, 0]), auroc(y[10:, 1], P[10:, 1]), auroc(y[:, 2], P[:, 2])]
    found = judge("multilabel", y, P, ONES)["valid_auroc"]
    assert found == pytest.approx(np.mean([float(w) for w in wanted]))


def test_a_label_without_events_is_left_out() -> None:
    y = Y.copy()
    y[:, 2] = 0
    wanted = np.mean([float(auroc(y[:, k], P[:, k])) for k in (0, 1)])
    assert judge("multilabel", y, P, ONES)["valid_auroc"] == pytest.approx(wanted)


def test_classes_are_judged_against_the_rest() -> None:
    y = RNG.integers(0, 3, 60).astype(float)
    y[5] = np.nan
    known = ~np.isnan(y)
    wanted = np.mean([float(auroc(y[known] == k, P[known, k])) for k in range(3)])
    assert judge("multiclass", y, P, ONES)["valid_auroc"] == pytest.approx(wanted)


@pytest.mark.parametrize("task", ["binary", "multilabel", "multiclass"])
def test_rows_of_one_side_cannot_be_judged(task: TaskName) -> None:
    y = np.zeros(60) if task == "multiclass" else np.zeros((60, 1))
    p = P[:, :1] if task != "multiclass" else P
    with pytest.raises(TrainingError, match=r"60 labelled rows and .*another split"):
        judge(task, y, p, ONES)


CONFIGS = {"cm2": CM2Config(encoders=TINY), "medfuse": MedFuseConfig(encoders=TINY)}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_several_outputs_train_end_to_end(config: CM2Config, task: TaskName, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create(SHAPES, config, 3, task)
    g = torch.Generator().manual_seed(1)
    shape = (32, 3) if task == "multilabel" else (32,)
    high = 2 if task == "multilabel" else 3
    targets = torch.randint(high, (3, *shape), generator=g).float()
    batches = [some_batch(SOME.repeat(4, 1), seed, target) for seed, target in enumerate(targets)]
    loader = DataLoader(batches, batch_size=None)  # type: ignore[var-annotated]
    fitted = fit(model, loader, loader, TrainingConfig(max_epochs=2), tmp_path, 0)
    assert len(fitted.history) == 2
    assert 0 < fitted.history[-1]["valid_auroc"] < 1
    assert model.predict_proba(batches[0], 2).shape == (32, 3)


@pytest.mark.parametrize(
    ("task", "logits", "target", "message"),
    [
        ("binary", (8, 1), (8, 2), r"the target has shape \(8, 2\) for logits of shape \(8, 1\)"),
        ("binary", (8, 1), (7,), r"it must be \(8, 1\), one label per output"),
        ("multilabel", (8, 3), (8,), r"it must be \(8, 3\), one label per output"),
        ("multilabel", (6, 4), (4, 6), r"the target has shape \(4, 6\)"),
        ("multiclass", (8, 3), (8, 3), r"it must be \(8,\), one class per row: build the model"),
    ],
)
def test_a_target_whose_shape_does_not_fit_is_refused(
    task: str, logits: tuple[int, ...], target: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        TASKS[task].loss(torch.zeros(logits), torch.zeros(target), None, None)
