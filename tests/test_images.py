"""Pictures from files, bytes or pixels to what a model sees."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image as Pillow

from sklar.data.cohort import CohortData, read_cohort
from sklar.data.frame import write
from sklar.data.loading import PreparedDataset, loader
from sklar.data.pixels import epoch_uniforms, to_pixels
from sklar.data.schema import Augmentation, Image, Schema, Tabular
from sklar.data.simulate import Scenario, write_simulation
from sklar.data.store import PreparedData
from sklar.errors import DataError
from sklar.runs import train
from sklar.training.config import resolve
from sklar.types import Image as Pixels

N = 40
RNG = np.random.default_rng(0)
STORED = RNG.integers(0, 256, (N, 1, 12, 16), dtype=np.uint8)
SCAN = Image(height=12, width=16, crop=(8, 10))


def schema(scan: Image = SCAN) -> Schema:
    return Schema(id="id", label="y", modalities={"age": Tabular(numeric=("years",)), "scan": scan})


def subjects() -> pa.Table:
    return pa.table({"id": [f"p{i}" for i in range(N)], "y": np.arange(N) % 2, "years": np.arange(N) + 40.0})


def pixels(stored: np.ndarray, rows: Any = range(N), **columns: Any) -> pa.Table:
    flat = pa.FixedSizeListArray.from_arrays(pa.array(stored[list(rows)].ravel()), stored[0].size)
    return pa.table({"id": [f"p{i}" for i in rows], "image": flat, **columns})


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def prepared(out: Path, images: pa.Table, scan: Image = SCAN) -> PreparedData:
    return write(out, schema(scan), subjects(), images={"scan": images})


def batch(data: Any, augment: int | None = None) -> Pixels:
    found = PreparedDataset(data, augment=augment).__getitems__(range(N)).inputs["scan"]
    assert isinstance(found, Pixels)
    return found


def test_paths_bytes_and_pixels_say_the_same(tmp_path: Path) -> None:
    files = [png(picture[0]) for picture in STORED]
    for place, content in enumerate(files):
        (tmp_path / f"{place}.png").write_bytes(content)
    ids = [f"p{i}" for i in range(N)]
    as_bytes = pa.table({"id": ids, "image": files})
    as_paths = pa.table({"id": ids, "image": [str(tmp_path / f"{i}.png") for i in range(N)]})
    for place, table in enumerate((pixels(STORED), as_bytes, as_paths)):
        data = prepared(tmp_path / f"d{place}", table)
        assert np.array_equal(data.pictures("scan"), STORED)


def test_a_batch_is_the_normalised_centre_of_what_is_stored(tmp_path: Path) -> None:
    there = [row for row in range(N) if row % 3]
    data = prepared(tmp_path / "d", pixels(STORED, there, time=-np.arange(len(there), dtype=float)))
    found = batch(data)
    wanted = (torch.from_numpy(STORED[:, :, 2:10, 3:13]) / 255 - 0.5) / 0.25
    assert torch.allclose(found.pixels[there], wanted[there], atol=1e-6)
    absent = [row for row in range(N) if row % 3 == 0]
    assert not found.pixels[absent].any()
    assert found.times is not None
    assert found.times[there].squeeze(1).tolist() == [-float(i) for i in range(len(there))]


def test_grey_pictures_are_seen_in_three_channels() -> None:
    spec = Image(height=12, width=16, channels=3, mean=(0.485, 0.456, 0.406), sd=(0.229, 0.224, 0.225))
    found = to_pixels(torch.from_numpy(STORED), spec)
    assert found.shape == (N, 3, 12, 16)
    assert torch.allclose(found[:, 1], (torch.from_numpy(STORED[:, 0]) / 255 - 0.456) / 0.224, atol=1e-6)


def test_a_picture_covers_the_stored_size_and_keeps_its_proportions(tmp_path: Path) -> None:
    colour = np.zeros((60, 240, 3), dtype=np.uint8)
    colour[:, 80:160] = (200, 100, 50)  # the middle third
    spec = Image(height=30, width=30, channels=3)
    table = pa.table({"id": ["p0"], "image": [png(colour)]})
    stored = prepared(tmp_path / "d", table, spec).pictures("scan")
    assert stored.shape == (1, 3, 30, 30)
    assert (stored[0, :, :, 4:26] == np.array([200, 100, 50])[:, None, None]).all()


def test_the_last_picture_before_time_zero_counts() -> None:
    table = pa.table(
        {"id": ["p3", "p3", "p3", "p1"], "image": [png(STORED[i, 0]) for i in range(3)] + [None]}
    ).append_column("time", pa.array([-2.0, -1.0, 1.0, -1.0]))
    item = read_cohort(schema(), subjects(), images={"scan": table}).content["scan"]
    assert item.rows.tolist() == [3]
    assert np.array_equal(item.values[0], STORED[1])
    assert item.times is not None
    assert item.times.tolist() == [-1.0]
    used = {"records": 4, "after_time_zero": 1, "blank": 1, "beyond_the_limit": 1, "used": 1}
    assert item.counts == used


def test_new_patients_are_read_as_prepared_ones(tmp_path: Path) -> None:
    table = pixels(STORED, range(0, N, 2), time=np.full(N // 2, -3.0))
    data = prepared(tmp_path / "d", table)
    new = CohortData(read_cohort(schema(), subjects(), images={"scan": table}), data.manifest.statistics)
    ours, theirs = batch(new), batch(data)
    assert torch.equal(ours.pixels, theirs.pixels)
    assert ours.times is not None
    assert theirs.times is not None
    assert torch.equal(ours.times, theirs.times)


ALL_CHANGES = Augmentation(flip=0.5, degrees=45, scale=(0.85, 1.15), translate=0.15)


def test_changes_follow_from_seed_epoch_and_row(tmp_path: Path) -> None:
    scan = SCAN.model_copy(update={"augmentation": ALL_CHANGES})
    data = prepared(tmp_path / "d", pixels(STORED), scan)
    dataset = PreparedDataset(data, augment=3)
    plain = PreparedDataset(data)
    dataset.set_epoch(1)
    whole = dataset.__getitems__(range(N)).inputs["scan"].pixels
    alone = torch.cat([dataset[row].inputs["scan"].pixels for row in range(N)])
    assert torch.equal(whole, alone)
    assert not torch.equal(whole, plain.__getitems__(range(N)).inputs["scan"].pixels)
    batches = loader(dataset, N, seed=3)
    batches.batch_sampler.set_epoch(2)  # type: ignore[union-attr]
    later = next(iter(batches)).inputs["scan"].pixels
    assert not torch.equal(whole, later)


def test_the_uniforms_are_uniform_and_apart() -> None:
    found = np.concatenate(
        [epoch_uniforms(seed, epoch, np.arange(5000)) for seed in (0, 1) for epoch in (0, 1)]
    )
    assert len(np.unique(found)) == found.size
    assert 0 <= found.min() < found.max() < 1
    # 20,000 draws: the Kolmogorov distance of uniforms is below 1.63 / sqrt(n) in 99 of 100
    ordered = np.sort(found, axis=0)
    distance = np.abs(ordered - (np.arange(len(found))[:, None] + 0.5) / len(found)).max(0)
    assert (distance < 1.95 / len(found) ** 0.5).all()
    assert np.abs(np.corrcoef(found.T) - np.eye(5)).max() < 0.03


def changed(how: Augmentation, uniforms: list[float], picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape
    spec = Image(height=height, width=width, mean=(0.0,), sd=(1 / 255,), augmentation=how)
    stored = torch.from_numpy(picture[None, None])
    return to_pixels(stored, spec, np.array([uniforms])).round().numpy().astype(np.uint8)[0, 0]


def test_each_change_does_what_its_name_says() -> None:
    square = RNG.integers(1, 256, (9, 9), dtype=np.uint8)
    wide = RNG.integers(1, 256, (6, 10), dtype=np.uint8)
    middle = [0.9, 0.5, 0.5, 0.5, 0.5]
    assert np.array_equal(changed(Augmentation(), middle, wide), wide)
    assert np.array_equal(changed(Augmentation(flip=0.5), [0.1, *middle[1:]], wide), wide[:, ::-1])
    right = changed(Augmentation(degrees=90), [0.9, 1.0, 0.5, 0.5, 0.5], square)
    assert np.array_equal(right, np.rot90(square, -1))
    shifted = changed(Augmentation(translate=0.5), [0.9, 0.5, 0.5, 0.5, 0.7], wide)  # 2 of 10 columns
    assert np.array_equal(shifted[:, 2:], wide[:, :-2])
    assert not shifted[:, :2].any()
    down = changed(Augmentation(translate=0.5), [0.9, 0.5, 0.5, 1.0, 0.5], wide)  # 3 of 6 rows
    assert np.array_equal(down[3:], wide[:-3])
    twice = changed(
        Augmentation(scale=(2.0, 2.0)), middle, np.kron(square[:4, :4], np.ones((2, 2), np.uint8))
    )
    assert np.array_equal(twice, np.kron(square[1:3, 1:3], np.ones((4, 4), np.uint8)))


def test_a_simulated_picture_lands_in_a_prepared_folder(tmp_path: Path) -> None:
    scenario = Scenario(rows=200, modalities=("image", "table"), missing=0.3)
    data, done = write_simulation(tmp_path / "d", scenario)
    assert np.array_equal(data.pictures("image"), done.inputs["image"][done.truth.present[:, 0]])


def test_a_model_and_a_reference_learn_from_pictures(tmp_path: Path) -> None:
    scenario = Scenario(rows=400, modalities=("image", "table"), rank=1, label="image", missing=0.2)
    data, _ = write_simulation(tmp_path / "d", scenario)
    tiny = ("model.encoders.image.widths=[8,8,16,16]", "model.encoders.image.depths=[1,1,1,1]")
    settings = ("training.max_epochs=4", "training.batch_size=32", "model.encoders.dim=8", *tiny)
    run = train(resolve("cm2", settings), data, tmp_path / "cm2")
    assert run.metrics["validation"]["valid_auroc"] > 0.65
    again = run.predict(data, "test")
    assert np.allclose(again.probability, run.predictions("test").probability)
    reference = train(resolve("logistic_regression"), data, tmp_path / "lr")
    assert reference.metrics["validation"]["valid_auroc"] > 0.75


@pytest.mark.parametrize(
    ("image", "error"),
    [
        ([b"no picture"], r"row 0 \(id p0\): the picture cannot be read"),
        ([png(STORED[0, 0])[:60]], r"row 0 \(id p0\): the picture cannot be read"),
        (["/nowhere/film.png"], "there is no file /nowhere/film.png"),
        ([1.5], "'image' is double; it holds paths"),
        (pa.array([[1, 2, 3]], pa.list_(pa.uint8())), "3 pixels, where 12 x 16 needs 192"),
        (pa.array([[1] * 192], pa.list_(pa.int64())), "pixels are int64; give bytes"),
    ],
)
def test_bad_pictures_are_refused(tmp_path: Path, image: Any, error: str) -> None:
    with pytest.raises(DataError, match=error):
        prepared(tmp_path / "d", pa.table({"id": ["p0"], "image": image}))
    assert not (tmp_path / "d").exists()


def test_a_picture_far_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match="too large to be one"):
        prepared(tmp_path / "d", pa.table({"id": ["p0"], "image": [png(STORED[0, 0])]}))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"crop": (13, 4)}, "does not fit"),
        ({"sd": (0.0,)}, "sd must be positive"),
        ({"channels": 3, "mean": (0.5,)}, "mean has 1 and sd 3 values for 3 channels"),
        ({"channels": 2}, "channels"),
        ({"augmentation": {"scale": (1.2, 0.8)}}, "need 0 < lowest"),
    ],
)
def test_a_wrong_schema_is_refused(options: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        Image(height=12, width=16, **options)
