"""Tells Redis what this worker measured, and the brake what the fleet knows: one call a flush. Knows no rule of judgement.

A batch stays as it is until Redis has answered for it, and what is gained meanwhile merges into the next: a flush that
timed out and comes again counts once, and while Redis is away nothing is lost but what a bound drops (and counts).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from flags.edge import Edge
from flags.errors import StoreUnavailable
from policies.case import Docket
from policies.counts import Batch, CaseCounts, CaseGain, ScoreGain
from policies.measures import Flushed, Measures
from policies.observe import observe, observe_score
from policies.outcome import Outcome, Score
from policies.pending import Pending
from policies.recorder import Recorder
from policies.series import HOUSE, feedback, grouped, series_of_score

log = logging.getLogger(__name__)

# A rollback's latency is this plus two round trips; below 100 ms the calls outnumber the requests of a quiet replica.
FLUSH_SECONDS = 0.25
# After a bad event at once, but at most 20 times a second.
LEAST_SECONDS = 0.05
# The last flush of a worker that ends; what is not told by then is lost.
CLOSE_SECONDS = 1.0
# For the docket of what is served: making one anew takes half a second where there are 10,000 routes. Then the one at
# hand is judged by.
DOCKET_SECONDS = 2.0
# Outcomes looked at between two pauses: well under a millisecond, so that no request waits for them.
CHUNK = 100

OnCounts = Callable[[Mapping[str, CaseCounts], int], None]


class BreakerTable(Protocol):
    """The process's breakers, whose counts the fleet shares."""

    def gains(self) -> Mapping[str, tuple[int, int]]:
        """Calls and failures by `route|target` since this was last asked."""
        ...

    def heard(self, guarded: str, calls: int, failures: int, workers: int) -> None:
        """The fleet's sums over 30 s, and how many workers saw failures."""
        ...


