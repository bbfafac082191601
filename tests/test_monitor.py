"""When latents count as collapsed or exploded, and what is said of it."""

import math

import pytest

from batches import SHAPES, TINY
from sklar.alignment import ailments
from sklar.models import CM2Config, create
from sklar.training.adapter import Adapter, TrainingError
from sklar.training.config import TrainingConfig


def ranks(*values: float) -> list[dict[str, float]]:
    return [{"effective_rank_labs": value, "latent_rms_labs": 1.0} for value in values]


def test_an_effective_rank_below_two_for_two_epochs_is_a_collapse() -> None:
    (found,) = ailments(ranks(5.0, 1.9, 1.4), epoch=7)
    assert (found.epoch, found.modality, found.collapsed, found.value) == (7, "labs", True, 1.4)
    assert "epoch 7: the latents of 'labs' have collapsed (effective rank 1.40, below 2" in str(found)


@pytest.mark.parametrize("values", [(), (1.2,), (1.2, 2.0), (1.2, 2.5, 1.2), (5.0, 4.0)])
def test_one_low_epoch_is_none(values: tuple[float, ...]) -> None:
    assert ailments(ranks(*values), epoch=0) == []


@pytest.mark.parametrize("size", [11.0, math.inf, math.nan])
def test_a_size_beyond_ten_or_not_finite_is_an_explosion(size: float) -> None:
    (found,) = ailments([{"effective_rank_labs": 5.0, "latent_rms_labs": size}], epoch=2)
    assert not found.collapsed
    assert str(found).startswith("epoch 2: the latents of 'labs' have exploded (root mean square")


def test_each_modality_is_judged_on_its_own() -> None:
    rows = [{**row, "effective_rank_text": 9.0, "latent_rms_text": 50.0} for row in ranks(1.0, 1.0)]
    assert [(found.modality, found.collapsed) for found in ailments(rows, epoch=1)] == [
        ("labs", True),
        ("text", False),
    ]


def adapter(strict: bool) -> Adapter:
    model = create(SHAPES, CM2Config.model_validate({"encoders": TINY}))
    return Adapter(model, TrainingConfig(strict=strict), seed=0)


def test_training_tells_of_a_collapse_once_per_modality(caplog: pytest.LogCaptureFixture) -> None:
    training = adapter(strict=False)
    for row in ranks(1.5, 1.5, 1.5):
        training._judge(row)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the latents of 'labs' have collapsed" in caplog.text


def test_strict_training_stops_at_a_collapse_with_epoch_and_modality() -> None:
    training = adapter(strict=True)
    training._judge(ranks(1.5)[0])
    with pytest.raises(TrainingError, match=r"epoch 0: the latents of 'labs' have collapsed"):
        training._judge(ranks(1.5)[0])


def test_a_resumed_training_remembers_what_it_saw_and_said(caplog: pytest.LogCaptureFixture) -> None:
    before, after = adapter(strict=False), adapter(strict=False)
    for row in ranks(1.5, 1.5):
        before._judge(row)
    checkpoint: dict[str, object] = {}
    before.on_save_checkpoint(checkpoint)
    after.on_load_checkpoint(checkpoint)
    after._judge(ranks(1.5)[0])
    assert len(caplog.records) == 1  # said before the interruption
    stopped, strict = {}, adapter(strict=True)
    strict._judge(ranks(1.5)[0])
    strict.on_save_checkpoint(stopped)
    again = adapter(strict=True)
    again.on_load_checkpoint(stopped)
    with pytest.raises(TrainingError, match="have collapsed"):
        again._judge(ranks(1.5)[0])
