import json
import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sklar.data.cohort import CohortData, read_cohort
from sklar.data.frame import write
from sklar.data.preprocess import Preprocessor, fit_statistics
from sklar.data.schema import Schema, Tabular, Text, TimeSeries
from sklar.data.store import PreparedData
from sklar.errors import DataError, UserError

NAN = np.nan
SERIES = TimeSeries(variables=("hr", "crp"), steps=4, step=1.0, log=("crp",))
SCHEMA = Schema(
    id="id",
    label="died",
    modalities={
        "note": Text(documents=2),
        "labs": SERIES,
        "demo": Tabular(
            numeric=("age",), categorical={"sex": ("f", "m"), "ward": ("1", "2")}, limits={"age": (0, 120)}
        ),
    },
)
STATISTICS = {
    "labs": {"hr": {"mean": 80.0, "sd": 10.0, "cells": 9}, "crp": {"mean": 1.0, "sd": 2.0, "cells": 9}},
    "demo": {"age": {"mean": 50.0, "sd": 10.0, "cells": 9}},
}
SUBJECTS = pa.table(
    {
        "id": [1, 2, 3],
        "died": [0, 1, None],
        "part": ["train", "train", "test"],
        "age": [60, None, 130],
        "sex": ["m", "f", None],
        "ward": [2, None, None],
    }
)
LABS = pa.table(
    {"id": [1, 3, 3], "time": [-2.0, 0.0, 0.0], "variable": ["hr", "hr", "crp"], "value": [90.0, 70.0, 0.0]}
)
NOTES = pa.table({"id": [2, 2, 3], "text": ["b", "a", "c"], "time": [-1.0, -3.0, -2.0]})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp("store") / "data"
    return write(out, SCHEMA, SUBJECTS, {"labs": LABS}, {"note": NOTES}, split="part")


@pytest.fixture
def copy(tmp_path):
    return write(tmp_path / "data", SCHEMA, SUBJECTS, {"labs": LABS}, {"note": NOTES}, split="part").path


def test_a_series_is_carried_forward_with_its_mask_and_age():
    raw = np.array([[[NAN, NAN], [90, NAN], [NAN, np.expm1(3)], [60, NAN]]])
    ready = Preprocessor(SCHEMA, STATISTICS).series("labs", raw)
    expected = [
        # hr, crp     observed   time since the last one, of four steps
        [0, 0, 0, 0, 1, 1],
        [1, 0, 1, 0, 0, 1],
        [1, 1, 0, 1, 1 / 4, 0],
        [-2, 1, 1, 0, 0, 1 / 4],
    ]
    np.testing.assert_allclose(ready.values[0], expected, rtol=1e-6)
    np.testing.assert_array_equal(ready.observed[0], np.array(expected)[:, 2:4] == 1)


def test_channels_are_named_in_order():
    names = Preprocessor(SCHEMA, STATISTICS).channels("labs")
    assert names == ("hr", "crp", "hr:observed", "crp:observed", "hr:since", "crp:since")


def test_wild_values_are_clipped_at_five_deviations():
    raw = np.array([[[1e9, NAN], [-1e9, NAN], [80, NAN], [NAN, NAN]]])
    np.testing.assert_array_equal(
        Preprocessor(SCHEMA, STATISTICS).series("labs", raw).values[0, :, 0], [5, -5, 0, 0]
    )


def test_implausible_values_are_gaps_for_new_patients_too():
    raw = np.array([[[80, -0.5], [80, -0.5], [80, -0.5], [80, -0.5]]])  # a logged variable is not negative
    assert not Preprocessor(SCHEMA, STATISTICS).series("labs", raw).observed[..., 1].any()


@given(arrays(np.float32, (3, 4, 2), elements=st.one_of(st.just(NAN), st.floats(0, 2**20, width=32))))
def test_filling_equals_a_loop_over_cells(raw):
    ready = Preprocessor(SCHEMA, STATISTICS).series("labs", raw)
    for n, v in np.ndindex(3, 2):
        last, carried = None, 0.0
        for t in range(4):
            if not np.isnan(x := np.float64(raw[n, t, v])):
                x = np.log1p(x) if v else x
                moments = STATISTICS["labs"][SERIES.variables[v]]
                last, carried = t, np.clip((x - moments["mean"]) / moments["sd"], -5, 5)
            since = 1.0 if last is None else (t - last) / 4
            expected = [carried, last == t, since]
            np.testing.assert_allclose(ready.values[n, t, v::2], expected, rtol=1e-5, atol=1e-6)


