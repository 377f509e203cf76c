"""Rollouts that automation moves on, and versions that become safe: when, and when not."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

import pytest

from flags.canonical import digest
from flags.change import Draft
from flags.codec import document_of
from flags.ledger import Author
from flags.model import Flag, Kind, Layer, ObjectKey, RolloutState, Soak, Variant
from policies import verbs
from policies.act import milliseconds
from policies.schedule import Schedule
from policies.verbs import Step
from tests.policies.conftest import Hire
from tests.policies.working import CONTENTS, ERRORS, PROMPT, Worker, a_flag

NOW = Schedule([5, 25, 100], hold_seconds=0, min_requests=10)


def in_steps(schedule: Schedule = NOW) -> partial[Step]:
    return partial(verbs.start, name="v7", share=schedule)


async def moved(worker: Worker) -> bool:
    """Whether the next look moves the flag on."""
    await worker.told()
    # A hold of no time is over only by a clock that is not behind the Change before; no flush may have told it since.
    worker.automation.clock.heard(int(milliseconds(await worker.store.time())))
    worker.automation.stepper.look_again()
    found = await worker.automation.stepper.round()
    await worker.caught_up()
    return found > 0


def percent(flag: Flag) -> float | None:
    return flag.rollout.percent if flag.rollout else None


@pytest.fixture
async def worker(hire: Hire) -> Worker:
    """One worker that has heard Redis' clock; nothing moves but when it is told to."""
    worker = await hire()
    await worker.declare(a_flag())
    await worker.automation.tick()
    return worker


async def test_a_rollout_goes_through_its_steps_and_is_promoted(worker: Worker) -> None:
    await worker.do(in_steps())
    seen = []

    for _ in range(2):
        seen.append(percent(await worker.flag()))
        worker.serve("v7", 12)
        worker.serve("v6", 30)
        assert await moved(worker)

    flag = await worker.flag()
    assert (seen, flag.rollout, flag.served, flag.safe) == ([5, 25], None, "v7", "v6")
    log = await worker.log("automation/rollout")
    assert [entry.action for entry in log] == ["rollout.step", "rollout.promote"]
    assert log[0].evidence is not None
    assert log[0].evidence["candidate"] == 12


async def test_each_step_needs_requests_of_its_own(worker: Worker) -> None:
    await worker.do(in_steps())
    worker.serve("v7", 12)
    assert await moved(worker)

    assert not await moved(worker)
    worker.serve("v7", 9)
    assert not await moved(worker)


async def test_a_step_waits_for_its_hold(worker: Worker) -> None:
    await worker.do(in_steps(Schedule([5, 100], hold_seconds=3600, min_requests=0)))
    worker.serve("v7", 50)

    assert not await moved(worker)


async def test_a_flag_that_no_route_uses_goes_on_by_its_hold_alone(worker: Worker) -> None:
    """Nobody can count its requests: a step that waited for them would wait for ever."""
    lonely = a_flag("elsewhere.prompt")
    held = replace(lonely, key="held.prompt")
    await worker.declare(lonely, held)
    await worker.do(in_steps(), lonely.key)
    await worker.do(in_steps(Schedule([5, 100], hold_seconds=3600, min_requests=0)), held.key)

    assert await moved(worker)

    assert percent(await worker.flag(lonely.key)) == 25
    assert percent(await worker.flag(held.key)) == 5


async def test_a_flag_without_a_layer_waits_for_no_requests_and_says_so(worker: Worker) -> None:
    general = replace(a_flag("new-greeting"), layer=None)
    await worker.declare(general)
    started = await worker.do(in_steps(), general.key)

    assert await moved(worker)
    assert await moved(worker)

    assert started.rollout is not None
    assert started.rollout.min_requests == 0
    flag = await worker.flag(general.key)
    assert (flag.served, flag.rollout, flag.safe) == ("v7", None, "v6")
    step, promoted = await worker.log("automation/rollout")
    assert step.reason == "step 1 of 3 (5 %) of v7 held for 0 s; no policy objects"
    assert promoted.action == "rollout.promote"


async def test_a_paused_rollout_stays_where_it_is(worker: Worker) -> None:
    await worker.do(in_steps())
    await worker.do(verbs.pause)
    worker.serve("v7", 50)
    assert not await moved(worker)

    await worker.do(verbs.resume)

    assert await moved(worker)


async def test_a_rollout_rests_while_the_pipeline_pins_its_layer(worker: Worker) -> None:
    """Nobody gets the candidate, so it moves neither by what was counted before nor where no request is asked for."""
    content = {"pins": {"prompt": "v6"}}
    variants = {"p1": Variant("p1", digest(content)), "p2": Variant("p2", digest(CONTENTS["v6"]))}
    pipeline = Flag("bot.pipeline", variants, serve="p1", safe="p1", layer=Layer.PIPELINE)
    key = ObjectKey(Kind.FLAG, pipeline.key)
    draft = Draft("declare", key, document_of(pipeline), {digest(content): content})
    await worker.store.change(Author("ann", "pins"), [key], lambda _: [draft])
    await worker.do(in_steps(Schedule([5, 100], hold_seconds=0, min_requests=0)))
    worker.serve("v6", 20, how="p")
    assert not await moved(worker)

    await worker.do(partial(verbs.switch, name="p2"), pipeline.key)

    assert await moved(worker)


