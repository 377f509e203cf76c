"""Reads the whole ledger again and again, by one worker of the fleet, and tells where it does not hold together.

New entries are checked as they come (flags.anchor); this finds what somebody did to old ones. Knows no channel.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from flags.anchor import kept_anchor, pages
from flags.archive import checkpoint
from flags.errors import LedgerBroken
from flags.slices import in_slices
from flags.store import Store
from flags.walk import MEND
from policies.lease import Lease, LeaseLost
from policies.notices.event import Event
from policies.notices.outbox import chain_broken
from policies.rounds import Rounds

log = logging.getLogger("pointsman.notices")

# Whose turn it is to look is asked so often; it costs Redis one call.
LOOK_SECONDS = 60.0
# A thousandth of a core: a small ledger is read every minute, one of 100,000 entries (some seconds, in slices) every
# hour or two, the largest once a day. A break that was told is not looked for again within the day.
REST_TIMES, REST_SECONDS = 1000.0, 86_400.0


class Telling(Protocol):
    """Who tells people of what has no entry in the ledger."""

    async def tell(self, event: Event) -> None:
        """Once, by the event's id."""
        ...


class ChainWatch:
    """One worker's, looking while its `rounds` are under way. `monotonic` counts seconds."""

    def __init__(
        self, store: Store, telling: Telling, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._telling, self._monotonic = store, telling, monotonic
        self.rounds = Rounds("the watch over the ledger", self.look, LOOK_SECONDS)

    def __repr__(self) -> str:
        return f"<ChainWatch {self.rounds!r}>"

    async def look(self) -> bool:
        """Read the ledger if it is due and nobody else does; whether a break was told. Raises StoreUnavailable."""
        async with Lease(self._store, "chain") as lease:
            if not lease.held:
                return False
            broken: LedgerBroken | None = None
            began = self._monotonic()
            try:
                await lease.during(verified(self._store))
            except LeaseLost:
                return False
            except LedgerBroken as error:
                broken = error
                log.error("the ledger does not hold together: %s", error)
                await self._telling.tell(chain_broken(error, await self._store.time()))
            took = self._monotonic() - began
            lease.rest_seconds = REST_SECONDS if broken else min(REST_SECONDS, REST_TIMES * took)
            return broken is not None


async def verified(store: Store) -> None:
    """Read all entries that are not archived, and compare them with the anchor that is kept. Raises LedgerBroken."""
    kept = await kept_anchor(store)
    walk = (await checkpoint(store)).walk()
    end = (await store.head()).position
    async for page in pages(store, walk, end):
        async for text in in_slices(page):
            walk.take(text)
            if kept is not None and walk.tree.size == kept.size and walk.tree.root() != kept.root:
                raise LedgerBroken(
                    f"the ledger is broken: its first {kept.size} entries are not those that were anchored ({kept})",
                    mend=MEND,
                )
