"""All that a worker does by itself, put together: it follows, judges, acts, moves rollouts on, and tells of silence.

What each part does stands in its own module; here are only their tasks and when they have their turn. Knows no request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from flags.edge import Edge
from flags.model import ObjectKey
from flags.snapshot import Snapshot
from flags.store import Store
from policies.act import Breach, milliseconds
from policies.alarms import look_for_silence
from policies.brake import Brake
from policies.case import Docket
from policies.clock import FleetClock
from policies.counts import CaseCounts, CaseGain
from policies.diversion import Diversion, LocalBrake
from policies.measures import Measures
from policies.roster import Roster
from policies.stepping import Stepper
from policies.thresholds import Thresholds

log = logging.getLogger(__name__)

# A rollout's step, or a soak's end, is at most this late.
TICK_SECONDS = 1.0
# In ticks: how often thresholds that are missing are looked for, and silent feeds.
THRESHOLDS_TICKS, FEEDS_TICKS = 2, 60
# Between two looks at new trials: changes that come in a row are one.
GREET_SECONDS = 0.05
# Redis' clock is asked anew where no flush has told it for so long; two clocks drift by far less than a second in it.
CLOCK_SECONDS = 30.0


class OwnGauge(Protocol):
    """What is asked of the gauge here."""

    on_away: Callable[[], None]
    settled: Callable[[], Awaitable[None]]

    def last(self, case_key: str) -> CaseCounts | None:
        """The fleet's counts when Redis last told."""
        ...

    def unsent(self, case_key: str) -> list[CaseGain]:
        """What this worker gained since."""
        ...


class Automation:
    """One worker's automation. What changes here: its tasks, and the number of ticks.

    `away` tells that the store is known not to answer; `on_divert` hears of the flags that this process alone
    serves otherwise from now on, or no more (`diversions`).
    """

    def __init__(
        self,
        store: Store,
        measures: Measures,
        *,
        away: Callable[[], bool],
        on_divert: Callable[[frozenset[str]], None],
        monotonic: Callable[[], float],
        tick_seconds: float = TICK_SECONDS,
    ) -> None:
        self._store, self._measures, self._away = store, measures, away
        self._tick_seconds = tick_seconds
        self.clock = FleetClock(monotonic)
        self.roster = Roster()
        self.brake = Brake(store, measures, self.roster, self.clock)
        self.stepper = Stepper(store, measures, self.brake, self.roster, self.clock)
        self.thresholds = Thresholds(measures, self.roster)
        self._on_divert = on_divert
        self.local: LocalBrake | None = None
        # Asked in the place of `brake.holds` while Redis is away.
        self.holds_alone: Callable[[Breach], bool] | None = None
        self._ticks = 0
        self._lost = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<Automation {self.roster!r} {self.brake!r} {self.local!r}>"

    @property
    def diversions(self) -> Mapping[str, Diversion]:
        """What this process diverts by itself, by flag."""
        return self.local.diversions if self.local else {}

    def docket(self) -> Docket:
        """What is on trial."""
        return self.roster.docket

    def follow(self, snapshot: Snapshot, changed: frozenset[ObjectKey] | None) -> None:
        """A new snapshot is served; None: all of it may have changed."""
        self.roster.follow(snapshot, changed)

    def on_counts(self, counts: Mapping[str, CaseCounts], now_ms: int) -> None:
        """The fleet's counts of some cases."""
        self.brake.on_counts(counts, now_ms)

    def start(self, gauge: OwnGauge) -> None:
        """Begin. `gauge` has this worker's own evidence, for as long as Redis is away."""
        self.local = LocalBrake(
            self._store, gauge, self.roster, self.clock, self._on_divert, holds=self.holds_alone
        )
        gauge.on_away = self._lost.set
        gauge.settled = self.roster.caught_up
        loops = {
            "docket": self.roster.run,
            "brake": self.brake.run,
            "ticks": self._tick_on,
            "new trials": self._greet_on,
            "local": self._look_on,
        }
        self._tasks = [asyncio.create_task(run(), name=f"automation-{name}") for name, run in loops.items()]

    async def aclose(self) -> None:
        """Stop. May be called again. What is written stands, what is not another worker writes."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def tick(self) -> None:
        """Everything that has its turn by the clock, once. Raises StoreUnavailable."""
        self._ticks += 1
        if self.diversions and self.local:
            await self.local.settle()
        if self.clock.age_seconds() > CLOCK_SECONDS:
            self.clock.heard(int(milliseconds(await self._store.time())))
        if self._ticks % THRESHOLDS_TICKS == 0:
            await self.thresholds.round()
        await self.stepper.round()
        if self._ticks % FEEDS_TICKS == 0:
            await self._look_for_silence()

    async def _look_for_silence(self) -> None:
        docket = self.roster.docket
        await look_for_silence(self._store, self._measures, docket.known, [*docket.routes])

    async def _tick_on(self) -> None:
        while True:
            await asyncio.sleep(self._tick_seconds)
            if self._away():
                continue
            with Edge(log, "automation"):
                await self.tick()

    async def _greet_on(self) -> None:
        """After each new docket; what is missed meanwhile has its turn with a tick."""
        while True:
            news = self.roster.next_docket()
            with Edge(log, "the look at new trials"):
                if not self._away():
                    await self.thresholds.greet()
            await asyncio.sleep(GREET_SECONDS)
            await news.wait()

    async def _look_on(self) -> None:
        """After each flush that Redis did not answer."""
        while True:
            await self._lost.wait()
            self._lost.clear()
            if not self._away() or self.local is None:
                continue
            with Edge(log, "the local brake"):
                await self.local.look()
