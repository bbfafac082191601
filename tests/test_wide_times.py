"""When the cells of a table are from: what is later than the prediction, and what nothing dates."""

import pyarrow as pa
import pytest

from sklar.data.schema import Text
from sklar.data.wide import read_wide
from sklar.errors import DataError, UserError
from wide_rows import ROWS, SCHEMA, VITALS, arrow, at, of

LATE = {
    "vitals": ("vitals", [{"time": at(61), "variable": "hr", "value": 80.0}], "series 'vitals': 1 of 1"),
    "cxr": ("taken", at(61), "image 'cxr': 1 of 1"),
    "note": ("written", [at(-2), at(61)], "text 'note': 1 of 2"),
}


@pytest.mark.parametrize(("column", "value", "message"), LATE.values(), ids=LATE)
def test_what_is_later_than_the_prediction_is_refused_or_dropped_and_counted(column, value, message):
    rows = [{**ROWS[0], column: value}, *ROWS[1:]]
    table = pa.Table.from_pylist(rows)
    with pytest.raises(
        DataError, match=rf"{message}.* \(admit\), first stay '1', \+61 hours.*on_late=\"drop\""
    ):
        read_wide(SCHEMA, table, labelled=True)
    cohort = read_wide(SCHEMA, table, labelled=True, on_late="drop")
    name = message.split("'")[1]
    assert cohort.content[name].counts["after_time_zero"] == 1
    assert cohort.content[name].counts["used"] == (1 if name == "note" else 0)


def test_columns_have_a_time_too():
    dated = SCHEMA.modalities["demo"].model_copy(update={"time": "weighed"})
    schema = SCHEMA.model_copy(update={"modalities": {"demo": dated}})
    rows = [{**row, "weighed": at(48 * place - 48)} for place, row in enumerate(ROWS)]
    assert read_wide(schema, pa.Table.from_pylist(rows), labelled=True).rows.tolist() == [[0], [1], [-1]]
    rows[1]["weighed"] = at(48)
    with pytest.raises(DataError, match=r"modality 'demo'\): 1 of 3 are later .* first stay '2', \+2 days"):
        read_wide(schema, pa.Table.from_pylist(rows), labelled=True)
    cohort = read_wide(schema, pa.Table.from_pylist(rows), labelled=True, on_late="drop")
    assert cohort.rows.tolist() == [[0], [-1], [-1]]
    assert cohort.content["demo"].counts["after_time_zero"] == 1
    rows[0]["weighed"] = None
    with pytest.raises(DataError, match="time None in row 0"):
        read_wide(schema, pa.Table.from_pylist(rows), labelled=True, on_late="drop")
    numbers = schema.model_copy(update={"time_zero": None})
    table = {"stay": [1, 2], "died": [0, 1], "patient": [1, 2], "age": [1.0, None], "sex": ["f", None]}
    assert read_wide(numbers, {**table, "weighed": [-1, None]}, labelled=True).rows.tolist() == [[0], [-1]]


def test_a_time_column_may_have_another_role_as_well():
    shared = Text(column="note", time="admit")
    schema = SCHEMA.model_copy(update={"modalities": {"note": shared, "demo": SCHEMA.modalities["demo"]}})
    rows = [{**row, "note": "calm"} for row in ROWS]
    assert read_wide(schema, pa.Table.from_pylist(rows), labelled=True).rows[:, 0].tolist() == [0, 1, 2]


def test_without_a_time_zero_positive_times_are_late():
    with pytest.raises(DataError, match=r"later than the moment of prediction, first id '0', \+2 hours"):
        of(VITALS, x=[[{"time": 2.0, "variable": "hr", "value": 80.0}]])


def test_what_nothing_dates_must_be_accepted_by_name():
    undated = SCHEMA.model_copy(update={"modalities": {**SCHEMA.modalities, "note": Text()}})
    with pytest.raises(UserError, match=r"text 'note': the schema has a time zero \(admit\).*on_undated"):
        read_wide(undated, arrow(), labelled=True)
    cohort = read_wide(undated, arrow(), labelled=True, on_undated="accept")
    assert cohort.content["note"].rows.tolist() == [0]


def test_times_that_are_null_throughout_date_nothing_that_is_there():
    rows = [{**row, "scan": None, "taken": None} for row in ROWS]
    assert (read_wide(SCHEMA, pa.Table.from_pylist(rows), labelled=True).rows[:, 1] == -1).all()
    rows = [{**row, "taken": None} for row in ROWS]
    with pytest.raises(DataError, match=r"image 'cxr', row 0 \(stay 1\).*'taken'.* is null"):
        read_wide(SCHEMA, pa.Table.from_pylist(rows), labelled=True)
