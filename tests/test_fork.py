"""Backbones taken apart: where models attach, what a fork shares, what a bank leaves out."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from sklar.encoders import Backbone, Encoders, Fork, Tabular, TabularConfig, backbones
from sklar.types import Table
from stays import IMAGES, SERIES, STAYS, encoders, patterns, stays, tiny_model

KINDS = [("ehr", series, "resnet") for series in SERIES]
KINDS += [("cxr", "lstm", image) for image in IMAGES]
KINDS += [("note", "lstm", "resnet")]

every_backbone = pytest.mark.parametrize(("name", "series", "image"), KINDS)

ALL = torch.ones(5, 3, dtype=torch.bool)


def make(name: str, series: str = "lstm", image: str = "resnet", seed: int = 0) -> Backbone:
    torch.manual_seed(seed)
    return backbones({name: STAYS[name]}, encoders(series, image))[name].eval()


def owned(backbone: nn.Module) -> set[str]:
    return {name for name, _ in backbone.named_parameters()}


@every_backbone
def test_parts_name_every_parameter_once(name: str, series: str, image: str) -> None:
    backbone = make(name, series, image)
    parts = [part for parts in backbone.parts() for part in parts]
    for parameter in owned(backbone):
        assert sum(parameter == part or parameter.startswith(f"{part}.") for part in parts) == 1, parameter
    assert len(backbone.parts()) == len(backbone.widths) + 2


@every_backbone
def test_a_stopped_backbone_gives_the_same_feature_with_nothing_left_over(
    name: str, series: str, image: str
) -> None:
    item = stays(ALL).inputs[name]
    for stage in range(1, len(make(name, series, image).widths) + 1):
        whole, stopped = make(name, series, image), make(name, series, image)
        stopped.stop(stage)
        wanted = whole.advance(whole.start(item, None), 0, stage)
        feature = stopped.advance(stopped.start(item, None), 0, stage)
        torch.testing.assert_close(feature.x, wanted.x, rtol=0, atol=0)
        feature.x.square().sum().backward()
        assert all(p.grad is not None for p in stopped.parameters())


@every_backbone
def test_a_fork_equals_backbones_whose_first_stages_are_the_same(name: str, series: str, image: str) -> None:
    fork = Fork(lambda: make(name, series, image, seed=int(torch.randint(99, ()))), ("one", "two"), 6).eval()
    item = stays(ALL).inputs[name]
    vectors = fork(item, None)
    assert {key: value.shape for key, value in vectors.items()} == {"one": (5, 6), "two": (5, 6)}
    trunk = fork.backbones["one"]
    for branch, backbone in fork.backbones.items():
        begun = backbone if not fork.at else trunk
        feature = begun.advance(begun.start(item, None), 0, fork.at)
        own = backbone.pool(backbone.advance(feature, fork.at, len(backbone.widths)))
        torch.testing.assert_close(vectors[branch], fork.projections[branch](own), rtol=0, atol=0)
    assert (vectors["one"] - vectors["two"]).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("name", "series", "image", "early", "fork", "tokens", "late"),
    [
        ("ehr", "lstm", "resnet", 1, 1, 2, 2),
        ("ehr", "transformer", "resnet", 2, 2, 3, 3),
        ("cxr", "lstm", "resnet", 1, 1, 5, 5),
        ("cxr", "lstm", "vit", 1, 4, 5, 5),
        ("note", "lstm", "resnet", 1, 0, 1, 2),
    ],
)
def test_places_are_those_of_the_compared_systems(
    name: str, series: str, image: str, early: int, fork: int, tokens: int, late: int
) -> None:
    backbone = make(name, series, image)
    places = [backbone.tap(place) for place in ("early", "fork", "tokens", "late")]
    assert places == [early, fork, tokens, late]


def test_a_projection_is_made_always_where_needed_or_never() -> None:
    batch = stays(patterns("ehr+cxr+note"))
    for projection, linear in (("always", {"ehr", "cxr", "note"}), ("where_needed", {"cxr", "note"})):
        bank = Encoders(backbones(STAYS, encoders()), 6, projection=projection)
        assert {n for n, layer in bank.projections.items() if isinstance(layer, nn.Linear)} == linear
        assert all(latent.shape == (8, 6) for latent in bank(batch).latents.values())
    bank = Encoders(backbones(STAYS, encoders()), 6, projection="never")
    assert not any(isinstance(layer, nn.Linear) for layer in bank.projections.values())
    assert bank.widths == {"ehr": 6, "cxr": 8, "note": 7}
    latents = bank(batch).latents
    assert {name: latent.shape[1] for name, latent in latents.items()} == bank.widths


def test_a_bank_stops_early_where_it_is_told_to_and_pools_the_rest() -> None:
    bank = Encoders(backbones(STAYS, encoders()), 6, stops={"note": 1, "cxr": 5})
    encoded = bank(stays(ALL))
    assert set(encoded.pooled) == set(encoded.latents) == {"ehr"}
    assert encoded.features["note"].x.shape == (5, 2, 8)
    assert encoded.features["cxr"].x.shape == (5, 8, 1, 1)


def test_batch_statistics_are_those_of_the_rows_that_have_the_image() -> None:
    batch = stays(patterns("ehr+cxr+note"))
    some, only = (Encoders({"cxr": make("cxr")}, 6).train().requires_grad_(False) for _ in range(2))
    one = batch.only(["cxr"])
    some(one)
    only(one.rows(one.has("cxr")))
    for (name, here), (_, there) in zip(some.named_buffers(), only.named_buffers(), strict=True):
        torch.testing.assert_close(here, there, msg=name)


def test_a_batch_without_any_document_is_encoded_as_nothing() -> None:
    batch = stays(ALL)
    backbone = make("note")
    feature = backbone.start(batch.inputs["note"].blank(ALL[:, 0]), None)
    assert (feature.x == 0).all()
    assert torch.isfinite(backbone.pool(backbone.advance(feature, 0, 2))).all()


@pytest.mark.parametrize("model", ["cm2", "lsmt", "mmtm"])
@pytest.mark.parametrize("series", SERIES)
def test_series_of_another_width_are_refused(model: str, series: str) -> None:
    batch = stays(ALL)
    item = batch.inputs["ehr"]
    wide = replace(item, values=item.values.repeat(1, 1, 2))
    with pytest.raises(ValueError, match="series have 10 channels; this encoder was built for 5"):
        tiny_model(model, series=series)(replace(batch, inputs={**batch.inputs, "ehr": wide}))


def test_tables_of_other_columns_are_refused() -> None:
    backbone = Tabular(2, (3,), TabularConfig())
    table = Table(torch.zeros(4, 2), torch.ones(4, 2).bool(), torch.zeros(4, 2, dtype=torch.long))
    with pytest.raises(
        ValueError, match="2 numeric and 2 categorical columns; this encoder was built for 2 and 1"
    ):
        backbone.start(table, None)
