"""A headless Chromium through the WebDriver protocol, with nothing but the standard library."""

import base64
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from waiting import PATIENCE, wait_until

FLAGS = (
    "headless",
    "no-sandbox",
    "disable-gpu",
    "disable-quic",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
)


def missing() -> str:
    """Which program is not installed; empty where both are."""
    wanted = {"chromium": chromium(), "chromedriver": shutil.which("chromedriver")}
    return ", ".join(name for name, found in wanted.items() if found is None)


def chromium() -> str | None:
    """Where the browser lies."""
    return next((found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), None)


class Browser:
    """One window."""

    def __init__(self, address: str, session: str) -> None:
        self._root = f"{address}/session/{session}"

    def emulate(self, width: int, height: int, scheme: str) -> None:
        """Set the width of the page in CSS pixels, and whether a dark scheme is preferred."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._devtools("Emulation.setDeviceMetricsOverride", size)
        media = {"media": "", "features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self._devtools("Emulation.setEmulatedMedia", media)

    def open(self, page: Path) -> None:
        """Show a file."""
        self.visit(page.as_uri())

    def visit(self, address: str) -> None:
        """Show what an address answers."""
        _call(f"{self._root}/url", {"url": address})

    def evaluate(self, script: str) -> Any:
        """The value that the body of a JavaScript function returns."""
        return _call(f"{self._root}/execute/sync", {"script": script, "args": []})

    def screenshot(self, out: Path) -> None:
        """Keep a picture of the whole page."""
        found = self._devtools("Page.captureScreenshot", {"captureBeyondViewport": True})
        out.write_bytes(base64.b64decode(found["data"]))

    def requests(self) -> list[str]:
        """Addresses that were asked for since the last call."""
        entries = _call(f"{self._root}/se/log", {"type": "performance"})
        events = [json.loads(entry["message"])["message"] for entry in entries]
        sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [params["request"]["url"] for params in sent]

    def _devtools(self, command: str, parameters: Mapping[str, Any]) -> Any:
        return _call(f"{self._root}/goog/cdp/execute", {"cmd": command, "params": dict(parameters)})


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with a profile of its own, closed at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    driver = subprocess.Popen(["chromedriver", f"--port={port}"], **quiet)
    session = None
    try:
        session = _start(address, profile, driver)
        yield Browser(address, session)
    finally:
        if session is not None:
            _call(f"{address}/session/{session}", None, "DELETE")
        driver.terminate()
        driver.wait(PATIENCE)


def _start(address: str, profile: Path, driver: subprocess.Popen[bytes]) -> str:
    options = {
        "binary": chromium(),
        "args": [*(f"--{flag}" for flag in FLAGS), f"--user-data-dir={profile}"],
    }
    capabilities = {
        "alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"performance": "ALL"}}
    }
    sessions: list[str] = []

    def started() -> bool:
        try:
            sessions.append(_call(f"{address}/session", {"capabilities": capabilities})["sessionId"])
        except (URLError, ConnectionError):
            return False
        return True

    wait_until(started, "the browser has a window", driver, every=0.2)
    return sessions[0]


def _call(address: str, content: Mapping[str, Any] | None, method: str = "POST") -> Any:
    body = None if content is None else json.dumps(content).encode()
    request = Request(address, body, {"Content-Type": "application/json"}, method=method)
    with urlopen(request, timeout=PATIENCE) as answer:
        return json.loads(answer.read())["value"]
