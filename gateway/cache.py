"""The optional response cache: answers kept in Redis for requests that are exactly alike. Knows no wire and no rule.

It is never in the way: a look-up is bounded and not repeated, after a failure the cache rests, and what is to be kept
is written behind the answer, from a bounded queue.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import msgspec

from flags.errors import StoreUnavailable
from flags.model import Kind
from flags.snapshot import Snapshot
from flags.store import Store
from gateway.answer import Whole
from gateway.ask import Ask
from gateway.decision import Decision
from gateway.exchange import Exchange
from gateway.kept import Copy, Kept, copy_for, decode, encode, key_of
from policies.outcome import Part

# What a request may lose to a Redis that is slow: less than it takes to notice.
LOOK_UP_SECONDS = 0.1
# As other calls to the store; nobody waits for it.
WRITE_SECONDS = 0.25
# After a failure: a Redis that is away must not cost every request its 100 ms.
REST_SECONDS = 5.0
# Look-ups under way; each has a connection of its own. Who comes later asks the upstream.
LOOK_UPS = 64
# What waits to be written: as much as a second's answers of a busy worker, and no more than this memory.
WAITING, WAITING_BYTES = 256, 16 * 1024 * 1024


class Shelf(Protocol):
    """Where answers lie, by key. Both raise StoreUnavailable."""

    async def get(self, key: str) -> bytes | None:
        """What lies under `key`."""
        ...

    async def put(self, key: str, value: bytes, seconds: float) -> None:
        """Lay `value` under `key` for so long."""
        ...


class RedisShelf:
    """The Shelf in Redis: a string for each answer, which ends by itself."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, key: str) -> bytes | None:
        """See Shelf."""
        name = self._store.keys.answer(key)
        found: bytes | None = await self._store.calls.run(
            lambda redis: redis.get(name), seconds=LOOK_UP_SECONDS, again=False
        )
        return found

    async def put(self, key: str, value: bytes, seconds: float) -> None:
        """See Shelf."""
        name, milliseconds = self._store.keys.answer(key), max(1, round(seconds * 1000))
        await self._store.calls.run(
            lambda redis: redis.set(name, value, px=milliseconds), seconds=WRITE_SECONDS, again=False
        )


class _Waiting(NamedTuple):
    key: str
    value: bytes
    seconds: float


class Cache:
    """One worker's way to it. What changes here: what waits to be written, who looks up now, until when it rests, and
    the task that writes while there is something."""

    def __init__(self, shelf: Shelf, *, clock: Callable[[], float]) -> None:
        self._shelf, self._clock = shelf, clock
        self._waiting: deque[_Waiting] = deque()
        self._bytes = self._asking = 0
        self._rests_until = float("-inf")
        self._writing: asyncio.Task[None] | None = None
        # Answers that were not kept for want of room.
        self.dropped = 0

    def __repr__(self) -> str:
        return f"<Cache {len(self._waiting)} waiting, {self._asking} asking, {self.dropped} dropped>"

    def begin(self, ask: Ask, decision: Decision, headers: Mapping[bytes, bytes]) -> Copy | None:
        """The request's part in the cache; None where it has none."""
        spec = decision.route.cache
        if spec is None:
            return None
        return copy_for(ask, headers, seconds=spec.seconds, max_bytes=spec.max_bytes)

    async def find(  # all that a key is made of
        self,
        copy: Copy,
        decision: Decision,
        ask: Ask,
        fields: Mapping[str, msgspec.Raw],
        *,
        x: Exchange,
        snapshot: Snapshot,
    ) -> Whole | None:
        """The answer to a request that is exactly alike, None where there is none, or none was told in time."""
        copy.key = key_of(decision, ask, fields, x.headers, places(decision, snapshot))
        # What a candidate failed is asked of its control: an answer that lay here would say that this one is well.
        reads = copy.reads and x.part is not Part.SHIELD
        if not reads or self._asking >= LOOK_UPS or self._clock() < self._rests_until:
            return None
        began = x.clock()
        self._asking += 1
        try:
            found = await self._shelf.get(copy.key)
            kept = None if found is None else decode(found)
        except StoreUnavailable:
            self._rest()
            return None
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None  # another version of this program wrote it
        finally:
            self._asking -= 1
            x.waited += x.clock() - began
        if kept is None:
            return None
        copy.hit, copy.writes = True, False
        x.part = Part.CACHED
        return kept.answer()

    def keep(self, copy: Copy, x: Exchange) -> None:
        """Keep what was relayed, in the background; dropped where there is no room."""
        if not copy.writes or not copy.key or not copy.head or self._clock() < self._rests_until:
            return
        value = encode(
            Kept(
                [*copy.head],
                copy.body(),
                x.input_tokens,
                x.output_tokens,
                x.cached_tokens,
                x.reasoning_tokens,
            )
        )
        if len(self._waiting) >= WAITING or self._bytes + len(value) > WAITING_BYTES:
            self.dropped += 1
            return
        self._waiting.append(_Waiting(copy.key, value, copy.seconds))
        self._bytes += len(value)
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._waiting:
                key, value, seconds = self._waiting.popleft()
                self._bytes -= len(value)
                await self._shelf.put(key, value, seconds)
        except StoreUnavailable:
            self._rest()
        finally:
            self._writing = None

    def _rest(self) -> None:
        self._rests_until = self._clock() + REST_SECONDS
        self.dropped += len(self._waiting)
        self._waiting.clear()
        self._bytes = 0

    async def settled(self) -> None:
        """Return when what waits is written, or given up."""
        while self._writing is not None:
            await asyncio.wait([self._writing])

    async def aclose(self) -> None:
        """Give up what is not written yet; idempotent."""
        self._waiting.clear()
        self._bytes = 0
        if self._writing is not None:
            self._writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writing


def places(decision: Decision, snapshot: Snapshot) -> list[str]:
    """The upstreams that may answer, as they stand: one that was moved elsewhere gives other answers."""
    declared = snapshot.of_kind(Kind.UPSTREAM)
    names = sorted({attempt.upstream for attempt in decision.model.attempts})
    return [f"{name}@{declared[name].revision if name in declared else 0}" for name in names]
