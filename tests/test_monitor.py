"""When latents count as collapsed or exploded, and what is said of it."""

import math
from pathlib import Path

import pytest

from batches import SHAPES, TINY
from sklar import runs
from sklar.alignment import ailments
from sklar.data.simulate import Scenario, write_simulation
from sklar.data.store import PreparedData
from sklar.errors import TrainingError
from sklar.models import CM2Config, create
from sklar.training.adapter import Adapter
from sklar.training.config import TrainingConfig, resolve


def ranks(*values: float, notes: float = 1.0) -> list[dict[str, float]]:
    """Epochs with an effective rank of the labs, and one of the notes that is always the same."""
    return [
        {"effective_rank_labs": value, "effective_rank_notes": notes, "latent_rms_labs": 1.0}
        for value in values
    ]


def test_ranks_of_every_modality_below_the_limit_for_two_epochs_are_a_collapse() -> None:
    (found,) = ailments(ranks(5.0, 1.09, 1.05), epoch=7)
    assert (found.epoch, found.collapsed) == (7, True)
    assert (found.modalities, found.values) == (("labs", "notes"), (1.05, 1.0))
    assert "epoch 7: the latents of all modalities have collapsed (effective rank labs 1.05, notes" in str(
        found
    )


@pytest.mark.parametrize("values", [(), (1.05,), (1.05, 1.1), (1.05, 2.5, 1.05), (5.0, 4.0)])
def test_one_low_epoch_is_none(values: tuple[float, ...]) -> None:
    assert ailments(ranks(*values), epoch=0) == []


def test_one_modality_with_one_factor_is_none() -> None:
    assert ailments(ranks(1.0, 1.0, 1.0, notes=2.6), epoch=2) == []


def test_latents_of_single_coordinates_have_no_rank_to_lose() -> None:
    assert ailments([{"latent_rms_labs": 1.0}] * 3, epoch=2) == []


@pytest.mark.parametrize("size", [11.0, math.inf, math.nan])
def test_a_size_beyond_ten_or_not_finite_is_an_explosion(size: float) -> None:
    (found,) = ailments([{"effective_rank_labs": 5.0, "latent_rms_labs": size}], epoch=2)
    assert not found.collapsed
    assert str(found).startswith("epoch 2: the latents of 'labs' have exploded (root mean square")


def test_collapse_and_explosion_are_both_told() -> None:
    rows = [{**row, "latent_rms_notes": 50.0} for row in ranks(1.0, 1.0)]
    assert [(found.modalities, found.collapsed) for found in ailments(rows, epoch=1)] == [
        (("notes",), False),
        (("labs", "notes"), True),
    ]


def adapter(strict: bool) -> Adapter:
    model = create(SHAPES, CM2Config.model_validate({"encoders": TINY}))
    return Adapter(model, TrainingConfig(strict=strict), seed=0)


def test_training_tells_of_a_collapse_once(caplog: pytest.LogCaptureFixture) -> None:
    training = adapter(strict=False)
    for row in ranks(1.05, 1.05, 1.05):
        training._judge(row)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the latents of all modalities have collapsed" in caplog.text


def test_strict_training_stops_at_a_collapse_with_epoch_and_modality() -> None:
    training = adapter(strict=True)
    training._judge(ranks(1.05)[0])
    with pytest.raises(
        TrainingError,
        match=r"epoch 0: the latents of all modalities have collapsed \(effective rank labs 1.05",
    ):
        training._judge(ranks(1.05)[0])


def test_a_resumed_training_remembers_what_it_saw_and_said(caplog: pytest.LogCaptureFixture) -> None:
    before, after = adapter(strict=False), adapter(strict=False)
    for row in ranks(1.05, 1.05):
        before._judge(row)
    checkpoint: dict[str, object] = {}
    before.on_save_checkpoint(checkpoint)
    after.on_load_checkpoint(checkpoint)
    after._judge(ranks(1.05)[0])
    assert len(caplog.records) == 1  # said before the interruption
    stopped, strict = {}, adapter(strict=True)
    strict._judge(ranks(1.05)[0])
    strict.on_save_checkpoint(stopped)
    again = adapter(strict=True)
    again.on_load_checkpoint(stopped)
    with pytest.raises(TrainingError, match="have collapsed"):
        again._judge(ranks(1.05)[0])


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """Two tables that share a single factor, which the label reads."""
    scenario = Scenario(
        rows=900, modalities={"scan": "table", "chart": "table"}, tau=0.4, rank=1, missing=0.3, seed=100
    )
    return write_simulation(tmp_path_factory.mktemp("tables") / "data", scenario)[0]


def train(data: PreparedData, out: Path, *settings: str) -> None:
    small = ("model.encoders.dim=16", "training.batch_size=64", "training.max_epochs=5")
    runs.train(resolve("cm2", (*small, *settings), seed=100), data, out)


def test_an_ordinary_training_is_silent(
    tables: PreparedData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(tables, tmp_path / "run")
    assert not caplog.records


def test_a_real_collapse_is_told(tables: PreparedData, tmp_path: Path) -> None:
    strong = ("model.alignment.weight=100", "training.learning_rate=0.01", "training.clip=null")
    with pytest.raises(TrainingError, match="the latents of all modalities have collapsed"):
        train(tables, tmp_path / "run", *strong, "training.strict=true")