class Gauge:
    """The flush loop of one worker. `worker_id` must be new for each process: a batch goes by it and its number.

    `on_counts` hears of the fleet's counts of the cases that a batch touched, and Redis' clock in milliseconds; it must
    not block. `on_outcomes` and `on_scores` see what was recorded. `on_away` is called after a flush that Redis did not
    answer: what was gained since is `unsent`. `settled` returns when the docket is that of what is served: what was
    decided under a new percentage must not count under the old one.

    What changes: what is pending, what is under way, and what the fleet's counts last were.
    """

    def __init__(
        self,
        measures: Measures,
        recorder: Recorder,
        worker_id: str,
        docket: Callable[[], Docket],
        on_counts: OnCounts,
        *,
        breakers: BreakerTable | None = None,
    ) -> None:
        self._measures, self._recorder, self._worker = measures, recorder, worker_id
        self._docket, self._on_counts, self._breakers = docket, on_counts, breakers
        self.on_away: Callable[[], None] = _nobody
        self.settled: Callable[[], Awaitable[None]] = _at_once
        self.on_outcomes: Callable[[Sequence[Outcome]], None] = _no_one
        self.on_scores: Callable[[Sequence[Score]], None] = _no_one
        self._pending, self._number = Pending(), 0
        self._under_way: Batch | None = None
        self._last: dict[str, CaseCounts] = {}
        self._woken, self._closing = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        # Whether the last flush got no answer.
        self.away = False

    def __repr__(self) -> str:
        return f"<Gauge {self._worker} {self._number} batches, {'away' if self.away else 'in touch'}, {self._pending!r}>"

    def start(self) -> None:
        """Begin to flush."""
        self._recorder.wake = self.wake
        self._task = asyncio.create_task(self._run(), name="gauge")

    async def aclose(self) -> None:
        """Flush what is left, within a second, and stop. May be called again."""
        task, self._task = self._task, None
        if task is None:
            return
        self._recorder.wake = _nobody
        self._closing.set()
        self._woken.set()
        _, late = await asyncio.wait({task}, timeout=CLOSE_SECONDS)
        if late:
            task.cancel()
            await asyncio.wait({task})

    def wake(self) -> None:
        """Something bad happened: flush at once."""
        self._woken.set()

    def last(self, case_key: str) -> CaseCounts | None:
        """What the fleet's counts of a case were when Redis last told; None: nothing yet."""
        return self._last.get(case_key)

    def unsent(self, case_key: str) -> list[CaseGain]:
        """What this worker gained for a case and has no answer for; to be read at once."""
        under_way = self._under_way.cases if self._under_way is not None else []
        return [*(gain for gain in under_way if gain.case == case_key), *self._pending.gains(case_key)]

    async def _run(self) -> None:
        now = asyncio.get_running_loop().time
        while not self._closing.is_set():
            began = now()
            # What one listener gets wrong must not end all measuring.
            with Edge(log, "a flush"):
                await self.flush()
            await self._rest(began)
        # What was under way, and then what gathered meanwhile.
        while True:
            if await self.flush() and self._pending.empty:
                return
            await asyncio.sleep(LEAST_SECONDS)

    async def _rest(self, began: float) -> None:
        """Wait until the next flush is due. While Redis is away bad events do not hasten it."""
        try:
            async with asyncio.timeout_at(began + FLUSH_SECONDS):
                await (self._closing if self.away else self._woken).wait()
        except TimeoutError:
            pass
        ahead = began + LEAST_SECONDS - asyncio.get_running_loop().time()
        if ahead > 0 and not self._closing.is_set():
            await asyncio.sleep(ahead)
        self._woken.clear()

    async def flush(self) -> bool:
        """Tell what there is to tell. False where Redis gave no answer: it is told again with the next flush."""
        try:
            await self._collect()
        except (
            Exception
        ):  # the loop must go on: one outcome that cannot be counted must not end all measuring
            log.exception("outcomes could not be counted and are lost")
        if self._under_way is None:
            if self._pending.empty:
                return True
            self._number += 1
            self._under_way = self._pending.batch(self._worker, self._number)
            self._pending = Pending()
        try:
            flushed = await self._measures.flush(self._under_way)
        except StoreUnavailable as error:
            self._lost_touch(error)
            return False
        except OverflowError:
            # A number in it is beyond what can be sent: told again it would fail again, and all after it would wait.
            log.exception("measurements cannot be told and are lost")
            self._under_way = None
            return True
        self._under_way, self.away = None, False
        self._hear(flushed)
        if not self._pending.empty:
            self._woken.set()
        return True

    def _lost_touch(self, error: StoreUnavailable) -> None:
        if not self.away:
            log.warning("measurements wait for Redis: %s", error)
        self.away = True
        self.on_away()

    def _hear(self, flushed: Flushed) -> None:
        self._last.update(flushed.counts)
        if flushed.duplicates:
            self._pending.series.add(HOUSE, {feedback("duplicate"): flushed.duplicates})
        if self._breakers is not None:
            for target, sums in flushed.breakers.items():
                self._breakers.heard(target, sums.calls, sums.failures, sums.workers)
        if flushed.counts:
            self._on_counts(flushed.counts, flushed.now_ms)

    async def _collect(self) -> None:
        """Take what the recorder has, a little at a time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DOCKET_SECONDS):
                await self.settled()
        docket = self._docket()
        self._last = {case: counts for case, counts in self._last.items() if case in docket.cases}
        outcomes = self._recorder.take()
        for at in range(0, len(outcomes), CHUNK):
            if at:
                await asyncio.sleep(0)
            self._take(outcomes[at : at + CHUNK], docket)
        scores = self._recorder.take_scores()
        if scores:
            self.on_scores(scores)
        for at, score in enumerate(scores):
            if at % CHUNK == CHUNK - 1:
                await asyncio.sleep(0)
            self._take_score(score, docket)
        if self._breakers is not None:
            self._pending.add_breakers(self._breakers.gains())
        self._pending.series.merge(self._recorder.take_series())

    def _take(self, outcomes: Sequence[Outcome], docket: Docket) -> None:
        self._pending.add_outcomes(grouped(outcomes))
        # People's numbers are counted by now, and the next outcomes shall be.
        with Edge(log, "the evidence of %d outcomes", len(outcomes)):
            self.on_outcomes(outcomes)
            self._pending.add_cases(observe(outcomes, docket, self._thresholds))

    def _take_score(self, score: Score, docket: Docket) -> None:
        gain = ScoreGain(score.key, series_of_score(score), observe_score(score, docket))
        if not self._pending.add_score(gain):
            self._recorder.drop(1)

    def _thresholds(self, case: str, policy_id: str) -> tuple[float, ...]:
        counts = self._last.get(case)
        policy = counts.policies.get(policy_id) if counts is not None else None
        return policy.thresholds if policy is not None else ()


async def _at_once() -> None:
    """For a docket that is always the newest."""


def _nobody() -> None:
    """Whom to call before somebody listens."""


def _no_one(measured: Sequence[Outcome] | Sequence[Score]) -> None:
    """Whom to show them before somebody looks."""
