"""The server: right answers, clear refusals, nothing told of its inside, whatever it is sent."""

import base64
import http.client
import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image as Pillow

from cohorts import TINY, small_cohort
from serve import ask, serving
from sklar import runs
from sklar.data.frame import write
from sklar.data.schema import Image, Schema, Tabular, Text, TimeSeries
from sklar.errors import UserError
from sklar.serving import Settings, application
from sklar.training.config import resolve

PATIENT = {
    "id": "a",
    "labs": [{"time": -1.0, "x": 0.4}, {"time": -2, "y": -0.3, "x": None}],
    "notes": "patient with fever",
    "age": 61,
    "bmi": None,
    "sex": "f",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    base = tmp_path_factory.mktemp("served")
    run = runs.train(resolve("cm2", TINY), small_cohort(base / "data"), base / "cm2")
    (run.path / "model_card.md").write_text("# Card\n")
    return run


@pytest.fixture(scope="module")
def port(run: runs.Run) -> Iterator[int]:
    with serving(run, rows=20, bytes=20_000) as port:
        yield port


def test_one_patient_gets_the_answer_of_the_run(run: runs.Run, port: int) -> None:
    status, found = ask(port, "/predict", PATIENT)
    assert status == 200
    types = {"labs": pa.list_(pa.struct([("time", pa.float64()), ("x", pa.float64()), ("y", pa.float64())]))}
    columns = {name: pa.array([value], types.get(name)) for name, value in PATIENT.items()}
    columns["bmi"] = pa.nulls(1, pa.float64())
    wanted = runs.predicted(run, pa.table(columns), runs.Told()).to_pylist()[0]
    for name in ("probability", "low", "high"):
        assert found[name] == pytest.approx(wanted[name], abs=1e-6)
    assert found | {"probability": 0, "low": 0, "high": 0} == {
        "id": "a", "probability": 0, "low": 0, "high": 0,
        "observed": ["labs", "notes", "table"], "imputed": [], "warnings": [],
    }  # fmt: skip


def test_null_and_absent_are_missing_and_rows_keep_their_order(port: int) -> None:
    rows = [{"age": 60}, {"age": 60, "labs": None, "notes": []}, {"notes": ["pain"], "id": "c"}, PATIENT]
    status, found = ask(port, "/predict/batch", {"rows": rows})
    assert status == 200
    first, same, third, whole = found["predictions"]
    assert first["imputed"] == ["labs", "notes"]
    assert first["low"] < first["probability"] < first["high"]
    assert same == first
    assert (third["id"], third["observed"]) == ("c", ["notes"])
    assert whole["imputed"] == []


def test_the_schema_is_in_the_openapi_description(port: int) -> None:
    _, told = ask(port, "/openapi.json")
    row = told["components"]["schemas"]["Patient"]
    assert list(row["properties"]) == ["id", "labs", "notes", "age", "bmi", "sex"]
    assert row["additionalProperties"] is False
    assert "relative to the moment of prediction" in row["properties"]["labs"]["description"]
    assert set(told["paths"]) == {"/predict", "/predict/batch", "/health", "/card", "/contract"}


def test_health_card_and_contract(port: int) -> None:
    assert ask(port, "/health") == (200, {"status": "ok", "model": "cm2", "waiting": 0})
    assert ask(port, "/card") == (200, "# Card\n")
    status, told = ask(port, "/contract")
    assert (status, told["label"], told["task"]) == (200, "died", "binary")
    assert list(told["modalities"]) == ["labs", "notes", "table"]
    assert told["limits"] == {"rows": 20, "bytes": 20_000, "waiting": 256}


BAD = {
    "malformed": (b'{"age": 6', "body|1", "JSON"),
    "not an object": (b"[1, 2]", "body", "valid dictionary"),
    "no body": (b"", "body", "required"),
    "text for a number": (b'{"age": "61"}', "age", "valid number"),
    "truth for a number": (b'{"age": true}', "age", "valid number"),
    "number for a text": (b'{"sex": 1}', "sex", "valid string"),
    "unknown field": (b'{"age": 60, "weight": 70}', "weight", "not permitted"),
    "unknown variable": (b'{"labs": [{"time": -1, "z": 1}]}', "labs", "not permitted"),
    "record without time": (b'{"labs": [{"x": 1}]}', "time", "required"),
    "NaN": (b'{"age": NaN}', "age", "finite"),
    "infinity": (b'{"labs": [{"time": -Infinity, "x": 1}]}', "time", "finite"),
    "overflow": (b'{"age": 1e999}', "age", "finite"),
    "empty row": (b"{}", "rows", "no observed modality"),
    "nulls only": (b'{"age": null, "labs": []}', "rows", "no observed modality"),
    "after time zero": (b'{"labs": [{"time": 3, "x": 1}]}', "rows", "later|after"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_refused_with_the_reason(port: int, name: str) -> None:
    body, where, reason = BAD[name]
    status, told = ask(port, "/predict", raw=body)
    assert status == 422
    assert any(part in own["where"] for own in told["detail"] for part in where.split("|"))
    assert any(part in own["reason"] for own in told["detail"] for part in reason.split("|"))
    discreet(told)


def discreet(told: object) -> None:
    """Nothing of the server's inside is in an answer."""
    text = json.dumps(told)
    for word in ("Traceback", "File ", ".py", "/tmp", "/home", "/work", "0x", "site-packages"):
        assert word not in text


@pytest.mark.parametrize("body", [b"\xff\xfe", b"[" * 5000, b'{"age": ' + b"9" * 6000 + b"}"], ids=range(3))
def test_bodies_that_break_a_reader_are_refused_too(port: int, body: bytes) -> None:
    status, told = ask(port, "/predict", raw=body)
    assert status in (400, 422)
    discreet(told)


def test_huge_bodies_are_refused_before_they_are_read(port: int) -> None:
    status, told = ask(port, "/predict", {"notes": "x" * 30_000})
    assert (status, told["detail"]) == (
        413,
        "the body is larger than 20,000 bytes: send fewer rows at a time",
    )
    # without a length that says so
    chunks = (b'{"notes": "' if i == 0 else b"x" * 5000 for i in range(10))
    status, told = ask(port, "/predict", raw=chunks)
    assert status == 413


def test_rows_beyond_the_limit_are_refused(port: int) -> None:
    for rows in ([], [{"age": 50}] * 21):
        status, told = ask(port, "/predict/batch", {"rows": rows})
        assert status == 422
        assert "item" in told["detail"][0]["reason"]


def test_paths_of_files_are_not_read(port: int, tmp_path: Path) -> None:
    (tmp_path / "labs.csv").write_text("time,variable,value\n-1,x,1\n")
    status, told = ask(port, "/predict", {"labs": str(tmp_path / "labs.csv")})
    assert (status, told["detail"][0]["where"]) == (422, "labs")


def test_other_names_of_this_machine_are_refused(port: int) -> None:
    assert ask(port, "/health", host="example.org")[0] == 400


def test_answers_stay_out_of_caches_and_pages_fetch_nothing(port: int) -> None:
    link = http.client.HTTPConnection("127.0.0.1", port)
    link.request("GET", "/")
    answer = link.getresponse()
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert b"<form" in answer.read()
    link.close()


def test_a_failure_inside_says_nothing(run: runs.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_kw: object) -> None:
        raise RuntimeError("secret in /tmp/x.py")

    monkeypatch.setattr("sklar.serving.app.predicted", fail)
    with serving(run) as port:
        status, told = ask(port, "/predict", PATIENT)
    assert (status, told) == (500, {"detail": "the server failed; the request was not answered"})


def test_concurrent_clients_get_their_own_answers(port: int) -> None:
    ages = np.linspace(30, 90, 48)
    alone = [ask(port, "/predict", {"age": age})[1]["probability"] for age in ages]
    rows = [{"age": age, "id": str(i)} for i, age in enumerate(ages)] + [{}] * 4
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda row: ask(port, "/predict", row), rows))
    assert [own["id"] for _, own in found[:48]] == [str(i) for i in range(48)]
    np.testing.assert_allclose([own["probability"] for _, own in found[:48]], alone, atol=1e-6)
    assert [status for status, _ in found[48:]] == [422] * 4


def test_nothing_of_a_request_is_logged(run: runs.Run, capfd: pytest.CaptureFixture[str]) -> None:
    with serving(run) as port:
        ask(port, "/predict", PATIENT)
        ask(port, "/predict", raw=b"{oops")
        ask(port, "/predict?secret=1", {"age": "x"})
    assert capfd.readouterr() == ("", "")


def test_a_full_queue_asks_to_come_back(run: runs.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    whole = runs.predicted

    def slow(*args: object, **kw: object) -> pa.Table:
        gate.wait(30)
        return whole(*args, **kw)  # type: ignore[arg-type]

    monkeypatch.setattr("sklar.serving.app.predicted", slow)
    with serving(run, waiting=2) as port, ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, port, "/predict", {"age": 50}) for _ in range(8)]
        list(islice(as_completed(asked), 4))  # turned away while the first is held up
        gate.set()
        found = [own.result() for own in asked]
    assert {status for status, _ in found} == {200, 503}
    assert all("ask again" in told["detail"] for status, told in found if status == 503)


