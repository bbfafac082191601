"""Preparing a synthetic MIMIC-III: time against one DuckDB scan of the same files, memory, and batches.

Writes a synthetic raw folder first (``--rows`` chart rows, labs, and the small tables; shaped like
MIMIC-III, with no patient behind it), as csv.gz and as parquet, and keeps it. Then, for each format, in one
process of two threads: `sklar.mimic.prepare` and one DuckDB query that counts the rows and takes the maximum
of the six used columns of the two event tables, alternating; imports apart, best of ``--repeats``. Memory is
the peak of a process of its own with memory_limit=300MB.

Targets: at most 3 x (csv.gz) and 12 x (parquet) of the query, under 600 MB, at most 0.1 ms for a batch of 32
series. Exit code 1 when one is missed.

    python benchmarks/prepare.py [--folder runs/hospital] [--rows 3100000] [--repeats 3]
"""

import argparse
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import numpy as np

LIMITS = {"csv.gz": 3.0, "parquet": 12.0}
WRITTEN = {"csv.gz": "format csv, header, compression gzip", "parquet": "compression zstd"}
MEMORY_MB = 600
BATCH_MS = 0.1
USED = {
    "chartevents": ["subject_id", "hadm_id", "icustay_id", "itemid", "charttime", "value"],
    "labevents": ["subject_id", "hadm_id", "itemid", "charttime", "value", "valueuom"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/hospital"))
    parser.add_argument("--rows", type=int, default=3_100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        return once(options.once)
    if options.write:
        return write_hospital(options.folder, options.rows)
    raw = {suffix: options.folder / suffix for suffix in LIMITS}
    # Memory comes first, and writing is another process's work, so that this one is still small: a child
    # counts the pages that it had before it became itself.
    if not (options.folder / "complete").exists():
        again = [sys.executable, __file__, "--write", "--folder", str(options.folder)]
        subprocess.run([*again, "--rows", str(options.rows)], check=True)
    peak = peak_memory(raw["csv.gz"])
    verdicts = {}
    for suffix, folder in raw.items():
        verdicts |= against_a_scan(folder, suffix, options.repeats)
    print(f"peak memory with memory_limit=300MB: {peak:.0f} MB")
    verdicts[f"memory under {MEMORY_MB} MB"] = peak < MEMORY_MB
    verdicts |= batches(raw["csv.gz"].parent / "out-csv.gz")
    for text, holds in verdicts.items():
        print(f"{'holds ' if holds else 'MISSED'} {text}")
    return 0 if all(verdicts.values()) else 1


def against_a_scan(raw: Path, suffix: str, repeats: int) -> dict[str, bool]:
    from sklar.mimic import prepare

    out = raw.parent / f"out-{suffix}"
    own, scan, rows = [], [], 0
    for _ in range(repeats):
        shutil.rmtree(out, ignore_errors=True)
        start = time.perf_counter()
        prepare("mimic-iii", raw, out, threads=2)
        own.append(time.perf_counter() - start)
        start = time.perf_counter()
        rows = count(raw, suffix)
        scan.append(time.perf_counter() - start)
    ratio = min(own) / min(scan)
    print(
        f"{suffix}: prepare {min(own):.2f} s ({rows / min(own) / 1e6:.2f} M rows/s), "
        f"one scan {min(scan):.2f} s, ratio {ratio:.2f}, of {rows:,} rows"
    )
    return {f"{suffix} ratio at most {LIMITS[suffix]:g} ({ratio:.2f})": ratio <= LIMITS[suffix]}


def count(raw: Path, suffix: str) -> int:
    connection = duckdb.connect(config={"threads": 2})
    rows = 0
    for table, columns in USED.items():
        path = raw / f"{table}.{suffix}"
        reader = f"read_parquet('{path}')"
        if suffix == "csv.gz":
            reader = f"read_csv('{path}', header=true, all_varchar=true, quote='\"', escape='\"')"
        largest = ", ".join(f"max({column})" for column in columns)
        rows += connection.execute(f"select count(*), {largest} from {reader}").fetchall()[0][0]
    connection.close()
    return rows


def peak_memory(raw: Path) -> float:
    """Peak resident megabytes of a process that prepares with a memory limit."""
    shutil.rmtree(raw.parent / "out-limited", ignore_errors=True)
    command = [sys.executable, __file__, "--once", str(raw)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def once(raw: Path) -> int:
    from sklar.mimic import prepare

    prepare("mimic-iii", raw, raw.parent / "out-limited", threads=2, memory_limit="300MB")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return 0


def batches(folder: Path) -> dict[str, bool]:
    from sklar.data.store import PreparedData

    _, values, _ = PreparedData.open(folder).series("ehr")
    draw = np.random.default_rng(0)
    rows = [draw.choice(len(values), 32, replace=False) for _ in range(200)]
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        for chosen in rows:
            np.asarray(values[chosen])
        best = min(best, (time.perf_counter() - start) / len(rows) * 1e3)
    print(f"a batch of 32 series: {best:.3f} ms")
    return {f"a batch of 32 series in at most {BATCH_MS} ms": best <= BATCH_MS}


def write_hospital(folder: Path, rows: int) -> int:
    """A synthetic MIMIC-III: about 4,500 chart rows and 450 labs a stay, one in five of a mapped item."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    connection = duckdb.connect(config={"threads": 2})
    for name, query in tables(rows // 4500, rows).items():
        connection.execute(f"create or replace table {name} as {query}")
        for suffix, form in WRITTEN.items():
            (folder / suffix).mkdir(exist_ok=True)
            connection.execute(f"copy {name} to '{folder / suffix / name}.{suffix}' ({form})")
    (folder / "complete").touch()
    return 0


def tables(stays: int, rows: int) -> dict[str, str]:
    """One query per table; every number is a hash of the row, so the folder is the same everywhere."""
    moment = "strftime(timestamp '2150-01-01' + to_seconds(cast({} as bigint)), '%Y-%m-%d %H:%M:%S')"
    begin = "(s * 86400)"
    return {
        "patients": f"select s row_id, s subject_id, 'M' gender, '2090-01-01 00:00:00' dob, "
        f"null::varchar dod from range({stays}) t(s)",
        "admissions": f"select s row_id, s subject_id, 100000 + s hadm_id, {moment.format(begin)} admittime, "
        f"{moment.format(begin + ' + 500000')} dischtime, case when hash(s) % 8 = 0 then "
        f"{moment.format(begin + ' + 400000')} end deathtime, (hash(s) % 8 = 0)::int hospital_expire_flag "
        f"from range({stays}) t(s)",
        "icustays": f"select s row_id, s subject_id, 100000 + s hadm_id, 200000 + s icustay_id, 'MICU' "
        "first_careunit, 'MICU' last_careunit, 5 first_wardid, 5 last_wardid, "
        f"{moment.format(begin)} intime, "
        f"{moment.format(begin + ' + 345600')} outtime, 4.0 los from range({stays}) t(s)",
        "diagnoses_icd": f"select s row_id, s subject_id, 100000 + s hadm_id, '4019' icd9_code "
        f"from range({stays}) t(s)",
        "d_icd_diagnoses": "select 1 row_id, '4019' icd9_code",
        "chartevents": _events(stays, rows, moment, chart=True),
        "labevents": _events(stays, rows // 10, moment, chart=False),
    }


def _events(stays: int, rows: int, moment: str, chart: bool) -> str:
    # mapped items with their relative frequency in MIMIC-III, a fifth of the rows; the rest is unmapped
    mapped = [211] * 6 + [51] * 4 + [8368] * 4 + [52] * 4 + [618] * 6 + [646] * 6 + [678, 189, 807, 763]
    mapped += [184, 454, 723, 198] * 2
    items = mapped + [30000 + i for i in range(4 * len(mapped))]
    if not chart:
        items = [50809, 50931, 50820] + [51000 + i for i in range(40)]
    texts = {184: "3 To speech", 454: "6 Obeys Commands", 723: "5 Oriented", 198: "14"}
    text = " ".join(f"when {item} then '{value}'" for item, value in texts.items())
    second = "s * 86400 + (hash(r, 2) % 345600) // 60 * 60"
    stay, more, flags = "", "", "null::varchar flag"
    if chart:
        stay = "200000 + s icustay_id,"
        more = f"{moment.format(second + ' + 600')} storetime, 15000 + hash(r, 6) % 900 cgid,"
        flags = '0 warning, 0 "error", null::varchar resultstatus, null::varchar stopped'
    return f"""
        select r row_id, s subject_id, 100000 + s hadm_id, {stay} itemid,
            {moment.format(second)} charttime, {more} "value", try_cast("value" as double) valuenum,
            'unit' valueuom, {flags}
        from (
            select *, case itemid {text} else case
                when itemid < 30000 then (60 + hash(r, 3) % 80)::varchar
                when hash(r, 5) % 7 = 0 then 'within normal limits'
                else round(hash(r, 4) % 10000 / 37.0, 1)::varchar end end "value"
            from (
                select r, (hash(r, 1) % {stays})::int s, {items}[1 + (hash(r) % {len(items)})::int] itemid
                from range({rows}) t(r)
            )
        )"""


if __name__ == "__main__":
    sys.exit(main())
