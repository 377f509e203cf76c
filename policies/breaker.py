"""One breaker: whether one target may be asked now, by how its last calls went. Pure: time and chance are passed in.

It knows no route, no request and no other process. The whole machine, with what leads from state to state:

    state        event     → state         when
    closed       tripped   → open          20 calls in 30 s, half of them failed (or 80 % slow), or 5 failures running
    open         waited    → half_open     its deadline has passed, and somebody asks
    open         proved    → closed        it was asked for want of another, and answered 3 times running
    half_open    tripped   → open          a probe failed, or was slow; the next wait is twice as long
    half_open    proved    → closed        3 probes were answered in time
    any          shut      → forced_open   an operator: nobody is asked
    any          ignored   → off           an operator: everybody is asked, whatever happens
    forced_open  freed     → closed        an operator: as it was made
    off          freed     → closed        the same

Every step begins a new generation. A Permit belongs to the generation that gave it: told later, it changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from policies.ring import Bucket, Ring


class State(StrEnum):
    """Whether a target is asked: as usual, not now, by a few to see, never, always."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    OFF = "off"


class Event(StrEnum):
    """What leads from one state to another."""

    TRIPPED = "tripped"
    WAITED = "waited"
    PROVED = "proved"
    SHUT = "shut"
    IGNORED = "ignored"
    FREED = "freed"


