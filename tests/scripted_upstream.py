"""A real HTTP/1.1 server on a free loopback port: it speaks the chat, responses and messages wires, as it is told.

Knows nothing of the code under test: it sees bytes come and sends bytes.

    async with ScriptedUpstream() as upstream:
        upstream.will(json_answer(b'{"choices": []}'), cut_before_head())     # the next two requests
        ...                                                                    # upstream.base_url
        upstream.requests[0].body, upstream.requests[1].closed

With nothing scripted every request is answered well, in its path's format, by a stream where the body asks for one.
`scripts` has the answers of every wire, `scripted_wires` what is said on each, on good days and on bad ones.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.scripted_wires import completion, event, events, good_answer
from tests.scripts import (
    End,
    Script,
    Step,
    chunked,
    close_before_head,
    cut_before_head,
    cut_mid_body,
    error_answer,
    error_body,
    garbage,
    hang_before_head,
    head,
    json_answer,
    stream_answer,
    unread,
)

# What tests take from here, wherever it is written.
__all__ = [
    "End", "Received", "Script", "ScriptedUpstream", "Step", "chunked", "close_before_head", "completion",
    "cut_before_head", "cut_mid_body", "error_answer", "error_body", "event", "events", "garbage",
    "hang_before_head", "head", "json_answer", "scripted_upstream_in_thread", "stream_answer", "unread",
]  # fmt: skip


@dataclass(slots=True)
class Received:
    """A request, byte by byte. `closed` is set once the peer has gone; `sent` counts the answer's bytes."""

    head: bytes
    body: bytes
    connection: int
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    sent: int = 0

    @property
    def path(self) -> str:
        """The request's target."""
        return self.head.split(b" ", 2)[1].decode()

    @property
    def headers(self) -> dict[str, str]:
        """The headers, names in lower case."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
        }

    @property
    def json(self) -> dict:
        """The body, decoded."""
        return json.loads(self.body)


Choose = Callable[[Received], Script | None]


class ScriptedUpstream:
    """The server. `requests` and `connections` (accepted so far) tell what happened."""

    def __init__(self, *, choose: Choose | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self.open: set[Peer] = set()
        self._choose = choose
        self._scripts: deque[Script] = deque()
        self._tls = tls
        self._server: asyncio.Server | None = None

    def will(self, *scripts: Script) -> None:
        """Answer the next requests so, in their order of arrival."""
        self._scripts.extend(scripts)

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return self._server.sockets[0].getsockname()[1]

    @property
    def base_url(self) -> str:
        """What an upstream's document says as `base_url`."""
        return f"{self.address}/v1"

    @property
    def address(self) -> str:
        """The same without `/v1`, as the document of an `anthropic` upstream says it."""
        return f"{'https' if self._tls else 'http'}://{'localhost' if self._tls else '127.0.0.1'}:{self.port}"

    def script_for(self, received: Received) -> Script:
        """The next script, else what `choose` says, else a good answer."""
        if self._scripts:
            return self._scripts.popleft()
        chosen = self._choose(received) if self._choose else None
        return chosen or good_answer(received.path, received.body)

    def close_connections(self) -> None:
        """Close every connection in order, as a server does with idle ones."""
        for peer in tuple(self.open):
            peer.transport.close()

    async def __aenter__(self) -> ScriptedUpstream:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Peer(self), "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        peers = tuple(self.open)
        for peer in peers:
            peer.transport.abort()
        await asyncio.gather(*(peer.task for peer in peers), return_exceptions=True)
        await self._server.wait_closed()


class Peer(asyncio.Protocol):
    """One accepted connection."""

    def __init__(self, server: ScriptedUpstream) -> None:
        self._server = server
        self._buffer = bytearray()
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = asyncio.Event()
        self._current: Received | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._server.connections += 1
        self.number = self._server.connections
        self._server.open.add(self)
        self.task = asyncio.get_running_loop().create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._news.set()

    def eof_received(self) -> bool:
        self._gone()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone()
        self._lost.set()
        self._server.open.discard(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _gone(self) -> None:
        self._news.set()
        self._writable.set()
        if self._current is not None:
            self._current.closed.set()

    async def _serve(self) -> None:
        while (head := await self._take_until(b"\r\n\r\n")) is not None:
            length = next(
                (
                    int(line[15:])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length:")
                ),
                0,
            )
            received = self._current = Received(head, b"", self.number)
            script = None
            if not self._server._scripts or self._server._scripts[0].reads_body:
                received.body = await self._take(length) or b""
            self._server.requests.append(received)
            script = self._server.script_for(received)
            if not script.reads_body:
                self.transport.pause_reading()
            if not await self._play(script.steps, received):
                return
            if not script.reads_body:
                self.transport.resume_reading()
                received.body = await self._take(length) or b""

    async def _play(self, steps: Sequence[Step], received: Received) -> bool:
        for step in steps:
            if self._lost.is_set():
                return False
            if step is End.HANG:
                await self._lost.wait()
            elif step is End.CUT:
                linger = struct.pack("ii", 1, 0)  # for no time at all: the socket is closed with a reset
                self.transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, linger
                )
                self.transport.abort()
            elif step is End.CLOSE:
                self.transport.close()
            elif isinstance(step, bytes):
                self.transport.write(step)
                received.sent += len(step)
                await self._writable.wait()
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(step)
            if isinstance(step, End):
                return False
        return True

    async def _take_until(self, mark: bytes) -> bytes | None:
        while mark not in self._buffer:
            if not await self._more():
                return None
        return self._cut(self._buffer.index(mark) + len(mark))

    async def _take(self, length: int) -> bytes | None:
        while len(self._buffer) < length:
            if not await self._more():
                return None
        return self._cut(length)

    def _cut(self, length: int) -> bytes:
        data = bytes(self._buffer[:length])
        del self._buffer[:length]
        return data

    async def _more(self) -> bool:
        if self._lost.is_set() or self.transport.is_closing():
            return False
        self._news.clear()
        await self._news.wait()
        return not self._lost.is_set()


@contextmanager
def scripted_upstream_in_thread(choose: Choose | None = None) -> Iterator[ScriptedUpstream]:
    """The same for tests without a loop; `will` and the lists may be used from the test's thread."""
    upstream = ScriptedUpstream(choose=choose)
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    ready = threading.Event()

    async def serve() -> None:
        async with upstream:
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(10)
        yield upstream
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
