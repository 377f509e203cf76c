"""uvicorn's HTTP protocol, hardened for the open door. Knows bytes and connections, no request.

What is added to it: a bound on the length of a head, on the time that a request may take to come, and on how many are
sent ahead of their answers; every request of a lost connection learns of it, not only the last; an `Upgrade` that we do
not do is not heard, for its body would be lost; and what is written in one turn of the loop is written at once, for
uvicorn writes an answer's head and its body apart, each a system call of some 5 µs.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import re
import termios
from typing import Any, cast

from starlette.types import Scope
from uvicorn._types import HTTPScope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.http.asgi import ABORT

# Room for a large x-pointsman-context and baggage; a head is kept whole in memory, and joined anew with each piece.
MAX_HEAD_BYTES = 128 * 1024
# Requests that one connection may send ahead of their answers. Hardly any client sends one; each costs memory before it is
# known whose it is, and one read from the socket may hold thousands.
MAX_AHEAD = 100
TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
UPGRADE = re.compile(rb"(?i)(\r\n)upgrade:")

# Seconds between two looks at all connections; a head gets 30 s to come, a whole request (32 MiB) 10 minutes.
LOOK_SECONDS = 10
HEAD_LOOKS, MESSAGE_LOOKS = 3, 60


class TooManyAhead(Exception):
    """Raised when a connection sends more requests ahead of their answers than it may: the parser stops by it."""


class Corked:
    """A transport that holds what is written until the loop turns: some microseconds."""

    __slots__ = ("_held", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._held: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        """Everything but writing and closing is the real transport's."""
        return getattr(self._transport, name)

    def __repr__(self) -> str:
        return f"<Corked {self._transport!r}, {len(self._held)} writes held>"

    def is_closing(self) -> bool:
        """Whether it is closed or will be; asked with every request, so without __getattr__."""
        return self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Hold `data` until the loop turns."""
        if not self._held:
            self._loop.call_soon(self.uncork)
        self._held.append(data)

    def uncork(self) -> None:
        """Write what is held."""
        held, self._held = self._held, []
        if held:
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))

    def close(self) -> None:
        """Write what is held, and close in order."""
        self.uncork()
        self._transport.close()


class Protocol(HttpToolsProtocol):
    """One connection of an app. What changes here beside uvicorn's own: how far the request that comes has come."""

    # Bytes of the head so far, while it comes.
    _head = 0
    _in_head = True
    _in_message = False
    # Looks (see `look`) that found the same head, or the same request, still coming.
    _looks = 0
    # Requests whose answers are not over, before the last.
    _earlier: tuple[RequestResponseCycle, ...] = ()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin a connection."""
        # It has all of a transport, but is none by inheritance: that would hide __getattr__.
        super().connection_made(cast("asyncio.Transport", Corked(transport, self.loop)))

    def data_received(self, data: bytes) -> None:
        """Take what came; a head that grows too long ends the connection."""
        if self._in_head:
            if b"pgrade:" in data:
                data = UPGRADE.sub(rb"\1x-upgrade-not-done:", data)
            self._head += len(data)
        super().data_received(data)
        if self._in_head and self._head > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(TOO_LONG)
            self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins to come."""
        self._in_head = self._in_message = True
        self._head = self._looks = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its head is here."""
        self._in_head = False
        before = self.cycle
        # The scope is not bound to it: that would be a circle, which only the garbage collector finds.
        cast("dict[str, Any]", self.scope)[ABORT] = self.abort
        super().on_headers_complete()
        if before is not None and not before.response_complete:
            self._earlier = (*(cycle for cycle in self._earlier if not cycle.response_complete), before)
            if len(self._earlier) > MAX_AHEAD:
                # Answers are owed before any that would tell of it.
                self.transport.abort()
                raise TooManyAhead

    def on_message_complete(self) -> None:
        """All of it is here."""
        super().on_message_complete()
        self._in_head, self._in_message, self._head = True, False, 0

    def abort(self, scope: HTTPScope, *, at_once: bool = False) -> None:
        """Break off the answer to the request of `scope`, and end the connection: when what is written has gone out, or
        `at_once`."""
        for cycle in (*self._earlier, self.cycle):
            if cycle is not None and cycle.scope is scope:
                cycle.disconnected = True
        if at_once:
            self.transport.abort()
        else:
            self.transport.close()

    def look(self) -> None:
        """Called now and then: close a connection whose request has been coming for too many looks."""
        waiting = self._in_message or self.cycle is None
        if not waiting or self.transport.is_closing():
            self._looks = 0
            return
        self._looks += 1
        if self._looks > (HEAD_LOOKS if self._in_head else MESSAGE_LOOKS):
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left: all its requests learn of it (uvicorn itself tells the last one)."""
        for cycle in self._earlier:
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        super().connection_lost(exc)


def untaken(scope: Scope) -> int:
    """How many bytes the client of `scope` was sent and has not taken yet; 0 where that cannot be told.

    They lie in the kernel, where no writer sees them: a client that has vanished, or does not read, holds them there.
    """
    owner = getattr(scope.get(ABORT), "__self__", None)
    if not isinstance(owner, Protocol) or owner.transport.is_closing():
        return 0
    found = array.array("i", [0])
    try:
        fcntl.ioctl(owner.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, found)
    except (OSError, AttributeError):
        return 0
    return found[0]