async def test_a_rollout_by_hand_is_never_moved(worker: Worker) -> None:
    await worker.do(partial(verbs.start, name="v7", share=5))
    worker.serve("v7", 500)

    assert not await moved(worker)


async def test_setting_a_percentage_by_hand_ends_the_steps(worker: Worker) -> None:
    await worker.do(in_steps())
    flag = await worker.do(partial(verbs.start, name="v7", share=7))

    assert flag.rollout is not None
    assert (flag.rollout.percent, flag.rollout.steps, flag.rollout.step) == (7, (), None)


@pytest.mark.parametrize("action", ["pause", "alert", "rollback"])
async def test_a_policy_that_objects_keeps_the_step(worker: Worker, action: str) -> None:
    policies = {"errors": {**ERRORS, "action": action, "cooldown_seconds": 0}}
    await worker.declare(a_flag("other.prompt"), policies=policies)
    await worker.do(in_steps())
    worker.serve("v6", 40)
    worker.serve("v7", 10)
    worker.serve("v7", 5, ok=False)

    assert not await moved(worker)
    assert (await worker.flag()).rollout is not None


async def test_a_dry_run_objects_to_nothing(worker: Worker) -> None:
    await worker.declare(a_flag("other.prompt"), policies={"errors": {**ERRORS, "dry_run": True}})
    await worker.do(in_steps())
    worker.serve("v7", 12, ok=False)

    assert await moved(worker)


async def test_another_worker_goes_on_where_the_first_one_died(worker: Worker, hire: Hire) -> None:
    await worker.do(in_steps())
    worker.serve("v7", 12)
    assert await moved(worker)
    await worker.aclose()

    other = await hire("w2")
    await other.caught_up()
    await other.automation.tick()
    other.serve("v7", 12)

    assert await moved(other)
    assert (await other.flag()).served == "v7"


async def test_two_workers_that_step_at_once_make_one_step(worker: Worker, hire: Hire) -> None:
    other = await hire("w2")
    await worker.do(in_steps())
    await other.caught_up()
    await other.automation.tick()
    worker.serve("v7", 12)
    await worker.told()

    await moved(worker)
    await moved(other)

    assert percent(await worker.flag()) == 25


async def test_what_served_all_for_its_soak_becomes_safe(worker: Worker) -> None:
    await worker.do(lambda flag: Step(replace(flag, soak=Soak(0, 20)), None, None))
    await worker.do(partial(verbs.switch, name="v7"))
    worker.serve("v7", 19, how="d")
    assert not await moved(worker)

    worker.serve("v7", 1, how="d")

    assert await moved(worker)
    flag = await worker.flag()
    assert (flag.safe, flag.served, flag.variants["v7"].generation) == ("v7", "v7", 2)
    (entry,) = await worker.log("automation/soak")
    assert (entry.action, entry.object) == ("safe", f"flag/{PROMPT}")
    assert entry.evidence is not None
    assert entry.evidence["judged"] == 20


async def test_a_soak_ends_also_where_nobody_has_a_limit_to_judge_it_by(worker: Worker) -> None:
    policies = {"errors": {"metric": "error_rate", "times_safe": 2.0}}
    await worker.declare(a_flag(soak=Soak(0, 20)), policies=policies)
    await worker.do(partial(verbs.switch, name="v7"))
    worker.serve("v7", 20, how="d")

    assert await moved(worker)
    assert (await worker.flag()).safe == "v7"


async def test_a_failing_version_does_not_become_safe(worker: Worker) -> None:
    policies = {"errors": {**ERRORS, "action": "alert"}}
    await worker.declare(a_flag(soak=Soak(0, 20)), policies=policies)
    await worker.do(partial(verbs.switch, name="v7"))
    worker.serve("v7", 20, how="d")
    worker.serve("v7", 40, how="d", ok=False)
    await worker.told()
    await asyncio.sleep(1.1)
    worker.serve("v7", 1, how="d", ok=False)

    assert not await moved(worker)
    assert (await worker.flag()).safe == "v6"


class TestSchedule:
    def test_the_next_step_of_a_flag_is_pure(self) -> None:
        flag = in_steps()(a_flag()).flag
        rollout = flag.rollout

        assert rollout is not None
        assert (rollout.percent, rollout.step, rollout.steps) == (5, 0, (5, 25, 100))
        assert rollout.state is RolloutState.RUNNING
        second = verbs.advance(flag).flag
        assert percent(second) == 25
        assert verbs.advance(second).flag.serve == "v7"

    def test_after_a_last_step_below_all_the_candidate_is_promoted(self) -> None:
        flag = in_steps(Schedule([5, 25]))(a_flag()).flag

        assert verbs.advance(verbs.advance(flag).flag).flag.serve == "v7"
