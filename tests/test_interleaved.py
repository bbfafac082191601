"""Interleaved: attention over time, the two views of a series, and streams that read each other."""

import pytest
import torch
from torch import Tensor

from sklar.encoders import TableShape, TextShape
from sklar.errors import UserError
from sklar.models import InterleavedConfig, create
from sklar.models.crossing import Crossing
from sklar.models.interleaved import Interleaved, TwoViews
from sklar.models.interpolation import TimeAttention, TimeEmbedding, Window, times_of
from sklar.training.config import resolve
from sklar.types import Batch, Documents, Series, Table
from stays import MODELS_TINY, TOKENS, encoders, patterns, stays, tiny_model

ALL = torch.ones(5, 3, dtype=torch.bool)


def model(**settings: object) -> Interleaved:
    built = tiny_model("interleaved", **settings)
    assert isinstance(built, Interleaved)
    return built


def naive(
    attention: TimeAttention, queries: Tensor, keys: Tensor, values: Tensor, observed: Tensor
) -> Tensor:
    """One softmax per row, head, query and channel, over the times at which that channel was observed."""
    heads, (rows, _, channels) = attention.heads, values.shape
    query = attention.query(queries).unflatten(1, (heads, -1))
    key = attention.key(keys).unflatten(2, (heads, -1))
    means = torch.zeros(rows, len(queries), heads, channels)
    for b in range(rows):
        for h in range(heads):
            for q in range(len(queries)):
                scores = key[b, :, h] @ query[q, h] / query.shape[-1] ** 0.5
                for c in range(channels):
                    seen = observed[b, :, c]
                    if seen.any():
                        means[b, q, h, c] = scores[seen].softmax(0) @ values[b, seen, c]
    return attention.out(means.flatten(2))


def test_factorised_attention_over_time_equals_one_softmax_per_channel() -> None:
    torch.manual_seed(0)
    clock, attention = TimeEmbedding(8), TimeAttention(3, 5, 8, 2)
    times, values, observed = torch.rand(2, 6), torch.randn(2, 6, 3), torch.rand(2, 6, 3) < 0.5
    observed[0, :, 1] = False  # never observed
    observed[1] = False
    queries, keys = clock(torch.linspace(0, 1, 4)), clock(times)
    found = attention(queries, keys, values, observed)
    torch.testing.assert_close(found, naive(attention, queries, keys, values, observed))
    torch.testing.assert_close(found[1], attention.out.bias.expand(4, 5))


def test_values_that_were_not_observed_do_not_matter_in_the_irregular_view() -> None:
    torch.manual_seed(0)
    views = TwoViews(3, 5, InterleavedConfig(dim=8, heads=2, embedding=4, time_heads=2)).eval()
    clock = TimeEmbedding(4)
    series = stays(ALL).inputs["ehr"]
    assert isinstance(series, Series)
    tokens, there = series.values, series.valid
    times = (series.times + 5) / 4
    grid = torch.linspace(0, 1, 4)
    results = []
    for filler in (0.0, 100.0):
        values = series.values.clone()
        values[..., :3] = torch.where(series.observed, values[..., :3], filler)
        changed = Series(values, series.valid, series.observed, series.times)
        results.append(views(changed, tokens, there, times, grid, clock(grid), clock(times)))
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_with_one_observation_neither_its_time_nor_the_query_matters() -> None:
    """A limitation of attention over time, which an image's single time runs into."""
    clock, attention = TimeEmbedding(8), TimeAttention(3, 5, 8, 2)
    value, seen = torch.randn(1, 1, 3), torch.ones(1, 1, 3, dtype=torch.bool)
    early, late = (
        attention(clock(torch.rand(4)), clock(torch.tensor([[time]])), value, seen) for time in (0.1, 0.9)
    )
    torch.testing.assert_close(early, late)
    torch.testing.assert_close(early[:, :1].expand_as(early), early)


def test_the_regular_view_takes_every_step_once_where_steps_are_queries() -> None:
    config = InterleavedConfig(dim=8, heads=2, embedding=4, time_heads=2, queries=24)
    views = TwoViews(2, 3, config).eval()
    with torch.no_grad():
        views.gate[3].weight.zero_()
        views.gate[3].bias.fill_(-100.0)  # the regular view alone
    window = Window().train()
    times = (torch.arange(24.0) * 2 - 47).repeat(2, 1)
    there = torch.ones(2, 24, dtype=torch.bool)
    window.extend([(times, there)])
    clock, grid, values = TimeEmbedding(4), torch.linspace(0, 1, 24), torch.randn(2, 24, 3)
    mixed = views(
        Series(values, there), values, there, window(times), grid, clock(grid), clock(window(times))
    )
    torch.testing.assert_close(mixed, views.regular(values))


