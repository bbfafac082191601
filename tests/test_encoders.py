"""Encoders: present rows only, padding never read, stages that add up, summaries that are right."""

import math
from dataclasses import replace
from typing import ClassVar, cast

import pytest
import torch
from torch import Tensor, nn

from batches import ALL, SHAPES, SOME, TINY, some_batch
from sklar.encoders import (
    ENCODERS,
    Backbone,
    Encoders,
    Exchange,
    Feature,
    Recurrent,
    RecurrentConfig,
    WordPiece,
    build,
)
from sklar.encoders.series import STATISTICS, summarise
from sklar.types import Documents, Series


@pytest.fixture
def bank() -> Encoders:
    torch.manual_seed(0)
    return build(SHAPES, TINY).eval()


def test_the_table_names_every_kind_of_backbone_that_a_bank_builds(bank: Encoders) -> None:
    for name, kind in {"labs": "series", "notes": "text", "table": "table"}.items():
        assert type(bank.backbone(name)) in ENCODERS[kind].values()


def test_latents_of_absent_rows_are_zero_and_of_present_rows_are_not(bank: Encoders) -> None:
    latents = bank(some_batch(SOME)).latents
    for column, name in enumerate(SHAPES):
        assert (latents[name][~SOME[:, column]] == 0).all()
        assert (latents[name][SOME[:, column]].abs().sum(1) > 0).all()


def test_encoding_a_row_alone_gives_what_it_gives_in_a_batch(bank: Encoders) -> None:
    batch = some_batch(ALL)
    whole, single = bank(batch).latents, bank(batch.rows(torch.tensor([4]))).latents
    for name in SHAPES:
        torch.testing.assert_close(single[name], whole[name][4:5], rtol=1e-5, atol=1e-6)


def test_a_modality_that_no_row_has_is_not_run(bank: Encoders) -> None:
    present = ALL.clone()
    present[:, 1] = False
    encoded = bank(some_batch(present))
    assert "notes" not in encoded.features
    assert (encoded.latents["notes"] == 0).all()


def test_zero_input_runs_all_rows_on_blanked_content() -> None:
    torch.manual_seed(0)
    zeroed = build({"labs": SHAPES["labs"], "table": SHAPES["table"]}, TINY, absent="zero_input").eval()
    one, other = some_batch(SOME), some_batch(SOME, seed=3)
    for batch in (one, other):
        two = type(batch)({n: batch.inputs[n] for n in ("labs", "table")}, SOME[:, [0, 2]])
        features = zeroed(two).features["labs"].x
        assert features.shape[0] == len(SOME)
        absent = features[~SOME[:, 0]]
        torch.testing.assert_close(absent, absent[:1].expand_as(absent))


def test_a_batch_of_other_modalities_is_refused_by_name(bank: Encoders) -> None:
    batch = some_batch(ALL)
    other = type(batch)(dict(reversed(batch.inputs.items())), ALL)
    with pytest.raises(ValueError, match="table, notes, labs; this model was built for labs, notes, table"):
        bank(other)


def test_an_exchange_sees_the_features_at_its_stages_and_changes_what_follows(bank: Encoders) -> None:
    class Silence(Exchange):
        at: ClassVar = {"labs": 1, "table": 2}

        def forward(self, features: dict[str, Feature], present: Tensor) -> dict[str, Feature]:
            squeezed = features["table"].squeeze()
            assert squeezed.shape == (8, 5)
            return {"labs": features["labs"].affine(torch.zeros(8, 5))}

    batch = some_batch(ALL)
    plain, silenced = bank(batch).features["labs"].x, bank(batch, [Silence()]).features["labs"].x
    assert (plain - silenced).abs().max() > 1e-3
    # the second layer reads zeros: every row is the same
    torch.testing.assert_close(silenced, silenced[:1].expand_as(silenced))


def test_squeeze_and_affine_respect_padding_rows_and_layout() -> None:
    rows = torch.tensor([0, 2])
    valid = torch.tensor([[True, True, False], [True, False, False]])
    tokens = torch.arange(12.0).view(2, 3, 2)
    feature = Feature(tokens, valid, rows, batch=3)
    expected = torch.tensor([[1.0, 2.0], [0.0, 0.0], [6.0, 7.0]])
    torch.testing.assert_close(feature.squeeze(), expected)
    scale = torch.tensor([[2.0, 3.0], [9.0, 9.0], [1.0, 0.0]])
    changed = feature.affine(scale, torch.ones(3, 2)).x
    torch.testing.assert_close(changed[0], tokens[0] * torch.tensor([2.0, 3.0]) + 1)
    torch.testing.assert_close(changed[1], tokens[1] * torch.tensor([1.0, 0.0]) + 1)
    x, there = feature.tokens()
    assert x.shape == (3, 3, 2)
    assert there.tolist() == [[True, True, False], [False] * 3, [True, False, False]]
    image = Feature(torch.ones(1, 2, 4, 4), None, None, batch=1)
    torch.testing.assert_close(image.squeeze(), torch.ones(1, 2))
    torch.testing.assert_close(image.affine(torch.tensor([[2.0, 3.0]])).x[0, 1], torch.full((4, 4), 3.0))
    assert image.tokens()[0].shape == (1, 16, 2)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("summaries", [False, True])
