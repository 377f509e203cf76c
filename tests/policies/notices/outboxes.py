"""Builders for tests of the outbox: events, and an outbox on a real server whose clock is a number."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from flags.anchor import anchor
from flags.call import Script
from flags.change import Draft
from flags.ledger import Author
from flags.model import Kind, ObjectKey
from flags.store import Store
from policies.notices.delivery import Delivery, Room
from policies.notices.event import Event, EventKind, Severity
from policies.notices.outbox import Addressed, Outbox
from tests.flags.stores import opened

NOON = 1_800_000_000.0
TEAM = Room("team", 10, 40.0)
ROUTE = ObjectKey(Kind.ROUTE, "bot")


def event(name: str = "e1", **fields: Any) -> Event:
    given = {
        "kind": EventKind.ROLLBACK,
        "severity": Severity.CRITICAL,
        "object": "flag/chat.prompt",
        **fields,
    }
    return Event(**{"id": name, "title": "rolled back", "time": "2027-01-15T08:00:00.000Z", **given})


class Clocked:
    """An outbox, its store, and the clock that its scripts see."""

    def __init__(self, store: Store, *, chance: float = 1.0) -> None:
        self.store = store
        self.outbox = Outbox(store, lambda: anchor(store), chance=lambda: chance)
        self._scripts = dict(self.outbox._scripts)
        self.at(NOON)

    def at(self, second: float) -> None:
        """Let the scripts believe that it is this second, whatever Redis' clock says."""
        now = f"local now = {{'{int(second)}', '{round(second % 1 * 1e6)}'}}"
        for name, script in self._scripts.items():
            text = script.text.replace("local now = redis.call('TIME')", now)
            self.outbox._scripts[name] = Script.of(text)

    async def take_in(self, *channels: str) -> int:
        """Advance to the end of the ledger, telling `channels` of everything."""
        head = (await self.store.head()).position
        return await self.outbox.advance(lambda found: Addressed(found, channels), head)

    async def add(self, *ids: str, channels: Sequence[str] = ("team",), **fields: Any) -> None:
        await self.outbox.add(*(Addressed(event(each, **fields), channels) for each in ids))

    async def claimed(self, *rooms: Room) -> list[Delivery]:
        return [*(await self.outbox.claim(rooms or [TEAM])).deliveries]

    async def note(self, action: str = "alert", reason: str = "because", key: ObjectKey = ROUTE) -> str:
        """One note in the ledger; its id."""
        drafts = [Draft(action, key, None, affects=False)]
        committed = await self.store.change(Author("policy/error-brake", reason), [key], lambda _: drafts)
        return committed.entries[0].id


@asynccontextmanager
async def clocked(url: str, namespace: str = "default", **options: Any) -> AsyncIterator[Clocked]:
    async with opened(url, namespace) as store:
        yield Clocked(store, **options)
