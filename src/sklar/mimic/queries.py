"""The queries of a preparation as text, for engines that sklar does not connect to."""

import ibis
import ibis.expr.types as ir
import sqlglot

from sklar.errors import UserError
from sklar.mimic.cohort import Tables, stays
from sklar.mimic.events import measurements, subjects_with_text
from sklar.mimic.layout import Columns, Layout, layout_of
from sklar.mimic.notes import choice
from sklar.mimic.rules import Rules, resolve
from sklar.mimic.tables import TYPES
from sklar.mimic.variables import WINDOW_SECONDS

STAYS = "stays"
"""The step that the others read, as a table that each defines first."""

DIALECTS = ("bigquery", "databricks", "duckdb", "postgres", "snowflake", "trino")
"""Dialects whose queries are compiled; of these duckdb and postgres were run."""


def compiled(
    source: str,
    rules: str | Rules = "compat",
    dialect: str = "bigquery",
    dataset: str | None = None,
    notes: bool = False,
) -> dict[str, str]:
    """The query of every step that runs where the tables are; each begins with the one of stays.

    "stays", and one per event table for its measurements; under rules that compare texts also
    "<table>.text", the subjects with a value that is no number. With notes "noteevents" (which fall into the
    window of a stay) and "noteevents.text" (what they say). Ties, bins, the last notes of a stay and the
    published third of the rows are settled afterwards, outside the engine.

    Args:
        source: "mimic-iii" or "mimic-iv".
        rules: As in `sklar.mimic.prepare`.
        dialect: One of `DIALECTS`.
        dataset: Where the tables are ("project.dataset"), or None for plain table names.
        notes: Clinical notes too (MIMIC-III).

    Raises:
        UserError: An argument is wrong.
    """
    layout, chosen = layout_of(source), resolve(rules)
    layout = layout.with_notes() if notes else layout
    if dialect not in DIALECTS:
        raise UserError(f"dialect {dialect!r}: choose one of {', '.join(DIALECTS)}")

    def table(name: str) -> ir.Table:
        return _unbound(name, layout.tables[name], dataset)

    expression = stays(table, layout, chosen)
    cohort = ibis.table(expression.schema(), name=STAYS)
    queries = {}
    for name in layout.events:
        queries[name] = measurements(table(name), cohort, name, layout, chosen)
        if chosen.ties == "text":
            queries[f"{name}.text"] = subjects_with_text(table(name), cohort, None, name, layout, chosen)
    if notes:
        found = choice.candidates(
            table("noteevents"), _windows(table, cohort, layout, chosen), layout, chosen
        )
        queries["noteevents"] = found
        queries["noteevents.text"] = choice.texts(table("noteevents"), found, layout)
    first = str(ibis.to_sql(expression, dialect=dialect))
    return {STAYS: first} | {name: _after(first, query, dialect) for name, query in queries.items()}


def _after(stays_query: str, query: ir.Table, dialect: str) -> str:
    """The text of a query that reads the stays, which it defines first."""
    text = str(ibis.to_sql(query, dialect=dialect))
    name = sqlglot.to_identifier(STAYS, quoted=True).sql(dialect)
    begun = f"WITH {name} AS (\n{stays_query}\n)"
    return f"{begun}, {text.removeprefix('WITH ')}" if text.startswith("WITH ") else f"{begun}\n{text}"


def _windows(table: Tables, cohort: ir.Table, layout: Layout, rules: Rules) -> ir.Table:
    """Stays that may have notes, and their last second; `choice.last_seconds` as an expression."""
    rows = cohort.filter(cohort.eligible).select("stay_id", "subject_id", "hadm_id", "intime")
    if rules.note_window == "prediction":
        return rows.mutate(last_second=ibis.literal(WINDOW_SECONDS, "int64"))
    firsts = ibis.union(*(choice.first_event(table(name), cohort, name, layout) for name in choice.EVENTS))
    first = firsts.group_by(first_stay=firsts.stay_id).agg(last_second=firsts.second.min() + choice.AFTER)
    return rows.inner_join(first, rows.stay_id == first.first_stay).drop("first_stay")


def _unbound(name: str, columns: Columns, dataset: str | None) -> ir.Table:
    """A table that is known by its columns alone, under our names of them."""
    place = dict(zip(("database", "catalog"), reversed(dataset.split(".")), strict=False)) if dataset else {}
    raw = {columns.raw(own): TYPES[kind] for own, kind in columns.kinds.items()}
    found = ibis.table(raw, name=name, **place)
    return found.select(**{own: found[columns.raw(own)] for own in columns.kinds})
