"""The page to try one patient, in a real browser; and the command that serves it."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from browser import Browser, browser, missing
from cohorts import TINY, small_cohort
from serve import ask, free_port, serving
from sklar import runs
from sklar.training.config import resolve
from waiting import PATIENCE, wait_until

pytestmark = pytest.mark.slow
in_a_browser = pytest.mark.skipif(bool(missing()), reason=f"not installed: {missing()}")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    base = tmp_path_factory.mktemp("served")
    return runs.train(resolve("cm2", TINY), small_cohort(base / "data"), base / "cm2")


@pytest.fixture(scope="module")
def address(run: runs.Run) -> Iterator[str]:
    with serving(run) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile") / "new") as opened:
        yield opened


def until(true: Callable[[], object]) -> None:
    wait_until(true, "the page gets there", every=0.05)


def shown(window: Browser, address: str) -> None:
    window.visit(address)
    until(lambda: window.evaluate("return !document.getElementById('patient').hidden"))


def said(window: Browser) -> str:
    return str(window.evaluate("return document.getElementById('answer').innerText"))


FILL = """
const set = (name, value) => { document.querySelector(`[name="${name}"]`).value = value; };
set('age', arguments_.age); set('labs', arguments_.labs); set('sex', arguments_.sex);
document.getElementById('patient').requestSubmit();
"""


def submit(window: Browser, age: str, labs: str = "", sex: str = "") -> None:
    given = json.dumps({"age": age, "labs": labs, "sex": sex})
    window.evaluate(FILL.replace("arguments_", f"({given})"))


@in_a_browser
def test_a_patient_is_predicted_as_by_the_endpoint(window: Browser, address: str) -> None:
    shown(window, address)
    assert "“died”" in window.evaluate("return document.getElementById('about').textContent")
    submit(window, "61", "-1, x, 0.4\n-2, y, -0.3", "1")
    until(lambda: "%" in said(window))
    port = int(address.rsplit(":", 1)[1])
    labs = [{"time": -1, "x": 0.4}, {"time": -2, "y": -0.3}]
    _, found = ask(port, "/predict", {"age": 61, "labs": labs, "sex": "f"})
    text = said(window)
    assert f"{100 * found['probability']:.1f} %" in text
    assert f"{100 * found['low']:.1f} % to {100 * found['high']:.1f} %" in text
    assert "Observed: labs, table. Imputed: notes." in text


@in_a_browser
def test_what_is_wrong_is_said_on_the_page(window: Browser, address: str) -> None:
    shown(window, address)
    submit(window, "old")
    until(lambda: "age: old is no number" in said(window))
    submit(window, "60", "-1, z, 3")
    until(lambda: "with one of x, y" in said(window))
    submit(window, "", "")
    until(lambda: "no observed modality" in said(window))


@in_a_browser
def test_the_page_fetches_nothing_from_elsewhere(window: Browser, address: str) -> None:
    window.requests()
    shown(window, address)
    submit(window, "50")
    until(lambda: "%" in said(window))
    asked = window.requests()
    assert asked
    assert all(own.startswith(address) for own in asked)


@in_a_browser
def test_every_input_has_a_label_and_answers_are_announced(window: Browser, address: str) -> None:
    shown(window, address)
    inputs = "[...document.querySelectorAll('input, select, textarea')]"
    assert window.evaluate(f"return {inputs}.length") == 5
    assert window.evaluate(f"return {inputs}.every(e => e.labels.length && e.labels[0].innerText.trim())")
    assert window.evaluate("return document.getElementById('answer').getAttribute('aria-live')") == "polite"
    assert window.evaluate("return document.documentElement.lang") == "en"


@in_a_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_overflows_and_text_stands_out(
    window: Browser, address: str, width: int, scheme: str
) -> None:
    window.emulate(width, 800, scheme)
    shown(window, address)
    assert window.evaluate("return document.documentElement.scrollWidth") <= width
    assert window.evaluate("return matchMedia('(prefers-color-scheme: dark)').matches") is (scheme == "dark")
    contrast = window.evaluate("""
        const light = colour => {
          const [r, g, b] = colour.match(/[\\d.]+/g).map(v => v / 255)
            .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const paper = e => {
          for (; e; e = e.parentElement) {
            const own = getComputedStyle(e).backgroundColor;
            if (!/, 0\\)$/.test(own)) return light(own);
          }
        };
        return [...document.querySelectorAll('p, h1, h2, label, legend, button, a')].map(e => {
          const [own, back] = [light(getComputedStyle(e).color), paper(e)];
          return (Math.max(own, back) + 0.05) / (Math.min(own, back) + 0.05);
        });
    """)
    assert len(contrast) > 15
    assert min(contrast) >= 4.5  # WCAG 2.1, level AA


def test_the_command_serves_until_it_is_interrupted(run: runs.Run, tmp_path: Path) -> None:
    port = free_port()
    script = "from sklar.cli import main; main()"
    command = [sys.executable, "-c", script, "serve", str(run.path), "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        until_answered(port, server)
        status, told = ask(port, "/predict", {"age": 60})
        card = ask(port, "/card")[1]
        server.send_signal(signal.SIGINT)
        assert server.stderr is not None
        log = server.stderr.read()
        server.wait(PATIENCE)
    assert (status, told["observed"]) == (200, ["table"])
    assert card.startswith("#")
    assert log == f"http://127.0.0.1:{port} (stop with Ctrl-C)\n"


def until_answered(port: int, server: subprocess.Popen[str]) -> None:
    def answered() -> bool:
        try:
            return ask(port, "/health")[0] == 200
        except ConnectionError:
            return False

    wait_until(answered, "the server answers", server, every=0.2)
