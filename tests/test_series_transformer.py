"""The transformer for series: its size, padding, empty series, positions, how it is chosen."""

from dataclasses import replace
from typing import cast

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from batches import ALL, SHAPES, some_batch
from sklar.encoders import (
    EncoderConfig,
    Recurrent,
    SeriesTransformer,
    SeriesTransformerConfig,
    build,
)
from sklar.errors import UserError
from sklar.training.config import resolve
from sklar.types import Series

TINY = SeriesTransformerConfig(hidden=8, heads=2, intermediate=12, positions=9, dropout=0.0)


def make(config: SeriesTransformerConfig = TINY) -> SeriesTransformer:
    torch.manual_seed(0)
    return SeriesTransformer(9, 3, config)


def series() -> Series:
    return cast(Series, some_batch(ALL).inputs["labs"])


def run(backbone: SeriesTransformer, item: Series, rows: Tensor | None = None) -> Tensor:
    return backbone.pool(backbone.advance(backbone.start(item, rows), 0, len(backbone.widths)))


def padded(item: Series, steps: int) -> Series:
    rows, extra = len(item), torch.randn(len(item), steps, item.values.shape[2])
    assert item.observed is not None
    seen = torch.ones(rows, steps, item.observed.shape[2], dtype=torch.bool)
    return replace(
        item,
        values=torch.cat([item.values, extra], 1),
        valid=torch.cat([item.valid, torch.zeros(rows, steps, dtype=torch.bool)], 1),
        observed=torch.cat([item.observed, seen], 1),
        times=None,
    )


def test_the_compared_system_has_the_published_size() -> None:
    paper = SeriesTransformer(
        76, 59, SeriesTransformerConfig(hidden=256, intermediate=2048, summaries=False, dropout=0.3)
    )
    # a layer of width 256 with a feed-forward of 2048 has 1,315,072; embedding 76 to 256; 350 positions
    assert sum(p.numel() for p in paper.layers[0].parameters()) == 1_315_072
    assert sum(p.numel() for p in paper.parameters()) == 2_649_856 + 89_600
    assert paper.out_dim == 256
    assert paper.positions.abs().max() <= 0.1


@pytest.mark.parametrize("summaries", [False, True])
def test_right_padding_changes_nothing(summaries: bool) -> None:
    backbone = make(TINY.model_copy(update={"summaries": summaries})).eval()
    torch.testing.assert_close(run(backbone, padded(series(), 3)), run(backbone, series()))


def test_the_order_of_steps_matters_and_that_of_rows_does_not() -> None:
    backbone = make(TINY.model_copy(update={"summaries": False})).eval()
    item, flipped = series(), torch.arange(8).flip(0)
    whole = run(backbone, item)
    torch.testing.assert_close(run(backbone, item.rows(flipped)), whole[flipped])
    assert (run(backbone, replace(item, values=item.values.flip(1))) - whole).abs().max() > 1e-3


@pytest.mark.parametrize("training", [False, True])
def test_a_series_without_a_step_is_finite_and_zero(training: bool) -> None:
    backbone = make(TINY.model_copy(update={"summaries": False})).train(training)
    item = replace(series(), valid=series().valid & (torch.arange(8) > 0).unsqueeze(1))
    pooled = run(backbone, item)
    assert (pooled[0] == 0).all()
    pooled.square().sum().backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_absent_rows_are_zero_and_a_row_alone_is_what_it_is_among_others() -> None:
    backbone = make().eval()
    rows = torch.tensor([1, 4])
    some, whole = run(backbone, series(), rows), run(backbone, series())
    torch.testing.assert_close(some[rows], whole[rows])
    assert (some[[0, 2, 3]] == 0).all()
    torch.testing.assert_close(run(backbone, series().rows(rows[:1])), whole[1:2])


def test_places_are_named_after_layers() -> None:
    backbone = make()
    assert backbone.widths == (8, 8, 8)
    assert backbone.tap("early") == 2


def test_more_steps_than_positions_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"series have 11 steps, .* 9 positions: raise encoders.series.positions"
    ):
        run(make(), padded(series(), 6))


def test_the_kind_of_series_encoder_is_a_setting() -> None:
    labs = {"labs": SHAPES["labs"]}
    chosen = EncoderConfig.model_validate({"series": {"kind": "transformer", "hidden": 8, "heads": 2}})
    assert isinstance(build(labs, chosen).backbone("labs"), SeriesTransformer)
    recurrent = build(labs, EncoderConfig.model_validate({"series": {"cell": "lstm"}})).backbone("labs")
    assert isinstance(recurrent, Recurrent)
    assert type(recurrent.layers[0]) is torch.nn.LSTM
    with pytest.raises(ValidationError, match=r"hidden \(64\) must be a multiple of heads \(3\)"):
        EncoderConfig.model_validate({"series": {"kind": "transformer", "heads": 3}})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["model.encoders.series.kind=rnn"],
            "no model.encoders.series.kind 'rnn'; choose one of gru, lstm, tran",
        ),
        (["model.encoders.series.heads=2"], r"series.heads is unknown.*valid here: dropout, hidden, kind"),
    ],
)
def test_mistakes_are_named(settings: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve("cm2", settings)


def test_a_preset_changes_its_series_encoder() -> None:
    config = resolve("cm2", ["model.encoders.series.kind=transformer"], preset="paper")
    found = config.model.encoders.series  # type: ignore[union-attr]
    assert (found.kind, found.hidden, found.layers, found.summaries) == ("transformer", 256, 2, False)
