"""Judges what the fleet has counted, and acts on a breach once: rollback, pause or alert.

Any worker may judge; there is no leader. What is written is decided anew on the objects as they are then
(policies/act.py), so of two workers that find the same breach one writes it and the other sees it done. Knows no
request, and not how counts are made.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol
from uuid import uuid4

from flags.change import Committed, Decide
from flags.edge import Edge
from flags.errors import FlagError, Refused
from flags.ledger import Author
from flags.model import NOTHING, ObjectKey
from policies.act import Breach, deed, is_done, leads_nowhere, told
from policies.case import Case
from policies.clock import FleetClock
from policies.counts import CaseCounts, Second
from policies.judge import judge, needs_seconds
from policies.policy import Action, Policy
from policies.roster import Roster
from policies.verdict import Standing, Verdict

log = logging.getLogger(__name__)

# A breach that could not be acted upon (Redis away, cooldown not over, a bug) is looked at again after this.
AGAIN_SECONDS = 1.0
# An alert that nothing is done about is told at most this often, by the whole fleet.
ALERT_EVERY_SECONDS = 600.0
# How long a worker takes it that an alert which was told need not be told.
ASK_EVERY_MS = 30_000
# Whether a version fits is asked of stores: a brake waits no longer for them, and acts where nobody can tell.
FIT_SECONDS = 1.0
# The seconds that prove a watch's alarm: an hour of traffic.
SECONDS_WANTED = 3600


class Fits(Protocol):
    """Whether a flag may land on a version that nobody gets now."""

    async def __call__(self, flag: str, variant: str, /) -> bool | None:
        """None where nobody can tell."""
        ...


class Holds(Protocol):
    """Whether what a trial was judged by holds still: of a coin that is not ours."""

    async def __call__(self, breach: Breach, /) -> bool:
        """False: not now; it is asked again. Raises StoreUnavailable."""
        ...


class Ledger(Protocol):
    """What is asked of the store here."""

    async def change(
        self, author: Author, reads: Sequence[ObjectKey] | None, decide: Decide, *, insist: bool = False
    ) -> Committed:
        """Commit what `decide` drafts."""
        ...


class Bell(Protocol):
    """Keeps the fleet from telling the same thing many times (policies.measures)."""

    async def alarm(self, name: str, seconds: float) -> bool:
        """True for the one worker that may ring; nobody may again for so many seconds. Raises StoreUnavailable."""
        ...


class Evidence(Bell, Protocol):
    """What is asked of the measures here."""

    async def seconds(self, case: str, policy_id: str, limit: int = 3600) -> tuple[Second, ...]:
        """The latest finished seconds."""
        ...


class Brake:
    """One worker's brake. What changes here: the counts not judged yet, and what is to be looked at again."""

    def __init__(
        self,
        ledger: Ledger,
        evidence: Evidence,
        roster: Roster,
        clock: FleetClock,
        *,
        new_id: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        self._ledger, self._evidence, self._roster, self._clock = ledger, evidence, roster, clock
        self._new_id = new_id
        # Asked before a rollback lands on what is not served; None: everything fits.
        self.fits: Fits | None = None
        # Asked before anything is written but a note; None: every coin is ours.
        self.holds: Holds | None = None
        # Breaches whose landing did not fit, and until when nobody is asked again.
        self._unfit: dict[str, int] = {}
        # By case; of a case that is not judged yet the newest counts replace the older: bounded by the docket.
        self._fresh: dict[str, CaseCounts] = {}
        self._again: dict[str, CaseCounts] = {}
        # Alerts of which this worker knows that somebody rang, and until when it need not ask again.
        self._rung: dict[str, int] = {}
        # Those that this worker rang and could not write yet: nobody else will.
        self._owed: set[str] = set()
        self._wake = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Brake {len(self._fresh)} to judge, {len(self._again)} again>"

    def on_counts(self, counts: Mapping[str, CaseCounts], now_ms: int) -> None:
        """The fleet's counts of some cases, as of Redis' clock. Returns at once; judged right after."""
        self._clock.heard(now_ms)
        self._fresh.update((key, each) for key, each in counts.items() if key in self._roster.docket.cases)
        for key in counts:
            self._again.pop(key, None)
        if self._fresh:
            self._wake.set()

    async def run(self) -> None:
        """Judge and act for ever; to be cancelled."""
        while True:
            try:
                async with asyncio.timeout(AGAIN_SECONDS if self._again else None):
                    await self._wake.wait()
            except TimeoutError:
                self._fresh = {**self._again, **self._fresh}
                self._again = {}
            self._wake.clear()
            await self.round()

    async def round(self) -> None:
        """Judge what is new, and act on what is breached, the strongest evidence first.

        Of one route only one breach is acted on: what goes back may have been the cause of the others too.
        """
        fresh, self._fresh = self._fresh, {}
        breaches = [await self._landing(breach) async for breach in self._breaches(fresh)]
        breaches.sort(key=lambda breach: breach.verdict.ratio, reverse=True)
        moved: set[str] = set()
        for breach in breaches:
            case = breach.case
            if not breach.alerts and not moved.isdisjoint(case.routes):
                self._again[case.key] = fresh[case.key]
                continue
            if await self._acted(breach):
                moved.update(() if breach.alerts else case.routes)
            else:
                self._again[case.key] = fresh[case.key]

    async def _landing(self, breach: Breach) -> Breach:
        """The breach, marked where a rollback would land on a version that nobody gets now and that does not fit.

        With a candidate it lands on what serves the others already.
        """
        case, subject = breach.case, breach.case.subject
        flag = self._roster.flag(subject.flag) if subject else None
        if (
            self.fits is None
            or breach.alerts
            or case.control is not None
            or flag is None
            or flag.safe is None
        ):
            return breach
        if breach.policy.action is not Action.ROLLBACK:
            return breach
        name, now_ms = f"{case.key}|{breach.policy.id}", self._clock.now_ms() or 0
        if self._unfit.get(name, -1) <= now_ms:
            self._unfit = {each: until for each, until in self._unfit.items() if until > now_ms}
            if await self._fits_on(flag.key, flag.safe):
                return breach
            self._unfit[name] = now_ms + ASK_EVERY_MS
        return replace(breach, unfit=True)

    async def _fits_on(self, flag: str, variant: str) -> bool:
        assert self.fits is not None
        try:
            async with asyncio.timeout(FIT_SECONDS):
                return await self.fits(flag, variant) is not False
        except TimeoutError:
            return True
        except Exception:  # a bug in asking must never hold a brake
            log.exception("whether %s fits could not be asked", flag)
            return True

    async def _breaches(self, fresh: Mapping[str, CaseCounts]) -> AsyncIterator[Breach]:
        for key, counts in fresh.items():
            case = self._roster.docket.cases.get(key)
            for policy in case.policies if case else ():
                assert case is not None
                flag = self._roster.flag(case.subject.flag) if case.subject else None
                if is_done(policy, flag):
                    continue
                verdict = await self.verdict(case, policy, counts)
                if verdict is not None and verdict.standing is Standing.BREACHED:
                    yield Breach(
                        case,
                        policy,
                        verdict,
                        self._roster.declared(policy.name),
                        nowhere=leads_nowhere(case, policy, flag),
                        id=self._new_id(),
                    )
            await asyncio.sleep(0)

    async def verdict(self, case: Case, policy: Policy, counts: CaseCounts) -> Verdict | None:
        """One verdict, with the seconds that prove it where it needs them; None where it could not be told."""
        now_ms = self._clock.now_ms() or counts.since_ms
        with Edge(log, "policy %s, judging %s,", policy.name, case.key):
            if needs_seconds(case, policy, counts, now_ms):
                seconds = await self._evidence.seconds(case.key, policy.id, SECONDS_WANTED)
                held = replace(counts.policies[policy.id], seconds=seconds)
                counts = replace(counts, policies={**counts.policies, policy.id: held})
            return judge(case, policy, counts, now_ms)
        return None

    async def _acted(self, breach: Breach) -> bool:
        """Whether there is nothing left to do about it (by whomever); else it is to be looked at again."""
        try:
            if not breach.alerts:
                held = self.holds is None or await self.holds(breach)
                return held and await self._roll_back(breach)
            await self._alert(breach)
            return True
        except FlagError as error:
            log.warning("policy %s could not act on %s: %s", breach.policy.name, breach.case.key, error)
        except Exception:  # the edge: the next breach must still be acted on
            log.exception("policy %s could not act on %s", breach.policy.name, breach.case.key)
        return False

    async def _alert(self, breach: Breach) -> None:
        name, now_ms = f"{breach.case.key}|{breach.policy.id}", self._clock.now_ms() or 0
        if self._rung.get(name, 0) > now_ms:
            return
        every = max(breach.policy.cooldown_seconds, ALERT_EVERY_SECONDS)
        if name in self._owed or await self._evidence.alarm(name, every):
            self._owed.add(name)
            await self._ledger.change(
                breach.author, breach.reads(None), lambda view: told(breach, view), insist=True
            )
            log.warning("policy %s: %s", breach.policy.name, breach.author.reason)
        known = self._roster.docket.cases
        self._owed = {each for each in self._owed - {name} if each.rpartition("|")[0] in known}
        self._rung = {each: until for each, until in self._rung.items() if until > now_ms}
        self._rung[name] = now_ms + ASK_EVERY_MS

    async def _roll_back(self, breach: Breach) -> bool:
        try:
            committed = await self._change(breach, breach.author)
        except Refused as refused:
            if refused.rule != "entry_too_large":
                raise
            # A brake never refuses for want of papers.
            reason = f"{breach.author.reason} (evidence left out: {refused})"
            bare = replace(breach, verdict=replace(breach.verdict, evidence=NOTHING))
            committed = await self._change(bare, Author(breach.author.actor, reason))
        for entry in committed.entries:
            log.warning(
                "policy %s: %s of %s: %s", breach.policy.name, entry.action, entry.object, entry.reason
            )
        return bool(committed.entries)

    async def _change(self, breach: Breach, author: Author) -> Committed:
        subject = breach.case.subject
        reads = breach.reads(self._roster.flag(subject.flag) if subject else None)
        return await self._ledger.change(author, reads, lambda view: deed(breach, view), insist=True)
