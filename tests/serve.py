"""A server of a run in a thread of its own, and a client on the standard library."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sklar.runs import Run
from sklar.serving import LOOPBACK, Settings, server
from waiting import PATIENCE, wait_until


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        return int(free.getsockname()[1])


@contextmanager
def serving(run: Run, **settings: Any) -> Iterator[int]:
    """The port of a server that runs until the end."""
    port = free_port()
    made = server(run, LOOPBACK, port, Settings(**settings))
    thread = threading.Thread(target=made.run)
    thread.start()
    try:
        wait_until(lambda: made.started or not thread.is_alive(), "the server has started")
        assert made.started, "the server did not start"
        yield port
    finally:
        made.should_exit = True
        thread.join(PATIENCE)


def ask(
    port: int, path: str, content: Any = None, raw: bytes | None = None, **headers: str
) -> tuple[int, Any]:
    """Status and answer of one request; a body makes it a POST."""
    body = raw if raw is not None or content is None else json.dumps(content).encode()
    link = http.client.HTTPConnection(LOOPBACK, port, timeout=PATIENCE)
    try:
        own = {"content-type": "application/json", **headers} if body is not None else headers
        with suppress(BrokenPipeError, ConnectionResetError):  # a server that refuses stops reading
            link.request("GET" if body is None else "POST", path, body, own)
        answer = link.getresponse()
        text = answer.read().decode()
    finally:
        link.close()
    is_json = answer.headers.get_content_type() == "application/json"
    return answer.status, json.loads(text) if is_json else text
