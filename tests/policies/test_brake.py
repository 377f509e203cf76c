"""The brake over real counts: what it withdraws, what it leaves alone, and that it acts once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from flags.change import Committed, Draft
from flags.codec import document_of
from flags.errors import Refused, StoreUnavailable
from flags.ledger import Author
from flags.model import Kind, Layer, ObjectKey, RolloutState, Variant
from policies import verbs
from policies.brake import Brake
from policies.case import Case
from policies.clock import FleetClock
from policies.counts import CaseCounts
from policies.judge import doubt, judge
from policies.observe import observe
from policies.outcome import Part
from policies.policy import Policy
from policies.tally import Tally
from policies.verdict import Verdict
from tests.policies.conftest import Hire
from tests.policies.working import ERRORS, PROMPT, Worker, a_flag, until, until_true
from tests.redis_server import RedisServer


class Redirected:
    """A ledger whose `change` is another."""

    def __init__(self, change: Callable[..., Awaitable[Committed]]) -> None:
        self.change: Any = change


ROLL_OUT = partial(verbs.start, name="v7", share=10)


async def rolled_back(worker: Worker) -> None:
    await until_true(lambda: worker.log("policy/"))
    await worker.caught_up()


async def test_a_dead_candidate_is_withdrawn_after_few_outcomes(worker: Worker) -> None:
    await worker.declare(a_flag())
    await worker.do(ROLL_OUT)
    worker.serve("v6", 36)

    worker.serve("v7", 6, ok=False)
    await rolled_back(worker)

    flag = await worker.flag()
    assert (flag.withdrawn, flag.rollout, flag.served) == (frozenset({"v7"}), None, "v6")
    assert flag.quarantined == {flag.variants["v7"].hash}
    (entry,) = await worker.log("policy/")
    assert (entry.actor, entry.action, entry.object) == ("policy/errors", "rollback", f"flag/{PROMPT}")
    assert flag.braked_at == flag.changed_at == entry.time
    assert entry.evidence is not None
    assert doubt(entry.evidence) is None


async def test_a_healthy_candidate_stays(worker: Worker) -> None:
    await worker.declare(a_flag())
    await worker.do(ROLL_OUT)

    worker.serve("v6", 400)
    worker.serve("v6", 12, ok=False)
    worker.serve("v7", 44)
    worker.serve("v7", 1, ok=False)
    await worker.told()

    assert await worker.log("policy/") == []
    assert (await worker.flag()).rollout is not None


async def test_an_outage_of_both_arms_rolls_nothing_back(worker: Worker) -> None:
    await worker.declare(a_flag())
    await worker.do(ROLL_OUT)

    for _ in range(20):
        worker.serve("v6", 9, ok=False)
        worker.serve("v7", 1, ok=False)
    await worker.told()

    assert await worker.log("policy/") == []


async def test_two_workers_that_judge_at_once_write_one_change(hire: Hire) -> None:
    one, other = await hire("w1"), await hire("w2")
    await one.declare(a_flag())
    await one.do(ROLL_OUT)
    await other.caught_up()

    for worker in (one, other):
        worker.serve("v7", 6, ok=False)
    await asyncio.gather(one.told(), other.told())
    await rolled_back(one)
    # Who was slower looks again, and finds it done.
    await asyncio.gather(one.told(), other.told())

    assert [entry.action for entry in await one.log("policy/")] == ["rollback"]


async def test_a_restored_candidate_begins_with_fresh_evidence(worker: Worker) -> None:
    await worker.declare(a_flag(), policies={"errors": {**ERRORS, "cooldown_seconds": 0}})
    await worker.do(ROLL_OUT)
    worker.serve("v7", 6, ok=False)
    await rolled_back(worker)

    await worker.do(partial(verbs.restore, name="v7"))
    await worker.do(ROLL_OUT)
    worker.serve("v7", 2, ok=False)
    await worker.told()

    flag = await worker.flag()
    assert flag.rollout is not None
    assert flag.quarantined == frozenset()
    assert len(await worker.log("policy/")) == 1


async def test_what_was_rolled_back_is_quarantined_under_any_name(worker: Worker) -> None:
    flag = a_flag()
    twin = {**flag.variants, "v8": Variant("v8", flag.variants["v7"].hash)}
    await worker.declare(a_flag(variants=twin))
    await worker.do(ROLL_OUT)
    worker.serve("v7", 6, ok=False)
    await rolled_back(worker)
    after = await worker.flag()

    for illegal in (
        partial(verbs.start, after, "v8", 10),
        partial(verbs.switch, after, "v8"),
        partial(verbs.rollback, after, to="v8"),
    ):
        with pytest.raises(Refused) as refused:
            illegal()
        assert refused.value.rule == "quarantined"
        assert "pointsman restore" in (refused.value.mend or "")


async def test_a_pausing_policy_pauses_and_goes_no_further(worker: Worker) -> None:
    await worker.declare(a_flag(), policies={"errors": {**ERRORS, "action": "pause"}})
    await worker.do(ROLL_OUT)

    worker.serve("v7", 6, ok=False)
    await rolled_back(worker)
    worker.serve("v7", 6, ok=False)
    await worker.told()

    rollout = (await worker.flag()).rollout
    assert rollout is not None
    assert rollout.state is RolloutState.PAUSED
    assert [entry.action for entry in await worker.log("policy/")] == ["rollout.pause"]


@pytest.mark.parametrize("how", [{"dry_run": True}, {"action": "alert"}])
async def test_a_dry_run_and_an_alert_tell_once_and_change_nothing(
    worker: Worker, how: dict[str, object]
) -> None:
    await worker.declare(a_flag(), policies={"errors": {**ERRORS, **how}})
    before = await worker.do(ROLL_OUT)

    for _ in range(3):
        worker.serve("v7", 6, ok=False)
        await worker.told()
    await until_true(lambda: worker.log("policy/"))

    (entry,) = await worker.log("policy/")
    assert (entry.action, entry.affects, entry.after) == ("alert", (), None)
    assert document_of(await worker.flag()) == document_of(before)


async def test_nothing_to_go_back_to_is_an_alert(worker: Worker) -> None:
    await worker.declare(a_flag())

    worker.serve("v6", 30, ok=False, how="d")
    await worker.told()
    # A second counts when the next one has begun.
    await asyncio.sleep(1.1)
    worker.serve("v6", 1, ok=False, how="d")
    await worker.told()
    await until_true(lambda: worker.log("policy/"))

    (entry,) = await worker.log("policy/")
    assert (entry.action, entry.object) == ("alert", "route/bot")
    assert entry.reason.startswith("nothing to roll back")


async def test_a_promoted_version_that_fails_goes_back_to_safe(worker: Worker) -> None:
    await worker.declare(a_flag())
    await worker.do(partial(verbs.switch, name="v7"))

    worker.serve("v7", 30, ok=False, how="d")
    await worker.told()
    await asyncio.sleep(1.1)
    worker.serve("v7", 1, ok=False, how="d")
    await worker.told()
    await rolled_back(worker)

    flag = await worker.flag()
    assert (flag.served, flag.withdrawn) == ("v6", frozenset({"v7"}))


async def test_automation_acts_once_in_a_cooldown(worker: Worker) -> None:
    await worker.declare(a_flag())
    await worker.do(ROLL_OUT)
    worker.serve("v7", 6, ok=False)
    await rolled_back(worker)

    await worker.do(partial(verbs.start, name="v5", share=10))
    worker.serve("v5", 20, ok=False)
    await worker.told()

    assert len(await worker.log("policy/")) == 1
    assert (await worker.flag()).rollout is not None


async def test_a_person_who_was_faster_is_not_overruled(worker: Worker) -> None:
    await worker.declare(a_flag())
    await worker.do(ROLL_OUT)
    worker.serve("v7", 6, ok=False)
    outcomes = worker.recorder.take()
    await worker.do(verbs.promote)

    for outcome in outcomes:
        worker.recorder.add(outcome)
    await worker.told()

    assert (await worker.flag()).served == "v7"
    assert await worker.log("policy/") == []


async def test_only_one_flag_of_a_route_goes_back_at_a_time(worker: Worker) -> None:
    model = a_flag("bot.model", Layer.MODEL)
    await worker.declare(a_flag(), model)
    await worker.do(ROLL_OUT)
    await worker.do(ROLL_OUT, "bot.model")
    both = (worker.release("v7"), worker.release("v7", "bot.model"))
    ends = [worker.outcome("v7", ok=False, releases=both, how="cc") for _ in range(8)]

    for outcome in ends:
        worker.recorder.add(outcome)
    await worker.gauge.flush()
    await worker.automation.brake.round()

    assert len(await worker.log("policy/")) == 1


async def test_a_shielded_answer_is_no_evidence(worker: Worker) -> None:
    await worker.declare(a_flag())
    await worker.do(ROLL_OUT)

    worker.serve("v7", 20, ok=False, part=Part.SHIELD)
    await worker.told()

    assert await worker.log("policy/") == []


async def test_a_policy_whose_route_vanished_judges_nothing(worker: Worker) -> None:
    await worker.declare(a_flag(), policies={"errors": {**ERRORS, "routes": ["bot"]}})
    await worker.do(ROLL_OUT)
    key = ObjectKey(Kind.ROUTE, "bot")

    await worker.store.change(Author("ann", "gone"), [key], lambda _: [Draft("delete", key, None)])
    await worker.caught_up()
    worker.serve("v7", 6, ok=False)
    await worker.told()

    assert not worker.automation.docket().cases
    assert [entry for entry in await worker.log("policy/") if entry.action == "rollback"] == []


async def test_redis_lost_while_judging_loses_neither_evidence_nor_the_rollback(
    worker: Worker, redis_server: RedisServer
) -> None:
    await worker.declare(a_flag())
    await worker.do(ROLL_OUT)
    worker.serve("v7", 2, ok=False)
    await worker.told()

    redis_server.kill()
    worker.serve("v7", 4, ok=False)
    await until(lambda: worker.gauge.away)
    redis_server.start()
    await until(lambda: not worker.watcher.degraded and not worker.gauge.away, 20)
    # What it did by itself meanwhile is written, or the fleet's counts say the same.
    await worker.automation.tick()
    await rolled_back(worker)

    assert (await worker.flag()).withdrawn == {"v7"}
    assert [entry.action for entry in await worker.log("policy/")] == ["rollback"]


@pytest.mark.parametrize("action", ["rollback", "alert"])
async def test_a_breach_that_could_not_be_written_is_written_later(worker: Worker, action: str) -> None:
    """An alert too: who rang first has to tell, for nobody else will."""
    await worker.declare(a_flag(), policies={"errors": {**ERRORS, "action": action}})
    await worker.do(ROLL_OUT)
    real, tries = worker.store.change, list[str]()

    async def away_at_first(author: Author, *rest: Any, **options: Any) -> Committed:
        tries.append(author.actor)
        if len(tries) == 1:
            raise StoreUnavailable("away")
        return await real(author, *rest, **options)

    brake = Brake(
        Redirected(away_at_first), worker.measures, worker.automation.roster, FleetClock(lambda: 0.0)
    )
    case = worker.automation.docket().of_flag[PROMPT]
    worker.serve("v7", 6, ok=False)
    outcomes = worker.recorder.take()
    gains = observe(outcomes, worker.automation.docket(), lambda *_: ())
    tally = Tally(case.key)
    tally.add(gains[0], 1)

    brake.on_counts({case.key: tally.counts}, 1)
    await brake.round()
    first = await worker.log("policy/")
    task = asyncio.create_task(brake.run())
    await rolled_back(worker)
    task.cancel()

    assert first == []
    assert tries == ["policy/errors", "policy/errors"]


async def test_a_bug_in_judging_one_case_does_not_stop_the_others(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def judge_badly(case: Case, policy: Policy, counts: CaseCounts, now_ms: int) -> Verdict:
        if policy.name == "slow":
            raise ZeroDivisionError
        return judge(case, policy, counts, now_ms)

    monkeypatch.setattr("policies.brake.judge", judge_badly)
    await worker.declare(a_flag(), policies={"errors": ERRORS, "slow": {"metric": "latency", "limit": 1.0}})
    await worker.do(ROLL_OUT)

    worker.serve("v7", 8, ok=False)
    await rolled_back(worker)

    assert (await worker.flag()).withdrawn == {"v7"}
    assert "went wrong; going on" in caplog.text


async def promoted_and_failing(worker: Worker) -> None:
    await worker.declare(a_flag())
    await worker.do(partial(verbs.switch, name="v7"))
    worker.serve("v7", 30, ok=False, how="d")
    await worker.told()
    await asyncio.sleep(1.1)
    worker.serve("v7", 1, ok=False, how="d")
    await worker.told()
    await until_true(lambda: worker.log("policy/"))
    await worker.caught_up()


async def test_no_rollback_lands_on_a_version_that_does_not_fit_and_people_are_told(worker: Worker) -> None:
    asked: list[tuple[str, str]] = []

    async def fits(flag: str, variant: str) -> bool:
        asked.append((flag, variant))
        return False

    worker.automation.brake.fits = fits

    await promoted_and_failing(worker)

    (entry,) = await worker.log("policy/")
    assert (entry.action, entry.object) == ("alert", f"flag/{PROMPT}")
    assert entry.reason.startswith("not rolled back, the safe version does not fit or is not there")
    assert asked == [(PROMPT, "v6")]
    assert (await worker.flag()).served == "v7"


@pytest.mark.parametrize("told", ["unknown", "bug", "late"])
async def test_a_brake_acts_where_nobody_can_tell_whether_it_fits(
    worker: Worker, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("policies.brake.FIT_SECONDS", 0.01)

    async def fits(flag: str, variant: str) -> bool | None:
        if told == "bug":
            raise RuntimeError("a bug")
        if told == "late":
            await asyncio.Event().wait()
        return None

    worker.automation.brake.fits = fits

    await promoted_and_failing(worker)

    assert (await worker.flag()).served == "v6"


async def test_a_candidates_rollback_asks_nobody(worker: Worker) -> None:
    async def fits(flag: str, variant: str) -> bool:
        raise AssertionError("asked")

    worker.automation.brake.fits = fits
    await worker.declare(a_flag())
    await worker.do(ROLL_OUT)
    worker.serve("v6", 36)

    worker.serve("v7", 6, ok=False)
    await rolled_back(worker)

    assert (await worker.flag()).withdrawn == frozenset({"v7"})
