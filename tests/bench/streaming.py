"""Streams that can be told apart to the byte: who sends them, and who reads them back. Knows no gateway.

A stream is made from its seed alone, so both ends know what it must be. It is written in pieces that fall anywhere, in
the middle of a character too.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from dataclasses import dataclass

import httptools

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
PLAIN = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 25\r\n\r\n"
    b'{"choices":[],"usage":{}}'
)
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
SEED = re.compile(rb'"user": ?"(\d+)"')
WORDS = ("rail", "switch", "Weiche", "aiguillage", "стрелка", "転轍機", "🚂", "\u2028", "é")
MOST_WORDS = 12


def stream_of(seed: int, events: int) -> list[bytes]:
    """The events of stream `seed`, usage and [DONE] at the end."""
    draw = random.Random(seed)
    made = []
    for number in range(events):
        text = f"{seed}:{number} " + " ".join(draw.choices(WORDS, k=draw.randint(1, MOST_WORDS)))
        ascii_only = draw.random() < 0.5
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
        chunk = {"id": f"c-{seed}", "object": "chat.completion.chunk", "choices": [choice]}
        made.append(b"data: %b\n\n" % json.dumps(chunk, ensure_ascii=ascii_only).encode())
    usage = {"prompt_tokens": 3, "completion_tokens": events, "total_tokens": 3 + events}
    last = {"id": f"c-{seed}", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    tail = (last, {"id": f"c-{seed}", "choices": [], "usage": usage})
    return [*made, *(b"data: %b\n\n" % json.dumps(each).encode() for each in tail), b"data: [DONE]\n\n"]


def pieces_of(seed: int, events: int) -> list[bytes]:
    """The same bytes in as many pieces, cut anywhere."""
    whole = b"".join(stream_of(seed, events))
    draw = random.Random(seed + 1)
    cuts = sorted(draw.randrange(1, len(whole)) for _ in range(events))
    return [
        whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True) if end > start
    ]


class Sender(asyncio.Protocol):
    """A provider: one connection. Each stream's pieces come `seconds` apart."""

    def __init__(self, events: int, seconds: float) -> None:
        self._events, self._seconds = events, seconds
        self._waiting = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        end = self._waiting.find(b"\r\n\r\n")
        length = LENGTH.search(self._waiting, 0, end) if end >= 0 else None
        if length is None or len(self._waiting) < end + 4 + int(length[1]):
            return
        seed = SEED.search(self._waiting, end)
        self._waiting = b""
        if seed is None:  # somebody who looks whether we are there
            self._transport.write(PLAIN)
            return
        self._transport.write(HEAD)
        self._send(pieces_of(int(seed[1]), self._events), 0)

    def _send(self, pieces: list[bytes], at: int) -> None:
        if at == len(pieces):
            self._transport.write(b"0\r\n\r\n")
            return
        self._transport.write(b"%x\r\n%b\r\n" % (len(pieces[at]), pieces[at]))
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._seconds, self._send, pieces, at + 1)


class Reader(asyncio.Protocol):
    """An app: one connection, one stream after the other. What came of the running one stands in `body`."""

    def __init__(self) -> None:
        self.body = bytearray()
        self._parser = httptools.HttpResponseParser(self)
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self._over.set_result(None)

    async def read(self, request: bytes) -> bytes:
        """Ask, and return the whole body of the answer, or what came of it."""
        self.body.clear()
        self._parser = httptools.HttpResponseParser(self)
        self._over = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        await self._over
        return bytes(self.body)

    def close(self) -> None:
        self._transport.close()


@dataclass(slots=True)
class Tally:
    """How many streams came back whole, and the seeds of those that did not."""

    whole: int = 0
    size: int = 0
    wrong: tuple[int, ...] = ()


def request_for(seed: int, route: str) -> bytes:
    """The app's request for stream `seed`: it asks for the usage itself, so nothing is hidden from it."""
    body = json.dumps(
        {
            "model": route,
            "stream": True,
            "stream_options": {"include_usage": True},
            "user": str(seed),
            "messages": [{"role": "user", "content": "Go."}],
        }
    ).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)


async def read_streams(port: int, route: str, *, readers: int, seconds: float, events: int) -> Tally:
    """`readers` at once read streams for `seconds` (each at least one), and compare every byte."""
    tally = Tally()
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds

    async def keep_reading(first: int) -> None:
        _, reader = await loop.create_connection(Reader, "127.0.0.1", port)
        seed = first
        while seed == first or loop.time() < until:
            came = await reader.read(request_for(seed, route))
            if came == b"".join(stream_of(seed, events)):
                tally.whole, tally.size = tally.whole + 1, tally.size + len(came)
            else:
                tally.wrong = (*tally.wrong, seed)
                break
            seed += readers
        reader.close()

    await asyncio.gather(*(keep_reading(number) for number in range(readers)))
    return tally