def png(size: tuple[int, int]) -> str:
    stream = io.BytesIO()
    Pillow.new("L", size).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


@pytest.fixture(scope="module")
def picture_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    base = tmp_path_factory.mktemp("pictures")
    schema = Schema(
        id="id", label="ill",
        modalities={"scan": Image(height=8, width=8), "table": Tabular(numeric=("age",))},
    )  # fmt: skip
    rng = np.random.default_rng(0)
    ids = [f"p{i}" for i in range(120)]
    ill = rng.integers(0, 2, 120)
    subjects = pa.table({"id": ids, "ill": ill, "age": rng.normal(size=120) + ill})
    scans = pa.table({"id": ids, "image": rng.integers(0, 256, (120, 64), dtype=np.uint8).tolist()})
    scans = scans.set_column(1, "image", scans["image"].cast(pa.list_(pa.uint8())))
    data = write(base / "data", schema, subjects, images={"scan": scans})
    tiny = ["model.encoders.image.widths=[4,4,4,4]", "model.encoders.image.depths=[1,1,1,1]"]
    run = runs.train(resolve("late", [*TINY, *tiny]), data, base / "late")
    (run.path / "model_card.md").write_text("# Card\n")
    with serving(run) as port:
        yield port


def test_a_picture_is_read_from_base64(picture_port: int) -> None:
    status, found = ask(picture_port, "/predict", {"scan": png((30, 20))})
    assert (status, found["observed"], found["imputed"]) == (200, ["scan"], ["table"])


