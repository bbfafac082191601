"""`training.compile` computes what is computed without it."""

from functools import partialmethod
from pathlib import Path

import pytest
import torch
from torch import nn

from cohorts import TINY, small_cohort
from sklar import runs
from sklar.training.config import resolve

dynamo = pytest.importorskip("torch._dynamo.utils")

QUIET = ("model.dropout=0", "model.encoders.text.dropout=0", "training.max_epochs=1", "model.modality=notes")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, when its compiler is imported
def test_a_compiled_fit_is_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # graphs forward and backward are captured and run, and no C++ is made of them, which takes minutes
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="aot_eager"))
    data = small_cohort(tmp_path / "data", rows=120)
    torch.compiler.reset()
    dynamo.counters.clear()
    found = {
        compiled: runs.train(
            resolve("single", [*TINY, *QUIET, f"training.compile={str(compiled).lower()}"]),
            data,
            tmp_path / str(compiled),
        )
        for compiled in (False, True)
    }
    assert dynamo.counters["stats"]["unique_graphs"] >= 2  # of training, and of evaluation
    before, after = (run.metrics["validation"] for run in found.values())
    assert after == pytest.approx(before, rel=1e-4)
