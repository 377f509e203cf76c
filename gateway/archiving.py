"""Which part of the ledger may be archived, and its archiving: nothing goes that rollbacks or notices still need.

Knows the house's own readers of the ledger; how entries are taken out, flags.archive knows.
"""

from __future__ import annotations

from flags.archive import KEPT_ENTRIES, Archived, Copy, checkpoint, trim
from flags.errors import Invalid
from flags.ledger import Author
from flags.model import Kind
from flags.snapshot import Snapshot
from flags.store import Store
from gateway.figures.rollbacks import Counts
from policies.governance.record import open_steps, record_from

# The entries before a rollback's opening that its procedure reads: the rollback itself stands among them.
BEFORE_OPENING = 200


async def archivable(store: Store, snapshot: Snapshot) -> int:
    """The last revision that may be archived now; below 1: none."""
    head = (await store.head()).position.revision
    bounds = [head - KEPT_ENTRIES, *_needed_by_rollbacks(snapshot)]
    cursor = await store.calls.run(lambda redis: redis.hget(store.keys.notices_cursor, "revision"))
    if cursor is not None:
        bounds.append(int(cursor))
    return min(bounds)


async def archive(store: Store, snapshot: Snapshot, author: Author, copy: Copy) -> Archived:
    """Take out of the ledger what `copy` holds. Raises what `flags.archive.trim` does."""
    counts = Counts((await checkpoint(store)).tallies)
    return await trim(store, author, copy, upto=await archivable(store, snapshot), tally=counts)


def _needed_by_rollbacks(snapshot: Snapshot) -> list[int]:
    """For each rollback with open steps, the last revision that it needs no more."""
    found = []
    for stored in snapshot.of_kind(Kind.ROLLBACK).values():
        try:
            record = record_from(stored.document)
        except Invalid:
            # Written by a later version, perhaps: it may need what was there when it was written.
            found.append(stored.revision - BEFORE_OPENING)
            continue
        if not record.closed and any(open_steps(record)):
            found.append((record.opened or stored.revision) - BEFORE_OPENING)
    return found
