"""What slow means in a trial: fixed once, from what the control did before."""

from __future__ import annotations

from functools import partial

import pytest

from policies import verbs
from tests.policies.conftest import Hire
from tests.policies.working import PROMPT, Worker, a_flag, until_true

SLOW = {"slow": {"metric": "latency", "times_safe": 1.5}}
ROLL_OUT = partial(verbs.start, name="v7", share=10)


@pytest.fixture
async def worker(hire: Hire) -> Worker:
    worker = await hire()
    await worker.declare(a_flag(), policies=SLOW)
    return worker


async def fixed(worker: Worker, policy: str = "slow") -> tuple[float, ...]:
    """The thresholds of the trial that runs."""
    case = worker.automation.docket().of_flag[PROMPT]
    name = next(each.id for each in case.policies if each.name == policy)
    counts = await worker.measures.counts([case.key])
    held = counts[case.key].policies.get(name) if case.key in counts else None
    return held.thresholds if held else ()


async def test_they_are_the_controls_quantiles(worker: Worker) -> None:
    for number in range(300):
        worker.serve("v6", seconds=0.1 + number / 1000, how="d")
    await worker.told()
    await worker.do(ROLL_OUT)

    await worker.automation.thresholds.round()

    assert await fixed(worker) == pytest.approx((0.25, 0.37, 0.397), rel=0.1)


async def test_those_of_a_new_trial_are_fixed_at_once(worker: Worker) -> None:
    for _ in range(2):
        worker.serve("v6", 150, how="d")
    await worker.told()
    assert await worker.automation.thresholds.greet() == 0

    await worker.do(ROLL_OUT)

    # No tick has its turn in this test.
    await until_true(partial(fixed, worker))


async def test_they_wait_for_two_hundred_observations_and_never_move(worker: Worker) -> None:
    await worker.do(ROLL_OUT)
    worker.serve("v6", 199)
    await worker.told()
    await worker.automation.thresholds.round()
    before = await fixed(worker)

    worker.serve("v6", 1)
    await worker.told()
    await worker.automation.thresholds.round()
    first = await fixed(worker)
    worker.serve("v6", 900, seconds=5.0)
    await worker.told()
    await worker.automation.thresholds.round()

    assert before == ()
    assert len(first) == 3
    assert await fixed(worker) == first


async def test_a_dear_candidate_is_withdrawn_though_all_answers_cost_the_same(worker: Worker) -> None:
    await worker.do(ROLL_OUT)
    worker.serve("v6", 300, cost_usd=0.0123)
    await worker.told()
    await worker.automation.thresholds.round()

    for _ in range(40):
        worker.serve("v6", 9, cost_usd=0.0123)
        worker.serve("v7", 1, cost_usd=0.05)
        await worker.told()
    await until_true(lambda: worker.log("policy/cost"))

    assert (await worker.flag()).withdrawn == {"v7"}


async def test_a_slow_candidate_is_withdrawn(worker: Worker) -> None:
    await worker.do(ROLL_OUT)
    worker.serve("v6", 300)
    await worker.told()
    await worker.automation.thresholds.round()

    for _ in range(40):
        worker.serve("v6", 9)
        worker.serve("v7", 1, seconds=0.4)
        await worker.told()
    await until_true(lambda: worker.log("policy/slow"))

    assert (await worker.flag()).withdrawn == {"v7"}
