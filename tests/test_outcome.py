"""The outcome from own tables to a prepared folder: one event, several labels, classes."""

import json

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from outcomes import CLASSES, LABELS, SCHEMAS, SEVERAL, several, subjects
from sklar.data.audit import audit
from sklar.data.cohort import read_cohort
from sklar.data.frame import write
from sklar.data.loading import PreparedDataset
from sklar.data.outcome import event_columns
from sklar.data.schema import Schema, Tabular, Text
from sklar.data.store import PreparedData
from sklar.data.view import View
from sklar.errors import DataError, UserError

NAN = np.nan
TABLE = {"demo": Tabular(numeric=("age",))}
AGES = {"id": ["a", "b", "c", "d"], "age": [60, 61, 62, 63], "split": ["train", "train", "valid", "test"]}


def prepare(out, schema, **columns):
    return write(out, schema, pa.table(AGES | columns), split="split")


def labelled(**outcome):
    return Schema.model_validate(
        {"id": "id", "modalities": {"demo": {"kind": "table", "numeric": ["age"]}}} | outcome
    )


@pytest.mark.parametrize(
    ("outcome", "task", "outputs"),
    [
        ({"label": "died"}, "binary", ("died",)),
        ({"label": ["died", "back"]}, "multilabel", ("died", "back")),
        ({"label": "went", "classes": ["home", "icu"]}, "multiclass", ("home", "icu")),
        ({"label": "grade", "classes": [0, 1, 2]}, "multiclass", ("0", "1", "2")),
    ],
)
def test_a_schema_says_what_a_model_predicts(outcome, task, outputs):
    schema = labelled(**outcome)
    assert (schema.task, schema.outputs) == (task, outputs)
    assert Schema.model_validate_json(schema.model_dump_json()) == schema


def test_a_schema_of_one_event_is_written_as_before_there_were_classes():
    assert list(labelled(label="died").model_dump(mode="json")) == [
        "id", "label", "group", "time_zero", "horizon", "modalities",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        ({"label": ["died"]}, "label lists 1 columns; several labels are two or more"),
        ({"label": []}, "at least 1"),
        ({"label": ["died", "died"]}, "'died' is listed twice"),
        ({"label": ["died", "id"]}, "same column, 'id'"),
        ({"label": ["died", "age"]}, "lists 'age', which is the id, label"),
        ({"label": "went", "classes": ["home"]}, "classes lists 1; a label has two classes or more"),
        ({"label": "went", "classes": ["home", "home"]}, "'home' is listed twice"),
        ({"label": "went", "classes": ["home", ""]}, "an empty name"),
        ({"label": ["died", "back"], "classes": ["0", "1"]}, "classes belong to one label column"),
        ({"label": "went", "classes": [1.5, 2.5]}, "valid string"),
    ],
)
def test_an_outcome_that_cannot_be_is_refused(outcome, message):
    with pytest.raises(ValidationError, match=message):
        labelled(**outcome)


def test_classes_are_numbers_in_the_order_of_the_schema(tmp_path):
    data = prepare(
        tmp_path / "data", labelled(label="went", classes=["icu", "home"]), went=["home", "icu", None, "icu"]
    )
    np.testing.assert_array_equal(data.target, [1, 0, NAN, 0])
    assert data.index["label"].to_pylist() == [1, 0, None, 0]
    assert data.labels() == {"a": 1, "b": 0, "d": 0}
    np.testing.assert_array_equal(event_columns(data.schema, data.target)[:3], [[0, 1], [1, 0], [NAN, NAN]])


@pytest.mark.parametrize("values", [[2, 0, 1, 2], [2.0, 0.0, None, 1.0], ["2", "0", "1", "2"]])
def test_classes_may_be_numbers_or_texts(tmp_path, values):
    data = prepare(tmp_path / "data", labelled(label="grade", classes=[0, 1, 2]), grade=values)
    np.testing.assert_array_equal(data.target, [NAN if v is None else float(v) for v in values])


