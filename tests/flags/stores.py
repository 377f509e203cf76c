"""Builders for tests of the store: authors, flags as drafts, stores, and watchers that remember what they saw."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from flags.canonical import digest
from flags.change import Committed, Decide, Draft, View
from flags.connect import connect, connect_listener
from flags.disk import DiskCopy
from flags.fleet import WorkerInfo
from flags.ledger import Author
from flags.model import Document, Json, Kind, ObjectKey
from flags.snapshot import Snapshot
from flags.store import Store
from flags.watch import HistoryChanged, Watcher

ANN = Author("ann", "because")
BOB = Author("bob", "it was Tuesday")
CHAT = ObjectKey(Kind.FLAG, "chat.prompt")
OTHER = ObjectKey(Kind.FLAG, "other.prompt")


def document(serve: str = "v1", **contents: Json) -> Document:
    """A flag's stored document with variants v1 and v2, serving `serve`."""
    values = contents or {"v1": "one", "v2": "two"}
    variants = {name: {"hash": digest(value), "generation": 1} for name, value in values.items()}
    return {"variants": variants, "serve": serve, "safe": "v1"}


def draft(key: ObjectKey = CHAT, serve: str = "v1", action: str = "switch") -> Draft:
    """The change that sets `key` to `document(serve)`, with its contents."""
    return Draft(action, key, document(serve), {digest(value): value for value in ("one", "two")})


def always(*drafts: Draft) -> Decide:
    return lambda _view: drafts


async def put(store: Store, serve: str = "v1", key: ObjectKey = CHAT, author: Author = ANN) -> Committed:
    """One change of one flag."""
    return await store.change(author, [key], always(draft(key, serve)))


def served(view: View | Snapshot, key: ObjectKey = CHAT) -> Json:
    return view.objects[key].document["serve"]


@asynccontextmanager
async def opened(url: str, namespace: str = "default") -> AsyncIterator[Store]:
    store = Store(connect(url), namespace)
    try:
        yield store
    finally:
        await store.aclose()


async def held(condition: Callable[[], object], state: Callable[[], str], seconds: float) -> None:
    """Wait until `condition` holds; fails the test, with the `state` then, when it does not."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{condition} never held: {state()}") from None


@dataclass
class Following:
    """A watcher, its store, and everything that it told."""

    store: Store
    watcher: Watcher
    snapshots: list[tuple[Snapshot, frozenset[ObjectKey] | None]] = field(default_factory=list)
    histories: list[HistoryChanged] = field(default_factory=list)

    async def until(self, condition: Callable[[], object], seconds: float = 10.0) -> None:
        """Wait until `condition` holds; fails the test, with the watcher's state, when it does not."""
        await held(condition, lambda: repr(self.watcher), seconds)

    async def reaches(self, committed: Committed) -> None:
        await self.until(lambda: self.snapshot.position == committed.position)

    @property
    def snapshot(self) -> Snapshot:
        assert self.watcher.snapshot is not None
        return self.watcher.snapshot


@asynccontextmanager
async def following(url: str, worker: str = "w1", disk: DiskCopy | None = None) -> AsyncIterator[Following]:
    """A started watcher on connections of its own."""
    listener = connect_listener(url)
    async with opened(url) as store:
        seen: list[tuple[Snapshot, frozenset[ObjectKey] | None]] = []
        histories: list[HistoryChanged] = []
        watcher = Watcher(
            store,
            listener,
            WorkerInfo(worker),
            lambda snapshot, changed: seen.append((snapshot, changed)),
            histories.append,
        )
        await watcher.start(disk)
        try:
            yield Following(store, watcher, seen, histories)
        finally:
            await watcher.aclose()
            await listener.aclose()
