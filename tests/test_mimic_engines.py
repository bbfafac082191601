"""The same rules where the tables live: PostgreSQL and Spark give the benchmark's bits."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import postgres_server
from raw_mimic import Hospital
from sklar import PreparedData
from sklar.errors import DataError, UserError
from sklar.mimic import COMPAT, STRICT, prepare

SOURCES = {"mimic-iii": "mimic3", "mimic-iv": "mimic4"}


@pytest.fixture(scope="session")
def golden(test_data: Path) -> Path:
    folder = test_data / "reference" / "mimic_golden"
    if not folder.is_dir():
        pytest.skip(f"no golden MIMIC files in {folder}; set SKLAR_TEST_DATA")
    return folder


@pytest.fixture(scope="module")
def database(golden: Path):
    pytest.importorskip("psycopg", reason='no PostgreSQL client: pip install "sklar[postgres]"')
    with postgres_server.server() as address:
        folders = {
            "mimiciii": golden / "mimic3",
            "mimiciv_hosp": golden / "mimic4" / "hosp",
            "mimiciv_icu": golden / "mimic4" / "icu",
        }
        for schema, folder in folders.items():
            postgres_server.load(address, schema, sorted(folder.glob("*.csv.gz")))
        yield address


SCHEMAS = {"mimic-iii": "mimiciii", "mimic-iv": "mimiciv_hosp,mimiciv_icu"}


def agrees(data: PreparedData, golden: Path, source: str) -> None:
    ids, values, _ = data.series("ehr", normalised=False)
    with np.load(golden / f"expected_{SOURCES[source]}.npz") as expected:
        assert ids.tolist() == expected["stay_id"].astype(str).tolist()
        np.testing.assert_array_equal(values, expected["x"])
        assert [data.labels("ihm")[i] for i in ids.tolist()] == expected["ihm"].tolist()
        if "readm" in expected:
            assert [data.labels("readm")[i] for i in ids.tolist()] == expected["readm"].tolist()


@pytest.mark.parametrize("source", SOURCES)
def test_postgresql_gives_the_bits_of_the_benchmark(database, golden, tmp_path, source):
    address = f"{database}?schema={SCHEMAS[source]}"
    agrees(prepare(source, address, tmp_path / "out", engine="postgres"), golden, source)


def test_postgresql_and_duckdb_agree_on_strict_rules(database, golden, tmp_path):
    address = f"{database}?schema=mimiciii"
    there = prepare("mimic-iii", address, tmp_path / "there", rules="strict", engine="postgres")
    here = prepare("mimic-iii", golden / "mimic3", tmp_path / "here", rules="strict")
    np.testing.assert_array_equal(there.array("ehr"), here.array("ehr"))
    assert there.labels("readm") == here.labels("readm")


EVERY_NOTE = replace(COMPAT, note_sample="all", note_least=1)


@pytest.mark.parametrize("rules", [EVERY_NOTE, STRICT], ids=["compat", "strict"])
def test_postgresql_and_duckdb_choose_the_same_notes(database, golden, tmp_path, rules):
    address = f"{database}?schema=mimiciii"
    there = prepare("mimic-iii", address, tmp_path / "there", rules=rules, engine="postgres", notes=True)
    here = prepare("mimic-iii", golden / "mimic3", tmp_path / "here", rules=rules, notes=True)
    assert there.content("notes").equals(here.content("notes"))


def test_two_data_sets_in_one_database_are_not_mixed(database, tmp_path):
    with pytest.raises(DataError, match=r"'patients' is in schemas mimiciii, mimiciv_hosp.*\?schema=NAME"):
        prepare("mimic-iii", database, tmp_path / "out", engine="postgres")


def test_a_table_that_the_database_lacks_is_named(database, tmp_path):
    with pytest.raises(DataError, match=r"'icustays' is missing.*Load it"):
        prepare("mimic-iv", f"{database}?schema=mimiciv_hosp", tmp_path / "out", engine="postgres")


def test_a_schema_that_the_database_lacks_is_named(database, tmp_path):
    with pytest.raises(DataError, match="no schema 'mimicv'"):
        prepare("mimic-iii", f"{database}?schema=mimicv", tmp_path / "out", engine="postgres")


def test_a_database_that_is_not_there_is_said(tmp_path):
    pytest.importorskip("psycopg", reason='no PostgreSQL client: pip install "sklar[postgres]"')
    # port 1 is reserved and nothing listens there
    with pytest.raises(
        DataError, match=r"127.0.0.1/mimic: the database cannot be reached.*Check that it runs"
    ):
        prepare("mimic-iii", "postgresql://127.0.0.1:1/mimic", tmp_path / "out", engine="postgres")


def test_a_password_is_never_repeated(tmp_path):
    pytest.importorskip("psycopg", reason='no PostgreSQL client: pip install "sklar[postgres]"')
    with pytest.raises(DataError) as caught:
        prepare("mimic-iii", "postgresql://me:secret@127.0.0.1:1/mimic", tmp_path / "out", engine="postgres")
    assert "secret" not in str(caught.value)


def test_an_address_that_is_none_is_the_callers_error(tmp_path):
    with pytest.raises(UserError, match="needs postgresql://"):
        prepare("mimic-iii", tmp_path, tmp_path / "out", engine="postgres")


@pytest.fixture(scope="module")
def spark():
    sql = pytest.importorskip("pyspark.sql", reason='no Spark client: pip install "sklar[spark]"')
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    builder = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.sql.shuffle.partitions", "4").config("spark.driver.memory", "2g")
    session = builder.getOrCreate()
    yield session
    session.stop()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("source", SOURCES)
def test_spark_gives_the_bits_of_the_benchmark(spark, golden, tmp_path, source):
    data = prepare(source, golden / SOURCES[source], tmp_path / "out", engine="spark", threads=2)
    agrees(data, golden, source)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_spark_and_duckdb_choose_the_same_notes(spark, golden, tmp_path):
    raw = golden / "mimic3"
    there = prepare("mimic-iii", raw, tmp_path / "there", rules=EVERY_NOTE, engine="spark", notes=True)
    here = prepare("mimic-iii", raw, tmp_path / "here", rules=EVERY_NOTE, notes=True)
    assert there.content("notes").equals(here.content("notes"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_spark_names_the_file_that_it_cannot_read(spark, tmp_path):
    raw = Hospital().write(tmp_path / "raw")
    with (raw / "LABEVENTS.csv").open("a") as stream:
        stream.write("1,101,50931\n")
    with pytest.raises(DataError, match=r"LABEVENTS.csv: Spark cannot read it"):
        prepare("mimic-iii", raw, tmp_path / "out", engine="spark", threads=2)