def test_right_padding_of_a_series_changes_nothing(kind: str, summaries: bool) -> None:
    torch.manual_seed(0)
    config = RecurrentConfig.model_validate({"kind": kind, "hidden": 4, "summaries": summaries})
    backbone = Recurrent(9, 3, config).eval()
    series = cast(Series, some_batch(ALL).inputs["labs"])
    padded = replace(
        series,
        values=torch.cat([series.values, torch.randn(8, 2, 9)], 1),
        valid=torch.cat([series.valid, torch.zeros(8, 2, dtype=torch.bool)], 1),
        observed=torch.cat([series.observed, torch.ones(8, 2, 3, dtype=torch.bool)], 1),
    )
    torch.testing.assert_close(run(backbone, padded), run(backbone, series))


def test_the_paper_lstm_has_two_layers_and_no_summary() -> None:
    backbone = Recurrent(
        76, 59, RecurrentConfig(kind="lstm", hidden=256, layers=2, summaries=False, dropout=0.3)
    )
    # two one-layer LSTMs, 76-256 and 256-256 (spec of the compared systems)
    assert sum(p.numel() for p in backbone.parameters()) == 342_016 + 526_336
    assert backbone.out_dim == 256
    for name, parameter in backbone.layers[0].named_parameters():
        if "weight_hh" in name:
            gate = parameter[:256]
            assert parameter.shape == (1024, 256)
            assert gate.isfinite().all()
        if "bias" in name:
            assert (parameter == 0).all()


def test_summaries_of_a_series_by_hand() -> None:
    values = torch.tensor([[[1.0, 9.0], [2.0, 9.0], [9.0, 9.0], [6.0, 9.0]]])
    observed = torch.tensor([[[True, False], [True, False], [False, False], [True, False]]])
    series = Series(values, torch.ones(1, 4, dtype=torch.bool), observed)
    got = dict(zip(STATISTICS, summarise(series)[0].unbind(0), strict=True))
    expected = {
        "last": 6.0,
        "mean": 3.0,
        "minimum": 1.0,
        "maximum": 6.0,
        "first": 1.0,
        "deviation": math.sqrt(14 / 3),
        "log_count": math.log(4),
    }
    for name, value in expected.items():
        torch.testing.assert_close(got[name], torch.tensor([value, 0.0]))


def test_documents_are_averaged_over_those_that_exist(bank: Encoders) -> None:
    backbone = bank.backbone("notes")
    documents = cast(Documents, some_batch(ALL).inputs["notes"])
    both = replace(
        documents,
        valid=torch.ones_like(documents.valid),
        attention=torch.ones_like(documents.attention),
        ids=torch.randint(1, 20, documents.ids.shape),
    )
    parts = [
        run(backbone, Documents(both.ids[:, [i]], both.attention[:, [i]], both.valid[:, [i]])) for i in (0, 1)
    ]
    torch.testing.assert_close(run(backbone, both), (parts[0] + parts[1]) / 2, rtol=1e-5, atol=1e-6)


def test_a_gap_of_a_table_is_not_a_zero(bank: Encoders) -> None:
    backbone = bank.backbone("table")
    table = some_batch(ALL).inputs["table"]
    zero = replace(table, numeric=torch.zeros(8, 3), observed=torch.ones(8, 3, dtype=torch.bool))
    gap = replace(zero, observed=torch.zeros(8, 3, dtype=torch.bool))
    assert (run(backbone, zero) - run(backbone, gap)).abs().max() > 1e-3


def test_a_tokenizer_is_saved_read_back_and_knows_only_its_training_texts(tmp_path) -> None:  # type: ignore[no-untyped-def]
    tokenizer = WordPiece.train(["heart failure; stroke", "afib; heart failure"], vocabulary=100)
    tokenizer.save(tmp_path / "t.json")
    again = WordPiece.load(tmp_path / "t.json")
    documents = [["heart failure", "afib"], [], ["xylophone"]]
    tokens, same = tokenizer.encode(documents, 8), again.encode(documents, 8)
    assert tokens.ids.tolist() == same.ids.tolist()
    assert tokens.ids.shape[:2] == (3, 2)
    assert tokens.attention.any(2).tolist() == [[True, True], [False, False], [True, False]]
    assert tokens.ids[0, 0, : int(tokens.attention[0, 0].sum())].tolist().count(1) == 0
    assert 1 in tokens.ids[2, 0].tolist()  # [UNK]
    assert tokenizer.encode([["stroke " * 50]], 8).ids.shape == (1, 1, 8)


def run(backbone: nn.Module, item: object) -> Tensor:
    own = cast(Backbone, backbone)
    feature = own.start(item, None)  # type: ignore[arg-type]
    return own.pool(own.advance(feature, 0, len(own.widths)))
