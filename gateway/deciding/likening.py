"""Writes our flags' likenesses of what providers decide, and tells where what is withdrawn here is still given there.

Every worker hands on what its providers gave; one, under a lease, looks at all of it and writes. Knows no request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from flags.change import Draft, View
from flags.codec import document_of
from flags.edge import Edge
from flags.errors import FlagError, StoreUnavailable
from flags.ledger import Author
from flags.model import Document, Flag, Kind, ObjectKey
from flags.slices import in_slices
from flags.snapshot import Snapshot
from gateway.deciding.diverting import Diverting
from gateway.deciding.elsewhere import Elsewhere
from gateway.deciding.likeness import RISEN_DOUBT, Step, began, has_risen, next_likeness
from gateway.deciding.sightings import Seen, Sighting, Sightings
from policies import verbs
from policies.act import Breach, elapsed
from policies.brake import Ledger
from policies.governance.card import card_keys, cards_in
from policies.governance.rules import unmet
from policies.lease import Lease
from policies.rounds import Rounds

log = logging.getLogger("pointsman.deciding")

ACTION = "observed"
# What a worker's providers gave is handed on, and looked at, this often.
ROUND_SECONDS = 1.0
# Of one flag at most one Change in this time, counted from whatever was changed last.
WRITE_EVERY_SECONDS = 5.0
# A worker that does not look asks this often whether it is to.
LEASE_AGAIN_SECONDS = 3.0
# Flags that are looked at in one round, each at some 1 ms; the others in the next.
MOST_FLAGS = 50
# Before a policy may act on a coin that is not ours, all that was given up to its verdict must have been handed on.
HANDED_ON_SECONDS = 2.5
# The chance that such an act is put off in vain (and the candidate begins anew).
HOLD_DOUBT = 0.01
# A breach that did not come again for so long is another one when it does.
FORGET_SECONDS = 10.0


class Parts(NamedTuple):
    """What of a house is used here: `snapshot` gives the newest one, `away` tells that Redis is known not to answer."""

    ledger: Ledger
    snapshot: Callable[[], Snapshot | None]
    away: Callable[[], bool]
    clock: Callable[[], float]


class Likening:
    """One worker's. What changes here: whether it is the one that looks, whose turn is next, and which acts wait."""

    def __init__(
        self,
        elsewhere: Elsewhere,
        sightings: Sightings,
        parts: Parts,
        lease: Callable[[], Lease],
        diverting: Diverting,
    ) -> None:
        self._elsewhere, self._sightings, self._parts = elsewhere, sightings, parts
        self._lease, self._diverting = lease, diverting
        self._handing = Rounds("what providers gave", self.hand_on, ROUND_SECONDS, away=parts.away)
        self._task: asyncio.Task[None] | None = None
        self._next = 0
        self._held: dict[str, float] = {}
        self._refused: dict[str, str] = {}
        self._undecided: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Likening of {self._elsewhere!r}, {len(self._held)} acts wait>"

    def start(self) -> None:
        """Begin. Call it in the running loop."""
        self._handing.start()
        self._task = asyncio.create_task(self._run(), name="likenesses")

    async def aclose(self) -> None:
        """Stop, and hand on what was noted last. Idempotent."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait([task])
        await self._handing.aclose()

    async def hand_on(self) -> None:
        """Give to the fleet what this worker's providers gave. Raises StoreUnavailable; then it is given later."""
        await self._tell_undecided()
        counts = self._elsewhere.tally.take()
        if not counts:
            return
        try:
            await self._sightings.add(counts)
        except StoreUnavailable:
            self._elsewhere.tally.give_back(counts)
            raise

    async def _tell_undecided(self) -> None:
        for route, why in tuple(self._elsewhere.refused.items()):
            if self._undecided.get(route) != why:
                await self._diverting.undecided(route, why)
                self._undecided[route] = why

    async def round(self) -> int:
        """Look once at the flags whose turn it is; how many were written. Raises StoreUnavailable."""
        followed = sorted(self._elsewhere.followed)
        if not followed:
            return 0
        seen = await self._sightings.seen()
        turns = followed[self._next :][:MOST_FLAGS]
        self._next = 0 if self._next + MOST_FLAGS >= len(followed) else self._next + MOST_FLAGS
        written = 0
        async for key in in_slices(turns):
            written += await self._look(key, seen)
        return written

    async def _look(self, key: str, seen: Seen) -> bool:
        snapshot = self._parts.snapshot()
        compiled = None if snapshot is None else snapshot.flags.get(key)
        given = seen.of(key)
        if compiled is None or not given:
            return False
        flag, reference = compiled.flag, self._elsewhere.followed[key]
        await self._diverting.look(flag, given, seen.now, self._elsewhere.deciders.get(reference))
        try:
            if next_likeness(flag, given, seen.now) is None:
                return False
            return await self._write(flag, given, seen.now)
        except StoreUnavailable:
            raise
        except FlagError as error:
            if self._refused.get(key) != str(error):
                self._refused[key] = str(error)
                log.warning("flag %s cannot stand as %s decides: %s", key, reference, error)
            return False

    async def _write(
        self, flag: Flag, given: Sequence[Sighting], now: int, doubt: float = RISEN_DOUBT
    ) -> bool:
        """One Change, decided anew on the flag as it is; whether it was written."""
        key, reference = ObjectKey(Kind.FLAG, flag.key), self._elsewhere.followed[flag.key]
        step = next_likeness(flag, given, now, doubt=doubt)
        if step is None:
            return False

        def decide(view: View) -> Sequence[Draft]:
            if key not in view.objects:
                return []
            before = view.flag(flag.key)
            if elapsed(before.changed_at, view.time) < WRITE_EVERY_SECONDS and not has_risen(
                before, given, doubt
            ):
                return []
            found = next_likeness(before, given, now, doubt=doubt)
            return [] if found is None else [_draft(before, found, given, view)]

        author = Author(f"provider/{reference}", f"{reference}: {step.why}")
        committed = await self._parts.ledger.change(author, [key, *card_keys(flag)], decide, insist=True)
        for entry in committed.entries:
            log.info("flag %s: %s", flag.key, entry.reason)
        return bool(committed.entries)

    async def holds(self, breach: Breach) -> bool:
        """Whether a policy may act on a trial whose coin a provider tosses: not before it is known that the share, by
        which it was judged, was not passed. Raises StoreUnavailable.

        Where it was, the candidate begins a new life, and this breach is of the old one.
        """
        subject = breach.case.subject
        if subject is None or breach.case.control is None or subject.flag not in self._elsewhere.followed:
            return True
        now = self._parts.clock()
        self._held = {key: at for key, at in self._held.items() if now - at < FORGET_SECONDS}
        since = self._held.setdefault(breach.case.key, now)
        if now - since < HANDED_ON_SECONDS:
            return False
        del self._held[breach.case.key]
        snapshot = self._parts.snapshot()
        compiled = None if snapshot is None else snapshot.flags.get(subject.flag)
        seen = await self._sightings.seen()
        if compiled is None or not has_risen(compiled.flag, seen.of(subject.flag), HOLD_DOUBT):
            return True
        await self._write(compiled.flag, seen.of(subject.flag), seen.now, HOLD_DOUBT)
        return False

    def holds_alone(self, breach: Breach) -> bool:
        """As `holds`, in a worker that Redis does not answer: by what its own provider gave since, which is handed on to
        nobody. What a share was earlier hides for a while that it rose; a brake that waited for that would not brake.
        """
        subject = breach.case.subject
        if subject is None or breach.case.control is None or subject.flag not in self._elsewhere.followed:
            return True
        snapshot = self._parts.snapshot()
        compiled = None if snapshot is None else snapshot.flags.get(subject.flag)
        if compiled is None:
            return True
        stage = began(compiled.flag)
        own = self._elsewhere.tally.held(subject.flag).items()
        given = [Sighting(stage, kind.route, kind.variant, kind.how, times) for kind, times in own]
        return not has_risen(compiled.flag, given, HOLD_DOUBT)

    async def _run(self) -> None:
        while True:
            with Edge(log, "likenesses"):
                if self._elsewhere.followed and not self._parts.away():
                    await self._lead()
            await asyncio.sleep(LEASE_AGAIN_SECONDS)

    async def _lead(self) -> None:
        """Look again and again, for as long as this worker is the one."""
        async with self._lease() as lease:
            while lease.held and self._elsewhere.followed:
                await self.round()
                await asyncio.sleep(ROUND_SECONDS)


def _draft(before: Flag, step: Step, given: Sequence[Sighting], view: View) -> Draft:
    after = verbs.stamped(before, step.flag, view.time)
    evidence: Document = {"given": _told(given)}
    name = after.served
    if name is not None and name != before.served:
        lacking = [f"{name}: {each}" for each in unmet(after, name, cards_in(view, after)[name])]
        evidence = {**evidence, "ungoverned": lacking} if lacking else evidence
    return Draft(ACTION, ObjectKey(Kind.FLAG, before.key), document_of(after), evidence=evidence)


def _told(given: Sequence[Sighting]) -> Mapping[str, int]:
    """How many got each version in the minutes that were looked at."""
    found: dict[str, int] = {}
    for each in given:
        found[each.variant] = found.get(each.variant, 0) + each.times
    return found
