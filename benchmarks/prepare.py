"""Preparing a synthetic MIMIC-III: time against one DuckDB scan of the same files, memory, and batches.

Writes a simulated hospital first (``--rows`` chart rows, and a tenth as many of the laboratory), as csv.gz
and as parquet, and keeps it. Then, for each format, in one
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
CHART_ROWS = 4500
"""Of a stay."""

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
        return write_raw(options.folder, options.rows)
    raw = {suffix: options.folder / suffix / "mimic-iii" for suffix in LIMITS}
    # Memory comes first, and writing is another process's work, so that this one is still small: a child
    # counts the pages that it had before it became itself.
    if not all(folder.exists() for folder in raw.values()):
        again = [sys.executable, __file__, "--write", "--folder", str(options.folder)]
        subprocess.run([*again, "--rows", str(options.rows)], check=True)
    peak = peak_memory(raw["csv.gz"])
    verdicts = {}
    for suffix, folder in raw.items():
        verdicts |= against_a_scan(folder, suffix, options.repeats)
    print(f"peak memory with memory_limit=300MB: {peak:.0f} MB")
    verdicts[f"memory under {MEMORY_MB} MB"] = peak < MEMORY_MB
    verdicts |= batches(options.folder / "out-csv.gz")
    for text, holds in verdicts.items():
        print(f"{'holds ' if holds else 'MISSED'} {text}")
    return 0 if all(verdicts.values()) else 1


def against_a_scan(raw: Path, suffix: str, repeats: int) -> dict[str, bool]:
    from sklar.mimic import prepare

    out = raw.parents[1] / f"out-{suffix}"
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
        path = raw / f"{table.upper()}.{suffix}"
        reader = f"read_parquet('{path}')"
        if suffix == "csv.gz":
            reader = f"read_csv('{path}', header=true, all_varchar=true, quote='\"', escape='\"')"
        largest = ", ".join(f"max({column})" for column in columns)
        rows += connection.execute(f"select count(*), {largest} from {reader}").fetchall()[0][0]
    connection.close()
    return rows


def peak_memory(raw: Path) -> float:
    """Peak resident megabytes of a process that prepares with a memory limit."""
    shutil.rmtree(raw.parents[1] / "out-limited", ignore_errors=True)
    command = [sys.executable, __file__, "--once", str(raw)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def once(raw: Path) -> int:
    from sklar.mimic import prepare

    prepare("mimic-iii", raw, raw.parents[1] / "out-limited", threads=2, memory_limit="300MB")
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


def write_raw(folder: Path, rows: int) -> int:
    """The same simulated MIMIC-III in both formats, about a fifth of its chart rows of a mapped item."""
    from sklar.mimic.hospital import HospitalPlan, write_hospital

    for suffix in LIMITS:
        shutil.rmtree(folder / suffix, ignore_errors=True)
        plan = HospitalPlan(
            stays=rows // CHART_ROWS, chart_rows=CHART_ROWS, form=suffix, sources=("mimic-iii",)
        )
        write_hospital(folder / suffix, plan)
    return 0


if __name__ == "__main__":
    sys.exit(main())
