"""One timer for all: who is due is told once, who is not costs nothing, and nobody waits for an idle timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from gateway.errors import UpstreamTimedOut
from gateway.patience import PHASES, Patience, timed_out


class Handle:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Clock:
    """A loop whose time is a number; it keeps what is to be called and never calls it."""

    now: float = 100.0
    calls: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    handles: list[Handle] = field(default_factory=list)

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Callable[[], None]) -> Handle:
        self.calls.append((seconds, call))
        self.handles.append(Handle())
        return self.handles[-1]


@dataclass(eq=False)
class Waiter:
    expires_at: float
    told: int = 0
    then: Callable[[], None] | None = None

    def expire(self) -> None:
        self.told += 1
        if self.then:
            self.then()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def patience(clock: Clock) -> Patience:
    return Patience(clock, 0.5)


def test_who_is_due_is_told_once_and_then_forgotten(clock: Clock, patience: Patience) -> None:
    waiter = Waiter(expires_at=101)
    patience.watch(waiter)

    for clock.now in (100.9, 101.0, 101.5, 102):
        patience.tick()

    assert waiter.told == 1
    assert len(patience) == 0


def test_who_is_forgotten_is_never_told(clock: Clock, patience: Patience) -> None:
    waiter = Waiter(expires_at=101)
    patience.watch(waiter)
    patience.forget(waiter)
    patience.forget(waiter)

    clock.now = 200
    patience.tick()

    assert waiter.told == 0


def test_a_deadline_may_move_while_it_is_watched(clock: Clock, patience: Patience) -> None:
    waiter = Waiter(expires_at=101)
    patience.watch(waiter)
    waiter.expires_at = 103

    clock.now = 102
    patience.tick()
    assert waiter.told == 0
    clock.now = 103
    patience.tick()
    assert waiter.told == 1


def test_it_ticks_only_while_somebody_is_watched(clock: Clock, patience: Patience) -> None:
    assert clock.calls == []
    waiter = Waiter(expires_at=101)

    patience.watch(waiter)
    patience.watch(Waiter(expires_at=101))
    assert [seconds for seconds, _ in clock.calls] == [0.5]
    patience.tick()
    assert len(clock.calls) == 2
    clock.now = 101
    patience.tick()
    assert len(clock.calls) == 2
    patience.watch(waiter)
    assert len(clock.calls) == 3


def test_who_is_told_may_watch_again_or_forget_another(clock: Clock, patience: Patience) -> None:
    again = Waiter(expires_at=101, then=lambda: patience.watch(again))
    patience.watch(again)
    clock.now = 102

    patience.tick()
    patience.tick()

    assert again.told == 2
    assert len(patience) == 1


def test_closing_stops_the_clock_and_tells_nobody(clock: Clock, patience: Patience) -> None:
    waiter = Waiter(expires_at=0)
    patience.watch(waiter)

    patience.aclose()
    patience.aclose()

    assert waiter.told == 0
    assert clock.handles[-1].cancelled
    assert repr(patience) == "<Patience watching 0, asleep>"


async def test_on_a_real_loop_it_comes_by_itself() -> None:
    loop = asyncio.get_running_loop()
    told = loop.create_future()
    patience = Patience(loop, 0.001)
    patience.watch(Waiter(expires_at=loop.time() + 0.002, then=lambda: told.set_result(None)))

    await told

    assert len(patience) == 0


@pytest.mark.parametrize("phase", PHASES)
def test_every_phase_has_its_words(phase: str) -> None:
    error = timed_out(phase)

    assert isinstance(error, UpstreamTimedOut)
    assert error.phase == phase
    assert phase in error.message
