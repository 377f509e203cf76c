"""The ledger's anchor, its size and Merkle root, kept up to date in Redis by reading only what is new.

Knows nothing of who notes an anchor where: whoever holds one can tell later whether the entries below it are the same.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from flags.archive import checkpoint
from flags.errors import LedgerBroken
from flags.merkle import MerkleTree
from flags.model import START, Position
from flags.slices import in_slices
from flags.store import Store
from flags.walk import MEND, Anchor, Walk

log = logging.getLogger(__name__)

# Entries read at once: some 300 KB, one round trip.
PAGE = 500
# A first look at 100,000 entries takes seconds: so many are done again at most by the next who tries.
KEEP_EVERY = 5_000


@dataclass(frozen=True, slots=True)
class _Found:
    """Where the ledger ends, the anchor that is kept, and where the ledger begins: as of one instant."""

    head: Position
    kept: Position
    size: int
    frontier: tuple[str, ...]
    archived: Position

    @property
    def fell_back(self) -> bool:
        """Whether the ledger ends before the place where the anchor was taken, or begins after it."""
        return not self.archived.revision <= self.kept.revision <= self.head.revision

    def resumed(self) -> Walk:
        """The walk that goes on where the kept anchor was taken. Raises LedgerBroken for one that is none."""
        try:
            return Walk(MerkleTree.restored(self.size, self.frontier), self.kept)
        except ValueError as error:
            raise LedgerBroken(f"the ledger's anchor in Redis is none: {error}", mend=MEND) from None


async def anchor(store: Store) -> Anchor:
    """The ledger's size and Merkle root (RFC 6962) now; one call where nothing is new. Any worker may ask at any time.

    Raises LedgerBroken, with what was found, where entries do not continue what was anchored before, or were edited;
    StoreUnavailable. A ledger that ends before the anchor (a fail-over lost its tail) is anchored anew.
    """
    found = await _look(store)
    try:
        return await _advanced(store, found)
    except LedgerBroken:
        again = await _look(store)
        # A fail-over, or an archive that was made meanwhile, is no break.
        if again.head.revision >= found.head.revision and again.archived == found.archived:
            raise
        return await _advanced(store, again)


async def kept_anchor(store: Store) -> Anchor | None:
    """The anchor as it is kept, without a look at the ledger; None before the first. Raises LedgerBroken for one that is none."""
    found = await _look(store)
    return None if found.kept == START or found.fell_back else found.resumed().anchor


async def pages(store: Store, walk: Walk, end: Position) -> AsyncIterator[list[bytes]]:
    """The entries from where `walk` stands to `end`, in pages; whoever gets one takes it before it asks for the next.

    Raises LedgerBroken where the ledger ends before.
    """
    while walk.position.revision < end.revision:
        page = await store.read_log_bytes(
            walk.position.revision, min(PAGE, end.revision - walk.position.revision)
        )
        if not page:
            raise LedgerBroken(
                f"the ledger is broken: it ends at revision {walk.position.revision}, its head says {end.revision}",
                mend=MEND,
            )
        yield page


async def _advanced(store: Store, found: _Found) -> Anchor:
    walk = await _beginning(store, found)
    kept, end = found.kept, found.head
    async for page in pages(store, walk, end):
        async for text in in_slices(page):
            walk.take(text)
        if walk.position.revision - kept.revision >= KEEP_EVERY and walk.position.revision < end.revision:
            kept = await _keep(store, kept, walk)
    if walk.position != end:
        raise LedgerBroken(
            f"the ledger is broken: revision {end.revision} is {walk.position.hash or '(nothing)'}, "
            f"its head says {end.hash or '(nothing)'}",
            mend=MEND,
        )
    if kept != walk.position:
        await _keep(store, kept, walk)
    return walk.anchor


async def _beginning(store: Store, found: _Found) -> Walk:
    if found.kept == START or found.fell_back:
        if found.kept.revision > found.head.revision:
            log.warning(
                "the anchor was taken at revision %d, the ledger holds %d to %d: it is anchored anew",
                *(found.kept.revision, found.archived.revision + 1, found.head.revision),
            )
        if found.archived == START:
            return Walk()
        return (await checkpoint(store)).walk()
    return found.resumed()


async def _keep(store: Store, kept: Position, walk: Walk) -> Position:
    """Write how far the walk has come, unless another was faster; where we stand now."""
    frontier = " ".join(walk.tree.frontier)
    args: list[str | bytes | int] = [*kept, *walk.position, walk.tree.size, frontier]
    await store.calls.script("anchor", [store.keys.anchor], args)
    return walk.position


async def _look(store: Store) -> _Found:
    keys = [store.keys.head, store.keys.anchor, store.keys.checkpoint]
    head, head_hash, kept, kept_hash, size, frontier, first, first_hash = await store.calls.script(
        "anchored", keys
    )
    try:
        return _Found(
            _position(head, head_hash),
            _position(kept, kept_hash),
            int(size or 0),
            tuple((frontier or b"").decode().split()),
            _position(first, first_hash),
        )
    except (ValueError, AttributeError) as error:
        raise LedgerBroken(f"the ledger's anchor in Redis is none: {error}", mend=MEND) from None


def _position(revision: bytes | None, text: bytes | None) -> Position:
    return START if revision is None else Position(int(revision), (text or b"").decode())
