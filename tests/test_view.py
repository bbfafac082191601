"""Outcomes, modalities and matched rows of one prepared folder."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cohorts import TINY, small_cohort
from sklar.data.store import PreparedData
from sklar.data.view import View
from sklar.errors import DataError, UserError
from sklar.runs import Run, train
from sklar.training.config import resolve


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """The small cohort with a second outcome, the first one turned around."""
    plain = small_cohort(tmp_path_factory.mktemp("view") / "data")
    other = pa.array(1 - plain.target, from_pandas=True).cast(pa.int8())
    manifest = replace(plain.manifest, tasks=("died", "left"))
    return PreparedData(plain.path, manifest, plain.index.append_column("label_left", other))


def test_the_whole_view_is_the_folder_itself(data: PreparedData) -> None:
    assert View().of(data) is data


def test_another_outcome_takes_the_place_of_the_label(data: PreparedData) -> None:
    seen = View(task="left").of(data)
    assert seen.schema.label == "left"
    assert seen.tasks == ("left", "died")
    assert np.array_equal(seen.target, 1 - data.target)
    assert seen.labels("died") == data.labels("died")
    assert seen.manifest.counts["all"].events == int((data.target == 0).sum())
    assert seen.hash == data.hash


def test_some_modalities_keep_their_order_and_content(data: PreparedData) -> None:
    seen = View(modalities=("table", "labs")).of(data)
    assert seen.modalities == ("labs", "table")
    assert np.array_equal(seen.present, data.present[:, [0, 2]])
    assert np.array_equal(seen.raw_series("labs"), data.raw_series("labs"), equal_nan=True)
    assert set(seen.manifest.statistics) == {"labs", "table"}


def test_matched_rows_are_those_with_all_chosen_modalities(data: PreparedData) -> None:
    seen = View(modalities=("labs", "table"), matched=True).of(data)
    both = data.present[:, [0, 2]].all(1)
    for part in ("train", "valid", "test"):
        rows = data.rows(part)
        assert np.array_equal(seen.rows(part), rows[both[rows]])
        assert seen.manifest.counts[part].subjects == both[rows].sum()
    assert seen.manifest.counts["all"].subjects == both.sum() < len(both)
    assert seen.manifest.attrition[-1].subjects == both.sum()


def test_a_worker_process_gets_the_same_view(data: PreparedData) -> None:
    seen = View(task="left", modalities=("labs", "table")).of(data)
    there = pickle.loads(pickle.dumps(seen))
    assert there.schema == seen.schema
    assert np.array_equal(there.target, seen.target)


def test_a_run_reads_its_view_and_predicts_with_it(data: PreparedData, tmp_path: Path) -> None:
    view = {"task": "left", "modalities": ["labs", "notes"], "matched": True}
    run = train(resolve("unified", TINY, data=view), data, tmp_path / "run")
    opened = Run.open(tmp_path / "run")
    stored = opened.predictions("test")
    seen = View.model_validate(view).of(data)
    assert np.array_equal(stored.ids, seen.ids[seen.rows("test")])
    assert np.array_equal(stored.target, seen.target[seen.rows("test")])
    assert stored.modalities == ("labs", "notes")
    assert opened.data["counts"]["subjects"] == seen.manifest.counts["all"].subjects
    everyone = run.predict(data)  # a run of matched rows predicts all rows
    assert len(everyone.ids) == len(data.ids)
    assert run.config.data.matched


@pytest.mark.parametrize(
    ("view", "error"),
    [
        ({"task": "lefd"}, "no task 'lefd' in .*; it holds died, left; did you mean left"),
        ({"modalities": ("lab",)}, "no modality 'lab' in .*; it holds labs, notes, table; did you mean labs"),
    ],
)
def test_what_the_folder_does_not_hold_is_said(data: PreparedData, view: dict, error: str) -> None:
    with pytest.raises(UserError, match=error):
        View(**view).of(data)


def test_a_split_without_matched_rows_is_refused(data: PreparedData) -> None:
    index = data.index
    nowhere = pa.array(np.where(np.isin(data.ids, data.ids[data.rows("test")]), False, data.present[:, 1]))
    place = index.column_names.index("present_notes")
    rows = pa.array(np.where(nowhere, data.positions[:, 1], -1))
    index = index.set_column(place, "present_notes", nowhere)
    index = index.set_column(index.column_names.index("row_notes"), "row_notes", rows)
    with pytest.raises(DataError, match="no row of the test split has all of labs, notes, table"):
        View(matched=True).of(PreparedData(data.path, data.manifest, index))
