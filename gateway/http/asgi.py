"""The door as ASGI has it: headers and body in, answer out, and a watch for the client that leaves.

A plain ASGI callable, because Starlette's Request and responses cost a third of a whole request here
(measured: 10 of 40 µs) and their generators miss a client that leaves before the first chunk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from starlette.types import Receive, Scope, Send

from gateway.errors import BadRequest, TooLarge
from gateway.exchange import Exchange
from gateway.patience import Patience

# A client's leaving is looked for only when a request has lasted this long: most have ended by then, and
# the promise is to close the upstream within a second.
WATCH_AFTER_SECONDS = 0.25


class AsgiDoor:
    """Where the answer goes out, through uvicorn; its `send` waits while the client is slow."""

    __slots__ = ("_send",)

    def __init__(self, send: Send) -> None:
        self._send = send

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Send the status and the headers."""
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes) -> None:
        """Send a part of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """Send the last part of the body."""
        await self._send({"type": "http.response.body", "body": data})


class Leaving:
    """Watches for the client of one exchange to leave, and then cancels the task that serves it."""

    __slots__ = ("_receive", "_task", "_watch", "_x", "expires_at")

    def __init__(self, x: Exchange, receive: Receive, task: asyncio.Task[None]) -> None:
        self._x, self._receive, self._task = x, receive, task
        self._watch: asyncio.Task[None] | None = None
        self.expires_at = x.clock() + WATCH_AFTER_SECONDS

    def expire(self) -> None:
        """Called by Patience when the request has lasted long enough to be watched."""
        self._watch = asyncio.get_running_loop().create_task(self._until_left())

    async def _until_left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._x.left = True
        self._task.cancel()

    async def aclose(self) -> None:
        """Stop watching; idempotent."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The request's whole body. Raises TooLarge above `limit` bytes, BadRequest when the client left in the middle."""
    declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    if declared.isdigit() and int(declared) > limit:
        raise TooLarge(f"the body has {int(declared):,} bytes; at most {limit:,} are taken")
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    parts, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("the client left before its body was whole")
        part = message.get("body", b"")
        parts.append(part)
        size += len(part)
        if size > limit:
            raise TooLarge(f"the body has more than {limit:,} bytes")
    return b"".join(parts)


def header_map(scope: Scope) -> Mapping[bytes, bytes]:
    """The request's headers by lower-case name; of a repeated one the last counts."""
    return dict(scope["headers"])


def watch(x: Exchange, receive: Receive, patience: Patience) -> Leaving:
    """Begin to watch over the current task's client; the caller must forget it."""
    task = asyncio.current_task()
    assert task is not None
    leaving = Leaving(x, receive, task)
    patience.watch(leaving)
    return leaving
