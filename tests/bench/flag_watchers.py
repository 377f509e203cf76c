"""A thousand clients of one event stream on a loop of their own: what each saw, and when. Knows HTTP/1.1, and no flag.

Told to, they ask for all flags again at each event, as web clients do, and note when the answer was whole.

They share one thread, so that what they cost is small beside what is measured: some 20 µs for an event.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.bench.load import new_loop

EVENT = re.compile(rb"id: *(\d+)")
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
REVISION = re.compile(rb"(?i)\r\nx-pointsman-revision: *(\d+)")
# Nobody waits longer for anything here: what has not come by then is missing.
PATIENCE_SECONDS = 15.0


@dataclass(slots=True, eq=False)
class Fetcher(asyncio.Protocol):
    """A client's other connection. What changes here: whether an answer is under way, and what came by when."""

    # The request, by what the event told to be the newest tag.
    request: Callable[[str], bytes]
    transport: asyncio.Transport | None = None
    # Revision → when an answer of it was whole first (CLOCK_MONOTONIC).
    fetched: dict[int, float] = field(default_factory=dict)
    _answer: bytes = b""
    _wanted: int = 0
    _etag: str = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def fetch(self, etag: str) -> None:
        """Ask for all flags; once more after the answer where one is under way."""
        self._wanted, self._etag = min(2, self._wanted + 1), etag
        if self._wanted == 1 and self.transport is not None:
            self.transport.write(self.request(etag))

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head = self._answer.find(b"\r\n\r\n")
        length = LENGTH.search(self._answer, 0, head) if head > 0 else None
        if length is None or len(self._answer) < head + 4 + int(length[1]):
            return
        revision = REVISION.search(self._answer, 0, head)
        assert revision is not None
        assert self.transport is not None
        self.fetched.setdefault(int(revision[1]), time.monotonic())
        self._answer, self._wanted = b"", self._wanted - 1
        if self._wanted:
            self.transport.write(self.request(self._etag))


@dataclass(slots=True, eq=False)
class Watcher(asyncio.Protocol):
    """One client. What changes here: its connection, its status, and what it saw last, and when (CLOCK_MONOTONIC)."""

    path: str
    port: int
    fetcher: Fetcher | None = None
    transport: asyncio.Transport | None = None
    opened: float = 0.0
    status: int = 0
    answered: float = 0.0
    # Revision → when it was seen first.
    seen: dict[int, float] = field(default_factory=dict)
    _rest: bytes = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport, self.status, self._rest = transport, 0, b""
        last = max(self.seen, default=None)
        resume = "" if last is None else f"Last-Event-ID: {last}\r\n"
        lines = f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nAccept: text/event-stream\r\n"
        transport.write(f"{lines}{resume}\r\n".encode())

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if not self.status:
            self.status, self.answered = int(data[9:12]), now
        text = self._rest + data
        *events, self._rest = text.split(b"\n\n")
        for event in events:
            found = EVENT.search(event)
            if found is not None:
                self.seen.setdefault(int(found[1]), now)
                if self.fetcher is not None:
                    told = json.loads(event.partition(b"data: ")[2])
                    self.fetcher.fetch(told["etag"])

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None

    def saw(self, revision: int) -> float | None:
        """When it learned of the revision, or of a later one, and had the flags where it asks for them; None: not yet."""
        found = self.seen if self.fetcher is None else self.fetcher.fetched
        return min((at for number, at in found.items() if number >= revision), default=None)


class Watchers:
    """All of them, on a thread with its loop; a context manager."""

    def __init__(self, port: int, path: str, clients: int) -> None:
        self._port = port
        self.all = [Watcher(path, port) for _ in range(clients)]
        self._loop = new_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Watchers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def connect(self) -> list[float]:
        """Connect all at once; seconds from then to each one's head. Raises RuntimeError where one is not let in."""
        began = time.monotonic()
        asyncio.run_coroutine_threadsafe(self._connect(), self._loop).result(PATIENCE_SECONDS)
        until(lambda: all(each.status for each in self.all))
        refused = [each.status for each in self.all if each.status != 200]
        if refused:
            raise RuntimeError(f"{len(refused)} of {len(self.all)} were not let in: {refused[0]}")
        return [each.answered - began for each in self.all]

    async def _connect(self) -> None:
        await asyncio.gather(*(self._open(each) for each in self.all))

    async def _open(self, watcher: Watcher) -> None:
        await self._loop.create_connection(lambda: watcher, "127.0.0.1", self._port)

    def refetch(self, request: Callable[[str], bytes]) -> None:
        """From now on each asks for all flags at each event, by the bytes that `request` makes of the event's tag."""
        asyncio.run_coroutine_threadsafe(self._refetch(request), self._loop).result(PATIENCE_SECONDS)

    async def _refetch(self, request: Callable[[str], bytes]) -> None:
        for each in self.all:
            connected = await self._loop.create_connection(lambda: Fetcher(request), "127.0.0.1", self._port)
            each.fetcher = connected[1]

    def drop(self) -> None:
        """Hang up, all at once, as a network does that goes away."""

        def hang_up() -> None:
            for each in self.all:
                for one in (each, each.fetcher):
                    if one is not None and one.transport is not None:
                        one.transport.abort()
                each.status = 0

        self._loop.call_soon_threadsafe(hang_up)
        until(lambda: all(each.transport is None for each in self.all))

    def waits(self, revision: int, since: float) -> Sequence[float]:
        """Seconds from `since` until each had learned of the revision; infinite for who has not in time."""
        until(lambda: all(each.saw(revision) is not None for each in self.all))
        saw = [each.saw(revision) for each in self.all]
        return [float("inf") if at is None else at - since for at in saw]


def until(happened: object) -> bool:
    """Wait for something that should come true soon; whether it did."""
    assert callable(happened)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if happened():
            return True
        # Long beside what a look at a thousand clients costs: it takes the interpreter from them.
        time.sleep(0.05)
    return False
