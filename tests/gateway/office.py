"""An operators' office for tests: a real store, real workers that follow it, and the admin API over them."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from starlette.applications import Starlette

from flags.change import Draft, View
from flags.codec import document_of
from flags.connect import connect, connect_listener
from flags.fleet import WorkerInfo
from flags.ledger import Author
from flags.model import Document, Flag, Kind, Layer, ObjectKey
from flags.snapshot import Snapshot
from flags.store import Store
from flags.watch import Watcher
from gateway.auth import NO_KEYS, Keyring
from gateway.breaking.board import BreakerBoard, BreakerShelf
from gateway.breaking.breakers import Breakers
from gateway.deciding.elsewhere import Elsewhere
from gateway.figures.exemplars import Exemplars
from gateway.figures.metrics import BOUNDS
from gateway.figures.sight import Sight
from gateway.http.admin import admin_mount
from gateway.keys.stored import with_stored
from gateway.notices.noticeboard import Noticeboard
from gateway.operations import Operations
from gateway.order import Order
from gateway.signals.taking import SeenSignals, SignalTaker
from policies import judge
from policies.case import Docket, docket_of, layer_flags
from policies.incidents.responder import Responder
from policies.measures import Measures
from policies.policy import Policy
from tests.gateway.builders import MODEL, flag

NOW = 1_800_000_000.0


def by(actor: str = "alice", reason: str = "because", **wait: float) -> Order:
    return Order(Author(actor, reason), **wait)


class Office:
    """What `gateway.http.endpoint.House` asks for, with as many following workers as wanted."""

    def __init__(self, url: str, *, keys: Keyring = NO_KEYS) -> None:
        self.store = Store(connect(url), f"t{uuid.uuid4().hex[:12]}")
        self._listeners = []
        self._url = url
        self.watchers: list[Watcher] = []
        self.operations = Operations(self.store, self.snapshot, time.monotonic)
        self.own_keys = keys
        self.elsewhere = Elsewhere()
        self.stopped = False
        # What the sources' secrets are read from.
        self.environ: dict[str, str] = {}
        self.worker = WorkerInfo("w1", "here", 1)
        self.measures = Measures(self.store)
        # Its loop does not run: tests send by `notices.sender.round()`.
        self.notices = Noticeboard(
            self.store, {}, self.snapshot, away=self.degraded, clock=time.monotonic, base="http://ops"
        )
        self.responder = Responder(
            self.store, self.measures, snapshot=self.snapshot, new_id=lambda: uuid.uuid4().hex
        )
        self.signals = SignalTaker(
            self.responder,
            SeenSignals(self.store),
            snapshot=self.snapshot,
            environ=self.environ,
            now=self.now,
        )
        self.breakers = Breakers(clock=time.monotonic, draw=lambda: 0.5)
        self.board = BreakerBoard(self.breakers, self.worker.id, BreakerShelf(self.store))
        self.exemplars = Exemplars(BOUNDS, now=self.now)
        self.sight = Sight(
            self.measures, self.docket, judge, away=self.degraded, now=time.time, clock=time.monotonic
        )
        # What a local brake took out of service.
        self.local: Mapping[str, str] = {}
        # Without any, no policy watches, so that no test meets a verdict that it did not ask for.
        self.policies: Mapping[str, Policy] = {}

    async def start(self, workers: int = 1) -> Office:
        for number in range(workers):
            await self.hire(f"w{number + 1}")
        return self

    async def hire(self, name: str) -> Watcher:
        listener = connect_listener(self._url)
        watcher = Watcher(self.store, listener, WorkerInfo(name, "here", 1), lambda *_: None)
        await watcher.start()
        self._listeners.append(listener)
        self.watchers.append(watcher)
        return watcher

    def snapshot(self) -> Snapshot:
        found = self.watchers[0].snapshot
        assert found is not None
        return found

    @property
    def keys(self) -> Keyring:
        found = self.watchers[0].snapshot if self.watchers else None
        return self.own_keys if found is None else with_stored(self.own_keys, found.of_kind(Kind.KEY))

    @keys.setter
    def keys(self, own: Keyring) -> None:
        self.own_keys = own

    def docket(self) -> Docket:
        """What is judged by `policies`."""
        snapshot = self.snapshot()
        flags = {key: compiled.flag for key, compiled in snapshot.flags.items()}
        routes = {
            name: layer_flags(name, stored.document.get("spec") or {})
            for name, stored in snapshot.of_kind(Kind.ROUTE).items()
        }
        return docket_of(flags, routes, self.policies)

    def degraded(self) -> bool:
        return self.watchers[0].degraded

    def diverted(self) -> Mapping[str, str]:
        return self.local

    def now(self) -> float:
        return NOW

    def stopping(self) -> bool:
        return self.stopped

    async def declare(self, *made: tuple[Flag, Mapping[str, Any]], routes: Sequence[str] = ()) -> None:
        """Write flags and routes as a config file would."""
        drafts = [Draft("apply", key_of(f.key), document_of(f), contents) for f, contents in made]
        drafts += [Draft("apply", ObjectKey(Kind.ROUTE, name), {"spec": {}}) for name in routes]
        committed = await self.store.change(Author("config", "declared"), None, lambda _: drafts)
        acks = await self.store.acknowledged(committed.position, 5.0, committed.workers)
        assert not acks.missing

    async def put(self, key: ObjectKey, document: Document | None) -> int:
        """Write one object, or take it away; its revision."""

        def decide(_: View) -> list[Draft]:
            return [Draft("apply", key, document)]

        committed = await self.store.change(Author("config", "declared"), [key], decide)
        await self.store.acknowledged(committed.position, 5.0, committed.workers)
        return committed.position.revision

    async def flag(self, key: str = "support-bot.prompt") -> Flag:
        """The flag as the store has it."""
        committed = await self.store.change(Author("test", "look"), [key_of(key)], lambda _: [])
        return committed.view.flag(key)

    async def warm_up(self) -> None:
        """Open connections, so that two who begin at once are not told apart by who has to connect first."""
        await asyncio.gather(*(self.store.head() for _ in range(4)))

    def client(self, **headers: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=Starlette(routes=[admin_mount(self)]))
        base = "http://127.0.0.1:4000/admin/v1"
        return httpx.AsyncClient(transport=transport, base_url=base, headers=headers)

    async def aclose(self) -> None:
        await self.notices.aclose()
        await asyncio.gather(*(watcher.aclose() for watcher in self.watchers))
        for listener in self._listeners:
            await listener.aclose()
        await self.store.aclose()


def key_of(name: str) -> ObjectKey:
    return ObjectKey(Kind.FLAG, name)


def prompt(key: str = "support-bot.prompt", **state: Any) -> tuple[Flag, Mapping[str, Any]]:
    """v5, v6 and v7, of which v6 is served and safe."""
    contents = {v: {"messages": [{"role": "system", "content": f"You are {v}."}]} for v in ("v5", "v6", "v7")}
    return flag(key, Layer.PROMPT, contents, **{"serve": "v6", "safe": "v6", **state})


def model(key: str = "support-bot.model", **state: Any) -> tuple[Flag, Mapping[str, Any]]:
    """gpt-4.1 and gpt-4o, of which gpt-4.1 is served and safe."""
    return flag(key, Layer.MODEL, {"gpt-4.1": MODEL, "gpt-4o": {**MODEL, "model": "gpt-4o"}}, **state)
