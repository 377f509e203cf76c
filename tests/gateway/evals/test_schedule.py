"""A flag's own suite runs by itself, once in its time and fleet, against what is served; drift is told once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.evals.evaluator import stands
from gateway.evals.schedule import Schedule, drifted, falls, is_due
from gateway.house import House
from policies.governance.card import Evaluation
from tests.gateway.evals.scene import FLAG, card, case, change, contains, log_of, promote, suite, wanted

PARIS = suite(case("Which city?", contains("Paris")))
HOUR = 3600.0


def schedule(house: House) -> Schedule:
    return Schedule(house.evaluator, house.snapshot, house.measures)


def evaluation(passed: bool | None = True, rate: float = 1.0, score: float = 1.0) -> Evaluation:
    return Evaluation("s", passed, rate, score, 100, 0, "r", "2026-01-01T00:00:00.000Z", "alice")


async def test_a_suite_runs_once_in_its_time_however_many_workers_come_by(house: House) -> None:
    await promote(house, PARIS, every_seconds=HOUR)

    await schedule(house).round()
    await schedule(house).round()

    (entry,) = await log_of(house, "eval")
    assert entry.actor == "automation/evals"
    assert (await card(house, "v6")).newest.passed is True


async def test_what_a_stopped_worker_left_another_takes_up_at_once(house: House) -> None:
    many = suite(*[case(f"{number}?", contains("Paris")) for number in range(2000)])
    await promote(house, many, every_seconds=HOUR)
    first = asyncio.create_task(schedule(house).round())
    while not house.recorder.take():
        await asyncio.sleep(0)

    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    left = await log_of(house, "eval")
    await schedule(house).round()

    assert left == []
    assert len(await log_of(house, "eval")) == 1


async def test_what_is_newly_served_is_due_at_once(house: House) -> None:
    await promote(house, PARIS, every_seconds=HOUR)
    await schedule(house).round()

    await change(house, lambda flag: replace(flag, serve="v7"))
    await schedule(house).round()

    (entry,) = await log_of(house, "drift")
    assert entry.object == f"flag/{FLAG}"
    assert entry.evidence["variant"] == "v7"
    assert (entry.evidence["passed"], entry.evidence["pass_rate"]) == (False, 0)


async def test_a_flag_whose_suite_has_no_schedule_is_left_alone(house: House) -> None:
    await promote(house, PARIS)

    await schedule(house).round()

    assert not any(is_due(each.flag) for each in house.snapshot().flags.values())
    assert await log_of(house, "eval") == []


async def test_a_routine_pass_leaves_the_figures_that_drift_is_measured_by(house: House) -> None:
    await promote(house, PARIS, every_seconds=HOUR)
    first = await house.evaluator.run(wanted(suite=None))

    await schedule(house).round()

    assert (await card(house, "v6")).newest == first.evaluation
    assert len(await log_of(house, "eval")) == 1


async def test_a_suite_that_cannot_be_evaluated_is_told_and_is_no_drift(house: House) -> None:
    await promote(house, suite(case("break", contains("Paris"))), every_seconds=HOUR)

    await schedule(house).round()

    told = await log_of(house, "eval.failed")
    assert {entry.object for entry in told} == {f"flag/{FLAG}", f"version/{FLAG}/v6"}
    assert await log_of(house, "drift") == []


async def test_a_suite_that_is_gone_costs_only_its_own_run(house: House) -> None:
    await promote(house, PARIS, every_seconds=HOUR)
    await house.store.calls.run(lambda redis: redis.hdel(house.store.keys.contents, suite_hash(house)))

    await schedule(house).round()

    assert await log_of(house, "eval") == []


def suite_hash(house: House) -> str:
    promotion = house.snapshot().flags[FLAG].flag.promotion
    assert promotion is not None
    assert promotion.suite is not None
    return promotion.suite


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (evaluation(), evaluation(), False),
        (evaluation(), evaluation(rate=0.97, score=0.97), False),
        (evaluation(), evaluation(rate=0.9), True),
        (evaluation(), evaluation(score=0.8), True),
        (evaluation(False, 0.2), evaluation(rate=0.1), False),
        (None, evaluation(rate=0.5), False),
        (None, evaluation(False, 0.5), True),
        (evaluation(), evaluation(None, 0.0, 0.0), False),
    ],
)
def test_drift_is_a_run_that_fails_or_falls_by_more_than_chance(
    before: Evaluation | None, now: Evaluation, expected: bool
) -> None:
    assert (drifted(before, now) is not None) is expected


def test_a_fall_is_told_beyond_what_one_in_a_thousand_runs_shows() -> None:
    # 100 of each, all of them before: 9.13 fewer are 3.09 standard errors.
    assert not falls((1.0, 100), (0.91, 100))
    assert falls((1.0, 100), (0.90, 100))
    assert not falls((1.0, 0), (0.0, 100))


@pytest.mark.parametrize(
    ("earlier", "now", "routine", "expected"),
    [
        (None, True, True, False),
        (True, None, False, True),
        (True, True, True, True),
        (True, True, False, False),
        (True, False, True, False),
        (False, False, True, True),
        (None, None, False, False),
    ],
)
def test_an_earlier_run_stands_where_the_new_one_says_nothing_more(
    earlier: bool | None, now: bool | None, routine: bool, expected: bool
) -> None:
    before = evaluation(earlier) if (earlier, now) != (None, True) else None

    assert stands(before, evaluation(now), routine=routine) is expected
