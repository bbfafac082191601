import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sklar.data.cohort import CohortData, read_cohort
from sklar.data.frame import write
from sklar.data.loading import EpochBatches, PreparedDataset, loader
from sklar.data.schema import Schema, Tabular, Text, TimeSeries
from sklar.errors import UserError

SCHEMA = Schema(
    id="id",
    label="died",
    group="home",
    modalities={
        "labs": TimeSeries(variables=("hr", "crp"), steps=5, step=2.0),
        "note": Text(documents=3),
        "demo": Tabular(numeric=("age",), categorical={"sex": ("f", "m")}),
    },
)
N = 60


def tables():
    """Sixty subjects, each modality absent in about a third, tables absent where age and sex are both "
    "gaps."""
    draw = np.random.default_rng(0)
    subjects = pa.table(
        {
            "id": np.arange(N),
            "home": np.arange(N) // 2,
            "died": pa.array(draw.integers(0, 2, N), mask=draw.random(N) < 0.2),
            "age": pa.array(draw.normal(50, 10, N), mask=draw.random(N) < 0.5),
            "sex": pa.array(draw.choice(["f", "m"], N), mask=draw.random(N) < 0.5),
            "w": draw.uniform(1, 3, N),
        }
    )
    owner = draw.choice(np.flatnonzero(draw.random(N) < 0.7), 300)
    labs = pa.table(
        {
            "id": owner,
            "time": -draw.uniform(0, 10, 300),
            "variable": draw.choice(["hr", "crp"], 300),
            "value": draw.normal(size=300),
        }
    )
    written = np.flatnonzero(draw.random(N) < 0.6)
    texts = pa.table(
        {"id": written, "text": [f"note {i}" for i in written], "time": -draw.uniform(0, 9, len(written))}
    )
    return subjects, {"labs": labs}, {"note": texts}


def tokens(data):
    """Ids that tell whose they are, the last token padding, the third document absent."""
    place = np.flatnonzero(data.present[:, 1])
    ids = np.broadcast_to(place[:, None, None] + 1, (len(place), 3, 4)).astype(np.int32)
    attention = np.ones(ids.shape, dtype=bool)
    attention[:, :, 3] = attention[:, 2] = False
    return {"note": (ids, attention)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("loading") / "data", SCHEMA, *tables(), weight="w")


@pytest.fixture(scope="module")
def train(data):
    return PreparedDataset(data, "train", tokens(data))


def test_a_batch_equals_direct_indexing(data, train):
    indices = [5, 0, 17, 3]
    batch, rows = train.__getitems__(indices), data.rows("train")[indices]
    _, values, _ = data.series("labs")
    table = data.ready_table("demo")
    for b, row in enumerate(rows):
        labs, note, demo = data.positions[row]
        np.testing.assert_array_equal(
            batch.inputs["labs"].values[b], values[labs] if labs >= 0 else np.zeros((5, 6))
        )
        assert batch.inputs["note"].ids[b, 0, 0] == (row + 1 if note >= 0 else 0)
        np.testing.assert_array_equal(
            batch.inputs["demo"].numeric[b], table.numeric[demo] if demo >= 0 else [0]
        )
        np.testing.assert_array_equal(
            batch.inputs["demo"].categories[b], table.categories[demo] if demo >= 0 else [0]
        )
    np.testing.assert_array_equal(batch.ids, rows)
    np.testing.assert_array_equal(batch.present, data.present[rows])
    np.testing.assert_array_equal(batch.groups, data.group_codes[rows])
    np.testing.assert_array_equal(batch.target, data.target[rows].astype(np.float32))


def test_a_batch_has_the_types_that_models_expect(train):
    batch = train.__getitems__(range(8))
    assert batch.modalities == ("labs", "note", "demo")
    assert batch.target.dtype == batch.weight.dtype == batch.inputs["labs"].values.dtype == torch.float32
    assert batch.inputs["labs"].times.dtype == batch.inputs["note"].times.dtype == torch.float32
    assert batch.present.dtype == batch.inputs["labs"].observed.dtype == torch.bool
    assert batch.inputs["note"].ids.dtype == batch.inputs["demo"].categories.dtype == torch.int64


def test_a_batch_is_the_same_in_any_company(train):
    alone = train[7]
    together = train.__getitems__([3, 7, 1]).rows(torch.tensor([1]))
    for name in alone.inputs:
        for field, tensor in vars(alone.inputs[name]).items():
            torch.testing.assert_close(getattr(together.inputs[name], field), tensor, rtol=0, atol=0)


def test_absent_content_is_zero(data):
    batch = PreparedDataset(data, documents=tokens(data)).__getitems__(range(N))
    for name, fields in {
        "labs": ["values", "observed"],
        "note": ["ids", "attention", "valid", "times"],
        "demo": ["numeric", "observed", "categories"],
    }.items():
        absent = ~batch.has(name)
        assert absent.any()
        for field in fields:
            assert not getattr(batch.inputs[name], field)[absent].any()


