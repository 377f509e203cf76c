"""A lease: of all workers one does a piece of work, and another takes over where that one dies or stands still.

It runs out by Redis' clock, so no two workers' clocks are ever compared. A lease keeps others from doing the same in
vain; it does not make a deed happen once: that is for a compare-and-set where the result is written. Knows no work.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from flags.call import scripts_in
from flags.errors import StoreUnavailable
from flags.store import Store

# So long is work in nobody's hands after its worker died: twice as long as a worker counts as alive without a beat.
LEASE_SECONDS = 10.0
# Renewed so often in that time: two renewals may fail before it runs out.
RENEWALS = 3

T = TypeVar("T")


class LeaseLost(Exception):
    """Raised when the lease ran out, or another took it, while work was done under it. The work was cancelled."""


class Lease:
    """One try of `owner` (a worker's id) to hold `lease:<name>`; use it as an async context manager, then ask `held`.

    Renewed in the background for as long as it is held, which also ends where Redis does not answer for `seconds`.
    What changes here: until when it is ours, and whether it was lost. Raises StoreUnavailable where Redis is away.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        *,
        owner: str = "",
        seconds: float = LEASE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._calls, self._key = store.calls, store.keys.lease(name)
        self._scripts = scripts_in("policies")
        self._seconds, self._monotonic = seconds, monotonic
        # The owner's name is for people who look who is at it; the rest makes it ours.
        self._token = f"{owner}/{entropy(12).hex()}"
        # How long nobody is to take it up once it is given back.
        self.rest_seconds = 0.0
        # Until when it is surely ours, by this process' own clock, counted from before Redis was asked.
        self._until = 0.0
        self._lost = asyncio.Event()
        self._renewing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Lease {self._key} held={self.held}>"

    @property
    def held(self) -> bool:
        """Whether it is ours, as far as this process can know without asking."""
        return not self._lost.is_set() and self._monotonic() < self._until

    async def __aenter__(self) -> Self:
        if await self._hold("take"):
            self._renewing = asyncio.create_task(self._renew_on(), name=f"renewing {self._key}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back; another may take it after `rest_seconds`. One that cannot be given back runs out."""
        renewing, self._renewing = self._renewing, None
        if renewing is None:
            return
        renewing.cancel()
        await asyncio.wait([renewing])
        ours, self._until = self.held, 0.0
        if ours:
            with contextlib.suppress(StoreUnavailable):
                await self._end()

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, done only while the lease is held. Raises LeaseLost, with the work cancelled and ended."""
        if not self.held:
            work.close()
            raise LeaseLost(self._key)
        task, lost = asyncio.create_task(work), asyncio.create_task(self._lost.wait())
        try:
            await asyncio.wait([task, lost], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise LeaseLost(self._key)
            return task.result()
        finally:
            lost.cancel()
            task.cancel()
            await asyncio.wait([task, lost])
            if not task.cancelled():
                task.exception()  # looked at, so that one which nobody waits for any more is not called unhandled

    async def _renew_on(self) -> None:
        """Until it is lost: whoever was stopped for a minute, and goes on, finds that here."""
        while True:
            await asyncio.sleep(self._seconds / RENEWALS)
            try:
                kept = await self._hold("renew")
            except StoreUnavailable:
                kept = self.held
            if not kept:
                self._lost.set()
                return

    async def _hold(self, how: str) -> bool:
        asked = self._monotonic()
        args: list[str | bytes | int] = [self._token, self._milliseconds(self._seconds), how]
        held = bool(await self._calls.script(self._scripts["hold"], [self._key], args))
        self._until = asked + self._seconds if held else 0.0
        return held

    async def _end(self) -> None:
        args: list[str | bytes | int] = [self._token, self._milliseconds(self.rest_seconds)]
        await self._calls.script(self._scripts["rest"], [self._key], args)

    @staticmethod
    def _milliseconds(seconds: float) -> int:
        return max(0, round(seconds * 1000))
