"""A load generator that costs little: keep-alive connections on one core, every answer verified. Knows no gateway.

`python -m tests.bench.load` reads a Plan (MessagePack) from standard input and writes a Result; SIGTERM ends it early.
With `rate` requests begin when they are due, whatever became of the last; without, each connection sends its next
request as soon as its answer is whole (the loop is closed, and the gateway saturated).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import re
import signal
import subprocess
import sys
import time
from array import array
from collections import Counter, deque
from pathlib import Path

import msgspec

from tests.bench.wire import http_request

LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
VERSIONS = re.compile(rb"(?i)\r\nx-pointsman-versions: *([^\r]*)")
# How long answers under way may take after the last request; a whole paced stream lasts 0.7 s.
DRAIN_SECONDS = 3.0
RECONNECT_SECONDS = 0.05


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to send, where, for how long, and what a right answer holds."""

    port: int
    path: str
    headers: dict[str, str]
    body: bytes
    mark: bytes
    method: str = "POST"
    times: int = 1
    connections: int = 32
    seconds: float = 3.0
    rate: float | None = None
    # A file for (began, ended, index of the version) of each answer, three doubles; CLOCK_MONOTONIC seconds.
    records: str | None = None


class Result(msgspec.Struct, kw_only=True):
    """What came of it. Times in microseconds; `first` is until the first content of a stream."""

    answers: int = 0
    failed: dict[str, int] = {}  # msgspec copies defaults
    seconds: float = 0.0
    events: int = 0
    p50: float = math.nan
    p99: float = math.nan
    p999: float = math.nan
    longest: float = math.nan
    first_p50: float = math.nan
    first_p99: float = math.nan
    versions: list[str] = []  # msgspec copies defaults


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._transport: asyncio.Transport | None = None
        self._answer = b""
        self._length: int | None = None
        self.busy = False
        self.due = self.began = self.first = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._load.is_free(self)

    def begin(self, due: float) -> None:
        """Send the request; its latency counts from `due`."""
        assert self._transport is not None
        self.busy, self.due, self.first = True, due, 0.0
        self._answer, self._length = b"", None
        self.began = time.monotonic()
        self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        answer = self._answer = self._answer + data if self._answer else data
        if self._length is None and not self._head(answer):
            return
        if not self.first and self._load.plan.mark in data:
            self.first = time.monotonic()
        if self._length < 0:
            if not answer.endswith(b"\r\n0\r\n\r\n"):
                return
        elif len(answer) < self._length:
            return
        self.busy = False
        if self._load.ended(self, answer):
            self._load.is_free(self)
        else:
            self.close()

    def _head(self, answer: bytes) -> bool:
        """Learn how long the answer will be: -1 means until the last chunk."""
        end = answer.find(b"\r\n\r\n")
        if end < 0:
            return False
        found = LENGTH.search(answer, 0, end)
        self._length = end + 4 + int(found[1]) if found else -1
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self.busy:
            self.busy = False
            self._load.failed["connection closed"] += 1
        self._load.lost(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Load:
    """A Plan in execution. What changes: the counts, the free connections, the requests that are due."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.request = http_request(plan.port, plan.path, plan.headers, plan.body, method=plan.method)
        self.failed: Counter[str] = Counter()
        self._loop = asyncio.get_running_loop()
        self._connections: set[Connection] = set()
        self._free: list[Connection] = []
        self._due: deque[float] = deque()
        self._running = False
        self._took, self._first = array("d"), array("d")
        self._records = array("d")
        self._versions: dict[str, int] = {}
        self._events = 0
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """End before the plan's time; what is under way is waited for."""
        self._stop.set()

    async def run(self) -> Result:
        """Connect, send for the plan's time, wait for what is under way, and sum up."""
        await asyncio.gather(*(self._connect() for _ in range(self.plan.connections)))
        began = time.monotonic()
        self._begin()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), self.plan.seconds)
        self._running = False
        seconds = time.monotonic() - began
        while any(c.busy for c in self._connections) and time.monotonic() < began + seconds + DRAIN_SECONDS:
            await asyncio.sleep(0.01)
        self.failed["no answer"] += sum(c.busy for c in self._connections) + len(self._due)
        await self._hang_up()
        return self._result(seconds)

    async def _hang_up(self) -> None:
        for connection in tuple(self._connections):
            connection.busy = False
            connection.close()
        while self._connections:
            await asyncio.sleep(0)

    async def _connect(self) -> None:
        try:
            _, connection = await self._loop.create_connection(
                lambda: Connection(self), "127.0.0.1", self.plan.port
            )
        except OSError as error:
            self.failed[f"connect: {error.strerror}"] += 1
            self.lost(None)
        else:
            self._connections.add(connection)

    def _begin(self) -> None:
        self._running = True
        if self.plan.rate is None:
            free, self._free = self._free, []
            for connection in free:
                self.is_free(connection)
        else:
            self._tick(time.monotonic(), 0)

    def _tick(self, began: float, sent: int) -> None:
        """Begin what is due by now, and come back for the next."""
        if not self._running:
            return
        assert self.plan.rate is not None
        now = time.monotonic()
        while began + sent / self.plan.rate <= now:
            sent += 1
            if self._free:
                self._free.pop().begin(now)
            else:
                self._due.append(now)
        self._loop.call_later(max(0.0, began + sent / self.plan.rate - now), self._tick, began, sent)

    def is_free(self, connection: Connection) -> None:
        """`connection` can take a request: the next one at once, or when one is due."""
        if self._running and self.plan.rate is None:
            connection.begin(time.monotonic())
        elif self._running and self._due:
            connection.begin(self._due.popleft())
        else:
            self._free.append(connection)

    def lost(self, connection: Connection | None) -> None:
        """A connection is gone; another takes its place while we run."""
        if connection is not None:
            self._connections.discard(connection)
            if connection in self._free:
                self._free.remove(connection)
        if self._running:
            self._loop.call_later(RECONNECT_SECONDS, lambda: self._loop.create_task(self._connect()))

    def ended(self, connection: Connection, answer: bytes) -> bool:
        """Count an answer; False when it was not right, and its connection should not be used again."""
        now = time.monotonic()
        if answer[9:12] != b"200":
            self.failed[f"status {answer[9:12].decode(errors='replace')}"] += 1
            return False
        if answer.count(self.plan.mark) < self.plan.times:
            self.failed["wrong answer"] += 1
            return False
        self._took.append(now - connection.due)
        if self.plan.times > 1:
            self._first.append(connection.first - connection.due)
            self._events += answer.count(b"data:")
        if self.plan.records is not None:
            found = VERSIONS.search(answer)
            version = found[1].decode() if found else ""
            number = self._versions.setdefault(version, len(self._versions))
            self._records.extend((connection.began, now, number))
        return b"onnection: close" not in answer[:1024]

    def _result(self, seconds: float) -> Result:
        if self.plan.records is not None:
            with Path(self.plan.records).open("wb") as file:
                self._records.tofile(file)
        took, first = sorted(self._took), sorted(self._first)
        return Result(
            answers=len(took),
            failed=dict(+self.failed),
            seconds=seconds,
            events=self._events,
            p50=quantile(took, 0.5) * 1e6,
            p99=quantile(took, 0.99) * 1e6,
            p999=quantile(took, 0.999) * 1e6,
            longest=quantile(took, 1.0) * 1e6,
            first_p50=quantile(first, 0.5) * 1e6,
            first_p99=quantile(first, 0.99) * 1e6,
            versions=list(self._versions),
        )