def test_several_labels_are_columns(tmp_path):
    data = prepare(
        tmp_path / "data", labelled(label=["died", "back"]), died=[0, 1, None, 1], back=[1, None, None, 0]
    )
    np.testing.assert_array_equal(data.target, [[0, 1], [1, NAN], [NAN, NAN], [1, 0]])
    assert data.tasks == ("died", "back")
    assert data.labels("back") == {"a": 1, "d": 0}
    with pytest.raises(UserError, match="several labels: name one task of died, back"):
        data.labels()


def test_the_manifest_counts_every_output(tmp_path):
    data = prepare(
        tmp_path / "data", labelled(label=["died", "back"]), died=[0, 1, None, 1], back=[0, None, None, 1]
    )
    counts = json.loads((data.path / "manifest.json").read_text())["counts"]
    assert counts["all"] == {
        "subjects": 4,
        "labelled": 3,
        "events": 2,
        "without_modality": 0,
        "outputs": {"died": {"labelled": 3, "events": 2}, "back": {"labelled": 2, "events": 1}},
    }
    data = prepare(
        tmp_path / "classes",
        labelled(label="went", classes=["home", "icu"]),
        went=["home", "icu", None, "icu"],
    )
    assert data.manifest.counts["all"].events is None
    assert {k: v.events for k, v in data.manifest.counts["all"].outputs.items()} == {"home": 1, "icu": 2}
    assert data.manifest.counts["train"].outputs["icu"].labelled == 2
    assert data.manifest.risk == {}


def test_the_manifest_of_one_event_has_no_outputs(tmp_path):
    data = prepare(tmp_path / "data", labelled(label="died"), died=[0, 1, None, 1])
    content = json.loads((data.path / "manifest.json").read_text())
    assert set(content["counts"]["all"]) == {"subjects", "labelled", "events", "without_modality"}
    assert "classes" not in content["schema"]


@pytest.mark.parametrize("task", SEVERAL)
def test_a_folder_reads_back_as_it_was_written(tmp_path, task):
    written = several(tmp_path / "data", task)
    read = PreparedData.open(tmp_path / "data", verify=True)
    np.testing.assert_array_equal(read.target, written.target)
    cohort = read_cohort(SCHEMAS[task], *_tables())
    np.testing.assert_array_equal(read.target, cohort.target)
    assert read.schema == SCHEMAS[task]


def _tables():
    people, labs = subjects(240)
    return people, {"labs": labs}


@pytest.mark.parametrize(("task", "shape"), [("binary", (5,)), ("multilabel", (5, 3)), ("multiclass", (5,))])
def test_batches_carry_the_outcome(tmp_path, task, shape):
    data = several(tmp_path / "data", task)
    batch = PreparedDataset(data, "train").__getitems__(range(5))
    assert batch.target is not None
    assert batch.target.shape == shape
    np.testing.assert_array_equal(batch.target.numpy(), data.target[data.rows("train")[:5]])


def test_new_patients_need_no_outcome():
    people, labs = subjects(10)
    cohort = read_cohort(
        SCHEMAS["multilabel"], people.drop_columns(list(LABELS)), {"labs": labs}, labelled=False
    )
    assert cohort.target.shape == (10, 3)
    assert np.isnan(cohort.target).all()


