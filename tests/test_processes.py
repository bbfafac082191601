"""Several processes that train together do what one does with all rows."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cohorts import OWN, TINY, small_cohort
from sklar import processes
from sklar.data.loading import EpochBatches
from sklar.data.store import PreparedData
from sklar.errors import UserError
from sklar.runs import read_predictions
from sklar.training.config import TrainingConfig
from sklar.training.epoch import distinct
from sklar.training.scale import joined

SCRIPT = Path(__file__).parent / "two_processes.py"

# without noise, which every process draws for itself, two processes compute what one computes
QUIET = (
    *TINY,
    "training.schedule=constant",
    "model.encoders.series.dropout=0",
    "model.encoders.text.dropout=0",
    "model.encoders.table.dropout=0",
    "model.dropout=0",
)
QUIET_CM2 = (*QUIET, "model.modality_dropout=0", "model.imputation=mean", "model.alignment.warmup=40")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return small_cohort(tmp_path_factory.mktemp("cohort") / "data", rows=400)


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def run(
    data: PreparedData, out: Path, asked: dict[str, Any], launcher: Sequence[str] = (), **environment: str
) -> str:
    command = [sys.executable, *launcher, str(SCRIPT), str(data.path), str(out), json.dumps(asked)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("cm2", QUIET_CM2),
        ("unified", QUIET),
        ("drfuse", QUIET),
        ("interleaved", (*QUIET, *OWN["interleaved"])),
    ],
    ids=["cm2", "unified", "drfuse", "interleaved"],
)
def test_a_step_of_two_processes_is_that_of_one_with_all_rows(
    model: str, settings: tuple[str, ...], data: PreparedData, tmp_path: Path
) -> None:
    # an odd number of rows, so that the shares differ in size
    asked = {
        "model": model,
        "rows": 63,
        "set": [*settings, "training.max_epochs=1", "training.batch_size=64"],
    }
    run(data, tmp_path / "one", asked)
    run(data, tmp_path / "two", {**asked, "set": [*asked["set"], "training.devices=2"]})
    one, two = (load_file(tmp_path / name / "after.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-6, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
    moved, again = (json.loads((tmp_path / n / "history.json").read_text()) for n in ("one", "two"))
    still = set(one) - set(moved["moved"])  # the weight of a single component is one, whatever its logit
    assert {name for name in still if not name.endswith(".logits")} <= {"alignment.cached"}
    for name, value in moved["history"][0].items():
        if name.startswith(("train_", "valid_a", "ks_", "effective_rank_")):
            assert again["history"][0][name] == pytest.approx(value, rel=1e-6), name


# Adam makes whole steps of gradients that are rounding, in weights that training rows hardly use: the few
# validation rows tell more of that than the training curves, which differ by .001
CURVES = {"train_loss": 0.01, "train_task": 0.01, "valid_task": 0.05}


def history(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "history.csv").read_text().splitlines()))


@pytest.mark.slow
def test_curves_of_two_processes_are_those_of_one(data: PreparedData, tmp_path: Path) -> None:
    # one component: of several, rounding decides which of two equally good starts of a mixture is taken
    settings = [*QUIET_CM2, "training.learning_rate=0.003", "model.alignment.components=1"]
    asked: dict[str, Any] = {"model": "cm2", "set": [*settings, "training.max_epochs=4"]}
    run(data, tmp_path / "one", asked)
    one = history(tmp_path / "one")
    twice = {**asked, "set": [*asked["set"], "training.devices=2"]}
    for name, launcher in (("own", ()), ("torchrun", TORCHRUN)):
        run(data, tmp_path / name, twice, launcher)
        two = history(tmp_path / name)
        assert len(one) == len(two) == 4
        for before, after in zip(one, two, strict=True):
            for column, rel in CURVES.items():
                assert float(after[column]) == pytest.approx(float(before[column]), rel=rel), column
        assert (tmp_path / name / "metrics.json").is_file()
        assert {p.name for p in (tmp_path / "one").iterdir()} == {p.name for p in (tmp_path / name).iterdir()}
        found, wanted = (read_predictions(tmp_path / of / "predictions_test.parquet") for of in (name, "one"))
        assert found.ids.tolist() == wanted.ids.tolist()


@pytest.mark.parametrize(("rows", "size"), [(100, 32), (97, 32), (65, 32), (67, 32), (9, 8), (3, 8), (1, 8)])
@pytest.mark.parametrize("of", [2, 3])
def test_the_shares_of_all_processes_are_the_batches_of_one(rows: int, size: int, of: int) -> None:
    shares = [list(EpochBatches(rows, size, 3, share=(r, of))) for r in range(of)]
    assert len({len(share) for share in shares}) == 1
    seen = []
    for parts in zip(*shares, strict=True):
        assert all(parts)  # no process is left without a row
        if rows >= of:
            assert min(map(len, parts)) >= 2 or rows < 2 * of
        seen.append([row for part in parts for row in part])
    alone = EpochBatches(rows, size, 3)
    together = EpochBatches(rows, size, 3, share=(0, of))
    for batch, (start, stop) in zip(seen, together._cuts(), strict=True):
        assert set(batch) == set(alone.order(0)[start:stop].tolist())
        if rows >= of:
            assert len(batch) == stop - start  # none is repeated


def test_a_batch_too_small_for_the_processes_is_refused() -> None:
    with pytest.raises(UserError, match="each needs two rows"):
        EpochBatches(100, 6, share=(0, 4))


def test_rows_that_two_processes_judged_count_once() -> None:
    ids = torch.tensor([5, 2, 9, 5, 2, 1])
    chosen = distinct(ids)
    assert ids[chosen].tolist() == [1, 2, 5, 9]
    assert chosen.tolist() == [5, 1, 0, 2]


def test_a_single_process_is_alone_even_together() -> None:
    rows = torch.randn(4, 3, requires_grad=True)
    with processes.together(), joined(TrainingConfig()):
        assert processes.gather(rows) is rows
        assert processes.collect(rows) is rows
        total, weight = torch.tensor(6.0), torch.tensor(4.0)
        assert float(processes.mean(total, weight)) == 1.5
        assert float(processes.mean(total, torch.tensor(0.0))) == 6.0
        assert processes.sums(torch.ones(2)).tolist() == [1, 1]
    assert (processes.count(), processes.rank(), processes.leads()) == (1, 0, True)
    assert processes.led(lambda: 7) == 7


def test_the_launcher_says_who_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("RANK", "3")
    assert not processes.leads()


def test_more_gpus_than_there_are_is_a_user_error() -> None:
    config = TrainingConfig(accelerator="gpu", devices=64)
    with pytest.raises(UserError, match="do not fit this machine"), joined(config):
        pass


def test_precision_is_read_as_yaml_writes_it() -> None:
    assert TrainingConfig(precision=32).precision == "32"  # type: ignore[arg-type]
    np.testing.assert_equal(TrainingConfig(precision="bf16").precision, "bf16")