def test_a_table_has_codes_from_one_and_zero_for_gaps_and_unknown_levels():
    raw = pa.table({"age": [60, None, 130], "sex": ["m", "x", None], "ward": [2.0, 1.0, None]})
    ready = Preprocessor(SCHEMA, STATISTICS).table("demo", raw)
    np.testing.assert_array_equal(ready.numeric, [[1], [0], [0]])
    np.testing.assert_array_equal(ready.observed, [[True], [False], [False]])
    np.testing.assert_array_equal(ready.categories, [[2, 2], [0, 1], [0, 0]])


@given(arrays(np.float32, (20, 4, 2), elements=st.floats(0, 1000, width=32)))
def test_training_data_get_mean_zero_and_deviation_one(raw):
    raw[0, 0], raw[0, 1] = 0, 1000  # so that they vary
    schema = Schema(id="id", label="y", modalities={"labs": SERIES})
    values = Preprocessor(schema, fit_statistics(schema, {"labs": raw})).series("labs", raw).values[..., :2]
    inside = (np.abs(values) < 5).all(axis=(0, 1))  # the clip moves the moments
    np.testing.assert_allclose(values.mean(axis=(0, 1))[inside], 0, atol=1e-4)
    np.testing.assert_allclose(values.std(axis=(0, 1))[inside], 1, atol=1e-3)


def test_a_constant_or_unseen_variable_keeps_its_scale():
    raw = np.full((5, 4, 2), NAN)
    raw[:, 0, 0] = 7.1
    schema = Schema(id="id", label="y", modalities={"labs": SERIES})
    fitted = fit_statistics(schema, {"labs": raw})["labs"]
    assert fitted["hr"] == {"mean": pytest.approx(7.1), "sd": 1, "cells": 5}
    assert fitted["crp"] == {"mean": 0, "sd": 1, "cells": 0}


def test_statistics_of_another_schema_are_refused():
    with pytest.raises(DataError, match="'labs' lack 'crp'"):
        Preprocessor(SCHEMA, {"labs": {"hr": {"mean": 0, "sd": 1}}, "demo": STATISTICS["demo"]})


def test_an_array_of_another_grid_is_refused():
    with pytest.raises(DataError, match="schema has 4 steps of 2"):
        Preprocessor(SCHEMA, STATISTICS).series("labs", np.zeros((1, 5, 2)))


def test_modalities_keep_the_order_of_the_schema(data):
    assert data.modalities == ("note", "labs", "demo")
    np.testing.assert_array_equal(data.positions, [[-1, 0, 0], [0, -1, 1], [1, 1, -1]])
    np.testing.assert_array_equal(data.present, data.positions >= 0)


def test_labels_are_those_that_are_known(data):
    assert data.labels() == {"1": 0, "2": 1}
    np.testing.assert_array_equal(data.target, [0, 1, NAN])


def test_rows_of_a_split_are_positions(data):
    assert data.rows("train").tolist() == [0, 1]
    assert data.rows("valid").tolist() == []
    assert data.rows().tolist() == [0, 1, 2]


def test_documents_of_chosen_rows_come_in_time_order(data):
    assert data.documents("note", [2, 0, 1]) == [["c"], [], ["a", "b"]]
    np.testing.assert_array_equal(data.document_times("note"), [[-3, -1], [-2, 0]])


def test_series_come_normalised_or_raw(data):
    ids, values, columns = data.series("labs")
    assert (ids.tolist(), values.shape, len(columns)) == (["1", "3"], (2, 4, 6), 6)
    assert isinstance(data.series("labs", normalised=False)[1], np.memmap)


