"""Waiting for what another process or thread does, on a machine that may be busy with other things."""

import subprocess
import time
from collections.abc import Callable

PATIENCE = 400
"""Seconds until a wait fails: far longer than anything takes, for what hangs never ends."""


def wait_until(
    done: Callable[[], object],
    what: str,
    process: subprocess.Popen[bytes] | subprocess.Popen[str] | None = None,
    every: float = 0.02,
) -> None:
    """Come back when something holds; fail when the process that brings it about ends before."""
    end = time.monotonic() + PATIENCE
    while not done():
        assert process is None or process.poll() is None, f"the process ended before {what}"
        assert time.monotonic() < end, f"{PATIENCE} seconds, and not yet {what}"
        time.sleep(every)