def test_the_window_is_what_training_has_seen() -> None:
    window = Window().train()
    there = torch.tensor([[True, True, False]])
    torch.testing.assert_close(window(torch.tensor([[3.0]])), torch.tensor([[3.0]]))
    window.extend([(torch.tensor([[-4.0, -1.0, 99.0]]), there)])
    window.eval().extend([(torch.tensor([[-50.0, 50.0, 0.0]]), there)])
    torch.testing.assert_close(window(torch.tensor([[-4.0, -1.0, 2.0]])), torch.tensor([[0.0, 1.0, 2.0]]))


def test_inputs_without_times_end_at_the_prediction_time() -> None:
    valid = torch.tensor([[True, True, True, False]])
    assert times_of(Series(torch.zeros(1, 4, 2), valid), valid)[0, :3].tolist() == [-2, -1, 0]
    documents = Documents(torch.ones(1, 4, 2).long(), torch.ones(1, 4, 2).bool(), valid)
    assert (times_of(documents, valid) == 0).all()


def test_with_two_streams_a_layer_is_self_attention_cross_attention_and_a_network() -> None:
    torch.manual_seed(0)
    crossing = Crossing(("one", "two"), 3, 8, 2, 1, 0.0).eval()
    one, two = torch.randn(2, 4, 3, 8).unbind()
    present = dict.fromkeys(("one", "two"), torch.ones(4, dtype=torch.bool))
    found = crossing({"one": one, "two": two}, present)
    layer = crossing.layers[0]
    x = {"one": 8**0.5 * one + crossing.positions, "two": 8**0.5 * two + crossing.positions}
    for name in x:
        normed = layer.norms[name][0](x[name])
        x[name] = x[name] + layer.own[name](normed, normed)
    normed = {name: layer.norms[name][1](own) for name, own in x.items()}
    for name, other in (("one", "two"), ("two", "one")):
        crossed = x[name] + layer.others[name][other](normed[name], normed[other])
        wanted = crossed + layer.feed[name](layer.norms[name][2](crossed))
        torch.testing.assert_close(found[name], crossing.norms[name](wanted))


def test_cross_attention_is_the_mean_over_the_sources_that_are_there() -> None:
    torch.manual_seed(0)
    names = ("one", "two", "three")
    layer = Crossing(names, 3, 8, 2, 1, 0.0).eval().layers[0]
    normed = dict(zip(names, torch.randn(3, 4, 3, 8).unbind(), strict=True))
    present = {
        "one": torch.ones(4, dtype=torch.bool),
        "two": torch.tensor([True, True, False, False]),
        "three": torch.tensor([True, False, True, False]),
    }
    found = layer._cross("one", normed, present)
    two, three = (layer.others["one"][name](normed["one"], normed[name]) for name in ("two", "three"))
    wanted = torch.stack([(two[0] + three[0]) / 2, two[1], three[2], torch.zeros(3, 8)])
    torch.testing.assert_close(found, wanted)


def test_the_stream_of_an_absent_modality_reads_as_zero() -> None:
    built = model().eval()
    batch = stays(patterns("ehr+cxr+note"))
    for name, latent in built(batch).latents.items():
        assert (latent[~batch.has(name)] == 0).all()
        assert (latent[batch.has(name)].abs().sum(1) > 0).all()


def test_when_documents_were_written_matters_and_a_shift_of_all_times_does_not() -> None:
    built, shifted = model().train(), model().train()
    batch = stays(ALL, seed=3)

    def moved(by: float, names: tuple[str, ...]) -> Batch:
        inputs = {
            name: type(item)(**{**vars(item), "times": item.times + by}) if name in names else item
            for name, item in batch.inputs.items()
        }
        return Batch(inputs, batch.present)

    later = moved(100.0, ("ehr", "cxr", "note"))
    for one, own in ((built, batch), (shifted, later)):
        one(own)  # the window is the batch's
        one.eval()
    logits = built(batch).logits
    torch.testing.assert_close(shifted(later).logits, logits, rtol=1e-3, atol=1e-4)
    assert (built(moved(-2.0, ("note",))).logits - logits).abs().max() > 1e-5


def test_data_without_series_are_read_at_the_prediction_time() -> None:
    config = InterleavedConfig.model_validate({"encoders": encoders(), **MODELS_TINY["interleaved"]})
    built = create({"note": TextShape(TOKENS, 0), "age": TableShape(2, ())}, config)
    note = stays(ALL[:, :1].expand(5, 3)).inputs["note"]
    table = Table(torch.randn(5, 2), torch.ones(5, 2, dtype=torch.bool), torch.zeros(5, 0, dtype=torch.long))
    output = built(Batch({"note": note, "age": table}, ALL[:, :2]))
    assert torch.isfinite(output.logits).all()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.heads=3", r"heads \(3\) must divide dim \(128\)"),
        ("model.time_heads=5", r"time_heads \(5\) must divide embedding \(64\)"),
        ("model.gate=patients", "model.gate = 'patients'"),
    ],
)
def test_mistakes_are_named(setting: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve("interleaved", [setting])
