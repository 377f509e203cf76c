"""Adds gains up in memory as flush.lua does in Redis: the script's twin, and the definition of what it does.

For simulation, replay and the local brake. Knows no Redis and no clock; evidence.py says when a segment closes
and how a detector advances. A gain is added by these rules, and by no others:

case      `since_ms` is the first gain's time. A gain of another `weight` than the gain before sets `candidate` and
          `control` to 0 first; then `candidate`, `control` and `judged` (which nothing sets back) grow, `judged` by
          the gain's `candidate`. `units` = min(20, different names ever in `met` + the sum of `met_plain`).
trial     Before adding: where the policy has no segment, or the last one's weight or memory is another, or the last
          one *closes*, a new segment begins; of more than SEGMENTS_KEPT the eldest goes. It closes when
          `evidence.closes` holds for any of its events (its n, the n of all segments ever, its `control` of that
          event, the sum of all segments' `control` of that event).
          Then n, bad, each bet and each event are added to the last segment. Of an event `candidate` and
          `control` grow as they stand; `candidate_units` by `plain_candidate` and by the mass of each listed unit
          that was not counted before for this policy and event, on either side; so does `control_units`.
          Within a gain the control's list comes first: in doubt, against a breach. Masses may be below zero (bets).
          A policy remembers who was counted. By the first gain an hour after the memory began, where it holds 1,000
          units, or at any time where it holds 50,000, all are forgotten, and the next memory begins, with a segment of
          its own: not to be blind, in a long trial, to everybody who was counted long ago. What is judged by units
          is judged within one memory (Trial.forgotten).
watch     n and bad are added to the one segment there is, whatever its weight; it never closes and keeps no bets.
          The gain's second is now_ms // 1000. Where it is not the running second (later *or earlier*: a clock that
          jumped back blinds nobody), the running second is finished: the detector advances by it
          (`evidence.advance`, with the `odds` of the gain that finishes it), it goes to the end of `seconds`, of
          which the latest 3,600 stay (500 where it has bets), and the gain's second is the running one. n, bad and
          bets are added to the running second. The running second is in no count until it is finished.
threshold As watch, without a detector; seconds also have `control_n` and `control_bad`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from policies import evidence
from policies.counts import (
    CaseCounts,
    CaseGain,
    Event,
    EventGain,
    PolicyCounts,
    PolicyGain,
    Second,
    Segment,
)

# From here on units are counted, not requests; more of them make no difference (DESIGN §5).
UNITS_ENOUGH = 20
# An hour of traffic: longer than any window, and than any alarm's evidence needs.
SECONDS_KEPT = 3_600
# A second with bets takes more room in evidence; these prove an alarm as well.
BETS_KEPT = 500
# Some 5 MB of names for each policy.
UNITS_KEPT = 50_000
# Who was counted may be counted again: a run of one user's failures is over by then, and a trial may last for weeks.
# But not where that few were met: rare traffic must add up, over hours, to a verdict.
UNITS_MILLISECONDS, UNITS_LEAST = 3_600_000, 1_000
NO_COUNTS = CaseCounts()


class Tally:
    """One case's sums. What changes here: all of them, by `add`, `finish` and `fix`.

    Begun from `counts` it goes on from them; which units are in those it cannot know, and counts each once more.
    """

    def __init__(self, case_key: str, counts: CaseCounts = NO_COUNTS) -> None:
        self.case_key = case_key
        self._began, self._since_ms = counts != NO_COUNTS, counts.since_ms
        self._candidate, self._control, self._judged = counts.candidate, counts.control, counts.judged
        self._met: set[str] = set()
        self._plain_met = counts.units
        self._lanes = {policy: _Lane.of(its) for policy, its in counts.policies.items()}
        weights = [lane.segments[-1].weight for lane in self._lanes.values() if lane.segments]
        self._weight = weights[0] if weights else None

    def __repr__(self) -> str:
        return f"<Tally {self.case_key}: {self._judged} judged>"

    def add(self, gain: CaseGain, now_ms: int) -> None:
        """Add one gain; `now_ms` is the time on the one clock by which seconds are told."""
        if not self._began:
            self._began, self._since_ms = True, now_ms
        if gain.weight != self._weight:
            self._candidate = self._control = 0
            self._weight = gain.weight
        self._candidate += gain.candidate
        self._control += gain.control
        self._judged += gain.candidate
        self._plain_met += gain.met_plain
        for name in gain.met:
            if len(self._met) < UNITS_ENOUGH:
                self._met.add(name)
        for each in gain.policies:
            lane = self._lanes.setdefault(each.policy, _Lane())
            if each.kind == "trial":
                lane.try_on(each, gain.weight, now_ms)
            else:
                lane.watch(each, gain.weight, now_ms // 1000)

    def finish(self) -> None:
        """Finish the running seconds, as the first gain of a later second does."""
        for lane in self._lanes.values():
            lane.finish()

    def fix(self, policy: str, thresholds: Sequence[float]) -> tuple[float, ...]:
        """Note the control's quantiles for a policy; those noted first stand. Returns those that stand."""
        lane = self._lanes.setdefault(policy, _Lane())
        lane.thresholds = lane.thresholds or tuple(thresholds)
        return lane.thresholds

    @property
    def counts(self) -> CaseCounts:
        """All counts as they stand now."""
        return CaseCounts(
            since_ms=self._since_ms,
            units=min(UNITS_ENOUGH, len(self._met) + self._plain_met),
            candidate=self._candidate,
            control=self._control,
            judged=self._judged,
            policies={policy: lane.counts for policy, lane in self._lanes.items()},
        )


