"""Gradient clipping, accumulation and trackers do what their settings say."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from cohorts import TINY, small_cohort
from sklar import runs
from sklar.data.store import PreparedData
from sklar.errors import UserError
from sklar.training.config import resolve
from sklar.training.scale import TRACKERS

# every row has a table, and nothing is random
QUIET = (
    *TINY,
    "model.modality=table",
    "model.dropout=0",
    "model.encoders.table.dropout=0",
    "training.max_epochs=1",
    "training.accelerator=cpu",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return small_cohort(tmp_path_factory.mktemp("cohort") / "data", rows=120)


def gradients(
    data: PreparedData, out: Path, monkeypatch: pytest.MonkeyPatch, *settings: str
) -> list[torch.Tensor]:
    """The whole gradient at each step of the optimiser."""
    seen: list[torch.Tensor] = []
    original = torch.optim.AdamW.step

    def step(own: torch.optim.AdamW, closure: Any = None) -> Any:
        def watched() -> Any:
            loss = closure()
            parts = [p.grad.flatten() for group in own.param_groups for p in group["params"]]
            seen.append(torch.cat(parts).clone())
            return loss

        return original(own, watched)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step)
        runs.train(resolve("single", [*QUIET, *settings]), data, out)
    return seen


def test_no_gradient_is_longer_than_the_clip(
    data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = gradients(data, tmp_path / "free", monkeypatch, "training.clip=null")
    clipped = gradients(data, tmp_path / "clipped", monkeypatch, "training.clip=0.01")
    assert min(float(g.norm()) for g in free) > 0.01
    assert max(float(g.norm()) for g in clipped) <= 0.01 * (1 + 1e-4)
    torch.testing.assert_close(clipped[0] / clipped[0].norm(), free[0] / free[0].norm())


def test_accumulated_batches_step_as_one_of_all_their_rows(
    data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = gradients(data, tmp_path / "whole", monkeypatch, "training.batch_size=32")
    halves = ("training.batch_size=16", "training.accumulate=2")
    parts = gradients(data, tmp_path / "parts", monkeypatch, *halves)
    # the optimiser's closure runs once per step, with what the batch before has left
    torch.testing.assert_close(parts[0], whole[0], rtol=1e-4, atol=1e-6)
    assert len(parts) == len(whole)


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_is_written_beside_the_history_or_its_package_named(
    name: str, data: PreparedData, tmp_path: Path
) -> None:
    config = resolve("single", [*QUIET, f"training.logger={name}"])
    package = {"csv": "csv", "mlflow": "mlflow", "wandb": "wandb", "tensorboard": "tensorboard"}[name]
    if find_spec(package) is None:
        with pytest.raises(UserError, match=f"training.logger={name} needs a package: pip install"):
            runs.train(config, data, tmp_path / "run")
        return
    if name in ("mlflow", "wandb"):
        pytest.skip(f"{name} is here and may speak to a server")
    runs.train(config, data, tmp_path / "run")
    assert any(path.is_file() for path in (tmp_path / "run" / "tracker").rglob("*"))