@pytest.mark.parametrize(
    ("outcome", "columns", "message"),
    [
        ({"label": "died"}, {"died": [0, 2, 1, 0]}, "label 'died' is 2 in row 1 .*classes of the schema"),
        (
            {"label": ["died", "back"]},
            {"died": [0, 1, 1, 0], "back": [0, 0, 3, 0]},
            "label 'back' is 3 in row 2",
        ),
        ({"label": ["died", "back"]}, {"died": [0, 1, 1, 0]}, "no column 'back'"),
        (
            {"label": ["died", "back"]},
            {"died": [0, 1, 1, 0], "back": pa.array([None, None, 1, 1])},
            "label 'back' is null in all 2 training rows",
        ),
        (
            {"label": "went", "classes": ["home", "icu"]},
            {"went": ["home", "icu", "ward", "icu"]},
            r"label 'went' is 'ward' in row 2 \(1 rows\), which is not one of its classes \(home, icu\)",
        ),
        (
            {"label": "went", "classes": ["home", "icu"]},
            {"went": ["icu", "icu", "home", "icu"]},
            "label 'went' is 'icu' in all 2 labelled training rows; a model needs rows of two classes",
        ),
    ],
)
def test_outcomes_that_break_the_schema_are_named(tmp_path, outcome, columns, message):
    with pytest.raises(DataError, match=message):
        prepare(tmp_path / "data", labelled(**outcome), **columns)
    assert not (tmp_path / "data").exists()


def test_a_view_of_one_label_is_an_event(tmp_path):
    data = several(tmp_path / "data", "multilabel")
    seen = View(task="stroke").of(data)
    assert (seen.schema.task, seen.schema.label) == ("binary", "stroke")
    np.testing.assert_array_equal(seen.target, data.target[:, 1])
    assert seen.tasks == ("stroke", "sepsis", "readmitted 30d")
    assert seen.labels("sepsis") == data.labels("sepsis")
    assert seen.manifest.counts["all"].events == data.manifest.counts["all"].outputs["stroke"].events
    assert seen.manifest.risk["complete_case"] == pytest.approx(np.nanmean(data.target[:, 1]))


def test_a_view_of_some_labels_keeps_their_order(tmp_path):
    data = several(tmp_path / "data", "multilabel")
    seen = View(task=("stroke", "sepsis")).of(data)
    np.testing.assert_array_equal(seen.target, data.target[:, [1, 0]])
    back = View(task="stroke").of(seen)
    np.testing.assert_array_equal(back.target, data.target[:, 1])


def test_a_matched_view_counts_the_classes_of_its_rows(tmp_path):
    data = several(tmp_path / "data", "multiclass")
    seen = View(matched=True).of(data)
    complete = data.present.all(1)
    assert seen.schema.classes == CLASSES
    assert seen.manifest.counts["all"].outputs["icu"].events == int((data.target[complete] == 2).sum())


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("strok", "no task 'strok'.*did you mean stroke"),
        (("stroke",), "data.task lists stroke: several are two or more"),
        (("stroke", "stroke"), "several are two or more different ones"),
        (("stroke", "death"), "no task 'death'"),
    ],
)
def test_a_task_that_is_not_there_is_refused(tmp_path, task, message):
    data = several(tmp_path / "data", "multilabel")
    with pytest.raises(UserError, match=message):
        View(task=task).of(data)


def test_the_audit_tells_the_prevalence_of_every_output(tmp_path):
    topics = [
        f.topic for f in audit(several(tmp_path / "one", "multilabel")) if f.topic.startswith("prevalence")
    ]
    assert topics == [f"prevalence of {name}" for name in LABELS]
    found = {f.topic: f.detail for f in audit(several(tmp_path / "two", "multiclass"))}
    shares = [float(found[f"prevalence of went = {name}"].split("(")[1].split("%")[0]) for name in CLASSES]
    assert sum(shares) == pytest.approx(100, abs=0.2)


def test_a_model_of_text_alone_takes_labels_too(tmp_path):
    schema = Schema(id="id", label=("a", "b"), modalities={"note": Text()})
    people = pa.table({"id": ["1", "2"], "a": [0, 1], "b": [1, 0], "split": ["train", "train"]})
    notes = pa.table({"id": ["1", "2"], "text": ["x", "y"]})
    assert write(tmp_path / "d", schema, people, texts={"note": notes}, split="split").target.shape == (2, 2)
