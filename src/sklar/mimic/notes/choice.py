"""Clinical notes of MIMIC-III: which notes belong to which stay, as expressions and arrays.

The published rules are those of the released code of CM², which follows Khadanga et al. (EMNLP 2019); strict
ones end at the prediction. Rows are chosen without their texts, which are read for the chosen alone.
"""

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sklar.mimic.events import given, kept
from sklar.mimic.layout import Layout
from sklar.mimic.rules import Rules
from sklar.mimic.tables import cast, real, true, typed
from sklar.mimic.variables import WINDOW_SECONDS

DOCUMENTS = 5
"""Notes that are kept of a stay: the last."""

HOUR = 3600

AFTER = 49 * HOUR - 1
"""The last whole second less than 49 hours after the first event, under the published window."""

SEED = 42
"""Of the published sample of a third."""

EVENTS = ("chartevents", "labevents", "outputevents")
"""Tables in which the first event of a stay is sought."""


def first_event(table: ir.Table, cohort: ir.Table, name: str, layout: Layout) -> ir.Table:
    """The first event of each stay an hour or more after its admission to the ICU, of any item.

    Returns:
        (stay_id, second), from the admission to the ICU.
    """
    columns = [key for key in ("subject_id", "hadm_id", "stay_id", "charttime") if key in table.columns]
    rows = typed(table, layout.tables[name], columns)
    if "stay_id" not in rows.columns:
        rows = rows.mutate(stay_id=ibis.null("int64"))
    rows = kept(rows, cohort)
    times = cohort.filter(cohort.eligible).select(own_stay="stay_id", intime="intime")
    rows = rows.inner_join(times, "own_stay")
    rows = rows.mutate(second=rows.charttime.delta(rows.intime, unit="second"))
    rows = rows.filter(rows.second >= HOUR)
    return rows.group_by(stay_id=rows.own_stay).agg(second=rows.second.min())


def last_seconds(firsts: list[pa.Table], stays: NDArray[np.int64], rules: Rules) -> NDArray[np.int64]:
    """(N,) until which second after the admission to the ICU notes count, -1 for stays that have none.

    Args:
        firsts: Per event table what `first_event` found; not needed by rules that end at the prediction.
        stays: (N,) stay numbers, ascending.
        rules: Which window.
    """
    if rules.note_window == "prediction":
        return np.full(len(stays), WINDOW_SECONDS)
    first = np.full(len(stays), np.iinfo(np.int64).max)
    for table in firsts:
        found, second = table["stay_id"].to_numpy(), table["second"].to_numpy()
        own = np.isin(found, stays)
        np.minimum.at(first, np.searchsorted(stays, found[own]), second[own])
    return np.where(first == np.iinfo(np.int64).max, -1, first + AFTER)


def candidates(table: ir.Table, windows: ir.Table, layout: Layout, rules: Rules) -> ir.Table:
    """Notes of the admissions of stays, up to each stay's last second, without their texts.

    Args:
        table: The raw table of notes.
        windows: (stay_id, subject_id, hadm_id, intime, last_second) of the stays that may have notes.
        layout: Tables and columns.
        rules: Which notes count.

    Returns:
        (stay_id, row_id, second), from the admission to the ICU; negative is before.
    """
    rows = table.filter(given(table.text, rules))
    if rules.errors == "drop":
        rows = rows.filter((cast(rows.iserror, "number") != real(1)).fill_null(True))
    if rules.note_window == "prediction":
        rows = rows.filter(~true(rows.category.lower().startswith("discharge")))
    columns = ["row_id", "subject_id", "hadm_id", "charttime", "storetime"]
    rows = typed(rows, layout.tables["noteevents"], columns)
    rows = rows.inner_join(windows, ["subject_id", "hadm_id"])
    rows = rows.mutate(second=rows.charttime.delta(rows.intime, unit="second"))
    rows = rows.filter(rows.second <= rows.last_second)
    if rules.late == "drop":
        entered = rows.storetime.delta(rows.intime, unit="second")
        rows = rows.filter((entered <= WINDOW_SECONDS).fill_null(True))
    return rows.select("stay_id", "row_id", "second")


def chosen(found: pa.Table, rules: Rules) -> pa.Table:
    """The last notes of each stay that has enough, in the order of stay, time and row."""
    order = np.lexsort([found[name].to_numpy() for name in ("row_id", "second", "stay_id")])
    found = found.take(pa.array(order))
    if rules.note_ties == "later":
        stay, second = found["stay_id"].to_numpy(), found["second"].to_numpy()
        last = (np.diff(stay, append=-1) != 0) | (np.diff(second, append=-1) != 0)
        found = found.filter(pa.array(last))
    _, start, count = np.unique(found["stay_id"].to_numpy(), return_index=True, return_counts=True)
    from_last = np.repeat(start + count, count) - np.arange(found.num_rows)
    enough = np.repeat(count >= rules.note_least, count)
    return found.filter(pa.array(enough & (from_last <= DOCUMENTS)))


def texts(table: ir.Table, rows: ir.Table, layout: Layout) -> ir.Table:
    """(row_id, text) of the chosen rows."""
    notes = typed(table, layout.tables["noteevents"], ["row_id", "text"])
    return notes.semi_join(rows, "row_id")


def sampled(
    stays: pa.Table, episode: NDArray[np.int64], parts: NDArray[np.str_], rules: Rules
) -> NDArray[np.bool_]:
    """(N,) which rows may have notes: all, or the published third of each split.

    The published list files are sorted by the name of a stay's file, and pandas draws from them.

    Args:
        stays: (subject_id) of N rows.
        episode: (N,) number of the stay among its patient's, from 1.
        parts: (N,) "train", "valid" or "test".
        rules: Whether to sample.
    """
    if rules.note_sample == "all":
        return np.ones(len(parts), dtype=bool)
    name = np.array(
        [
            f"{subject}_episode{n}_timeseries.csv"
            for subject, n in zip(stays["subject_id"].to_pylist(), episode, strict=True)
        ]
    )
    out = np.zeros(len(parts), dtype=bool)
    for part in np.unique(parts):
        rows = np.flatnonzero(parts == part)
        rows = rows[np.argsort(name[rows])]
        # what pandas.DataFrame.sample(frac=1/3, random_state=42) draws
        draw = np.random.RandomState(SEED).permutation(len(rows))
        out[rows[draw[: round(len(rows) / 3)]]] = True
    return out


def episodes(stays: pa.Table) -> NDArray[np.int64]:
    """(N,) number of each stay among the stays of its patient by admission to the ICU, from 1."""
    subject = stays["subject_id"].to_numpy()
    intime, outtime = (stays[name].to_numpy().astype(np.int64) for name in ("intime", "outtime"))
    order = np.lexsort((outtime, intime, subject))
    _, start, count = np.unique(subject[order], return_index=True, return_counts=True)
    out = np.empty(len(subject), dtype=np.int64)
    out[order] = np.arange(len(subject)) - np.repeat(start, count) + 1
    return out
