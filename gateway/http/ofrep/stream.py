"""One client's open stream of changes: it is told that something changed, never what. Knows no flag and no key.

There is no queue: a client that was slow is told of the newest state, once. No timer either: the hub has one for all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from starlette.types import Receive, Scope, Send

from gateway.auth import Reader
from gateway.http.asgi import ABORT
from gateway.http.protocol import untaken

HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    # Proxies that gather answers before they pass them on are asked not to.
    (b"x-accel-buffering", b"no"),
)
SIGN_OF_LIFE = b": still here\n\n"


class News(NamedTuple):
    """The newest state as a stream tells it: `mark` is what tells two states apart."""

    mark: str
    frame: bytes


class Stream:
    """What changes here: what the client was told last, what is due, and whether it is over."""

    __slots__ = (
        "_loop",
        "_news",
        "_over",
        "_receive",
        "_scope",
        "_send",
        "_sent",
        "_sign_due",
        "_taken",
        "_told",
        "_waiter",
        "reader",
        "since",
    )

    def __init__(
        self, reader: Reader, wire: tuple[Scope, Receive, Send], news: Callable[[], News], told: str
    ) -> None:
        """`told`: the mark of what the client knows already."""
        self.reader = reader
        # Since when the client has held up what is being written (the loop's clock); None: it has not.
        self.since: float | None = None
        self._scope, self._receive, self._send = wire
        self._news, self._told = news, told
        self._sign_due = self._over = False
        # Bytes sent, and how many of them were taken when that was looked at last; None: it was not yet.
        self._sent = 0
        self._taken: int | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()

    def __repr__(self) -> str:
        return (
            f"<Stream of {self.reader.caller.name}, {'over' if self._over else 'open'}, told {self._told!r}>"
        )

    def wake(self) -> None:
        """Look whether there is news; more than once before it looks is once."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def sign(self) -> None:
        """Give a sign of life, so that no proxy takes the silence for the end."""
        self._sign_due = True
        self.wake()

    def stuck(self) -> bool:
        """Whether the client holds up bytes and has taken none since this was asked last: it is gone, or does not read."""
        held = untaken(self._scope)
        taken, before = self._sent - held, self._taken
        self._taken = taken
        return held > 0 and before is not None and taken <= before

    def end(self) -> None:
        """End in order: the client comes again, to another process or with another address."""
        self._over = True
        self.wake()

    def cut(self) -> None:
        """Break the connection off: its client does not read."""
        self._over = True
        abort = self._scope.get(ABORT)
        if abort is not None:
            abort(self._scope, at_once=True)

    async def run(self, headers: Sequence[tuple[bytes, bytes]], retry_seconds: float) -> None:
        """Tell the client of changes until it leaves or the stream ends."""
        left = self._loop.create_task(_until_left(self._receive))
        left.add_done_callback(lambda _: self.end())
        try:
            await self._send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, *headers]})
            await self._write(b"retry: %d\n\n" % round(retry_seconds * 1000))
            while not self._over:
                data = self._due()
                if data is None:
                    self._waiter = self._loop.create_future()
                    await self._waiter
                else:
                    await self._write(data)
        finally:
            left.cancel()
        await self._send({"type": "http.response.body", "body": b""})

    def _due(self) -> bytes | None:
        news = self._news()
        if news.mark != self._told:
            self._told, self._sign_due = news.mark, False
            return news.frame
        if self._sign_due:
            self._sign_due = False
            return SIGN_OF_LIFE
        return None

    async def _write(self, data: bytes) -> None:
        self.since = self._loop.time()
        self._sent += len(data)
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        self.since = None


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
