"""What automation moves when all is well: a rollout's next step, and a promoted version that has become safe.

Any worker may do it, once a second; there is no state but the flag and the evidence, so nothing is lost with the
worker that drove it. A rollout by hand is never moved. Times are Redis', and checked again where it is written.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from flags.change import Committed, Decide, Draft
from flags.errors import FlagError
from flags.ledger import Author
from flags.model import Document, Flag, Kind, ObjectKey
from flags.slices import in_slices
from policies.act import SOAKING, STEPS, advanced, hindered, milliseconds, settled
from policies.brake import Bell, Ledger
from policies.case import Case
from policies.clock import FleetClock
from policies.counts import CaseCounts
from policies.governance.card import card_keys
from policies.policy import Policy
from policies.roster import Roster, moves
from policies.verdict import Standing, Verdict

log = logging.getLogger(__name__)

# So many flags are looked at in one round; the others come in the next.
MOST_AT_ONCE = 100
# What waits for a day need not be looked at every second.
SOAK_AGAIN_SECONDS, STEP_AGAIN_SECONDS = 10.0, 0.9
# Papers take people days.
TELL_AGAIN_SECONDS = 86_400.0


class Counted(Bell, Protocol):
    """What is asked of the measures here."""

    async def counts(self, cases: Sequence[str]) -> dict[str, CaseCounts]:
        """The fleet's counts by case key."""
        ...


class Judges(Protocol):
    """What is asked of the brake here."""

    async def verdict(self, case: Case, policy: Policy, counts: CaseCounts) -> Verdict | None:
        """One verdict; None where it could not be told."""
        ...


class Stepper:
    """Moves rollouts and soaks. What changes here: when a flag is looked at again."""

    def __init__(
        self, ledger: Ledger, counted: Counted, judges: Judges, roster: Roster, clock: FleetClock
    ) -> None:
        self._ledger, self._counted, self._judges = ledger, counted, judges
        self._roster, self._clock = roster, clock
        self._again_ms: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<Stepper {len(self._again_ms)} waiting>"

    def look_again(self) -> None:
        """Take it that nothing was looked at lately."""
        self._again_ms = {}

    async def round(self) -> int:
        """Look at all that is due and move what may be moved; how many were. Raises StoreUnavailable."""
        now_ms = self._clock.now_ms()
        if now_ms is None:
            return 0
        self._again_ms = {key: at for key, at in self._again_ms.items() if at > now_ms}
        due: list[Flag] = []
        async for flag in in_slices(self._due(now_ms)):
            if flag is not None:
                due.append(flag)
            if len(due) == MOST_AT_ONCE:
                break
        cases = {flag.key: self._roster.docket.of_flag.get(flag.key) for flag in due}
        counts = await self._counted.counts([case.key for case in cases.values() if case]) if due else {}
        moved = 0
        for flag in due:
            case = cases[flag.key]
            try:
                moved += await self._move(flag, case, counts.get(case.key) if case else None)
            except FlagError as error:
                log.warning("flag %s could not be moved: %s", flag.key, error)
            except Exception:  # a bug in one flag's step must not stop the others
                log.exception("flag %s could not be moved", flag.key)
        return moved

    def _due(self, now_ms: float) -> Iterator[Flag | None]:
        """The flags whose hold or soak is over; None for each of the others."""
        for key in tuple(self._roster.moving):
            flag = self._roster.flag(key)
            if flag is None or key in self._again_ms or not moves(flag) or _waits_until(flag) > now_ms:
                yield None
                continue
            # Later ones have their turn, also where the first ones can never be moved.
            wait = SOAK_AGAIN_SECONDS if flag.rollout is None else STEP_AGAIN_SECONDS
            self._again_ms[key] = now_ms + wait * 1000
            yield flag

    async def _move(self, flag: Flag, case: Case | None, counts: CaseCounts | None) -> bool:
        rollout = flag.rollout
        # While the pipeline pins its layer nobody gets it: it rests, whatever was counted before.
        if case is not None and case.under:
            return False
        counts = counts or CaseCounts()
        enough = _seen(case, counts) >= self._needed(flag)
        verdicts = await self._verdicts(case, counts) if case and enough else {}
        if not enough or verdicts is None or any(map(_against, verdicts.values())):
            return False
        author = Author(
            SOAKING if rollout is None else STEPS,
            f"{_why(flag, case, counts)}; no policy objects",
            evidence=_document(case, counts, verdicts),
        )
        decide: Decide = (
            (lambda view: settled(flag, view)) if rollout is None else (lambda view: advanced(flag, view))
        )
        reads = [ObjectKey(Kind.FLAG, flag.key), *card_keys(flag)]
        committed = await self._ledger.change(author, reads, decide, insist=True)
        if not committed.entries:
            await self._tell_hindered(flag, committed)
        return bool(committed.entries)

    def _needed(self, flag: Flag) -> int:
        """The requests that must be counted first: for a step of what no route uses none ever are, so its hold alone counts."""
        if flag.rollout is None:
            return flag.soak.requests
        return flag.rollout.min_requests if self._roster.docket.users.get(flag.key) else 0

    async def _tell_hindered(self, flag: Flag, committed: Committed) -> None:
        """Once a day, where the promotion rules alone keep automation from going on."""
        key = ObjectKey(Kind.FLAG, flag.key)
        stored = committed.view.objects.get(key)
        if stored is None or stored.revision != flag.revision:
            return
        missing = hindered(committed.view.flag(flag.key), committed.view)
        if not missing or not await self._counted.alarm(f"rules|{flag.key}", TELL_AGAIN_SECONDS):
            return
        what = "may not be safe" if flag.rollout is None else "may not be promoted"
        name = flag.served if flag.rollout is None else flag.rollout.variant
        told = "; ".join(map(str, missing))
        author = Author(SOAKING if flag.rollout is None else STEPS, f"it waits: {name} {what}: {told}")
        note = Draft("alert", key, None, affects=False)
        await self._ledger.change(author, [key], lambda _: [note], insist=True)
        log.warning("flag %s: %s", flag.key, author.reason)

    async def _verdicts(self, case: Case, counts: CaseCounts) -> Mapping[str, Verdict] | None:
        """Every policy's verdict but the dry runs'; None where one could not be told."""
        found: dict[str, Verdict] = {}
        for policy in case.policies:
            verdict = None if policy.dry_run else await self._judges.verdict(case, policy, counts)
            if verdict is not None:
                found[policy.name] = verdict
            elif not policy.dry_run:
                return None
        return found


