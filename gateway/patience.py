"""One coarse timer for a process: it looks at all who wait once a tick; a deadline costs two set operations.

Knows no connection and no request: only things that have a time at which they expire.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from gateway.errors import UpstreamCut, UpstreamError, UpstreamTimedOut

# 50 ms: deadlines are seconds, so 5 % of the shortest sensible one; a look at 1,000 waiters takes some 50 µs,
# 0.1 % of a core. `asyncio.timeout` would cost 3.4 µs on every wait instead.
TICK_SECONDS = 0.05

PHASES = {
    "connect": "no connection could be made",
    "first_content": "nothing came that answers the request",
    "between_chunks": "nothing more came of the answer",
    "total": "the answer was not whole",
}


class Waiting(Protocol):
    """Something to be told when its time (the loop's clock) has come; `expires_at` may move at any moment."""

    expires_at: float

    def expire(self) -> None:
        """Called once, a tick late at most; to be called again it must be watched again. Must not raise."""
        ...


class Patience:
    """The timer; asleep while nothing is watched. What changes here: who is watched, and the next tick."""

    __slots__ = ("_clock", "_loop", "_next", "_tick_seconds", "_waiting", "forget")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        tick_seconds: float = TICK_SECONDS,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._loop = loop
        self._tick_seconds = tick_seconds
        self._clock = clock or loop.time
        self._waiting: set[Waiting] = set()
        self._next: asyncio.TimerHandle | None = None
        # The set's own method: one call less on every request.
        self.forget: Callable[[Waiting], None] = self._waiting.discard

    def watch(self, waiting: Waiting) -> None:
        """`waiting.expire()` is called once `expires_at` has passed, unless `forget(waiting)` comes first."""
        self._waiting.add(waiting)
        if self._next is None:
            self._next = self._loop.call_later(self._tick_seconds, self.tick)

    def tick(self) -> None:
        """Expire what is due now, and come again while anything is left."""
        self._next = None
        now = self._clock()
        for waiting in [each for each in self._waiting if each.expires_at <= now]:
            self._waiting.discard(waiting)
            waiting.expire()
        if self._waiting and self._next is None:
            self._next = self._loop.call_later(self._tick_seconds, self.tick)

    def aclose(self) -> None:
        """Stop ticking; what is still watched is never told. Idempotent."""
        self._waiting.clear()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def __len__(self) -> int:
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"<Patience watching {len(self._waiting)}, {'ticking' if self._next else 'asleep'}>"


class Patient:
    """Base of what one caller awaits in turns, under a deadline that the caller may move.

    `_failure`, once set, is raised by every later wait. Subclasses say in `_give_up` what it means
    that the time passed while somebody waited; while nobody waits, nothing happens.
    """

    __slots__ = ("_failure", "_loop", "_patience", "_waiter", "expires_at", "phase")

    def __init__(self, patience: Patience, loop: asyncio.AbstractEventLoop, expires_at: float) -> None:
        self.expires_at = expires_at
        self.phase = "first_content"
        self._patience = patience
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None
        self._failure: UpstreamError | None = None
        patience.watch(self)

    def expire(self) -> None:
        """The deadline passed: whoever waits is given the failure."""
        if self._waiter is None or self._waiter.done():
            self._patience.watch(self)
        else:
            self._give_up()
            self._wake()

    def _give_up(self) -> None:
        self._failure = timed_out(self.phase)

    def _wait(self) -> asyncio.Future[None]:
        """What to await until `_wake`; look at `_failure` before each wait."""
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)


def timed_out(phase: str) -> UpstreamTimedOut:
    """The error for a deadline of this phase (connect, first_content, between_chunks, total)."""
    return UpstreamTimedOut(f"the upstream took too long: {PHASES[phase]} in time ({phase})", phase=phase)


def hung_up() -> UpstreamCut:
    """The error for whoever still waits for an answer that we closed ourselves."""
    return UpstreamCut("the answer was closed by the gateway before it was whole")
