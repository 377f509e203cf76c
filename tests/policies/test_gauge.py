"""The flush loop against a real Redis: nothing lost, nothing twice, and the brake told at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
import pytest

from flags.errors import StoreUnavailable
from policies.counts import Batch, CaseCounts
from policies.gauge import Gauge
from policies.measures import Flushed, Measures
from policies.outcome import Ending, Score
from policies.pending import IDS_KEPT, UNITS_KEPT, Pending, units_in
from policies.recorder import Recorder
from policies.series import Window
from tests.policies.measuring import CASE, ERRORS, V6, V7, docket, gain, measuring, outcome
from tests.redis_server import RedisServer


@dataclass
class Flaky:
    """Measures that lose the answer to a flush, or the flush itself, when told to."""

    measures: Measures
    lose_answers: int = 0
    refuse: bool = False
    sent: list[Batch] = field(default_factory=list)

    async def flush(self, batch: Batch) -> Flushed:
        self.sent.append(msgspec.msgpack.decode(msgspec.msgpack.encode(batch), type=Batch))
        if self.refuse:
            raise StoreUnavailable("gone")
        answer = await self.measures.flush(batch)
        if self.lose_answers:
            self.lose_answers -= 1
            raise StoreUnavailable("timed out")
        return answer


@dataclass
class Table:
    """Breakers with one target that was called."""

    told: dict[str, tuple[int, int]] = field(default_factory=dict)
    fleet: list[tuple[str, int, int, int]] = field(default_factory=list)

    def gains(self) -> Mapping[str, tuple[int, int]]:
        told, self.told = self.told, {}
        return told

    def heard(self, guarded: str, calls: int, failures: int, workers: int) -> None:
        self.fleet.append((guarded, calls, failures, workers))


@dataclass
class Stage:
    """A gauge, what it records from, and what it told."""

    measures: Measures
    worker: str = "w1"
    recorder: Recorder = field(default_factory=Recorder)
    told: list[tuple[Mapping[str, CaseCounts], int]] = field(default_factory=list)
    table: Table = field(default_factory=Table)

    def __post_init__(self) -> None:
        self.flaky = Flaky(self.measures)
        self.gauge = Gauge(
            self.flaky,  # type: ignore[arg-type]  # all of Measures that the gauge asks for
            self.recorder, self.worker, docket, lambda counts, now: self.told.append((counts, now)),
            breakers=self.table,
        )  # fmt: skip

    def add(self, count: int, *, failed: int = 0, first: int = 0) -> None:
        """So many requests of the candidate, of which some failed."""
        for i in range(first, first + count):
            ending = Ending.FAILED if i < first + failed else Ending.OK
            self.recorder.add(outcome(f"{self.worker}-{i}", V7, ending=ending, unit=f"u{i}"))

    async def totals(self) -> Window:
        return await self.measures.totals()


@asynccontextmanager
async def staged(url: str, worker: str = "w1") -> AsyncIterator[Stage]:
    async with measuring(url) as measures:
        yield Stage(measures, worker)


async def until(condition: Callable[[], object]) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_nothing_is_judged_before_the_docket_is_that_of_what_is_served(any_redis: RedisServer) -> None:
    """What the new percentage decided would count under the old one: at 1 % three failures are proof, at 50 % none."""
    async with staged(any_redis.url) as stage:
        late = asyncio.Event()
        stage.gauge.settled = late.wait  # type: ignore[assignment]  # what it returns is nobody's business
        stage.add(3, failed=3)
        flush = asyncio.ensure_future(stage.gauge.flush())
        await asyncio.sleep(0)
        early = stage.gauge.unsent(CASE)
        late.set()

        assert await flush
        assert early == []
        assert stage.told[0][0][CASE].judged == 3


# Once, and all of it


async def test_a_flush_whose_answer_was_lost_is_sent_again_and_counts_once(any_redis: RedisServer) -> None:
    async with staged(any_redis.url) as stage:
        stage.flaky.lose_answers = 2
        stage.add(10, failed=4)
        first = await stage.gauge.flush()
        stage.add(5, first=10)
        second, third, fourth = [await stage.gauge.flush() for _ in range(3)]

        assert (first, second, third, fourth) == (False, False, True, True)
        assert [batch.number for batch in stage.flaky.sent] == [1, 1, 1, 2]
        assert stage.flaky.sent[0] == stage.flaky.sent[1] == stage.flaky.sent[2]
        counts, _ = stage.told[-1]
        assert (counts[CASE].judged, counts[CASE].policies[ERRORS.id].bad) == (15, 4)
        assert (await stage.totals()).route("bot").requests == 15


async def test_redis_lost_while_measuring_loses_nothing_and_counts_nothing_twice(
    redis_server: RedisServer,
) -> None:
    async with staged(redis_server.url) as stage:
        stage.add(10, failed=1)
        await stage.gauge.flush()
        redis_server.kill()
        answers = []
        for round_ in range(1, 6):
            stage.add(10, failed=1, first=10 * round_)
            answers.append(await stage.gauge.flush())
        redis_server.start()
        while not await stage.gauge.flush():
            pass
        await stage.gauge.flush()

        assert answers == [False] * 5
        assert (await stage.totals()).route("bot").requests == 60
        assert stage.gauge.unsent(CASE) == []
        last = stage.gauge.last(CASE)
        assert last is not None
        assert (last.judged, last.policies[ERRORS.id].bad) == (60, 6)
        assert [await stage.measures.decision_of(f"w1-{i}") is not None for i in (0, 15, 59)] == [True] * 3


async def test_while_redis_is_away_the_local_brake_sees_what_is_unsent(redis_server: RedisServer) -> None:
    async with staged(redis_server.url) as stage:
        away = []
        stage.gauge.on_away = lambda: away.append(sum(each.candidate for each in stage.gauge.unsent(CASE)))
        stage.flaky.refuse = True
        for round_ in range(3):
            stage.add(4, failed=4, first=4 * round_)
            await stage.gauge.flush()

        assert away == [4, 8, 12]
        assert stage.gauge.away
        assert stage.gauge.last(CASE) is None


async def test_two_workers_see_the_fleets_counts(any_redis: RedisServer) -> None:
    async with staged(any_redis.url, "w1") as one, staged(any_redis.url, "w2") as two:
        one.add(3, failed=3)
        two.add(4, failed=1)
        await one.gauge.flush()
        await two.gauge.flush()

        counts, now_ms = two.told[-1]
        assert (counts[CASE].judged, counts[CASE].policies[ERRORS.id].bad) == (7, 4)
        assert now_ms > 1_600_000_000_000


async def test_totals_are_right_to_the_request(redis_server: RedisServer) -> None:
    async with staged(redis_server.url) as stage:
        for round_ in range(25):
            stage.add(8_000, failed=80, first=8_000 * round_)
            await stage.gauge.flush()
        totals = await stage.totals()

        assert totals.route("bot").ended(Ending.OK) == 198_000
        assert totals.route("bot").ended(Ending.FAILED) == 2_000
        assert totals.version("bot.prompt", "v7").requests == 200_000
        assert totals.route("bot").seconds.count == 200_000
        assert totals.dropped == 0
        assert stage.told[-1][0][CASE].judged == 200_000


async def test_what_was_dropped_is_counted_and_shown(redis_server: RedisServer) -> None:
    async with staged(redis_server.url) as stage:
        stage.add(10_003)
        await stage.gauge.flush()
        totals = await stage.totals()

        assert (totals.dropped, totals.route("bot").requests) == (3, 10_000)


async def test_a_batch_that_cannot_be_sent_does_not_keep_all_others_waiting(
    redis_server: RedisServer,
) -> None:
    async with staged(redis_server.url) as stage:
        stage.recorder.add(msgspec.structs.replace(outcome("huge"), output_tokens=2**70))
        await stage.gauge.flush()
        stage.add(3)
        await stage.gauge.flush()
        totals = await stage.totals()

        assert totals.route("bot").requests == 3


# What it tells


async def test_nothing_new_is_not_told(redis_server: RedisServer) -> None:
    async with staged(redis_server.url) as stage:
        await stage.gauge.flush()

        assert stage.flaky.sent == []


async def test_duplicate_scores_are_counted(any_redis: RedisServer) -> None:
    score = Score("r1 accuracy", "bot", (V6,), "c", "", "accuracy", 1.0)
    async with staged(any_redis.url) as stage:
        for _ in range(2):
            stage.recorder.add_score(score)
        await stage.gauge.flush()
        await stage.gauge.flush()
        totals = await stage.totals()

        assert totals.route("bot").scores["accuracy"].count == 1
        assert totals.feedback == {"duplicate": 1}


async def test_breakers_tell_what_they_saw_and_hear_of_the_fleet(any_redis: RedisServer) -> None:
    async with staged(any_redis.url, "w1") as one, staged(any_redis.url, "w2") as two:
        for stage in (one, two):
            stage.table.told = {"bot|gpt": (10, 3)}
            await stage.gauge.flush()

        assert one.table.fleet == [("bot|gpt", 10, 3, 1)]
        assert two.table.fleet == [("bot|gpt", 20, 6, 2)]


async def test_outcomes_that_cannot_be_judged_are_counted_for_people(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr("policies.gauge.observe", broken)
    async with staged(redis_server.url) as stage:
        stage.add(3)
        await stage.gauge.flush()

        assert (await stage.totals()).route("bot").requests == 3


# The loop


async def test_a_bad_event_is_told(redis_server: RedisServer) -> None:
    async with staged(redis_server.url) as stage:
        stage.gauge.start()
        stage.add(1, failed=1)
        await until(lambda: stage.told)
        await stage.gauge.aclose()

        assert stage.told[0][0][CASE].judged == 1


async def test_flushes_are_fifty_milliseconds_apart_however_bad_the_events(redis_server: RedisServer) -> None:
    loop = asyncio.get_running_loop()
    async with staged(redis_server.url) as stage:
        began = loop.time()
        stage.gauge.start()
        for i in range(200):
            stage.add(1, failed=1, first=i)
            await asyncio.sleep(0.002)
        await stage.gauge.aclose()
        took = loop.time() - began

        # The last is that of the end; one more for the clock's grain.
        assert len(stage.flaky.sent) <= took / 0.05 + 3
        assert (await stage.totals()).route("bot").requests == 200


async def test_the_end_tells_what_is_left(any_redis: RedisServer) -> None:
    async with staged(any_redis.url) as stage:
        stage.gauge.start()
        stage.flaky.lose_answers = 1
        stage.add(250)
        await stage.gauge.aclose()
        await stage.gauge.aclose()

        assert (await stage.totals()).route("bot").requests == 250


async def test_the_end_does_not_wait_for_a_redis_that_is_away(redis_server: RedisServer) -> None:
    async with staged(redis_server.url) as stage:
        stage.flaky.refuse = True
        stage.gauge.start()
        stage.add(5)
        await stage.gauge.aclose()

        assert stage.gauge.unsent(CASE) != []


# What waits


def test_gains_of_one_case_merge_and_a_unit_is_named_once() -> None:
    pending = Pending()
    pending.add_cases([gain(2, n=10, units=("ann", "bob"))])
    pending.add_cases([gain(1, n=5, units=("bob",)), gain(1, weight=2500)])

    first, second = pending.batch("w1", 1).cases

    assert (first.weight, first.candidate, first.met) == (1000, 15, ["ann", "bob"])
    assert first.policies[0].events[0].candidate == 3
    assert first.policies[0].events[0].candidate_units == ["ann", 1.0, "bob", 1.0]
    assert (second.weight, second.candidate) == (2500, 1)


def test_too_many_units_are_thinned_by_name_alike_in_both_arms() -> None:
    """Were the lists cut at a length, the longer one would lose more, and the shorter one look worse."""
    pending = Pending()
    both = gain(1, units=tuple(f"u{i}" for i in range(UNITS_KEPT)))
    both.policies[0].events[0].control_units = list(both.policies[0].events[0].candidate_units)

    pending.add_cases([both])

    (event,) = pending.batch("w1", 1).cases[0].policies[0].events
    assert event.candidate_units == event.control_units
    assert 0 < units_in(both) <= UNITS_KEPT


def test_of_too_many_request_ids_the_oldest_go() -> None:
    pending = Pending()
    for i in range(IDS_KEPT + 1):
        each = outcome(f"r{i}")
        kind = (each.route, each.releases, each.how, each.ending, each.blame, each.part)
        pending.add_outcomes({kind: [each]})

    ((_, words),) = pending.batch("w1", 1).requests

    assert words.split()[:1] == ["r1/2/"]
    assert len(words.split()) == IDS_KEPT
