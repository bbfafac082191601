"""How much memory a piece of work takes at its peak."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@contextmanager
def peak_memory() -> Iterator[dict[str, int]]:
    """Fills a dictionary, at the end, with the peaks of this process in bytes.

    ``resident`` is main memory, what was loaded before included. Where the system cannot forget earlier peaks
    (anywhere but on Linux), it is that of the process so far. ``device`` is what tensors took on a GPU, where
    there is one. Processes that read data are not counted.
    """
    devices = range(torch.cuda.device_count())
    for device in devices:
        torch.cuda.reset_peak_memory_stats(device)
    forgotten = _forget()
    found: dict[str, int] = {}
    yield found
    found["resident"] = _highest() if forgotten else _ever()
    if devices:
        found["device"] = max(torch.cuda.max_memory_allocated(device) for device in devices)


def _forget() -> bool:
    try:
        _RESET.write_text("5")  # proc(5): sets the high-water mark to what is resident now
    except OSError:
        return False
    return True


def _highest() -> int:
    (line,) = (own for own in _STATUS.read_text().splitlines() if own.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _ever() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
