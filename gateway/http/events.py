"""Server-sent events for operators: one for each entry of the ledger. Reads the ledger and nothing else.

`id` is the entry's revision, so a client that comes back with `Last-Event-ID` misses nothing.
"""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Scope, Send

from flags.errors import Invalid, StoreUnavailable
from flags.ledger import entry_from
from flags.store import Store
from gateway.http.bodies import EventsQuery
from gateway.http.endpoint import Call, House

# One small read of Redis per open stream; a person, or a script, cannot tell 250 ms from at once.
LOOK_EVERY_SECONDS = 0.25
# Proxies close what is silent for 30 to 60 s.
HEARTBEAT_SECONDS = 15.0
PAGE = 200


async def follow(call: Call) -> EventStream:
    """A stream that begins after `Last-Event-ID`, else after `after`, else with the next Change."""
    query: EventsQuery = call.query
    last = _last_id(call.headers.get("last-event-id"))
    head = (await call.house.operations.store.head()).position.revision
    return EventStream(call.house, head, query.after if last is None else last)


def _last_id(text: str | None) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or len(text) > 15:
        raise Invalid("last-event-id", f"found {text[:40]!r}, expected a revision")
    return int(text)


class EventStream:
    """One open stream, an ASGI response. What changes here: the revision that was sent last, and when."""

    def __init__(self, house: House, head: int, after: int | None) -> None:
        self._house = house
        self._head = head
        self._after = head if after is None else after
        self._sent_at = 0.0

    def __repr__(self) -> str:
        return f"EventStream(after={self._after})"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the client leaves or the process stops."""
        store = self._house.operations.store
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        if self._after > self._head:
            # A revision that the ledger does not have: it lost its tail, and so did what the client knows.
            await self._send(send, event("history_changed", self._head, b'{"revision":%d}' % self._head))
            self._after = self._head
        left = asyncio.ensure_future(_until_left(receive))
        try:
            while not left.done() and not self._house.stopping():
                await self._pass_on(store, send)
                await asyncio.wait({left}, timeout=LOOK_EVERY_SECONDS)
        finally:
            left.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pass_on(self, store: Store, send: Send) -> None:
        try:
            entries = await store.read_log_bytes(self._after, PAGE)
        except StoreUnavailable:
            # The stream stays: when the store is back it goes on where it was.
            entries = []
        for text in entries:
            revision = entry_from(text).revision
            if revision > self._after + 1:
                # What is between was archived while the client was away.
                await self._send(send, event("archived", revision - 1, b'{"revision":%d}' % (revision - 1)))
            await self._send(send, event("change", revision, text))
            self._after = revision
        if asyncio.get_running_loop().time() - self._sent_at >= HEARTBEAT_SECONDS:
            await self._send(send, b": still here\n\n")

    async def _send(self, send: Send, data: bytes) -> None:
        self._sent_at = asyncio.get_running_loop().time()
        await send({"type": "http.response.body", "body": data, "more_body": True})


def event(name: str, revision: int, data: bytes) -> bytes:
    """One event; `data` is JSON on one line, as canonical JSON always is."""
    return b"event: %s\nid: %d\ndata: %s\n\n" % (name.encode(), revision, data)


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
