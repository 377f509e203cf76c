"""Looking back: what an object was, and when a flag's serving last changed, over more than one page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from flags.change import Committed, Decide, Head, View
from flags.checkpoint import Archives, Part
from flags.errors import NotFound, Refused
from flags.ledger import Author, Deed, Entry, seal
from flags.model import START, Document, Kind, ObjectKey, Position, StoredObject
from gateway.history import PAGE, last_state, serving_changed_at, state_at

FLAG = ObjectKey(Kind.FLAG, "f")
OTHER = ObjectKey(Kind.FLAG, "other")


class Entries:
    """A ledger in memory."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.objects: dict[ObjectKey, Document | None] = {}
        self.reads = 0
        # So many entries are archived.
        self.gone = 0
        self.parts: tuple[Part, ...] = ()

    def add(self, after: Document | None, key: ObjectKey = FLAG) -> int:
        position = self.entries[-1].position if self.entries else START
        deed = Deed("x", key, self.objects.get(key), after)
        self.entries.append(seal(Author("a", "r"), deed, after=position, time="t", change_id="i"))
        self.objects[key] = after
        return len(self.entries)

    async def head(self) -> Head:
        last = max((entry.revision for entry in self.entries), default=0)
        return Head(Position(last, ""), last)

    async def archived(self) -> Archives:
        return Archives(START if not self.gone else self.entries[self.gone - 1].position, self.parts)

    async def read_log(self, after: int, limit: int) -> list[Entry]:
        self.reads += 1
        after = max(after, self.gone)
        return self.entries[after : after + limit]

    async def change(self, author: Author, reads: Sequence[ObjectKey], decide: Decide) -> Committed:
        held = {
            key: StoredObject(key, found, 1) for key in reads if (found := self.objects.get(key)) is not None
        }
        view = View(START, "t", held)
        assert not decide(view)
        return Committed(START, (), view)


def serves(variant: str, **more: Any) -> Document:
    return {"serve": variant, "safe": "v1", **more}


async def test_the_state_at_a_revision_is_that_of_the_last_entry_before_it() -> None:
    ledger = Entries()
    first = ledger.add(serves("v1"))
    for _ in range(2 * PAGE):
        ledger.add(serves("v1"), ObjectKey(Kind.FLAG, "other"))
    last = ledger.add(serves("v2"))

    assert await state_at(ledger, FLAG, last) == serves("v2")
    assert await state_at(ledger, FLAG, last - 1) == serves("v1")
    assert await state_at(ledger, FLAG, first) == serves("v1")
    with pytest.raises(NotFound, match="the ledger ends at"):
        await state_at(ledger, FLAG, last + 1)


async def test_what_was_not_there_then_is_told() -> None:
    ledger = Entries()
    ledger.add(serves("v1"), ObjectKey(Kind.FLAG, "other"))
    ledger.add(serves("v1"))
    removed = ledger.add(None)

    with pytest.raises(NotFound, match="did not exist as of revision 1"):
        await state_at(ledger, FLAG, 1)
    with pytest.raises(NotFound, match="it was removed at 3"):
        await state_at(ledger, FLAG, removed)


async def test_the_last_state_is_also_that_before_a_removal() -> None:
    ledger = Entries()
    ledger.add(serves("v1"))
    ledger.add(serves("v2"))
    assert await last_state(ledger, FLAG) == serves("v2")
    ledger.add(None)

    assert await last_state(ledger, FLAG) == serves("v2")
    assert await last_state(ledger, ObjectKey(Kind.FLAG, "absent")) is None


async def test_a_change_that_serves_nobody_otherwise_does_not_count() -> None:
    ledger = Entries()
    ledger.add(serves("v1"))
    ledger.add(serves("v1"), ObjectKey(Kind.FLAG, "g"))
    ledger.add(serves("v2"), ObjectKey(Kind.FLAG, "g"))
    ledger.add(serves("v1", metadata={"a": 1}))

    found = await serving_changed_at(ledger, ["f", "g"], 4)

    assert max(found, key=lambda flag: found[flag]) == "g"


async def test_a_brake_looks_back_a_bounded_way() -> None:
    ledger = Entries()
    ledger.add(serves("v1"))
    for _ in range(100):
        ledger.add(serves("v1"), ObjectKey(Kind.ROUTE, "r"))

    assert await serving_changed_at(ledger, ["absent"], 1_000_000) == {}
    assert ledger.reads <= 20


async def test_what_was_before_an_archive_is_refused_with_where_it_is() -> None:
    ledger = Entries()
    for variant in ("v1", "v2", "v3"):
        ledger.add(serves(variant))
    ledger.gone, ledger.parts = 2, (Part(1, 2, "2026-01-01T00:00:00.000Z", "alice", "ledger-1.jsonl"),)

    with pytest.raises(Refused, match=r"archived by alice at .* into ledger-1\.jsonl") as refused:
        await state_at(ledger, FLAG, 1)

    assert refused.value.rule == "archived"
    assert await state_at(ledger, FLAG, 3) == serves("v3")


async def test_the_state_after_an_archive_is_known_though_its_entry_is_gone() -> None:
    """What the next write replaced, or, where there was none, what is there now."""
    ledger = Entries()
    ledger.add(serves("v1"))
    ledger.add(serves("v9"), OTHER)
    for _ in range(PAGE + 5):
        last = ledger.add(serves("v1"), ObjectKey(Kind.FLAG, "g"))
    ledger.add(serves("v2"))
    ledger.gone = 2

    assert await state_at(ledger, FLAG, last) == serves("v1")
    assert await state_at(ledger, OTHER, last) == serves("v9")
    assert await last_state(ledger, OTHER) == serves("v9")
    with pytest.raises(NotFound, match="did not exist"):
        await state_at(ledger, ObjectKey(Kind.FLAG, "absent"), last)


async def test_nobody_reads_below_an_archive() -> None:
    ledger = Entries()
    for _ in range(5 * PAGE):
        ledger.add(serves("v1"))
    ledger.gone = 5 * PAGE - 2

    await last_state(ledger, ObjectKey(Kind.FLAG, "absent"))

    assert ledger.reads == 1
