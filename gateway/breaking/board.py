"""Where every worker tells how its breakers stand, and reads how those of the others do. Judges nothing.

A worker tells when something has changed, so that a quiet fleet costs Redis nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol

import msgspec

from flags.errors import StoreUnavailable
from flags.slices import in_slices
from flags.store import Store
from gateway.breaking.breakers import Breakers, Guarded
from gateway.breaking.shapes import BreakerList, BreakerRow
from policies.breaker import Standing

# As often as workers' heartbeats: what people look at need not be younger.
TELL_EVERY_SECONDS = 1.0
# What a dead worker told is gone by then; half of it is the longest that a living one is silent.
KEPT_SECONDS = 3600

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[BreakerRow]).decode


class Shelf(Protocol):
    """The fleet's common place for it. Both raise StoreUnavailable."""

    async def put(self, worker: str, rows: bytes) -> None:
        """Put `rows` in the place of what `worker` told before."""
        ...

    async def others(self, worker: str) -> list[bytes]:
        """What each living worker but `worker` told last."""
        ...


class BreakerShelf:
    """The Shelf in Redis: one key for each worker, which ends by itself."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def put(self, worker: str, rows: bytes) -> None:
        """See Shelf."""
        key = self._store.keys.breakers(worker)
        await self._store.calls.run(lambda redis: redis.set(key, rows, ex=KEPT_SECONDS))

    async def others(self, worker: str) -> list[bytes]:
        """See Shelf."""
        alive = [state.info.id for state in await self._store.workers() if state.alive]
        keys = [self._store.keys.breakers(each) for each in alive if each != worker]
        if not keys:
            return []
        return [rows for rows in await self._store.calls.run(lambda redis: redis.mget(keys)) if rows]


class BreakerBoard:
    """One worker's view. What changes: what it told last and when that is told again, and its task."""

    def __init__(self, breakers: Breakers, worker: str, shelf: Shelf) -> None:
        self._breakers, self._worker, self._shelf = breakers, worker, shelf
        self._last, self._again_at = b"", 0.0
        self._telling: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()

    def __repr__(self) -> str:
        return f"<BreakerBoard of {self._worker}, last told {len(self._last)} bytes>"

    async def own(self) -> list[BreakerRow]:
        """This worker's breakers, now; in slices, for ten thousand take 40 ms."""
        return [
            self._row(guarded, breaker.standing(self._breakers.clock()))
            async for guarded, breaker in in_slices(self._breakers.all())
        ]

    def _row(self, guarded: Guarded, standing: Standing) -> BreakerRow:
        return BreakerRow(
            route=guarded.route,
            target=guarded.target,
            state=standing.state.value,
            calls=standing.calls,
            failures=standing.failures,
            slow=standing.slow,
            retry_in_seconds=None if standing.retry_in is None else round(standing.retry_in, 3),
            limited=standing.limited,
            worker=self._worker,
        )

    async def tell(self) -> None:
        """Tell the fleet, where something has changed since. Raises StoreUnavailable."""
        text, now = _encode(await self.own()), self._breakers.clock()
        if text != self._last or now >= self._again_at:
            await self._shelf.put(self._worker, text)
            self._last, self._again_at = text, now + KEPT_SECONDS / 2

    async def all(self, *, away: bool = False) -> BreakerList:
        """Every living worker's breakers; with the store away (`away`: as is known), this one's alone."""
        rows, told, degraded = await self.own(), list[bytes](), away
        try:
            told = [] if away else await self._shelf.others(self._worker)
        except StoreUnavailable:
            degraded = True
        for text in told:
            # A worker of another version may write what we cannot read: then its breakers are not shown.
            with contextlib.suppress(msgspec.DecodeError):
                rows += _decode(text)
        return BreakerList(sorted(rows, key=lambda row: (row.route, row.target, row.worker)), degraded)

    def start(self) -> None:
        """Tell once a second from now on, and when woken. Call it in the running loop."""
        self._telling = asyncio.create_task(self._tell_on())

    def wake(self) -> None:
        """Tell at once: who forces a breaker looks next whether it is forced, and may ask any worker."""
        self._woken.set()

    async def _tell_on(self) -> None:
        while True:
            self._woken.clear()
            with contextlib.suppress(StoreUnavailable):
                await self.tell()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TELL_EVERY_SECONDS):
                    await self._woken.wait()

    async def aclose(self) -> None:
        """Tell no more; idempotent."""
        if self._telling is not None:
            self._telling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._telling
            self._telling = None