def _waits_until(flag: Flag) -> float:
    """When its hold or soak is over, in Unix milliseconds."""
    seconds = flag.soak.seconds if flag.rollout is None else flag.rollout.hold_seconds
    return milliseconds(flag.changed_at) + seconds * 1000


def _seen(case: Case | None, counts: CaseCounts) -> int:
    """The candidate's requests that the coin decided at the present weight; of what serves all, those judged."""
    if case is None:
        return 0
    if case.control is None:
        return counts.judged
    # Counts that were taken under the weight before say nothing about this one.
    weights = {each.segments[-1].weight for each in counts.policies.values() if each.segments}
    return 0 if weights and case.weight not in weights else counts.candidate


def _against(verdict: Verdict) -> bool:
    return verdict.objects or verdict.standing is Standing.BREACHED


def _why(flag: Flag, case: Case | None, counts: CaseCounts) -> str:
    seen = _seen(case, counts)
    if flag.rollout is None:
        return f"{flag.served} has served all traffic for {flag.soak.seconds:g} s with {seen} judged requests"
    rollout = flag.rollout
    number, percent = (rollout.step or 0) + 1, f"{rollout.percent:g} %"
    held = (
        f"step {number} of {len(rollout.steps)} ({percent}) of {rollout.variant} "
        f"held for {rollout.hold_seconds:g} s"
    )
    # No requests of a flag without a layer are counted: to tell of none would sound as if it were not used.
    return held if flag.layer is None else f"{held} with {seen} requests"


def _document(case: Case | None, counts: CaseCounts, verdicts: Mapping[str, Verdict]) -> Document:
    return {
        "case": None if case is None else case.key,
        "judged": counts.judged,
        "candidate": counts.candidate,
        "control": counts.control,
        "verdicts": {
            name: {"standing": each.standing.value, "ratio": round(each.ratio, 6), "reason": each.reason}
            for name, each in verdicts.items()
        },
    }
