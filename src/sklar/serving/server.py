"""From a run folder to a listening server."""

import tempfile
from functools import cache, partial
from pathlib import Path
from typing import Any

import uvicorn

from sklar import report
from sklar.runs import Run
from sklar.serving.app import Settings, application

LOOPBACK = "127.0.0.1"
CARD = "model_card.md"
RESAMPLES = 200
"""Of the intervals in a card that is made here because the run folder has none."""


def serve(run: Run, host: str, port: int, settings: Settings) -> None:
    """Listen until interrupted."""
    server(run, host, port, settings).run()


def server(run: Run, host: str, port: int, settings: Settings) -> uvicorn.Server:
    """A server that does not listen yet; it logs failures to start, and nothing of any request.

    Raises:
        UserError: The run cannot be served.
    """
    app = application(run, settings, cache(partial(_card, run)))
    quiet: dict[str, Any] = {"log_level": "error", "access_log": False, "server_header": False}
    return uvicorn.Server(uvicorn.Config(app, host, port, lifespan="on", **quiet))


def _card(run: Run) -> str:
    path = run.path / CARD
    if path.is_file():
        return path.read_text()
    with tempfile.TemporaryDirectory() as folder:
        return report.write_card(run.path, Path(folder) / CARD, RESAMPLES).text
