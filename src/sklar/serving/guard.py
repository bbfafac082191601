"""What stands between a socket and the application: sizes, failures, headers."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, final

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; img-src 'self' data:",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
"""On every answer: patients' data stay in no cache, and the page loads nothing from elsewhere."""


class TooLargeError(Exception):
    """A body beyond the limit."""


@final
class Guard:
    """Refuses large bodies as they come in, and answers every failure without a word about its inside.

    Args:
        app: The application.
        limit: Most bytes of a body.
    """

    def __init__(self, app: Asgi, limit: int) -> None:
        self.app, self.limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, read, large = False, 0, _length(scope) > self.limit

        async def counted() -> MutableMapping[str, Any]:
            nonlocal read, large
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.limit:
                large = True
                raise TooLargeError
            return message

        async def marked(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            if large:  # whatever the application makes of the interruption
                return
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], *_encoded(HEADERS)]
            await send(message)

        async def refuse(status: int, reason: str) -> None:
            if started:
                return
            body = json.dumps({"detail": reason}).encode()
            own = {
                "content-type": "application/json",
                "content-length": str(len(body)),
                "connection": "close",
            }
            start = {"type": "http.response.start", "status": status, "headers": _encoded(own | HEADERS)}
            await send(start)
            await send({"type": "http.response.body", "body": body})

        try:
            if not large:
                await self.app(scope, counted, marked)
        except TooLargeError:
            large = True
        except Exception:  # of whatever kind: what went wrong is no business of a client
            await refuse(500, "the server failed; the request was not answered")
        if large:
            await refuse(413, f"the body is larger than {self.limit:,} bytes: send fewer rows at a time")


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def _length(scope: Scope) -> int:
    value = dict(scope["headers"]).get(b"content-length", b"0")
    return int(value) if value.isdigit() else 0
