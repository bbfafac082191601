"""A run answers for patients in memory as it does for a prepared folder, and says when it cannot."""

import numpy as np
import pytest

from sklar import runs
from sklar.data.schema import Schema, Tabular
from sklar.data.wide import read_wide, write_wide
from sklar.errors import DataError, UserError
from sklar.training.class_weights import class_weights
from sklar.training.config import resolve
from wide_tables import SCHEMA, SMALL, wide_table


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    base = tmp_path_factory.mktemp("patients")
    data = write_wide(base / "data", SCHEMA, wide_table(160))
    config = resolve("cm2", [f"{k}={v}" for k, v in SMALL.items()], training={"max_epochs": 1})
    return runs.train(config, data, base / "run"), data


def test_a_cohort_in_memory_is_answered_as_a_folder_is(trained):
    run, data = trained
    folder, memory = (
        run.predict(data),
        runs.answer(run, read_wide(run.schema, wide_table(160), labelled=True)),
    )
    np.testing.assert_array_equal(folder.ids, memory.ids)
    np.testing.assert_array_equal(folder.present, memory.present)
    np.testing.assert_array_equal(folder.target, memory.target)
    np.testing.assert_allclose(memory.probability, folder.probability, rtol=1e-6)
    np.testing.assert_allclose(memory.high - memory.low, folder.high - folder.low, rtol=1e-4, atol=1e-7)


def test_a_row_alone_is_answered_as_among_others(trained):
    run, _ = trained
    table = wide_table(40)
    together = runs.answer(run, read_wide(run.schema, table, labelled=False)).probability
    alone = runs.answer(run, read_wide(run.schema, table.iloc[[7]], labelled=False)).probability
    np.testing.assert_allclose(alone, together[7:8], rtol=1e-5)


def test_a_row_of_which_nothing_was_observed_is_refused_or_given_the_prior(trained):
    run, _ = trained
    table = wide_table(10)
    table.loc[3, ["vitals", "note", "age", "sex"]] = None
    cohort = read_wide(run.schema, table, labelled=False)
    with pytest.raises(DataError, match=r"1 rows have no observed modality \(first: stay '103'\).*on_empty"):
        runs.answer(run, cohort)
    found = runs.answer(run, cohort, on_empty="prior")
    counts = run.data["counts"]["train"]
    share = counts["events"] / counts["labelled"]
    assert found.probability[3] == found.low[3] == found.high[3] == pytest.approx(share)
    assert (found.probability[np.arange(10) != 3] != share).all()


BINARY = Schema(id="id", label="y", modalities={"x": Tabular(numeric=("a",))})
TARGET = np.array([0.0, 0, 0, 1, np.nan])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("none", None),
        ("balanced", [4 / 6, 4 / 6, 4 / 6, 2, 1]),
        ({"1": 5.0}, [1, 1, 1, 5, 1]),
    ],
)
def test_class_weights(given, expected):
    found = class_weights(given, BINARY, TARGET, np.arange(5))
    if expected is None:
        assert found is None
    else:
        np.testing.assert_allclose(found, expected)


def test_class_weights_of_classes_and_what_has_none():
    classes = BINARY.model_copy(update={"classes": ("a", "b", "c")})
    np.testing.assert_allclose(
        class_weights({"b": 3.0}, classes, np.array([0.0, 1, 2]), np.arange(3)), [1, 3, 1]
    )
    with pytest.raises(UserError, match="names class 'bb'; there are a, b, c; did you mean b"):
        class_weights({"bb": 3.0}, classes, np.array([0.0, 1, 2]), np.arange(3))
    several = BINARY.model_copy(update={"label": ("y", "z")})
    with pytest.raises(UserError, match="with 2 labels: a row has one weight"):
        class_weights("balanced", several, np.zeros((3, 2)), np.arange(3))


def test_class_weights_reach_the_loss(trained, tmp_path):
    _, data = trained
    settings = [f"{k}={v}" for k, v in SMALL.items()]
    risks = {}
    for name, weight in {"rare": {"1": 0.05}, "frequent": {"1": 20.0}}.items():
        config = resolve("late", settings, training={"max_epochs": 2, "class_weight": weight})
        risks[name] = runs.train(config, data, tmp_path / name).predict(data).probability.mean()
    assert risks["rare"] + 0.3 < risks["frequent"]
