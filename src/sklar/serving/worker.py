"""One thread that predicts, for any number of clients: requests that wait go through the model together."""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import final

import numpy as np
import pyarrow as pa

from sklar.errors import SklarError

Answer = Callable[[pa.Table], pa.Table]
"""From patients to their predictions, row by row."""


class BusyError(Exception):
    """As many requests wait as may."""


@dataclass(frozen=True)
class _Request:
    table: pa.Table
    done: "Future[pa.Table]" = field(default_factory=Future)


@final
class Worker:
    """Predicts in a thread of its own.

    A model answers a row as if it were alone, so that requests that wait share one pass; where that fails,
    each is tried by itself, and only the one at fault gets the error.

    Args:
        answer: The model; it is called in the thread only.
        id_column: Column of the rows' names, which are made distinct.
        waiting: Most requests that may wait.
        rows: Rows of one pass, beyond which no further request joins.
    """

    def __init__(self, answer: Answer, id_column: str, waiting: int = 256, rows: int = 512) -> None:
        self._answer, self._id, self._rows = answer, id_column, rows
        self._queue: queue.Queue[_Request | None] = queue.Queue(waiting)
        self._thread = threading.Thread(target=self._run, name="sklar-predict", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer what waits, and end."""
        self._queue.put(None)
        self._thread.join()

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return self._queue.qsize()

    async def ask(self, table: pa.Table) -> pa.Table:
        """Predictions of some rows.

        Raises:
            BusyError: Too many requests wait.
            SklarError: These rows cannot be predicted.
        """
        request = _Request(table)
        try:
            self._queue.put_nowait(request)
        except queue.Full:
            raise BusyError from None
        return await asyncio.wrap_future(request.done)

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            requests, last = [first], False
            count = first.table.num_rows
            while count < self._rows and not last:
                try:
                    further = self._queue.get_nowait()
                except queue.Empty:
                    break
                if further is None:
                    last = True
                else:
                    requests.append(further)
                    count += further.table.num_rows
            self._together(requests)
            if last:
                return

    def _together(self, requests: list[_Request]) -> None:
        requests = [own for own in requests if own.done.set_running_or_notify_cancel()]
        if not requests:
            return
        try:
            whole = self._answer(self._distinct([own.table for own in requests]))
        except SklarError as error:
            if len(requests) == 1:
                requests[0].done.set_exception(error)
                return
            for own in requests:
                self._alone(own)
            return
        except Exception as error:  # whatever it is, somebody waits for it
            for own in requests:
                own.done.set_exception(error)
            return
        start = 0
        for own in requests:
            own.done.set_result(whole.slice(start, own.table.num_rows))
            start += own.table.num_rows

    def _alone(self, request: _Request) -> None:
        try:
            request.done.set_result(self._answer(request.table))
        except Exception as error:
            request.done.set_exception(error)

    def _distinct(self, tables: list[pa.Table]) -> pa.Table:
        whole = pa.concat_tables(tables)
        place = whole.column_names.index(self._id)
        return whole.set_column(place, self._id, pa.array(np.arange(whole.num_rows).astype(str)))
