"""Takes the ledger's oldest entries out of Redis once somebody holds a verified copy, and keeps its chain checkable.

Knows nothing of the copy but its last entry and its root, and not who may ask. Never trims unasked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from flags.call import CALL_SECONDS
from flags.canonical import canonical
from flags.change import Draft
from flags.checkpoint import (
    ARCHIVE,
    ARCHIVE_KEY,
    BEGINNING,
    Checkpoint,
    Part,
    Survey,
    checkpoint_from,
    evidence_of,
)
from flags.errors import Conflict, LedgerBroken, Refused
from flags.ledger import Author, Entry
from flags.model import Json, Position
from flags.slices import in_slices
from flags.store import Store
from flags.walk import MEND, Anchor

# The newest entries stay: workers catch up by them, people look at them, and brakes search them for the last change.
KEPT_ENTRIES = 1_000
# Entries read at once: some 300 KB, one round trip.
PAGE = 500
# XTRIM takes some 0.2 µs an entry; the script waits this long for a million of them.
TRIM_SECONDS = 5.0


class Tally(Protocol):
    """What others count of the entries that go, so that their totals outlive them."""

    def take(self, entry: Entry) -> None:
        """One more entry goes."""
        ...

    def document(self) -> Mapping[str, Json]:
        """All that was counted, of earlier archives too: what `Checkpoint.tallies` is to hold."""
        ...


@dataclass(frozen=True, slots=True)
class Copy:
    """What somebody says to hold: everything up to `last`, in a file, as `anchor` describes it."""

    last: Position
    anchor: Anchor
    file: str


@dataclass(frozen=True, slots=True)
class Archived:
    """What was taken out, and the entry that tells of it."""

    part: Part
    entry: Entry


async def checkpoint(store: Store) -> Checkpoint:
    """What stays of the archived part; BEGINNING where nothing was archived. Raises LedgerBroken, StoreUnavailable."""
    text = await store.calls.run(lambda redis: redis.hget(store.keys.checkpoint, "document"))
    return BEGINNING if text is None else checkpoint_from(text)


async def trim(store: Store, author: Author, copy: Copy, *, upto: int, tally: Tally) -> Archived:
    """Take out every entry up to the copy's last, which must be `upto` at most; the ledger tells of it, in an entry first.

    Raises Refused (`archive_empty`, `archive_keeps`, `archive_differs`), Conflict where another archived meanwhile,
    LedgerBroken where what is to go does not hold together, StoreUnavailable.
    """
    before = await checkpoint(store)
    _check_bounds(copy, before, upto)
    survey = Survey.after(before)
    text = await _surveyed(store, survey, copy.last.revision, tally)
    if (survey.walk.position, survey.walk.anchor) != (copy.last, copy.anchor):
        found = f"revision {copy.last.revision} {copy.last.hash or '(empty)'} and root {copy.anchor.root}"
        here = f"{survey.walk.position.hash} and root {survey.walk.anchor.root}"
        raise Refused(
            "archive_differs", f"the copy ends at {found}; here that is {here}", mend="make the copy anew"
        )
    part = Part(before.revision + 1, copy.last.revision, await store.time(), author.actor, copy.file)
    # A digest for each object: a thread, or requests would wait for it.
    after = await asyncio.to_thread(survey.checkpoint, part, tally.document())
    evidence = {**(author.evidence or {}), **evidence_of(after, survey.walk.tree.root())}
    told = Author(author.actor, author.reason, author.link, evidence)
    note = Draft(ARCHIVE, ARCHIVE_KEY, None, affects=False)
    committed = await store.change(told, [ARCHIVE_KEY], lambda _view: [note])
    await _cut(store, before, after, text)
    return Archived(part, committed.entries[0])


def _check_bounds(copy: Copy, before: Checkpoint, upto: int) -> None:
    last = copy.last.revision
    if last <= before.revision:
        raise Refused("archive_empty", f"revision {last} is archived already: {before.archives.where(last)}")
    if last > upto:
        raise Refused(
            "archive_keeps",
            f"revisions after {upto} stay: the newest {KEPT_ENTRIES:,}, and what open rollbacks and notices still need",
            mend=f"archive up to revision {upto} at most" if upto > before.revision else "try again later",
        )


async def _surveyed(store: Store, survey: Survey, last: int, tally: Tally) -> bytes:
    """Go over all entries up to `last`; the last one's text."""
    text = b""
    while (at := survey.walk.position.revision) < last:
        page = await store.read_log_bytes(at, min(PAGE, last - at))
        if not page:
            raise LedgerBroken(f"the ledger is broken: nothing follows revision {at}", mend=MEND)
        async for text in in_slices(page):
            tally.take(survey.take(text))
    return text


async def _cut(store: Store, before: Checkpoint, after: Checkpoint, text: bytes) -> None:
    parts, tallies = (canonical(msgspec.to_builtins(each)) for each in (after.parts, after.tallies))
    args: list[str | bytes | int] = [before.revision, *after.position, after.text, parts, tallies]
    args += [text, after.revision + 1]
    keys = [store.keys.ledger, store.keys.checkpoint]
    answer = await store.calls.script("trim", keys, args, seconds=CALL_SECONDS + TRIM_SECONDS)
    if answer == b"differs":
        raise LedgerBroken(
            f"revision {after.revision} changed while it was archived; nothing was trimmed", mend=MEND
        )
    if answer == b"moved":
        raise Conflict("somebody else archived meanwhile; nothing was trimmed", mend="make the copy anew")
