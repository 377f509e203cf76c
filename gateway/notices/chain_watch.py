"""Reads the whole ledger once a day, by one worker of the fleet, and tells where it does not hold together.

New entries are checked as they come (flags.anchor); this finds what somebody did to old ones. Knows no channel.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from flags.anchor import PAGE, kept_anchor
from flags.archive import checkpoint
from flags.errors import LedgerBroken, StoreUnavailable
from flags.slices import in_slices
from flags.store import Store
from flags.walk import MEND
from policies.lease import Lease, LeaseLost
from policies.notices.event import Event
from policies.notices.outbox import chain_broken

log = logging.getLogger("pointsman.notices")

# Whose turn it is to look is asked so often; it costs Redis one call.
LOOK_SECONDS = 60.0
# 100,000 entries take some seconds, in slices.
EVERY_SECONDS = 86_400.0


class Telling(Protocol):
    """Who tells people of what has no entry in the ledger."""

    async def tell(self, event: Event) -> None:
        """Once, by the event's id."""
        ...


class ChainWatch:
    """One worker's. What changes here: its task."""

    def __init__(self, store: Store, telling: Telling) -> None:
        self._store, self._telling = store, telling
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Watch from now on. Call it in the running loop."""
        self._task = asyncio.create_task(self._run(), name="chain watch")

    async def aclose(self) -> None:
        """No longer; idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except StoreUnavailable as error:
                log.info("the watch over the ledger waits for Redis: %s", error)
            except Exception:  # the background loop's edge: what went wrong once must not be the last
                log.exception("watching the ledger went wrong; going on")

    async def look(self) -> bool:
        """Read the ledger if it is due and nobody else does; whether a break was told. Raises StoreUnavailable."""
        async with Lease(self._store, "chain") as lease:
            if not lease.held:
                return False
            broken: LedgerBroken | None = None
            try:
                await lease.during(verified(self._store))
            except LeaseLost:
                return False
            except LedgerBroken as error:
                broken = error
                log.error("the ledger does not hold together: %s", error)
                await self._telling.tell(chain_broken(error, await self._store.time()))
            lease.rest_seconds = EVERY_SECONDS
            return broken is not None


async def verified(store: Store) -> None:
    """Read all entries that are not archived, and compare them with the anchor that is kept. Raises LedgerBroken."""
    kept = await kept_anchor(store)
    walk = (await checkpoint(store)).walk()
    end = (await store.head()).position
    while walk.position.revision < end.revision:
        page = await store.read_log_bytes(walk.position.revision, PAGE)
        if not page:
            raise LedgerBroken(
                f"the ledger is broken: it ends at revision {walk.position.revision}, its head says {end.revision}",
                mend=MEND,
            )
        async for text in in_slices(page):
            walk.take(text)
            if kept is not None and walk.tree.size == kept.size and walk.tree.root() != kept.root:
                raise LedgerBroken(
                    f"the ledger is broken: its first {kept.size} entries are not those that were anchored ({kept})",
                    mend=MEND,
                )