TRANSITIONS: Mapping[tuple[State, Event], State] = MappingProxyType(
    {
        (State.CLOSED, Event.TRIPPED): State.OPEN,
        (State.OPEN, Event.WAITED): State.HALF_OPEN,
        (State.OPEN, Event.PROVED): State.CLOSED,
        (State.HALF_OPEN, Event.TRIPPED): State.OPEN,
        (State.HALF_OPEN, Event.PROVED): State.CLOSED,
        **{(state, Event.SHUT): State.FORCED_OPEN for state in State},
        **{(state, Event.IGNORED): State.OFF for state in State},
        (State.FORCED_OPEN, Event.FREED): State.CLOSED,
        (State.OFF, Event.FREED): State.CLOSED,
    }
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a breaker opens and for how long. All times are seconds."""

    # As Hystrix and Polly: long enough to hold 20 calls of a route that is hardly used, short enough to forget.
    window: int = 30
    # Below so many calls in the window a share says nothing.
    min_calls: int = 20
    failing: float = 0.5
    slow: float = 0.8
    # What a stream's first content may take: as long as dispatch waits for one by default, and resilience4j's
    # slow call. Below it a version's own `timeout_seconds` makes a slow call a failed one.
    slow_seconds: float = 60.0
    # A dead target of a route that is hardly used would never see 20 calls (Envoy, Finagle: 5).
    running: int = 5
    probes: int = 3
    # A probe of which nothing was heard for as long as a slow call takes gives way to another.
    lease: float = 60.0
    wait: float = 5.0
    longest_wait: float = 300.0
    # ±20 %: a fleet's workers do not all come back in the same millisecond.
    jitter: float = 0.2
    # How long it must be well for its next wait to be halved.
    healthy: float = 60.0
    # After a 429 that names no time; doubled each time up to a minute, over which providers count.
    limited: float = 1.0
    longest_limited: float = 60.0
    # The most that a `Retry-After` is believed: a wrong date must not shut a target for a year.
    believed: float = 3600.0


BOUNDS = Bounds()


@dataclass(frozen=True, slots=True)
class Standing:
    """A breaker as it is shown: the counts are those of its window, the times seconds from now."""

    state: State
    calls: int
    failures: int
    slow: int
    # Until it may be asked again; None: it may now, or until an operator says so.
    retry_in: float | None = None
    # Whether that is because the target said "too many requests".
    limited: bool = False


class Permit:
    """The leave to ask a target once. Say how it went: the first word counts, but an answer may still be cut.

    A permit that is given back (`abandoned`) counts neither way, and one of which nothing is heard ends by itself.
    """

    __slots__ = ("_answered", "_breaker", "_number", "_told", "generation")

    def __init__(self, breaker: Breaker, generation: int, number: int) -> None:
        self._breaker, self.generation, self._number = breaker, generation, number
        self._told = self._answered = False

    def ok(self, now: float, seconds: float = 0.0) -> None:
        """The first content is here, after `seconds`."""
        if not self._told:
            self._told = self._answered = True
            if self.generation == self._breaker.generation:
                self._breaker.answered(now, seconds, self._number)

    def failed(self, now: float, retry_after: float | None = None) -> None:
        """It did not answer, or not what it should. `retry_after` are the seconds that the target asked for."""
        if self._tell():
            self._breaker.failed(now, retry_after)

    def limited(self, now: float, retry_after: float | None = None) -> None:
        """It has had too many requests (429): no failure, but not to be asked for a while."""
        if self._tell():
            self._breaker.limited(now, retry_after)

    def abandoned(self) -> None:
        """Nothing is known: nobody was asked, the client left, or it was the asker's own fault."""
        if not self._told:
            self._tell()

    def cut(self, now: float) -> None:
        """An answer that had begun well did not end: a failure after all. Counts once."""
        if self._answered:
            self._answered = False
            if self.generation == self._breaker.generation:
                self._breaker.failed(now, None, again=True)

    def _tell(self) -> bool:
        if self._told:
            return False
        self._told = True
        if self.generation != self._breaker.generation:
            return False
        self._breaker.give_back(self._number)
        return True


class Breaker:
    """One target's breaker. What changes: its state and generation, the window's counts, deadlines and leases."""

    __slots__ = (
        "_bounds", "_draw", "_last_number", "_leases", "_limits", "_openings", "_proofs", "_ring", "_running",
        "_since", "_until", "calls", "failed_at", "failures", "generation", "limited_until", "state",
    )  # fmt: skip

    def __init__(self, now: float, draw: Callable[[], float], bounds: Bounds = BOUNDS) -> None:
        self._bounds, self._draw = bounds, draw
        self.state, self.generation = State.CLOSED, 0
        # All that was ever counted: what the fleet is told is their growth.
        self.calls = self.failures = 0
        self.failed_at = -math.inf
        # Not before this time (of the caller's clock), because of a 429; and how many periods of that ran on end.
        self.limited_until, self._limits = -math.inf, 0
        self._until, self._openings, self._since = -math.inf, 0, now
        self._ring = Ring(bounds.window)
        self._running = self._proofs = self._last_number = 0
        # Of each probe under way: when its lease ends.
        self._leases: dict[int, float] = {}

    def __repr__(self) -> str:
        return (
            f"<Breaker {self.state} generation={self.generation} running={self._running} until={self._until}>"
        )

    # Asking

    def ask(self, now: float) -> Permit | None:
        """The leave to ask the target, or None: not now."""
        if self.state is State.CLOSED and now >= self.limited_until:
            return Permit(self, self.generation, 0)
        return self._ask_unwell(now)

    def _ask_unwell(self, now: float) -> Permit | None:
        if self.state is State.OFF:
            return Permit(self, self.generation, 0)
        if self.state is State.FORCED_OPEN or now < self.limited_until:
            return None
        if self.state is State.OPEN:
            if now < self._until:
                return None
            self._go(Event.WAITED)
        self._leases = {number: ends for number, ends in self._leases.items() if ends > now}
        if len(self._leases) >= self._bounds.probes:
            return None
        self._last_number += 1
        self._leases[self._last_number] = now + self._bounds.lease
        return Permit(self, self.generation, self._last_number)

    def ask_anyway(self, now: float) -> Permit | None:
        """The leave to ask it although it is open, for want of another; None where it is limited or forced open."""
        if self.state is State.FORCED_OPEN or now < self.limited_until:
            return None
        return Permit(self, self.generation, 0)

    def retry_at(self, now: float) -> float:
        """When it may be asked again, on the caller's clock; `now` where it may, infinity where never by itself."""
        if self.state is State.OFF:
            return now
        if self.state is State.FORCED_OPEN:
            return math.inf
        at = max(now, self.limited_until)
        if self.state is State.OPEN:
            return max(at, self._until)
        if self.state is State.HALF_OPEN and len(self._leases) >= self._bounds.probes:
            return max(at, min(self._leases.values()))
        return at

    # How it went; called by a Permit of this generation

    def answered(self, now: float, seconds: float, number: int) -> None:
        """A call was answered, its first content after `seconds`."""
        bucket = self._ring.latest
        if now >= bucket.second + 1:
            bucket = self._ring.turn(now)
        bucket.calls += 1
        self.calls += 1
        self._running = self._limits = 0
        late = seconds > self._bounds.slow_seconds
        if late or self.state is not State.CLOSED:
            self._answered_oddly(now, number, late=late)

    def _answered_oddly(self, now: float, number: int, *, late: bool) -> None:
        """An answer that was late, or came while the target was not trusted."""
        self.give_back(number)
        if late:
            self._ring.latest.slow += 1
            self._proofs = 0
            if self.state is State.HALF_OPEN or (self.state is State.CLOSED and self._too_much(now)):
                self._trip(now)
        elif self.state in (State.OPEN, State.HALF_OPEN):
            self._proofs += 1
            if self._proofs >= self._bounds.probes:
                self._until = self._since = now
                self._go(Event.PROVED)

    def failed(self, now: float, retry_after: float | None, *, again: bool = False) -> None:
        """A call failed; `again`: one that was counted as a call already."""
        bucket = self._ring.turn(now)
        bucket.calls += not again
        bucket.failures += 1
        self.calls += not again
        self.failures += 1
        self._running += 1
        self._proofs = 0
        self.failed_at = now
        if retry_after is not None:
            self._until = max(self._until, now + min(retry_after, self._bounds.believed))
        if self.state is State.HALF_OPEN or (self.state is State.CLOSED and self._too_much(now)):
            self._trip(now)

    def limited(self, now: float, retry_after: float | None) -> None:
        """The target has had too many requests. Many at once are one period: it is not doubled for each."""
        if now >= self.limited_until:
            self._limits += 1
        if retry_after is None:
            least = self._bounds.limited * 2.0 ** min(self._limits - 1, 10)
            retry_after = self._jittered(min(least, self._bounds.longest_limited))
        self.limited_until = max(self.limited_until, now + min(retry_after, self._bounds.believed))

    def give_back(self, number: int) -> None:
        """A probe is over; idempotent."""
        self._leases.pop(number, None)

    # What others say

    def heard(self, now: float, calls: int, failures: int, workers: int) -> None:
        """The fleet's counts of the window may open it sooner, where two workers saw failures and this one did."""
        own = self.counts(now).failures
        enough = workers >= 2 and own and calls >= self._bounds.min_calls
        if enough and self.state is State.CLOSED and failures >= self._bounds.failing * calls:
            self._trip(now)

    def force(self, state: State | None, now: float) -> None:
        """What an operator says: FORCED_OPEN, OFF, or None (by itself again). Said again, it changes nothing."""
        event = {State.FORCED_OPEN: Event.SHUT, State.OFF: Event.IGNORED}.get(state) if state else Event.FREED
        forced = self.state if self.state in (State.FORCED_OPEN, State.OFF) else None
        if state is forced or event is None:
            return
        self._openings, self._since, self._until, self.limited_until = 0, now, -math.inf, -math.inf
        self._go(event)

    # Looking

    def counts(self, now: float) -> Bucket:
        """What the window holds."""
        return self._ring.counts(now)

    def standing(self, now: float) -> Standing:
        """How it is now."""
        counts, at = self.counts(now), self.retry_at(now)
        retry_in = at - now if now < at < math.inf else None
        limited = retry_in is not None and self.limited_until >= at
        return Standing(self.state, counts.calls, counts.failures, counts.slow, retry_in, limited)

    def _too_much(self, now: float) -> bool:
        if self._running >= self._bounds.running:
            return True
        counts = self.counts(now)
        return counts.calls >= self._bounds.min_calls and (
            counts.failures >= self._bounds.failing * counts.calls
            or counts.slow >= self._bounds.slow * counts.calls
        )

    def _trip(self, now: float) -> None:
        if self.state is State.CLOSED:
            healed = int((now - self._since) / self._bounds.healthy)
            self._openings = max(0, self._openings - healed)
        wait = min(self._bounds.longest_wait, self._bounds.wait * 2.0**self._openings)
        # Not counted beyond the longest wait, or it would take as many healthy minutes to come back.
        self._openings += wait < self._bounds.longest_wait
        self._until = max(self._until, now + self._jittered(wait))
        self._go(Event.TRIPPED)

    def _jittered(self, seconds: float) -> float:
        return seconds * (1 + self._bounds.jitter * (2 * self._draw() - 1))

    def _go(self, event: Event) -> None:
        self.state = TRANSITIONS[self.state, event]
        self.generation += 1
        self._running = self._proofs = 0
        self._leases = {}
        self._ring.clear()