def quantile(ordered: list[float], share: float) -> float:
    """The value below which `share` of `ordered` lie (nearest rank); NaN of nothing."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else math.nan


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed: half the cost, so that the gateway is what waits."""
    try:
        import uvloop  # noqa: PLC0415  # not on every platform
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def start(plan: Plan) -> subprocess.Popen[bytes]:
    """A load process at work; `result_of` waits for its end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(msgspec.msgpack.encode(plan))
    process.stdin.close()
    return process


def result_of(process: subprocess.Popen[bytes], seconds: float) -> Result:
    """The Result of a load process that should end within `seconds`; else it is killed, and TimeoutExpired raised."""
    process.stdin = None  # it was closed to send the plan; `communicate` would close it again
    try:
        output, _ = process.communicate(timeout=seconds + DRAIN_SECONDS + 10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return msgspec.msgpack.decode(output, type=Result)


def main() -> None:
    plan = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Plan)
    gc.disable()
    with asyncio.Runner(loop_factory=new_loop) as runner:
        result = runner.run(run(plan))
    sys.stdout.buffer.write(msgspec.msgpack.encode(result))


async def run(plan: Plan) -> Result:
    """One plan, from the first connection to the last answer; SIGTERM ends it early."""
    load = Load(plan)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, load.stop)
    return await load.run()


if __name__ == "__main__":
    main()
