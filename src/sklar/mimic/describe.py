"""What a prepared MIMIC folder says of itself: schema, index, attrition, counts."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sklar.data.manifest import FORMAT, Count, Manifest, Statistics, Step
from sklar.data.outcome import event_rate
from sklar.data.schema import GriddedSeries, Schema
from sklar.data.split import SPLITS
from sklar.mimic.additions import Addition
from sklar.mimic.layout import Layout, version_of
from sklar.mimic.rules import Rules
from sklar.mimic.splits import SALT, THRESHOLDS, Lists
from sklar.mimic.variables import WINDOW_SECONDS

TASKS: Mapping[str, str] = {"ihm": "died", "readm": "readmitted"}
"""Task to the column of the stays' table with its outcome."""

ATTRITION = (
    ("same_unit", "no transfer between units"),
    ("admitted", "admission and patient known"),
    ("alone", "only remaining stay of its admission"),
    ("adult", "18 years or older"),
    ("diagnosed", "a diagnosis that the dictionary knows"),
    ("long_enough", "48 hours or longer in the ICU"),
)
"""Columns of the stays' table in the order in which they decide, and their names in reports."""


def schema_of(tasks: Sequence[str], ehr: GriddedSeries, added: Sequence[Addition]) -> Schema:
    """The schema of a folder: the series, and what was added."""
    modalities = {"ehr": ehr, **{addition.name: addition.spec for addition in added}}
    return Schema(id="stay_id", label=tasks[0], group="subject_id", modalities=modalities)


def index_table(stays: pa.Table, parts: NDArray[np.str_], tasks: Sequence[str]) -> pa.Table:
    """The index of N rows; see `sklar.data.store.PreparedData`."""
    rows = stays.num_rows
    outcomes = {task: stays[TASKS[task]].cast(pa.int8()) for task in tasks}
    return pa.table(
        {
            "id": stays["stay_id"].cast(pa.string()),
            "group": stays["subject_id"].cast(pa.string()),
            "split": pa.array(parts.astype(object), pa.string()),
            "label": outcomes[tasks[0]],
            "weight": pa.array(np.ones(rows)),
            "present_ehr": pa.array(np.ones(rows, dtype=bool)),
            "row_ehr": pa.array(np.arange(rows)),
            **{f"label_{task}": outcome for task, outcome in outcomes.items()},
        }
    )


def stays_table(stays: pa.Table) -> pa.Table:
    """Who the rows are: what audits and further modalities need."""
    prediction = pc.add(stays["intime"], pa.scalar(WINDOW_SECONDS, pa.duration("s")))
    table = stays.select(["stay_id", "subject_id", "hadm_id", "intime", "outtime", "age"])
    table = table.append_column("prediction_time", prediction)
    for name in ("died", "readmitted", "died_after"):
        table = table.append_column(name, stays[name])
    return table


def describe(
    schema: Schema,
    index: pa.Table,
    stays: pa.Table,
    statistics: Statistics,
    records: Mapping[str, int],
    layout: Layout,
    rules: Rules,
    tasks: Sequence[str],
    *,
    added: Sequence[Addition],
    lists: Lists | None,
    restricted: bool | None,
    synthetic: bool,
    engine: str,
    configuration: str,
) -> Manifest:
    """The manifest, but for the hashes of files that are not written yet."""
    version = "simulated" if synthetic else version_of(layout, stays.num_rows)
    measured = pc.is_in(stays["stay_id"].cast(pa.string()), value_set=index["id"].combine_chunks())
    steps = _attrition(stays, rules, np.asarray(measured.to_numpy(), dtype=bool))
    died = stays.filter(measured).sort_by("stay_id")["died"].to_numpy()
    steps += _matched(index, died, added)
    counts = {"all": _count(index)}
    counts |= {part: _count(index.filter(pc.equal(index["split"], part))) for part in SPLITS}
    about: dict[str, Any] = {
        "source": layout.source,
        "version": version,
        "engine": engine,
        "synthetic": synthetic,
        **{f"rule_{name}": value for name, value in rules.as_dict().items()},
    }
    if lists is None:
        low, high = THRESHOLDS[layout.source]
        about["split"] = f"blake2b of salt and subject: train below {low}, valid below {high}, else test"
        about["salt"] = SALT
    else:
        about["split"] = "lists"
        about["split_lists"] = dict(lists.about)
    return Manifest(
        format=FORMAT,
        name=f"{layout.title} {version} ({rules.name} rules)",
        schema=schema,
        counts=counts,
        presence={"ehr": 1.0, **{own.name: len(own.rows) / index.num_rows for own in added}},
        records={"ehr": dict(records), **{own.name: own.records for own in added}},
        attrition=tuple(steps),
        statistics=statistics,
        risk=event_rate(counts["all"]),
        files={},
        configuration=configuration,
        hash="",
        rules=about,
        notes=_notes(rules, tasks, {addition.name for addition in added}, synthetic),
        # of the demos' pictures and notes nothing is open
        restricted="demo" not in version or bool(added) if restricted is None else restricted,
        seed=None,
        tasks=tuple(tasks),
    )


def _attrition(stays: pa.Table, rules: Rules, measured: NDArray[np.bool_]) -> list[Step]:
    left = np.ones(stays.num_rows, dtype=bool)
    died = stays["died"].to_numpy()
    steps = [Step("ICU stays", stays.num_rows, int(died.sum()))]
    for column, what in ATTRITION:
        if column == "diagnosed" and rules.diagnosis == "any":
            continue
        left &= stays[column].to_numpy()
        steps.append(Step(what, int(left.sum()), int((left & died).sum())))
    left &= measured
    return [*steps, Step("a measurement in 48 hours", int(left.sum()), int((left & died).sum()))]


def _matched(index: pa.Table, died: NDArray[np.bool_], added: Sequence[Addition]) -> list[Step]:
    """How many rows have each modality that was added, and how many have all: the totally matched cohort."""
    has = [index[f"present_{addition.name}"].to_numpy() for addition in added]
    names = [f"of these, with {addition.name}" for addition in added]
    if len(added) > 1:
        has.append(np.all(has, axis=0))
        names.append("of these, with every modality")
    return [Step(name, int(own.sum()), int((own & died).sum())) for name, own in zip(names, has, strict=True)]


def _count(index: pa.Table) -> Count:
    labels = index["label"]
    return Count(index.num_rows, index.num_rows - labels.null_count, _sum(labels), 0)


def _sum(labels: pa.ChunkedArray) -> int:
    return int(pc.sum(labels).as_py() or 0)


def _notes(rules: Rules, tasks: Sequence[str], added: Collection[str], synthetic: bool) -> tuple[str, ...]:
    notes = ["Simulated tables: no patient is behind any row."] if synthetic else []
    notes.append("Stays with a transfer between units, and stays shorter than 48 hours, are left out.")
    if "readm" in tasks and rules.readmission == "cohort":
        notes.append(
            "Most positives of readm are deaths in hospital, as in the published benchmark; judge it without "
            "them too."
        )
    if "readm" in tasks and rules.readmission == "admission":
        notes.append("readm is unknown for who died in hospital; death at home counts as no readmission.")
    if "report" in added:
        notes.append(
            "MIMIC-CXR has no times of reports: each is taken to be final "
            f"{rules.report_hours:g} hours after its picture."
        )
    if "notes" in added and rules.note_window == "event":
        notes.append(
            "Notes reach up to two hours or more past the prediction time, as in the published benchmark: "
            "not all that models gain from them is foresight."
        )
    return tuple(notes)
