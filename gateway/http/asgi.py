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

# Where our protocol leaves in a scope what breaks the answer to that scope's request off.
ABORT = "pointsman.abort"

# A client's leaving is looked for only when a request has lasted this long: most have ended by then, and
# the promise is to close the upstream within a second.
WATCH_AFTER_SECONDS = 0.25


# An upstream that is late is told of at the deadline itself; who is still held this much later is held by a client
# that does not read.
STALLED_SECONDS = 1.0
# How often a request is looked at whose deadline may have moved.
LOOK_AGAIN_SECONDS = 60.0


class AsgiDoor:
    """Where the answer goes out, through uvicorn; its `send` waits while the client is slow."""

    __slots__ = ("_scope", "_send", "ended")

    def __init__(self, send: Send, scope: Scope) -> None:
        """`scope` holds what breaks the connection off (see gateway.http.protocol)."""
        self._send, self._scope = send, scope
        self.ended = False

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Send the status and the headers."""
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes) -> None:
        """Send a part of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """Send the last part of the body."""
        self.ended = True
        await self._send({"type": "http.response.body", "body": data})

    def abort(self) -> None:
        """Break the answer off, so that its reader sees that it is not whole."""
        self.ended = True
        abort = self._scope.get(ABORT)
        if abort is not None:
            abort(self._scope)

    def drop(self) -> None:
        """Break the connection off at once: its reader does not read, so what is written would never go out."""
        self.ended = True
        abort = self._scope.get(ABORT)
        if abort is not None:
            abort(self._scope, at_once=True)


class Leaving:
    """Watches for the client of one exchange to leave, and then cancels the task that serves it.

    A client that stops reading, and holds the answer beyond its whole time, counts as one that left.
    """

    __slots__ = ("_door", "_patience", "_receive", "_task", "_watch", "_x", "expires_at")

    def __init__(
        self, x: Exchange, door: AsgiDoor, receive: Receive, patience: Patience, task: asyncio.Task[None]
    ) -> None:
        self._x, self._door, self._receive, self._patience, self._task = x, door, receive, patience, task
        self._watch: asyncio.Task[None] | None = None
        self.expires_at = x.began + WATCH_AFTER_SECONDS

    def expire(self) -> None:
        """Called by Patience: first when the request has lasted long enough to be watched, then at its deadline."""
        now = self._x.clock()
        if self._watch is None:
            self._watch = asyncio.get_running_loop().create_task(self._until_left())
        elif now >= self._x.deadline + STALLED_SECONDS:
            self._leave()
            self._door.drop()
            return
        self.expires_at = min(self._x.deadline + STALLED_SECONDS, now + LOOK_AGAIN_SECONDS)
        self._patience.watch(self)

    def _leave(self) -> None:
        if not self._door.ended:  # after an answer's end uvicorn says "disconnect" too
            self._x.left = True
            self._task.cancel()

    async def _until_left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def close(self) -> None:
        """Stop watching; idempotent."""
        self._patience.forget(self)
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
