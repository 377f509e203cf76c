"""Workers without requests: real store, watcher, gauge and automation; traffic is handed to their recorders as outcomes."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from flags.canonical import digest
from flags.change import Draft
from flags.codec import document_of
from flags.connect import connect, connect_listener
from flags.fleet import WorkerInfo
from flags.ledger import Author, Entry
from flags.model import Document, Flag, Kind, Layer, ObjectKey, Variant
from flags.store import Store
from flags.watch import Watcher
from policies import verbs
from policies.automation import Automation
from policies.gauge import Gauge
from policies.measures import Measures
from policies.outcome import Blame, Ending, Outcome, Release, Score
from policies.recorder import Recorder

PROMPT = "bot.prompt"
ERRORS = {"metric": "error_rate", "limit": 0.05}
CONTENTS: Mapping[str, Any] = {
    name: {"messages": [{"role": "system", "content": name}]} for name in ("v5", "v6", "v7")
}
_ids = itertools.count()


def a_flag(key: str = PROMPT, layer: Layer = Layer.PROMPT, **fields: Any) -> Flag:
    """v5, v6 and v7, of which v6 is served and safe."""
    variants = {name: Variant(name, digest(value)) for name, value in CONTENTS.items()}
    return Flag(key, **{"variants": variants, "serve": "v6", "safe": "v6", "layer": layer, **fields})


class Worker:
    """One worker of a fleet: everything but requests."""

    def __init__(self, url: str, namespace: str, name: str) -> None:
        self.store = Store(connect(url), namespace)
        self.listener = connect_listener(url)
        self.measures = Measures(self.store)
        self.recorder = Recorder()
        self.diverted: list[frozenset[str]] = []
        self.automation = Automation(
            self.store,
            self.measures,
            away=lambda: self.watcher.degraded,
            on_divert=self.diverted.append,
            monotonic=time.monotonic,
            # Nothing moves by itself but the brake: tests call `tick`.
            tick_seconds=3600.0,
        )
        # The brake judges one round after the other; one that a test asks for waits for its turn too.
        self.automation.brake.round = in_turn(self.automation.brake.round)  # type: ignore[method-assign]
        self.watcher = Watcher(self.store, self.listener, WorkerInfo(name), self.automation.follow)
        self.gauge = Gauge(
            self.measures,
            self.recorder,
            f"{name}-{next(_ids)}",
            self.automation.docket,
            self.automation.on_counts,
        )

    async def start(self) -> Worker:
        await self.watcher.start()
        self.automation.start(self.gauge)
        self.gauge.start()
        return self

    async def aclose(self) -> None:
        await self.automation.aclose()
        await self.gauge.aclose()
        await self.watcher.aclose()
        await self.listener.aclose()
        await self.store.aclose()

    # What people do

    async def declare(
        self, *flags: Flag, route: str = "bot", policies: Mapping[str, Document] | None = None
    ) -> None:
        found = {"errors": ERRORS} if policies is None else policies
        drafts = [
            Draft("declare", ObjectKey(Kind.FLAG, flag.key), document_of(flag), _contents()) for flag in flags
        ]
        drafts.append(Draft("declare", ObjectKey(Kind.ROUTE, route), {"spec": {}}))
        drafts += [
            Draft("declare", ObjectKey(Kind.POLICY, name), {"spec": spec}, affects=False)
            for name, spec in found.items()
        ]
        await self.store.change(Author("config", "declared"), None, lambda _: drafts)
        await self.caught_up()

    async def do(self, verb: Callable[[Flag], verbs.Step], key: str = PROMPT, action: str = "switch") -> Flag:
        """A verb of an operator's; the flag after it."""
        target = ObjectKey(Kind.FLAG, key)
        found: list[Flag] = []

        def decide(view: Any) -> list[Draft]:
            before = view.flag(key)
            found.append(verbs.stamped(before, verb(before).flag, view.time))
            return [Draft(action, target, document_of(found[-1]))]

        await self.store.change(Author("ann", "because"), [target], decide)
        await self.caught_up()
        return found[-1]

    async def flag(self, key: str = PROMPT) -> Flag:
        """The flag as the store has it."""
        committed = await self.store.change(Author("test", "look"), [ObjectKey(Kind.FLAG, key)], lambda _: [])
        return committed.view.flag(key)

    async def log(self, actor: str = "") -> list[Entry]:
        return [entry for entry in await self.store.read_log(0, 500) if entry.actor.startswith(actor)]

    async def caught_up(self) -> None:
        """Until this worker's docket is that of the ledger's end."""
        end = (await self.store.head()).position
        await until(lambda: self.watcher.snapshot is not None and self.watcher.snapshot.position == end)
        await self.automation.roster.current()

    # What requests leave behind

    def release(self, variant: str, key: str = PROMPT) -> Release:
        flag = self.automation.roster.flag(key)
        assert flag is not None
        return Release(key, variant, flag.variants[variant].generation)

    def outcome(self, variant: str, *, ok: bool = True, how: str = "c", **fields: Any) -> Outcome:
        """The end of a request that `variant` served; each of a user of its own."""
        snapshot = self.watcher.snapshot
        number = next(_ids)
        usual: dict[str, Any] = {
            "request_id": f"req-{number}",
            "route": "bot",
            "releases": (self.release(variant),),
            "ending": Ending.OK if ok else Ending.FAILED,
            "blame": Blame.NONE if ok else Blame.UPSTREAM,
            "status": 200 if ok else 500,
            "seconds": 0.1,
            "how": how,
            "revision": snapshot.revision if snapshot else 0,
            "unit": f"unit-{number}",
        }
        return Outcome(**{**usual, **fields})

    def serve(self, variant: str, count: int = 1, **fields: Any) -> None:
        """`count` requests that ended so."""
        for _ in range(count):
            self.recorder.add(self.outcome(variant, **fields))

    async def told(self) -> None:
        """Until all that was recorded has been counted, and judged."""
        await until_true(self.gauge.flush)
        await self.automation.brake.round()


def score(worker: Worker, variant: str, value: float, metric: str = "helpful") -> Score:
    number = next(_ids)
    return Score(
        f"req-{number}|{metric}", "bot", (worker.release(variant),), "c", f"unit-{number}", metric, value
    )


def in_turn(act: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """The same, never two at a time."""
    lock = asyncio.Lock()

    async def one() -> None:
        async with lock:
            await act()

    return one


def _contents() -> dict[str, Any]:
    return {digest(value): value for value in CONTENTS.values()}


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def until_true(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait until awaiting `condition` gives something true."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.01)
