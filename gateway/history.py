"""Looking back in the ledger: what an object was, and when a flag's serving last changed. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from flags.change import Committed, Decide, Head
from flags.checkpoint import Archives
from flags.errors import NotFound, Refused
from flags.ledger import Author, Entry
from flags.model import Document, Kind, ObjectKey

# Entries read at once, going backwards: some 200 KB, one round trip.
PAGE = 500
# How far back a brake looks for a change of serving before it takes the flags' own revisions: 20 pages are
# 10,000 changes and some 100 ms. A brake must not wait for archaeology.
BRAKE_PAGES = 20

# The fields of a flag's document that say who gets what.
SERVING = ("serve", "safe", "rollout", "withdrawn")


class Ledger(Protocol):
    """What is asked of the store here."""

    async def head(self) -> Head:
        """Where the ledger ends now."""
        ...

    async def archived(self) -> Archives:
        """Up to where it is archived."""
        ...

    async def read_log(self, after: int, limit: int) -> list[Entry]:
        """Entries with a revision above `after`, oldest first."""
        ...

    async def change(self, author: Author, reads: Sequence[ObjectKey], decide: Decide) -> Committed:
        """What of the objects there is now; nothing is written where nothing is drafted."""
        ...


async def state_at(ledger: Ledger, key: ObjectKey, revision: int) -> Document:
    """The document of `key` as of `revision`. Raises NotFound where it did not exist then, Refused where nobody here knows."""
    end = (await ledger.head()).position.revision
    if revision > end:
        raise NotFound(f"revision {revision} is not written yet: the ledger ends at {end}", mend=_see(key))
    archives = await ledger.archived()
    first = archives.position.revision
    if revision < first:
        raise Refused(
            "archived",
            f"revision {revision} is in an archive: {archives.where(revision)}",
            mend=f"find there what {key} was and declare that, or name a revision from {first} on",
        )
    entry = await _last_write(ledger, key, revision, first)
    if entry is not None:
        return _existing(entry, key, revision)
    document = await _unchanged_since(ledger, key, revision, end) if first else None
    if document is None:
        raise NotFound(f"{key} did not exist as of revision {revision}", mend=_see(key))
    return document


async def last_state(ledger: Ledger, key: ObjectKey) -> Document | None:
    """The newest document of `key` in the ledger, that before its removal included; None if it never existed.

    Of what was written last in an archived part, what there is now.
    """
    end, first = (await ledger.head()).position.revision, (await ledger.archived()).position.revision
    entry = await _last_write(ledger, key, end, first)
    if entry is not None:
        return entry.after or entry.before
    return await _now(ledger, key) if first else None


async def _last_write(ledger: Ledger, key: ObjectKey, revision: int, first: int) -> Entry | None:
    """The newest entry up to `revision` that wrote `key`, of those after `first`."""
    upto = revision
    while upto > first:
        start = max(first, upto - PAGE)
        for entry in reversed(await ledger.read_log(start, upto - start)):
            if entry.object == str(key) and entry.revision <= upto and entry.writes:
                return entry
        upto = start
    return None


async def _unchanged_since(ledger: Ledger, key: ObjectKey, revision: int, end: int) -> Document | None:
    """The document as of `revision`, where the entry that wrote it is archived: what the next write replaced, or what is now."""
    after = revision
    while after < end and (page := await ledger.read_log(after, PAGE)):
        for entry in page:
            if entry.object == str(key) and entry.writes:
                return entry.before
        after = page[-1].revision
    return await _now(ledger, key)


async def _now(ledger: Ledger, key: ObjectKey) -> Document | None:
    held = (await ledger.change(Author("", ""), [key], lambda _view: ())).view.objects.get(key)
    return None if held is None else held.document


async def serving_changed_at(ledger: Ledger, flags: Sequence[str], head: int) -> Mapping[str, int]:
    """The revision at which each flag's serving changed last; 0 where before the newest found."""
    wanted = {str(ObjectKey(Kind.FLAG, flag)): flag for flag in flags}
    found: dict[str, int] = {}
    upto = head
    for _ in range(BRAKE_PAGES):
        if upto <= 0:
            break
        start = max(0, upto - PAGE)
        for entry in reversed(await ledger.read_log(start, upto - start)):
            flag = wanted.get(entry.object)
            if flag is not None and flag not in found and _serving(entry.before) != _serving(entry.after):
                found[flag] = entry.revision
        # The newest is all that a brake needs to know.
        if found:
            break
        upto = start
    return {flag: found.get(flag, 0) for flag in flags} if found else {}


def _serving(document: Document | None) -> tuple[object, ...] | None:
    return None if document is None else tuple(document.get(name) for name in SERVING)


def _existing(entry: Entry, key: ObjectKey, revision: int) -> Document:
    if entry.after is None:
        message = f"{key} did not exist as of revision {revision}: it was removed at {entry.revision}"
        raise NotFound(message, mend=_see(key))
    return entry.after


def _see(key: ObjectKey) -> str:
    return (
        f"see its history: pointsman log --flag {key.name}" if key.kind is Kind.FLAG else "see: pointsman log"
    )