PICTURES = {
    "no base64": ("???", "base64"),
    "no picture": (base64.b64encode(b"not a picture").decode(), "no picture file"),
    "a bomb": (png((20_000, 20_000)), "more than 50,000,000 pixels"),
    "cut off": (base64.b64encode(base64.b64decode(png((300, 300)))[:90]).decode(), "cannot be read"),
    "a path": ("/etc/hostname", "base64|no picture"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_what_is_no_picture_is_refused(picture_port: int, name: str) -> None:
    text, reason = PICTURES[name]
    status, told = ask(picture_port, "/predict", {"scan": text})
    assert status == 422
    assert any(part in told["detail"][0]["reason"] for part in reason.split("|"))
    discreet(told)


def test_a_reference_model_cannot_be_served(tmp_path: Path) -> None:
    data = small_cohort(tmp_path / "data")
    run = runs.train(resolve("logistic_regression", []), data, tmp_path / "run")
    with pytest.raises(UserError, match="keeps predictions and no weights"):
        application(run, Settings(), str)


@pytest.fixture(scope="module")
def clock_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    base = tmp_path_factory.mktemp("clock")
    schema = Schema(
        id="id", label="ill", time_zero="now",
        modalities={
            "labs": TimeSeries(variables=("x",), steps=4, step=6.0, unit="hours"),
            "notes": Text(time="written", unit="hours"),
        },
    )  # fmt: skip
    ids, now = [f"p{i}" for i in range(120)], datetime(2024, 5, 2)
    rng = np.random.default_rng(0)
    subjects = pa.table({"id": ids, "ill": rng.integers(0, 2, 120), "now": [now] * 120})
    times = [now - timedelta(hours=float(h)) for h in rng.uniform(0, 23, 120)]
    labs = pa.table({"id": ids, "time": times, "variable": ["x"] * 120, "value": rng.normal(size=120)})
    notes = pa.table({"id": ids, "time": times, "text": ["fever"] * 120})
    data = write(base / "data", schema, subjects, {"labs": labs}, {"notes": notes})
    run = runs.train(resolve("late", TINY), data, base / "late")
    with serving(run) as port:
        yield port


def test_moments_may_be_dates_on_the_clock_of_time_zero(clock_port: int) -> None:
    row = {
        "now": "2024-06-01T12:00:00",
        "labs": [{"time": "2024-06-01T09:00:00", "x": 1.0}],
        "notes": "fever",
        "written": "2024-06-01T08:00:00",
    }
    status, found = ask(clock_port, "/predict", row)
    assert (status, found["observed"]) == (200, ["labs", "notes"])
    shifted = json.loads(json.dumps(row).replace("2024-06", "2023-01"))
    assert ask(clock_port, "/predict", shifted)[1]["probability"] == found["probability"]


CLOCKS = {
    "no time zero": ({"notes": "fever", "written": "2024-06-01T08:00:00"}, "now"),
    "the future": ({"now": "2024-06-01", "labs": [{"time": "2024-06-02", "x": 1.0}]}, "rows"),
    "two clocks": ({"now": "2024-06-01", "labs": [{"time": -3, "x": 1.0}]}, "rows"),
    "no date": ({"now": "yesterday"}, "now"),
}


@pytest.mark.parametrize("name", CLOCKS)
def test_moments_that_say_nothing_are_refused(clock_port: int, name: str) -> None:
    row, where = CLOCKS[name]
    status, told = ask(clock_port, "/predict", row)
    assert status == 422
    assert told["detail"][0]["where"].startswith(where)
    discreet(told)


@pytest.mark.slow
def test_a_program_learns_from_one_line_where_the_server_listens(run: runs.Run) -> None:
    command = [sys.executable, "-c", "from sklar.cli import main; main()", "serve", str(run.path)]
    server = subprocess.Popen([*command, "--port", "0", "--json"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        told = json.loads(server.stdout.readline())
        assert (told["model"], told["label"]) == ("cm2", run.data["label"])
        assert ask(urlsplit(told["url"]).port or 0, "/health")[0] == 200
    finally:
        server.terminate()
        server.wait(30)
        assert server.stdout is not None
        server.stdout.close()
