"""Records of rollbacks for tests: opened in a real store, driven by clerks whose deeds are words."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from flags.change import Draft
from flags.connect import connect, connect_listener
from flags.fleet import WorkerInfo
from flags.ledger import Author, Entry
from flags.model import Kind, ObjectKey
from flags.store import Store
from flags.watch import Watcher
from gateway.governing.clerk import Clerk
from policies.governance.finding import Finding
from policies.governance.record import (
    Figures,
    Noted,
    Record,
    Step,
    StepName,
    StepState,
    opening,
    record_from,
    record_key,
)
from policies.lease import Lease
from tests.flags.stores import Following, document

FLAG = "chat.prompt"
FLAG_KEY = ObjectKey(Kind.FLAG, FLAG)
# What is left to do once the Change stands.
AFTER = tuple(name for name in StepName if name not in (StepName.LOCATE, StepName.RESTORE))
# Each of these steps written once, and the record closed.
ONCE = Counter([*(name.value for name in AFTER), "done"])
# Short, so that a test in which a clerk dies need not wait for long.
LEASE_SECONDS = 0.6


def a_record(at: str = "2026-01-02T03:04:05.000Z", **fields: Any) -> Record:
    """v2 was rolled back to v1 by ann."""
    done = Step(StepState.DONE, at, "v1")
    usual: Mapping[str, Any] = {
        "flag": FLAG,
        "origin": "v2",
        "to": "v1",
        "hash": "f" * 64,
        "label": "v1.0.0-rollback",
        "reason": "wrong answers",
        "actor": "ann",
        "at": at,
        "routes": ["chat"],
        "steps": {StepName.LOCATE: done, StepName.RESTORE: done},
    }
    return Record(**{**usual, **fields})


async def rolled_back(
    store: Store,
    change_id: str = "r1",
    *,
    layer: str | None = "prompt",
    suite: str | None = None,
    **fields: Any,
) -> int:
    """Write a rollback and its record, in one Change, as the verbs do; its revision. `suite`: the flag's own."""

    def decide(view: Any) -> list[Draft]:
        after = {**document("v1"), "layer": layer, "withdrawn": ["v2"]}
        rules = {"promotion": {"suite": suite}} if suite else {}
        flag = Draft("rollback", FLAG_KEY, {**after, **rules}, id=change_id)
        return [opening(change_id, a_record(**{"at": view.time, **fields})), flag]

    committed = await store.change(Author("ann", "wrong answers"), [FLAG_KEY, record_key(change_id)], decide)
    return committed.position.revision


async def record_in(store: Store, change_id: str = "r1") -> Record:
    """The record as the store has it."""
    found = await store.change(Author("test", "look"), [record_key(change_id)], lambda _: [])
    return record_from(found.view.objects[record_key(change_id)].document)


async def steps_in(store: Store, change_id: str = "r1") -> Counter[str]:
    """How often each step was recorded, by the words that begin the reasons of the ledger; `done`: that it was closed."""
    entries = [each for each in await log_of(store) if each.object == str(record_key(change_id))]
    return Counter(
        "done" if each.action == "rollback.done" else each.reason.partition(":")[0]
        for each in entries
        if each.action in ("rollback.step", "rollback.done")
    )


async def log_of(store: Store) -> list[Entry]:
    return await store.read_log(0, 500)


@asynccontextmanager
async def a_worker(url: str, namespace: str, name: str = "w1") -> AsyncIterator[Following]:
    """A worker that follows a namespace."""
    listener, store = connect_listener(url), Store(connect(url), namespace)
    watcher = Watcher(store, listener, WorkerInfo(name), lambda *_: None)
    await watcher.start()
    try:
        yield Following(store, watcher)
    finally:
        await watcher.aclose()
        await listener.aclose()
        await store.aclose()


class Deeds:
    """Deeds of words: every step succeeds at once, but for those that a test says something else of."""

    def __init__(self, who: str = "w1", answers: Mapping[StepName, Finding | None] | None = None) -> None:
        self.who, self.answers = who, dict(answers or {})
        self.done: list[StepName] = []
        # Steps at which it stands still, and the word that it has come there.
        self.stuck: set[StepName] = set()
        self.arrived = asyncio.Event()

    async def do(self, name: StepName, change_id: str, record: Record) -> Finding | None:
        self.done.append(name)
        if name in self.stuck:
            self.arrived.set()
            await asyncio.Event().wait()
        return self.answers.get(name, Finding(StepState.DONE, f"{name} by {self.who}"))

    async def figures(self, record: Record) -> Noted:
        return Noted(Figures(), Figures())


class DeadStore(Store):
    """A store that can be cut off from Redis, as it is for a process that was killed or stopped."""

    def cut(self) -> None:
        """Nothing reaches Redis any more."""
        self.real, self._calls._redis = self._calls._redis, connect("redis://127.0.0.1:1/0")

    async def mend(self) -> None:
        """It does again."""
        nowhere, self._calls._redis = self._calls._redis, self.real
        await nowhere.aclose()


def clerk_of(
    following: Following,
    deeds: Any,
    *,
    store: Store | None = None,
    away: Callable[[], bool] = lambda: False,
    monotonic: Callable[[], float] = time.monotonic,
) -> Clerk:
    """A clerk that follows the store as a worker does."""
    own = store or following.store
    return Clerk(
        own,
        deeds,
        snapshot=lambda: following.snapshot,
        away=away,
        lease=lambda name: Lease(own, name, seconds=LEASE_SECONDS, monotonic=monotonic),
        monotonic=monotonic,
        settle_seconds=0.0,
    )


async def until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait until awaiting `condition` gives something true."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


async def closed(store: Store, change_id: str = "r1") -> bool:
    return bool((await record_in(store, change_id)).closed)
