"""From a run folder to a listening server."""

import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from socket import socket
from typing import Any, final

import uvicorn

from sklar import report
from sklar.runs import Run
from sklar.serving.app import Settings, application

LOOPBACK = "127.0.0.1"
CARD = "model_card.md"
RESAMPLES = 200
"""Of the intervals in a card that is made here because the run folder has none."""


@final
class _Server(uvicorn.Server):
    """Says when it listens, and at which port."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[int], None]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._listening(self.servers[0].sockets[0].getsockname()[1])


def serve(run: Run, host: str, port: int, settings: Settings) -> None:
    """Listen until interrupted."""
    server(run, host, port, settings).run()


def server(
    run: Run,
    host: str,
    port: int,
    settings: Settings,
    listening: Callable[[int], None] = lambda _: None,
) -> uvicorn.Server:
    """A server that does not listen yet; it logs failures to start, and nothing of any request.

    Args:
        run: A finished run of a model.
        host: The address to listen at.
        port: The port; 0 is any that is free.
        settings: Limits.
        listening: Is told the port when requests can come.

    Raises:
        UserError: The run cannot be served.
    """
    app = application(run, settings, cache(partial(_card, run)))
    quiet: dict[str, Any] = {"log_level": "error", "access_log": False, "server_header": False}
    return _Server(uvicorn.Config(app, host, port, lifespan="on", **quiet), listening)


def _card(run: Run) -> str:
    path = run.path / CARD
    if path.is_file():
        return path.read_text()
    with tempfile.TemporaryDirectory() as folder:
        return report.write_card(run.path, Path(folder) / CARD, RESAMPLES).text