def test_unknown_names_are_refused(data):
    for ask, message in [
        (lambda: data.rows("dev"), "no split 'dev'"),
        (lambda: data.series("note"), "'note' is not a time series"),
        (lambda: data.documents("labs"), "'labs' is not a text"),
        (lambda: data.table("scan"), "'scan' is not a table"),
    ]:
        with pytest.raises(UserError, match=message):
            ask()


def test_new_patients_are_read_as_the_training_patients_were(data):
    cohort = read_cohort(
        SCHEMA, SUBJECTS.drop_columns(["died"]), {"labs": LABS}, {"note": NOTES}, labelled=False
    )
    new = CohortData(cohort, data.manifest.statistics)
    np.testing.assert_array_equal(new.series("labs")[1], data.series("labs")[1])
    np.testing.assert_array_equal(new.ready_table("demo").numeric, data.ready_table("demo").numeric)
    np.testing.assert_array_equal(new.present, data.present)
    assert new.documents("note") == data.documents("note")
    assert np.isnan(new.target).all()


def test_a_level_that_training_never_saw_is_a_gap_for_new_patients():
    people = pa.table({"id": [1], "age": [60], "sex": ["x"], "ward": [2]})
    cohort = read_cohort(
        SCHEMA, people, {"labs": LABS.slice(0, 1)}, {"note": NOTES.slice(0, 0)}, labelled=False
    )
    assert CohortData(cohort, STATISTICS).ready_table("demo").categories.tolist() == [[0, 2]]


def test_a_pickle_opens_the_folder_again(data):
    again = pickle.loads(pickle.dumps(data))
    assert isinstance(again.raw_series("labs"), np.memmap)
    assert again.hash == data.hash


def test_a_folder_without_a_manifest_is_not_prepared(tmp_path):
    with pytest.raises(DataError, match=r"no manifest.json.*sklar prepare"):
        PreparedData.open(tmp_path)


def test_another_format_is_refused(copy):
    content = json.loads((copy / "manifest.json").read_text()) | {"format": 99}
    (copy / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="format 99, this sklar reads 1"):
        PreparedData.open(copy)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not JSON"), ("[]", "format None"), ('{"format": 1}', "name.*Prepare the folder again")],
)
def test_a_broken_manifest_is_refused(copy, text, message):
    (copy / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=f"(?s){message}"):
        PreparedData.open(copy)


def test_a_missing_file_is_named(copy):
    (copy / "labs.npy").unlink()
    with pytest.raises(DataError, match=r"labs\.npy is missing"):
        PreparedData.open(copy)


def test_a_truncated_file_is_named(copy):
    (copy / "labs.npy").write_bytes((copy / "labs.npy").read_bytes()[:-1])
    with pytest.raises(DataError, match=r"labs\.npy is not the file"):
        PreparedData.open(copy)


def test_a_changed_byte_is_found_when_asked_for(copy):
    content = bytearray((copy / "labs.npy").read_bytes())
    content[-1] ^= 1
    (copy / "labs.npy").write_bytes(content)
    PreparedData.open(copy)
    with pytest.raises(DataError, match=r"labs\.npy is not the file"):
        PreparedData.open(copy, verify=True)


def test_changed_statistics_are_found_when_asked_for(copy):
    content = json.loads((copy / "manifest.json").read_text())
    content["statistics"]["demo"]["age"]["mean"] = 0.0
    (copy / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="manifest was changed"):
        PreparedData.open(copy, verify=True)


def test_a_pickled_array_is_never_loaded(copy):
    np.save(copy / "labs.npy", np.array([{}], dtype=object), allow_pickle=True)
    content = json.loads((copy / "manifest.json").read_text())
    content["files"]["labs.npy"]["bytes"] = (copy / "labs.npy").stat().st_size
    (copy / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="Python objects in dtype"):
        PreparedData.open(copy).raw_series("labs")


def test_matched_rows_have_every_modality(tmp_path):
    from cohorts import small_cohort

    small_cohort(tmp_path / "data", rows=60)
    data = PreparedData.open(tmp_path / "data")
    matched = data.rows(matched=True)
    assert 0 < len(matched) < len(data.ids)
    assert data.present[matched].all()
    assert set(matched) - set(data.rows("train")) == set(matched) - set(data.rows("train", matched=True))
