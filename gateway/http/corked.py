"""The HTTP protocol of uvicorn, with the writes of one turn of the loop joined into one. Knows no request.

uvicorn writes an answer's head and its body apart; each write is a system call of some 5 µs, and often a packet.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


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


class CorkedProtocol(HttpToolsProtocol):
    """uvicorn's protocol over a corked transport; for its `http` option."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin a connection."""
        # It has all of a transport, but is none by inheritance: that would hide __getattr__.
        super().connection_made(cast("asyncio.Transport", Corked(transport, self.loop)))
