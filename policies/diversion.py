"""The local brake: while Redis is away, a worker that has proof by itself stops serving what is bad.

It diverts in its own process only. When Redis is back it writes the Change, if the release is still in the life that
was judged, and lets the diversion go; two workers that did the same write one Change. Knows no request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol
from uuid import uuid4

from flags.change import Committed, Decide
from flags.edge import Edge
from flags.errors import FlagError, StoreUnavailable
from flags.model import Flag, Kind, ObjectKey
from flags.slices import in_slices
from policies.act import Breach, braked, deed, leads_nowhere, stands_in
from policies.brake import Ledger
from policies.case import Case
from policies.clock import FleetClock
from policies.counts import CaseCounts, CaseGain
from policies.judge import judge
from policies.policy import Action, Policy
from policies.roster import Roster
from policies.tally import Tally
from policies.verdict import Standing, Verdict

log = logging.getLogger(__name__)

# A worker follows the ledger within milliseconds; one that is this late is not waited for.
FOLLOW_SECONDS = 2.0


class OwnEvidence(Protocol):
    """What is asked of the gauge here."""

    def last(self, case_key: str) -> CaseCounts | None:
        """The fleet's counts when Redis last told."""
        ...

    def unsent(self, case_key: str) -> list[CaseGain]:
        """What this worker gained since."""
        ...


@dataclass(frozen=True, slots=True)
class Diversion:
    """What this worker stopped serving by itself, and why."""

    breach: Breach

    @property
    def flag(self) -> str:
        """The flag's key."""
        assert self.breach.case.subject is not None
        return self.breach.case.subject.flag

    @property
    def variant(self) -> str:
        """What it serves no more."""
        assert self.breach.case.subject is not None
        return self.breach.case.subject.variant

    def over(self, flag: Flag) -> Flag | None:
        """`flag` as this process serves it: without the release. None where the release is no longer on trial."""
        subject = self.breach.case.subject
        assert subject is not None
        if not stands_in(self.breach.case, flag) or subject.variant == flag.safe:
            return None
        return braked(flag, subject.variant, flag.changed_at)


class LocalBrake:
    """This worker's diversions. What changes here: those.

    `on_change` hears of the flags whose diversion began or ended, so that they are served accordingly. `holds` tells
    whether what a trial was judged by holds still, of a coin that is not ours (policies.brake.Holds); None: every coin is.
    """

    def __init__(
        self,
        ledger: Ledger,
        evidence: OwnEvidence,
        roster: Roster,
        clock: FleetClock,
        on_change: Callable[[frozenset[str]], None],
        *,
        holds: Callable[[Breach], bool] | None = None,
    ) -> None:
        self._ledger, self._evidence, self._roster, self._clock = ledger, evidence, roster, clock
        self._on_change, self._holds = on_change, holds
        self._diversions: dict[str, Diversion] = {}

    def __repr__(self) -> str:
        return f"<LocalBrake {sorted(self._diversions)}>"

    @property
    def diversions(self) -> Mapping[str, Diversion]:
        """By flag."""
        return self._diversions

    async def look(self) -> int:
        """Judge this worker's own evidence, and divert what is breached; how many were. While Redis is away."""
        begun = []
        async for case in in_slices([*self._roster.docket.of_flag.values()]):
            breach = self._breach(case)
            if breach is not None:
                begun.append(breach)
        moved: set[str] = set()
        for breach in sorted(begun, key=lambda each: each.verdict.ratio, reverse=True):
            diversion = Diversion(breach)
            # As for the fleet: of one route only one at a time.
            if moved.isdisjoint(breach.case.routes) and diversion.flag not in self._diversions:
                moved.update(breach.case.routes)
                self._diversions[diversion.flag] = diversion
                log.warning("local brake, policy %s: %s", breach.policy.name, breach.verdict.reason)
                self._on_change(frozenset({diversion.flag}))
        return len(begun)

    async def settle(self) -> int:
        """Redis is back: write what this worker did, and serve again by what the store says; how many were written.

        Raises StoreUnavailable where it is away again; then the diversions stay.
        """
        written = 0
        for key, diversion in tuple(self._diversions.items()):
            breach = diversion.breach
            try:
                reads = breach.reads(self._roster.flag(key))
                committed = await self._ledger.change(breach.author, reads, _deed_of(breach), insist=True)
                written += bool(committed.entries)
                await self._followed(key, committed)
            except StoreUnavailable:
                raise
            except FlagError as error:
                log.warning("local brake of %s was not written: %s", key, error)
            del self._diversions[key]
            log.warning("local brake of %s ended: %s", key, "written" if written else "nothing to write")
            self._on_change(frozenset({key}))
        return written

    async def _followed(self, key: str, committed: Committed) -> None:
        """Wait until this worker serves by what the store says, or the bad release would serve again in between."""
        stored = committed.view.objects.get(ObjectKey(Kind.FLAG, key))
        wanted = committed.position.revision if committed.entries else stored.revision if stored else 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FOLLOW_SECONDS):
                await self._roster.reaches(key, wanted)

    def _breach(self, case: Case) -> Breach | None:
        """The strongest breach by own evidence that a rollback would mend."""
        gains = self._evidence.unsent(case.key)
        if not gains or case.subject is None or case.subject.flag in self._diversions:
            return None
        now_ms = self._clock.now_ms() or 0
        tally = Tally(case.key, self._evidence.last(case.key) or CaseCounts())
        for gain in gains:
            tally.add(gain, now_ms)
        tally.finish()
        flag = self._roster.flag(case.subject.flag)
        found = [
            Breach(case, policy, verdict, self._roster.declared(policy.name), id=uuid4().hex)
            for policy in case.policies
            if policy.action is Action.ROLLBACK
            and not policy.dry_run
            and not leads_nowhere(case, policy, flag)
            and (verdict := self._verdict(case, policy, tally.counts, now_ms)) is not None
            and verdict.standing is Standing.BREACHED
        ]
        breach = max(found, key=lambda each: each.verdict.ratio, default=None)
        return breach if breach is None or self._holds is None or self._holds(breach) else None

    def _verdict(self, case: Case, policy: Policy, counts: CaseCounts, now_ms: int) -> Verdict | None:
        with Edge(log, "policy %s, judging %s,", policy.name, case.key):
            return judge(case, policy, counts, now_ms)
        return None


def _deed_of(breach: Breach) -> Decide:
    return lambda view: deed(breach, view)
