"""A provider that costs next to nothing: canned answers on loopback. Knows HTTP just well enough; judges no request.

`python -m tests.bench.upstream PORT INTERVAL_MICROSECONDS`: it listens, prints "ready", and ends with its parent.
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
import sys
from collections.abc import Mapping
from types import MappingProxyType

from tests.bench.load import new_loop
from tests.bench.spoken import Spoken, spoken
from tests.bench.wire import json_answer, stream_writes

LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
STREAMED = re.compile(rb'"stream": ?true')
NOTHING_ELSE: Mapping[bytes, Spoken] = MappingProxyType({})
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Provider(asyncio.Protocol):
    """One connection. What changes: the bytes of a request that is not whole yet, and the stream's next event."""

    def __init__(
        self,
        answer: bytes,
        writes: tuple[bytes, ...],
        interval_seconds: float,
        others: Mapping[bytes, Spoken] = NOTHING_ELSE,
    ) -> None:
        """`others` by path; all else is chat."""
        self._chat, self._others, self._interval = Spoken(answer, writes), others, interval_seconds
        self._writes = writes
        self._loop = asyncio.get_running_loop()
        self._waiting = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        body = whole_body(self._waiting)
        if body is None:
            return
        request, self._waiting = self._waiting, b""
        said = self._others.get(request.split(b" ", 2)[1], self._chat)
        if request.startswith(b"GET "):
            self._transport.write(EMPTY)
        elif STREAMED.search(request):
            self._writes = said.writes
            self._write_event(0)
        else:
            self._transport.write(said.answer)

    def _write_event(self, number: int) -> None:
        self._transport.write(self._writes[number])
        if number + 1 < len(self._writes):
            self._timer = self._loop.call_later(self._interval, self._write_event, number + 1)


def whole_body(request: bytes) -> bytes | None:
    """The body of `request`, None while it is not all here. Peers do not pipeline, so it is the rest."""
    end = request.find(b"\r\n\r\n")
    if end < 0:
        return None
    body = request[end + 4 :]
    length = LENGTH.search(request, 0, end)
    if length is not None:
        return body if len(body) >= int(length[1]) else None
    chunked = b"chunked" in request[:end].lower()
    return body if not chunked or body.endswith(b"0\r\n\r\n") else None


async def serve(port: int, interval_seconds: float) -> None:
    """Serve until standard input ends: that of a parent that is gone, however it went."""
    loop = asyncio.get_running_loop()
    answer, writes, others = json_answer(), stream_writes(), spoken()
    server = await loop.create_server(
        lambda: Provider(answer, writes, interval_seconds, others), "127.0.0.1", port
    )
    gone = asyncio.Event()
    loop.add_reader(0, lambda: os.read(0, 1024) or gone.set())
    print("ready", flush=True)
    await gone.wait()
    server.close()


def main(argv: list[str]) -> None:
    gc.disable()
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(serve(int(argv[0]), int(argv[1]) / 1e6))


if __name__ == "__main__":
    main(sys.argv[1:])