def test_every_step_is_valid_and_has_its_time(train):
    series = train.__getitems__([0, 1]).inputs["labs"]
    assert series.valid.all()
    np.testing.assert_array_equal(series.times, [[-9, -7, -5, -3, -1]] * 2)


def test_documents_without_tokens_are_not_valid(train):
    note = train.__getitems__(range(len(train)))
    assert note.inputs["note"].valid[note.has("note")].tolist() == [[True, True, False]] * int(
        note.has("note").sum()
    )


def test_weights_are_one_unless_censoring_is_weighted(data):
    complete = PreparedDataset(data, "test", tokens(data))
    ipcw = PreparedDataset(data, "test", tokens(data), censoring="ipcw")
    assert complete.__getitems__([0, 1]).weight.tolist() == [1, 1]
    np.testing.assert_array_equal(
        ipcw.__getitems__([1]).weight, data.weight[data.rows("test")[[1]]].astype(np.float32)
    )


def test_a_cohort_in_memory_gives_the_same_batches(data):
    new = CohortData(read_cohort(SCHEMA, *tables()), data.manifest.statistics)
    ours, theirs = PreparedDataset(new, documents=tokens(new)), PreparedDataset(data, documents=tokens(data))
    ours, theirs = ours.__getitems__(range(N)), theirs.__getitems__(range(N))
    torch.testing.assert_close(ours.inputs["labs"].values, theirs.inputs["labs"].values, rtol=0, atol=0)
    torch.testing.assert_close(ours.inputs["demo"].numeric, theirs.inputs["demo"].numeric, rtol=0, atol=0)
    torch.testing.assert_close(ours.groups, theirs.groups)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "'note' needs token ids"),
        ({"documents": {"labs": ()}}, "'labs', which is no text"),
        ({"documents": {"note": (np.zeros((1, 3, 4)), np.zeros((1, 3, 4)))}}, "rows with this modality = "),
        ({"rows": "dev"}, "no split 'dev'"),
        ({"censoring": "inverse"}, "'inverse': choose"),
    ],
)
def test_a_wrong_call_is_refused(data, arguments, message):
    with pytest.raises(UserError, match=message):
        PreparedDataset(data, **{"rows": "train"} | arguments)


def test_a_cohort_has_no_splits(data):
    new = CohortData(read_cohort(SCHEMA, *tables()), data.manifest.statistics)
    with pytest.raises(UserError, match="only a prepared folder has splits"):
        PreparedDataset(new, "train", tokens(new))


sizes = st.tuples(st.integers(1, 80), st.integers(1, 20))


@given(sizes, st.integers(0, 3), st.integers(0, 3))
def test_the_order_is_a_function_of_seed_and_epoch(size, seed, epoch):
    fresh, used = EpochBatches(*size, seed=seed), EpochBatches(*size, seed=seed)
    list(used)
    used.set_epoch(epoch + 1)
    list(used)
    used.set_epoch(epoch)
    fresh.set_epoch(epoch)
    assert list(fresh) == list(used)


def test_epochs_and_seeds_differ():
    orders = {tuple(EpochBatches(50, 8, seed=seed).order(epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


@given(sizes, st.booleans())
def test_every_row_comes_once(size, shuffle):
    batches = list(EpochBatches(*size, shuffle=shuffle))
    rows = [row for batch in batches for row in batch]
    assert sorted(rows) == list(range(size[0]))
    assert shuffle or rows == sorted(rows)
    assert len(EpochBatches(*size)) == len(batches)


@given(sizes)
def test_no_batch_of_one_unless_it_cannot_be_helped(size):
    rows, wanted = size
    lengths = [len(batch) for batch in EpochBatches(rows, wanted)]
    assert 1 not in lengths or wanted == 1 or rows == 1
    assert all(length == wanted for length in lengths[:-1])
    assert lengths[-1] <= wanted + 1


@given(sizes)
def test_drop_last_leaves_whole_batches(size):
    rows, wanted = size
    if rows < wanted:
        with pytest.raises(UserError, match="leaves no batch"):
            EpochBatches(rows, wanted, drop_last=True)
    else:
        batches = EpochBatches(rows, wanted, drop_last=True)
        assert [len(batch) for batch in batches] == [wanted] * (rows // wanted)
        assert len(batches) == rows // wanted


def test_a_loader_yields_batches_and_follows_the_epoch(data, train):
    batches = loader(train, 8, seed=3, shuffle=True)
    batches.batch_sampler.sampler.set_epoch(2)  # as Lightning does
    seen = torch.cat([batch.ids for batch in batches]).numpy()
    order = EpochBatches(len(train), 8, seed=3).order(2)
    np.testing.assert_array_equal(seen, data.rows("train")[order])


def test_worker_processes_give_the_same_batches(train):
    here = [batch.inputs["labs"].values for batch in loader(train, 16)]
    there = [batch.inputs["labs"].values for batch in loader(train, 16, num_workers=1)]
    assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))
