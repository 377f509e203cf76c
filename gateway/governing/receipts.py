"""Who was told of a rollback, as far as the outbox has come. Reads the outbox; sends nothing."""

from __future__ import annotations

from collections.abc import Sequence

from flags.store import Store
from policies.notices.delivery import Receipt
from policies.notices.outbox import Outbox


class Receipts:
    """The deliveries of events, over one outbox."""

    def __init__(self, outbox: Outbox, store: Store) -> None:
        self._outbox, self._store = outbox, store

    def __repr__(self) -> str:
        return f"Receipts({self._outbox!r})"

    async def of(self, event_id: str, revision: int) -> Sequence[Receipt] | None:
        """How each channel was told of the event of the Change at `revision`; none where nobody is to be.

        None while the outbox has not come to that revision. Raises StoreUnavailable.
        """
        # In this order: what the outbox had passed by then, it had addressed.
        reached = await self._reached()
        told = await self._outbox.told(event_id)
        if told is not None and told.merged:
            told = await self._outbox.told(told.merged) or told
        if told is not None:
            return [*told.receipts.values()]
        return [] if reached >= revision else None

    async def _reached(self) -> int:
        key = self._store.keys.notices_cursor
        found: bytes | None = await self._store.calls.run(lambda redis: redis.hget(key, "revision"))
        return int(found or 0)
