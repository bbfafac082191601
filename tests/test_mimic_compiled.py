"""Queries for engines that sklar does not connect to: they parse, and mean what those for DuckDB mean."""

from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest
import sqlglot

from sklar.errors import UserError
from sklar.mimic import COMPAT, STRICT, compiled, prepare
from sklar.mimic.layout import layout_of
from sklar.mimic.notes.choice import chosen
from sklar.mimic.tables import TYPES

SOURCES = {"mimic-iii": "mimic3", "mimic-iv": "mimic4"}
SQL = {"int64": "bigint", "string": "varchar", "timestamp": "timestamp", "float64": "double"}

EVENTS = ("stays", "chartevents", "labevents")
TEXTS = ("chartevents.text", "labevents.text")
NOTES = ("noteevents", "noteevents.text")
STEPS = {
    ("mimic-iii", "compat"): (*EVENTS, *TEXTS, *NOTES),
    ("mimic-iii", "strict"): (*EVENTS, *NOTES),
    ("mimic-iv", "compat"): (*EVENTS, *TEXTS),
    ("mimic-iv", "strict"): EVENTS,
}
"""What is compiled of a source; strict rules compare no texts, and MIMIC-IV has no notes."""


@pytest.fixture(scope="session")
def golden(test_data: Path) -> Path:
    folder = test_data / "reference" / "mimic_golden"
    if not folder.is_dir():
        pytest.skip(f"no golden MIMIC files in {folder}; set SKLAR_TEST_DATA")
    return folder


def queries(source: str, rules: str, dialect: str, dataset: str | None = None) -> dict[str, str]:
    return compiled(source, rules, dialect, dataset, notes=source == "mimic-iii")


def views(golden: Path, source: str) -> duckdb.DuckDBPyConnection:
    """The golden tables in the types that the queries expect."""
    connection = duckdb.connect()
    layout = layout_of(source)
    files = {path.name.lower(): path for path in (golden / SOURCES[source]).rglob("*.csv.gz")}
    for name, columns in {**layout.tables, **layout.notes}.items():
        typed = ", ".join(
            f'cast("{columns.raw(own)}" as {SQL[TYPES[kind]]}) as "{columns.raw(own)}"'
            for own, kind in columns.kinds.items()
        )
        options = "all_varchar=true, header=true, quote='\"', escape='\"'"
        source_of = f"read_csv('{files[f'{name}.csv.gz']}', {options})"
        connection.execute(f"create view {name} as select {typed} from {source_of}")
    return connection


@pytest.mark.slow
@pytest.mark.parametrize(("source", "rules"), STEPS)
def test_queries_for_bigquery_mean_what_those_for_duckdb_mean(golden, source, rules):
    """Nothing here speaks to BigQuery: its queries are read as BigQuery's, translated, and run by DuckDB."""
    connection = views(golden, source)
    connection.execute("create macro ieee_divide(a, b) as a / b")
    here, there = (queries(source, rules, dialect) for dialect in ("duckdb", "bigquery"))
    for step, query in here.items():
        (translated,) = sqlglot.transpile(there[step], read="bigquery", write="duckdb")
        wanted = connection.execute(f"select * from ({query}) order by all").fetchall()
        assert wanted
        assert connection.execute(f"select * from ({translated}) order by all").fetchall() == wanted


FAST = {("mimic-iii", "strict", "bigquery"), ("mimic-iv", "strict", "trino")}
"""The parser takes its time."""


@pytest.mark.parametrize(
    ("source", "rules", "dialect"),
    [
        pytest.param(*case, marks=() if case in FAST else pytest.mark.slow)
        for step in STEPS
        for case in [(*step, dialect) for dialect in ("bigquery", "databricks", "snowflake", "trino")]
    ],
)
def test_queries_of_other_dialects_can_be_parsed_and_try_no_cast(source, rules, dialect):
    found = queries(source, rules, dialect, "project.dataset")
    assert sorted(found) == sorted(STEPS[source, rules])
    for query in found.values():
        tree = sqlglot.parse_one(query, read=dialect)
        assert not list(tree.find_all(sqlglot.exp.TryCast))
        inner = {str(table.name) for table in tree.find_all(sqlglot.exp.Table) if not table.db}
        assert inner <= {"stays", *(str(with_.alias) for with_ in tree.find_all(sqlglot.exp.CTE))}


@pytest.mark.parametrize("rules", ["compat", "strict"])
def test_compiled_queries_choose_the_notes_that_a_preparation_chooses(golden, tmp_path, rules):
    """The window of a stay is an expression there and an array here."""
    every = {"compat": replace(COMPAT, note_sample="all", note_least=1), "strict": STRICT}[rules]
    data = prepare("mimic-iii", golden / "mimic3", tmp_path / "out", rules=every, notes=True)
    query = queries("mimic-iii", rules, "duckdb")["noteevents"]
    found = chosen(views(golden, "mimic-iii").execute(query).to_arrow_table(), every)
    stays, counts = np.unique(found["stay_id"].to_numpy().astype(str), return_counts=True)
    used = np.isin(stays, data.ids)  # the others have no measurement
    records = data.manifest.records["notes"]
    left_out = records["blank"] if every.blank_text == "drop" else 0
    assert counts[used].sum() == records["used"] + left_out
    assert set(stays[used]) >= set(data.content("notes")["id"].to_pylist())


def test_notes_of_mimic_iv_are_another_data_set():
    with pytest.raises(UserError, match="another data set"):
        compiled("mimic-iv", notes=True)


def test_a_dialect_without_regular_expressions_is_refused():
    with pytest.raises(UserError, match="choose one of bigquery"):
        compiled("mimic-iii", dialect="mssql")
