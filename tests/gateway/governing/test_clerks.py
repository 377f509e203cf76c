"""Several clerks on a real store: whoever dies or stands still, every step is recorded once, and the record closed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from flags.connect import connect
from flags.ledger import Author
from gateway.governing import clerk as clerks
from policies.governance import procedure
from policies.governance.finding import ESCALATE, Finding
from policies.governance.record import Step, StepName, StepState, record_key, step_of
from policies.lease import Lease
from tests.flags.stores import Following
from tests.gateway.governing.records import (
    AFTER,
    LEASE_SECONDS,
    ONCE,
    DeadStore,
    Deeds,
    a_worker,
    clerk_of,
    closed,
    log_of,
    record_in,
    rolled_back,
    steps_in,
    until,
)


class TestManyClerks:
    @pytest.mark.parametrize("last", AFTER)
    async def test_one_that_is_killed_at_a_step_leaves_it_to_another(
        self, redis_url: str, namespace: str, one: Following, last: StepName
    ) -> None:
        store = DeadStore(connect(redis_url), namespace)
        dying = Deeds("the dead")
        dying.stuck = {last}
        doomed = clerk_of(one, dying, store=store)
        doomed.start()
        await rolled_back(one.store)
        await dying.arrived.wait()

        store.cut()
        await doomed.aclose()
        heir = clerk_of(one, Deeds("the heir"))
        heir.start()

        await until(lambda: closed(one.store))
        assert await steps_in(one.store) == ONCE
        assert step_of(await record_in(one.store), last).detail == f"{last} by the heir"
        await heir.aclose()
        await store.mend()
        await store.aclose()

    async def test_an_evaluation_that_ends_its_workers_is_counted_as_it_begins_and_given_up(
        self, redis_url: str, namespace: str, one: Following, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A suite that takes a worker's memory would be run by each worker in turn, for ever."""
        monkeypatch.setattr(procedure, "LOST_SECONDS", (0.0, 0.0, 0.0))
        await rolled_back(one.store, suite="a" * 64)
        for begun in (1, 2, 3, 4):
            store = DeadStore(connect(redis_url), namespace)
            dying = Deeds()
            dying.stuck = {StepName.EVALUATE}
            doomed = clerk_of(one, dying, store=store)
            doomed.start()
            await dying.arrived.wait()
            assert step_of(await record_in(one.store), StepName.EVALUATE).begun == begun
            store.cut()
            await doomed.aclose()
            await store.mend()
            await store.aclose()
        heir = clerk_of(one, deeds := Deeds("the heir"))
        heir.start()

        await until(lambda: closed(one.store))

        step = step_of(await record_in(one.store), StepName.EVALUATE)
        assert (step.state, StepName.EVALUATE in deeds.done) == (StepState.FAILED, False)
        assert "4 tries began, and 4 never ended" in step.detail
        assert [each.action for each in await log_of(one.store)].count(ESCALATE) == 1
        await heir.aclose()

    async def test_one_that_is_killed_before_the_record_is_closed_leaves_that_to_another(
        self, one: Following
    ) -> None:
        done = {name: Step(StepState.DONE, "2026-01-01T00:00:00.000Z", "by the dead") for name in StepName}
        await rolled_back(one.store, steps=done)

        heir = clerk_of(one, deeds := Deeds())
        heir.start()

        await until(lambda: closed(one.store))
        assert (deeds.done, await steps_in(one.store)) == ([], Counter(done=1))
        await heir.aclose()

    async def test_two_at_once_do_everything_once(
        self, redis_url: str, namespace: str, one: Following
    ) -> None:
        async with a_worker(redis_url, namespace, "w2") as two:
            deeds = [Deeds("w1"), Deeds("w2")]
            pair = [clerk_of(one, deeds[0]), clerk_of(two, deeds[1])]
            for clerk in pair:
                clerk.start()

            for number in range(6):
                await rolled_back(one.store, f"r{number}")
            for number in range(6):
                await until(lambda change_id=f"r{number}": closed(one.store, change_id))  # type: ignore[misc]

            assert [await steps_in(one.store, f"r{number}") for number in range(6)] == [ONCE] * 6
            # Under a lease nothing is even tried twice.
            assert len(deeds[0].done) + len(deeds[1].done) == 6 * len(AFTER)
            for clerk in pair:
                await clerk.aclose()

    async def test_racers_without_any_lease_still_write_each_step_once(self, one: Following) -> None:
        await rolled_back(one.store)
        found = Finding(StepState.DONE, "so it is")

        async def write(name: StepName) -> None:
            await one.store.change(
                Author(procedure.ACTOR, f"{name}: so it is"),
                [record_key("r1")],
                lambda view: procedure.written(view, "r1", {name: found}),
                insist=True,
            )

        await asyncio.gather(*(write(name) for name in AFTER for _ in range(4)))

        assert await steps_in(one.store) == Counter(name.value for name in AFTER)

    async def test_one_that_stood_still_past_its_lease_finds_it_lost_and_writes_nothing(
        self, redis_url: str, namespace: str, one: Following
    ) -> None:
        """As after SIGSTOP: it can renew nothing, another takes over, and then it goes on where it was."""
        store = DeadStore(connect(redis_url), namespace)
        still = Deeds("the stopped")
        still.stuck = {StepName.EVALUATE}
        stopped = clerk_of(one, still, store=store)
        stopped.start()
        await rolled_back(one.store)
        await still.arrived.wait()
        store.cut()
        heir = clerk_of(one, Deeds("the heir"))
        heir.start()
        await until(lambda: closed(one.store))

        await store.mend()
        still.stuck.clear()
        await asyncio.sleep(LEASE_SECONDS)

        assert await steps_in(one.store) == ONCE
        assert step_of(await record_in(one.store), StepName.EVALUATE).detail == "evaluate by the heir"
        await heir.aclose()
        await stopped.aclose()
        await store.aclose()

    async def test_workers_whose_clocks_differ_by_hours_do_as_others(
        self, redis_url: str, namespace: str, one: Following, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing reads the time of day of a worker: it may leap as it likes."""
        leaps = iter(range(0, 10**9, 7200))
        monkeypatch.setattr(time, "time", lambda: float(next(leaps)))
        async with a_worker(redis_url, namespace, "w2") as two:
            # Nor do two workers' own clocks have anything in common.
            pair = [
                clerk_of(one, Deeds("w1"), monotonic=lambda: time.monotonic() - 90_000),
                clerk_of(two, Deeds("w2"), monotonic=lambda: time.monotonic() + 90_000),
            ]
            for clerk in pair:
                clerk.start()

            await rolled_back(one.store)
            await until(lambda: closed(one.store))

            assert await steps_in(one.store) == ONCE
            for clerk in pair:
                await clerk.aclose()

    async def test_a_lease_that_another_holds_is_waited_for(self, one: Following) -> None:
        clerk = clerk_of(one, deeds := Deeds())
        async with Lease(one.store, "rollback:r1") as lease:
            assert lease.held
            await rolled_back(one.store)
            clerk.start()
            await asyncio.sleep(2 * clerks.TICK_SECONDS)
            assert deeds.done == []

        await until(lambda: closed(one.store))
        await clerk.aclose()
