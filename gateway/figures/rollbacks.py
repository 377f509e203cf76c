"""How often each flag was rolled back, and by whom: counted from the ledger, of which each entry is read once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from flags.change import Head
from flags.checkpoint import Archives
from flags.ledger import Entry, entry_from
from flags.model import Json

# Entries read at once; the pages of one look take some 100 ms, so that no scrape waits for a long history.
PAGE, PAGES = 500, 20
# An entry that does not hold these bytes is none; the others are parsed to be sure.
MARK = b'"action":"rollback"'
# Without keys whoever asks names himself: beyond so many (flag, name) pairs the name is left out.
MOST = 1_000
OTHERS = "others"
# Under which name the ledger's checkpoint keeps the counts of its archived part.
TALLY = "rollbacks"


class Ledger(Protocol):
    """What is asked of the store here."""

    async def head(self) -> Head:
        """Where the ledger ends now."""
        ...

    async def archived(self) -> Archives:
        """Up to where it is archived, with what was counted there."""
        ...

    async def read_log_bytes(self, after: int, limit: int) -> list[bytes]:
        """Entries with a revision above `after`, oldest first."""
        ...


class Counts:
    """The counts of the entries that were taken. What changes here: they."""

    def __init__(self, tallies: Mapping[str, Json] | None = None) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        found = (tallies or {}).get(TALLY)
        for row in found if isinstance(found, list) else ():
            flag, by, count = row
            self._counts[(flag, by)] = count

    def __repr__(self) -> str:
        return f"<Counts of {self._counts.total()}>"

    @property
    def all(self) -> Mapping[tuple[str, str], int]:
        """By (flag, by)."""
        return dict(self._counts)

    def take(self, entry: Entry) -> None:
        """Count the entry, where it is a rollback."""
        if entry.action != "rollback":
            return
        key = (entry.object.partition("/")[2], entry.actor)
        full = len(self._counts) >= MOST and key not in self._counts
        self._counts[(key[0], OTHERS) if full else key] += 1

    def document(self) -> Mapping[str, Json]:
        """What `Counts` reads back: for the checkpoint of an archive."""
        return {TALLY: [[flag, by, count] for (flag, by), count in sorted(self._counts.items())]}


class Rollbacks:
    """The counts so far. What changes here: they, and the revision that was read to."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._read_to = 0
        self._counts = Counts()

    def __repr__(self) -> str:
        return f"<Rollbacks {self._counts!r} up to revision {self._read_to}>"

    @property
    def last(self) -> Mapping[tuple[str, str], int] | None:
        """As counted so far; None where nothing was read yet."""
        return self._counts.all if self._read_to else None

    async def counted(self) -> Mapping[tuple[str, str], int] | None:
        """By (flag, by), up to the ledger's end; None while it is longer than one look reads. Raises StoreUnavailable."""
        end = (await self._ledger.head()).position.revision
        if end < self._read_to:
            # A fail-over lost the ledger's tail.
            self._read_to, self._counts = 0, Counts()
        if not self._read_to:
            await self._begin()
        for _ in range(PAGES):
            if self._read_to >= end:
                return self._counts.all
            await self._read_on()
        return None

    async def _begin(self) -> None:
        """What was archived was counted when it was."""
        archives = await self._ledger.archived()
        if not self._read_to:
            self._read_to, self._counts = archives.position.revision, Counts(archives.tallies)

    async def _read_on(self) -> None:
        begin = self._read_to
        texts = await self._ledger.read_log_bytes(begin, PAGE)
        # Two scrapes at once read the same page; the second counts nothing.
        if self._read_to != begin:
            return
        for text in texts:
            if MARK in text:
                self._counts.take(entry_from(text))
        self._read_to = entry_from(texts[-1]).revision if texts else begin
