import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sklar.data.schema import Schema, Tabular, Text, TimeSeries

names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)


@st.composite
def series(draw):
    variables = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    return TimeSeries(
        variables=variables,
        steps=draw(st.integers(1, 50)),
        step=draw(st.floats(1e-3, 1e3)),
        unit=draw(st.sampled_from(["seconds", "minutes", "hours", "days"])),
        statistic=draw(st.sampled_from(["mean", "last", "min", "max"])),
        log=draw(st.lists(st.sampled_from(variables), unique=True)),
        limits={variables[0]: (draw(st.floats(-1e3, 0)), draw(st.floats(1, 1e3)))},
    )


tables = st.builds(
    Tabular,
    numeric=st.just(("age", "bmi")),
    categorical=st.dictionaries(
        st.sampled_from(["sex", "ward"]), st.lists(names, min_size=1, max_size=3, unique=True)
    ),
)
texts = st.builds(Text, documents=st.integers(1, 9), keep=st.sampled_from(["first", "last"]))


@given(st.dictionaries(names.filter(lambda n: n != "index"), st.one_of(series(), tables, texts), min_size=1))
def test_json_gives_back_the_same_schema_in_the_same_order(modalities):
    schema = Schema(id="ID", label="Died", group="Set", horizon=30.0, modalities=modalities)
    again = Schema.model_validate_json(schema.model_dump_json())
    assert again == schema
    assert list(again.modalities) == list(modalities)


def build(**changes):
    content = {"labs": {"kind": "series", "variables": ["hr"], "steps": 4, "step": 1.0}}
    return Schema.model_validate({"id": "id", "label": "died", "modalities": content} | changes)


def test_a_schema_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        build().label = "other"


def test_one_modality_is_enough():
    assert list(build().modalities) == ["labs"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modalities": {}}, "at least 1"),
        ({"modalities": {"my labs": Text()}}, "'my labs'.*identifier"),
        ({"modalities": {"index": Text()}}, "'index'.*other than"),
        ({"modalities": {"note": Text(), "Note": Text()}}, "'note' is listed twice"),
        ({"label": "id"}, "same column, 'id'"),
        ({"colour": 1}, "colour"),
        ({"horizon": -1}, "greater than 0"),
        ({"modalities": {"demo": Tabular(numeric=("age", "died"))}}, "'demo' lists 'died'.*must not read it"),
        ({"modalities": {"scan": {"kind": "film"}}}, "image"),
    ],
)
def test_a_wrong_schema_says_what_is_wrong(changes, message):
    with pytest.raises(ValidationError, match=message):
        build(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variables": ()}, "at least 1"),
        ({"variables": ("hr", "hr")}, "'hr' is listed twice"),
        ({"steps": 0}, "greater than or equal to 1"),
        ({"step": float("inf")}, "finite"),
        ({"log": ("crp",)}, "'crp' is not one of hr"),
        ({"limits": {"hr": (9, 3)}}, "finite lower < upper, got 9.0 and 3.0"),
        ({"limits": {"hr": (0, float("inf"))}}, "finite"),
        ({"statistic": "mode"}, "mode"),
    ],
)
def test_a_wrong_time_series_says_what_is_wrong(changes, message):
    with pytest.raises(ValidationError, match=message):
        TimeSeries.model_validate({"variables": ("hr",), "steps": 3, "step": 1.0} | changes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "at least one"),
        ({"numeric": ("age",), "categorical": {"age": ("a",)}}, "'age' is listed twice"),
        ({"categorical": {"sex": ()}}, "'sex' has no levels"),
        ({"categorical": {"sex": ("m", "m")}}, "'m' is listed twice"),
        ({"categorical": {"sex": ("m",)}, "log": ("sex",)}, "'sex' is not one of no numeric columns"),
    ],
)
def test_a_wrong_table_says_what_is_wrong(content, message):
    with pytest.raises(ValidationError, match=message):
        Tabular.model_validate(content)


def test_times_are_bin_midpoints_before_time_zero():
    spec = TimeSeries(variables=("hr",), steps=3, step=2.0)
    np.testing.assert_array_equal(spec.times, [-5, -3, -1])


def test_a_logged_variable_is_not_negative():
    spec = TimeSeries(variables=("crp", "hr"), steps=1, step=1, log=("crp",), limits={"hr": (20, 300)})
    np.testing.assert_array_equal(spec.bounds, [[0, np.inf], [20, 300]])
