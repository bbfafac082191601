"""The queries of a preparation as text, for engines that sklar does not connect to."""

import ibis
import ibis.expr.types as ir

from sklar.errors import UserError
from sklar.mimic.cohort import stays
from sklar.mimic.events import measurements
from sklar.mimic.layout import Columns, layout_of
from sklar.mimic.rules import Rules, resolve
from sklar.mimic.tables import TYPES

DIALECTS = ("bigquery", "databricks", "duckdb", "postgres", "snowflake", "trino")
"""Dialects whose queries are compiled; of these duckdb and postgres were run."""


def compiled(
    source: str, rules: str | Rules = "compat", dialect: str = "bigquery", dataset: str | None = None
) -> dict[str, str]:
    """The query of every step: "stays", and one per event table.

    The queries of event tables hold the one of stays. Their rows, saved as Parquet, are what a preparation
    works on.

    Args:
        source: "mimic-iii" or "mimic-iv".
        rules: As in `sklar.mimic.prepare`.
        dialect: One of `DIALECTS`.
        dataset: Where the tables are ("project.dataset"), or None for plain table names.

    Raises:
        UserError: An argument is wrong.
    """
    layout, chosen = layout_of(source), resolve(rules)
    if dialect not in DIALECTS:
        raise UserError(f"dialect {dialect!r}: choose one of {', '.join(DIALECTS)}")

    def table(name: str) -> ir.Table:
        return _unbound(name, layout.tables[name], dataset)

    cohort = stays(table, layout, chosen)
    queries = {"stays": cohort}
    for name in layout.events:
        queries[name] = measurements(table(name), cohort, name, layout, chosen)
    return {name: str(ibis.to_sql(query, dialect=dialect)) for name, query in queries.items()}


def _unbound(name: str, columns: Columns, dataset: str | None) -> ir.Table:
    """A table that is known by its columns alone, under our names of them."""
    place = dict(zip(("database", "catalog"), reversed(dataset.split(".")), strict=False)) if dataset else {}
    raw = {columns.raw(own): TYPES[kind] for own, kind in columns.kinds.items()}
    found = ibis.table(raw, name=name, **place)
    return found.select(**{own: found[columns.raw(own)] for own in columns.kinds})
