"""A clerk on a real store: it drives records to their end, tells of what is bad, and waits where it must."""

from __future__ import annotations

import asyncio

import pytest

from flags.change import Draft
from flags.errors import StoreUnavailable
from flags.model import Kind
from gateway.governing import clerk as clerks
from policies.governance.finding import ESCALATE, UNHELPFUL, Finding
from policies.governance.record import Record, StepName, StepState, record_key, step_of
from tests.flags.stores import ANN, Following
from tests.gateway.governing.records import (
    AFTER,
    ONCE,
    Deeds,
    clerk_of,
    closed,
    log_of,
    record_in,
    rolled_back,
    steps_in,
    until,
)


class TestOneClerk:
    async def test_a_record_is_driven_to_its_end_and_closed(self, one: Following) -> None:
        clerk = clerk_of(one, deeds := Deeds())
        clerk.start()

        await rolled_back(one.store)
        await until(lambda: closed(one.store))

        assert await steps_in(one.store) == ONCE
        assert sorted(deeds.done) == sorted(AFTER)
        record = await record_in(one.store)
        assert {step_of(record, name).state for name in StepName} == {StepState.DONE}
        await clerk.aclose()

    async def test_no_step_of_it_can_alter_an_evaluation(self, one: Following) -> None:
        clerk = clerk_of(one, Deeds())
        clerk.start()

        await rolled_back(one.store)
        await until(lambda: closed(one.store))

        assert [e.affects for e in await log_of(one.store) if e.object != "flag/chat.prompt"] == [()] * 9
        await clerk.aclose()

    async def test_what_was_closed_is_no_work_any_more(self, one: Following) -> None:
        clerk = clerk_of(one, Deeds())
        clerk.start()
        await rolled_back(one.store)
        await until(lambda: closed(one.store))
        end = await one.store.head()
        await clerk.aclose()

        again = clerk_of(one, late := Deeds())
        again.start()
        await rolled_back(one.store, "r2")
        await until(lambda: closed(one.store, "r2"))

        assert len(late.done) == len(AFTER)
        assert [e.object for e in await one.store.read_log(end.position.revision, 99)].count(
            "rollback/r1"
        ) == 0
        await again.aclose()

    async def test_the_evaluation_keeps_nobody_from_being_told(self, one: Following) -> None:
        deeds = Deeds()
        deeds.stuck = {StepName.EVALUATE}
        clerk = clerk_of(one, deeds)
        clerk.start()

        await rolled_back(one.store)
        others = {name.value for name in AFTER} - {"evaluate"}

        await until(lambda: _has(one, others))
        assert step_of(await record_in(one.store), StepName.EVALUATE).state is StepState.OPEN
        await clerk.aclose()

    async def test_a_step_that_is_not_done_yet_is_looked_at_again_while_the_evaluation_runs(
        self, one: Following
    ) -> None:
        deeds = Deeds(answers={StepName.NOTIFY: None})
        deeds.stuck = {StepName.EVALUATE}
        clerk = clerk_of(one, deeds)
        clerk.start()
        await rolled_back(one.store)
        await deeds.arrived.wait()

        deeds.answers = {}

        await until(lambda: _has(one, {"notify"}))
        assert deeds.done.count(StepName.EVALUATE) == 1
        await clerk.aclose()

    async def test_a_bad_finding_is_recorded_and_told_in_one_change(self, one: Following) -> None:
        bad = Finding(StepState.FAILED, "did NOT pass: pass rate 0.5", tells=ESCALATE)
        clerk = clerk_of(one, Deeds(answers={StepName.EVALUATE: bad}))
        clerk.start()

        await rolled_back(one.store)
        await until(lambda: closed(one.store))

        entries = await log_of(one.store)
        told = [e for e in entries if e.action == ESCALATE]
        step = [e for e in entries if e.action == "rollback.step" and e.reason.startswith("evaluate")]
        assert [e.reason for e in told] == ["evaluate: did NOT pass: pass rate 0.5"]
        assert told[0].revision == step[0].revision + 1
        assert (told[0].object, (told[0].evidence or {})["step"]) == ("rollback/r1", "evaluate")
        assert [e.reason for e in entries if e.action == "rollback.done"] == [
            "all 8 steps ended; failed: evaluate"
        ]
        await clerk.aclose()

    async def test_a_rollback_that_did_not_help_is_told(self, one: Following) -> None:
        bad = Finding(StepState.FAILED, "it did NOT help: error rate 40 %", tells=UNHELPFUL)
        clerk = clerk_of(one, Deeds(answers={StepName.HELPED: bad}))
        clerk.start()

        await rolled_back(one.store)
        await until(lambda: closed(one.store))

        assert [e.action for e in await log_of(one.store)].count(UNHELPFUL) == 1
        await clerk.aclose()

    async def test_an_evaluation_in_vain_counts_its_tries_and_waits(self, one: Following) -> None:
        vain = Finding(StepState.OPEN, "could not be evaluated (try 1): judge away")
        clerk = clerk_of(one, deeds := Deeds(answers={StepName.EVALUATE: vain}))
        clerk.start()

        await rolled_back(one.store)
        await until(lambda: _has(one, {name.value for name in AFTER}))
        await asyncio.sleep(1.0)

        step = step_of(await record_in(one.store), StepName.EVALUATE)
        assert (step.state, step.attempts, deeds.done.count(StepName.EVALUATE)) == (StepState.OPEN, 1, 1)
        await clerk.aclose()

    async def test_a_deed_that_breaks_is_an_evaluation_in_vain_and_ends_no_other_step(
        self, one: Following, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Broken(Deeds):
            async def do(self, name: StepName, change_id: str, record: Record) -> Finding | None:
                if name is StepName.EVALUATE:
                    raise RuntimeError("no such judge")
                return await super().do(name, change_id, record)

        clerk = clerk_of(one, Broken())
        clerk.start()

        await rolled_back(one.store)
        await until(lambda: _has(one, {name.value for name in AFTER}))

        step = step_of(await record_in(one.store), StepName.EVALUATE)
        assert (step.state, step.attempts) == (StepState.OPEN, 1)
        assert "RuntimeError: no such judge" in step.detail
        await clerk.aclose()

    async def test_redis_away_in_a_deed_is_waited_for(self, one: Following) -> None:
        class Away(Deeds):
            async def do(self, name: StepName, change_id: str, record: Record) -> Finding | None:
                if name not in self.done:
                    self.done.append(name)
                    raise StoreUnavailable("Redis did not answer")
                return await super().do(name, change_id, record)

        clerk = clerk_of(one, Away())
        clerk.start()

        await rolled_back(one.store)
        await until(lambda: closed(one.store))

        assert await steps_in(one.store) == ONCE
        await clerk.aclose()

    async def test_while_redis_is_known_to_be_away_nothing_is_begun(self, one: Following) -> None:
        away = True
        clerk = clerk_of(one, deeds := Deeds(), away=lambda: away)
        clerk.start()
        await rolled_back(one.store)
        clerk.wake()
        await asyncio.sleep(2 * clerks.TICK_SECONDS)
        assert deeds.done == []

        away = False

        await until(lambda: closed(one.store))
        await clerk.aclose()

    async def test_of_many_records_a_few_are_driven_at_a_time(self, one: Following) -> None:
        deeds = Deeds()
        deeds.stuck = {StepName.ACKNOWLEDGE}
        for number in range(clerks.AT_ONCE + 3):
            await rolled_back(one.store, f"r{number}")
        await until(lambda: _sees(one, clerks.AT_ONCE + 3))
        clerk = clerk_of(one, deeds)
        clerk.start()

        await deeds.arrived.wait()
        await asyncio.sleep(2 * clerks.TICK_SECONDS)

        assert deeds.done.count(StepName.ACKNOWLEDGE) == clerks.AT_ONCE
        await clerk.aclose()

    async def test_after_a_week_what_is_open_is_given_up(self, one: Following) -> None:
        clerk = clerk_of(one, deeds := Deeds())
        clerk.start()

        await rolled_back(one.store, at="2020-01-01T00:00:00.000Z")
        await until(lambda: closed(one.store))

        record = await record_in(one.store)
        assert deeds.done == []
        assert {step_of(record, name).detail for name in AFTER} == {"given up after 7 days"}
        assert {step_of(record, name).state for name in AFTER} == {StepState.FAILED}
        await clerk.aclose()

    async def test_a_record_that_cannot_be_read_stops_nobody(self, one: Following) -> None:
        odd = [
            Draft("rollback.open", record_key("odd"), {"at": "9999", "shape": "of tomorrow"}, affects=False)
        ]
        await one.store.change(ANN, [record_key("odd")], lambda _: odd)
        clerk = clerk_of(one, Deeds())
        clerk.start()

        await rolled_back(one.store)

        await until(lambda: closed(one.store))
        await clerk.aclose()


async def _has(following: Following, names: set[str]) -> bool:
    return set(await steps_in(following.store)) >= names


async def _sees(following: Following, count: int) -> bool:
    return len(following.snapshot.of_kind(Kind.ROLLBACK)) == count
