"""How fast new patients are predicted: a model on the real NAFLD cohort, and the server that answers with it.

Throughput is rows per CPU second of one thread with one draw, from a prepared folder to probabilities;
imputation is set against the encoders on the same batches, in turns. The server answers clients that ask at
the same time over loopback; its resident memory is read after a warm-up and at the end. Exits with 1 when a
limit is missed.

    python benchmarks/predict.py [--quick] [--run RUN --data DATA] [--clients 50] [--requests 10000]
"""

import argparse
import http.client
import json
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from sklar import runs
from sklar.alignment import Noise
from sklar.data.loading import PreparedDataset, loader
from sklar.data.nafld import prepare_nafld
from sklar.data.store import PreparedData
from sklar.models import CM2
from sklar.training.config import resolve
from sklar.training.predict import BATCH, predict

PATIENTS, IMPUTATION, GROWTH = 1000, 1.0, 16.0
"""Least rows per second and core, most of the encoders' time, most MB that the server may grow by."""


def main() -> None:
    """Print each figure beside its limit."""
    options = argparse.ArgumentParser()
    options.add_argument("--quick", action="store_true", help="few repeats and requests, for a busy machine")
    options.add_argument("--run", type=Path)
    options.add_argument("--data", type=Path)
    options.add_argument("--clients", type=int, default=50)
    options.add_argument("--requests", type=int)
    given = options.parse_args()
    torch.set_num_threads(1)
    repeats, requests = (2, 500) if given.quick else (6, 10_000)
    with tempfile.TemporaryDirectory() as folder:
        data = PreparedData.open(given.data) if given.data else prepare_nafld(Path(folder) / "nafld")
        run = runs.Run.open(given.run) if given.run else trained(data, Path(folder) / "run")
        held = [speed(run, data, repeats), server(run, data, given.clients, given.requests or requests)]
    sys.exit(0 if all(held) else 1)


def trained(data: PreparedData, out: Path) -> runs.Run:
    """One epoch is enough: what a prediction costs does not depend on how good it is."""
    return runs.train(resolve("cm2", ["training.max_epochs=1"]), data, out)


def speed(run: runs.Run, data: PreparedData, repeats: int) -> bool:
    """Rows per second, and imputation beside encoders."""
    own, documents = run.ready(data)
    rows, model = own.rows("test"), run.model
    assert isinstance(model, CM2)
    whole = encoders = imputation = float("inf")
    batches = list(loader(PreparedDataset(own, rows, documents), BATCH))
    with torch.no_grad():
        latents = [model.latents(batch) for batch in batches]
        for _ in range(repeats):
            start = time.process_time()
            predict(model, own, rows, documents, draws=1, seed=0)
            whole = min(whole, time.process_time() - start)
            start = time.process_time()
            for batch in batches:
                model.latents(batch)
            encoders = min(encoders, time.process_time() - start)
            start = time.process_time()
            for z, batch in zip(latents, batches, strict=True):
                model.alignment.impute(z, batch.present, noise=Noise(shared=True))
            imputation = min(imputation, time.process_time() - start)
    rate, share = len(rows) / whole, imputation / encoders
    print(f"{len(rows):,} test rows, latents of width {model.encoders.dim}, one draw, one thread")
    print(f"predicted {rate:>10,.0f} patients per second and core   at least {PATIENTS:,}")
    print(f"encoders  {1e3 * encoders:>10.1f} ms")
    print(f"imputed   {1e3 * imputation:>10.1f} ms, {share:.2f} x the encoders          at most {IMPUTATION}")
    return rate >= PATIENTS and share <= IMPUTATION


def server(run: runs.Run, data: PreparedData, clients: int, requests: int) -> bool:
    """Failures, latency and memory of a server that all clients ask at once."""
    bodies = patients(data)
    with started(run) as (process, port):
        ask_all(port, bodies, clients, max(requests // 10, 2 * clients))
        before = resident(process.pid)
        begun = time.monotonic()
        failed, waits = ask_all(port, bodies, clients, requests)
        seconds = time.monotonic() - begun
        growth = resident(process.pid) - before
    waits.sort()
    middle, late = waits[len(waits) // 2], waits[int(len(waits) * 0.99)]
    print(f"server    {requests:>10,} requests of {clients} clients in {seconds:.1f} s")
    print(f"rate      {requests / seconds:>10.0f} a second")
    print(f"waits     {1e3 * middle:>10.0f} ms in the middle, {1e3 * late:.0f} ms the slowest of a hundred")
    print(f"failed    {failed:>10}                                       at most 0")
    print(f"memory    {before:>10.1f} MB, grown by {growth:+.1f} MB             at most {GROWTH}")
    return not failed and growth <= GROWTH


def patients(data: PreparedData) -> list[bytes]:
    """Test rows as a client sends them."""
    rows = data.rows("test")[:200]
    spec = next(iter(data.schema.series))
    _, values, names = data.series(spec, normalised=False)
    times = data.schema.series[spec].times
    place = data.positions
    text, table = next(iter(data.schema.texts)), next(iter(data.schema.tables))
    documents = data.documents(text, rows)
    columns = data.table(table).to_pylist()
    sent = []
    for row, texts in zip(rows, documents, strict=True):
        at = dict(zip(data.modalities, place[row], strict=True))
        own: dict[str, Any] = {text: texts}
        if at[spec] >= 0:
            cells = values[at[spec]]
            own[spec] = [
                {"time": float(t)} | {n: float(v) for n, v in zip(names, line, strict=True) if v == v}
                for t, line in zip(times, cells, strict=True)
            ]
        if at[table] >= 0:
            own |= {n: v for n, v in columns[at[table]].items() if n in data.schema.tables[table].columns}
        if any(at[name] >= 0 for name in at):
            sent.append(json.dumps(own).encode())
    return sent


@contextmanager
def started(run: runs.Run) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = "from sklar.cli import main; main()"
    call = [sys.executable, "-c", script, "serve", str(run.path), "--draws", "1", "--port", str(port)]
    quiet = {"OMP_NUM_THREADS": "1", **os.environ}
    process = subprocess.Popen(call, env=quiet, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 180
        while True:
            try:
                one(http.client.HTTPConnection("127.0.0.1", port, timeout=5), "GET", "/health", None)
                break
            except OSError:
                if time.monotonic() > until or process.poll() is not None:
                    raise
                time.sleep(0.2)
        yield process, port
    finally:
        process.terminate()
        process.wait(30)


def ask_all(port: int, bodies: list[bytes], clients: int, requests: int) -> tuple[int, list[float]]:
    """Failures and seconds of all requests; every client keeps its connection."""
    left: queue.SimpleQueue[int] = queue.SimpleQueue()
    for place in range(requests):
        left.put(place)
    failed, waits = [], []

    def client() -> None:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while True:
            try:
                place = left.get_nowait()
            except queue.Empty:
                return link.close()
            start = time.monotonic()
            try:
                status = one(link, "POST", "/predict", bodies[place % len(bodies)])
            except OSError:
                status = 0
                link.close()
            waits.append(time.monotonic() - start)
            if status != 200:
                failed.append(status)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(failed), waits


def one(link: http.client.HTTPConnection, method: str, path: str, body: bytes | None) -> int:
    """The status of one request, its answer read."""
    link.request(method, path, body, {"content-type": "application/json"} if body else {})
    answer = link.getresponse()
    answer.read()
    return answer.status


def resident(process: int) -> float:
    """Memory of a process in MB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


if __name__ == "__main__":
    main()
