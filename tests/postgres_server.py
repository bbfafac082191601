"""A PostgreSQL server of the test's own, on loopback, in a temporary folder."""

import csv
import gzip
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from waiting import PATIENCE

PLACES = ["/usr/local/bin", *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))]


@contextmanager
def server() -> Iterator[str]:
    """Address of a new server's database, until the block ends; skips where there is no server program.

    The server refuses to run as root, so root hands it to another account. Texts are collated as American
    English is, which sorts neither points nor case as bytes do.
    """
    found = shutil.which("initdb", path=os.pathsep.join([os.environ.get("PATH", ""), *PLACES]))
    if found is None:
        pytest.skip("no PostgreSQL server program (initdb); Debian has it in the package postgresql")
    binaries = Path(found).parent
    account = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="sklar-postgres-"))
    try:
        if account:
            shutil.chown(folder, "nobody", "nogroup")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]

        def call(*command: str) -> None:
            # output goes to a file: a server that inherits a pipe would keep it open
            with (folder.parent / f"{folder.name}.log").open("a") as log:
                subprocess.run(command, check=True, stdout=log, stderr=log, cwd="/", **account)

        data = str(folder / "data")
        call(str(binaries / "initdb"), "-D", data, "-U", "sklar", "--auth=trust", "--encoding=UTF8",
             "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US", "--no-sync")  # fmt: skip
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off"
        waiting = ("-w", "-t", str(PATIENCE))
        call(
            str(binaries / "pg_ctl"),
            "-D",
            data,
            "-l",
            str(folder / "log"),
            "-o",
            options,
            "-w",
            "-t",
            "300",
            "start",
        )
        try:
            yield f"postgresql://sklar@127.0.0.1:{port}/postgres"
        finally:
            call(str(binaries / "pg_ctl"), "-D", data, "-m", "immediate", *waiting, "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        (folder.parent / f"{folder.name}.log").unlink(missing_ok=True)


def load(address: str, schema: str, files: list[Path]) -> None:
    """Put csv.gz files into a schema, in the types that mimic-code's build scripts give their columns."""
    import psycopg

    with psycopg.connect(address) as connection:
        connection.execute(f"create schema {schema}")
        for path in files:
            table = path.name.split(".")[0].lower()
            with gzip.open(path, "rt", newline="") as stream:
                columns = [name.lower() for name in next(csv.reader(stream))]
            # MIMIC-IV has dates of death without a time
            date = "date" if "anchor_age" in columns else "timestamp(0)"
            typed = ", ".join(f"{name} {date if name == 'dod' else kind(name)}" for name in columns)
            connection.execute(f"create table {schema}.{table} ({typed})")
            copy = f"copy {schema}.{table} from stdin (format csv, header)"
            with gzip.open(path) as stream, connection.cursor().copy(copy) as writer:
                while block := stream.read(1 << 20):
                    writer.write(block)


def kind(column: str) -> str:
    """The type of a column by its name."""
    if column in ("row_id", "subject_id", "hadm_id", "icustay_id", "stay_id", "itemid"):
        return "int"
    if column.endswith("time") or column in ("dob", "dod", "dod_hosp", "dod_ssn", "chartdate"):
        return "timestamp(0)"
    if column in ("los", "valuenum"):
        return "double precision"
    if column in ("hospital_expire_flag", "error", "warning", "anchor_age", "anchor_year"):
        return "smallint"
    return "varchar(4000)"