@dataclass(slots=True)
class _Lane:
    """One policy's sums in one case. What changes here: all of them."""

    segments: list[Segment] = field(default_factory=list)
    thresholds: tuple[float, ...] = ()
    detector: tuple[float, ...] = ()
    seconds: deque[Second] = field(default_factory=lambda: deque(maxlen=SECONDS_KEPT))
    running: Second | None = None
    odds: Sequence[float] = ()
    detects: bool = False
    # The number of the first segment here; n, and each event's control mass, of all segments ever.
    first: int = 1
    n: int = 0
    controls: tuple[float, ...] = ()
    # `<event's number from 1>|<unit>` of those counted, since when, and the number of this memory.
    units: set[str] = field(default_factory=set)
    units_since_ms: int | None = None
    memory: int = 0

    @classmethod
    def of(cls, counts: PolicyCounts) -> _Lane:
        seconds = deque(counts.seconds, maxlen=SECONDS_KEPT)
        lane = cls([*counts.segments], counts.thresholds, counts.detector, seconds, first=counts.first)
        for segment in counts.segments:
            # The first gain begins a memory: it shall be that of the last segment.
            lane.memory = segment.memory - 1
            lane.n += segment.n
            lane.controls = _sum(lane.controls, [event.control for event in segment.events])
        return lane

    @property
    def counts(self) -> PolicyCounts:
        return PolicyCounts(
            tuple(self.segments), self.thresholds, self.detector, tuple(self.seconds), self.first
        )

    def try_on(self, gain: PolicyGain, weight: int, now_ms: int) -> None:
        """Add to a trial."""
        self._forget(now_ms)
        last = self.segments[-1] if self.segments else None
        if last is None or (last.weight, last.memory) != (weight, self.memory) or self._closes(last):
            last = Segment(weight, memory=self.memory)
            self.segments.append(last)
        if len(self.segments) > evidence.SEGMENTS_KEPT:
            del self.segments[0]
            self.first += 1
        given = zip_longest(last.events, gain.events)
        self.segments[-1] = replace(
            last,
            n=last.n + gain.n,
            bad=last.bad + gain.bad,
            bets=_sum(last.bets, gain.bets),
            events=tuple(
                _event(was or Event(), more or EventGain(), f"{number}|", self.units)
                for number, (was, more) in enumerate(given, 1)
            ),
        )
        self.n += gain.n
        self.controls = _sum(self.controls, [event.control for event in gain.events])

    def watch(self, gain: PolicyGain, weight: int, second: int) -> None:
        """Add to a watch, or for a plain threshold."""
        last = self.segments[-1] if self.segments else Segment(weight)
        self.segments[-1:] = [replace(last, n=last.n + gain.n, bad=last.bad + gain.bad)]
        self.odds, self.detects = gain.odds, gain.kind == "watch"
        if self.running is not None and self.running.second != second:
            self.finish()
        now = self.running or Second(second, 0)
        self.running = Second(
            second,
            now.n + gain.n,
            now.bad + gain.bad,
            _sum(now.bets, gain.bets),
            now.control_n + gain.control_n,
            now.control_bad + gain.control_bad,
        )

    def finish(self) -> None:
        """Finish the running second."""
        if self.running is None:
            return
        if self.detects:
            self.detector = tuple(evidence.advance(self.detector, self.running, self.odds))
        self.seconds.append(self.running)
        while self.running.bets and len(self.seconds) > BETS_KEPT:
            self.seconds.popleft()
        self.running = None

    def _forget(self, now_ms: int) -> None:
        """Begin the next memory of units, where this one is full or old."""
        since = self.units_since_ms
        old = since is None or (abs(now_ms - since) >= UNITS_MILLISECONDS and len(self.units) >= UNITS_LEAST)
        if old or len(self.units) >= UNITS_KEPT:
            self.units, self.units_since_ms = set(), now_ms
            self.memory += 1

    def _closes(self, last: Segment) -> bool:
        return any(
            evidence.closes(last.n, self.n, event.control, total)
            for event, total in zip(last.events, self.controls, strict=False)
        )


def _sum(one: Sequence[float], other: Sequence[float]) -> tuple[float, ...]:
    return tuple(a + b for a, b in zip_longest(one, other, fillvalue=0.0))


def _event(was: Event, gain: EventGain, prefix: str, counted: set[str]) -> Event:
    control = _new_mass(gain.control_units, prefix, counted)
    return Event(
        was.candidate + gain.candidate,
        was.control + gain.control,
        was.candidate_units + gain.plain_candidate + _new_mass(gain.candidate_units, prefix, counted),
        was.control_units + gain.plain_control + control,
    )


def _new_mass(listed: Sequence[str | float], prefix: str, counted: set[str]) -> float:
    """The mass of the units that were not counted before; they are now."""
    mass = 0.0
    for unit, brings in zip(listed[::2], listed[1::2], strict=True):
        member = f"{prefix}{unit}"
        if member not in counted:
            counted.add(member)
            mass += float(brings)
    return mass
