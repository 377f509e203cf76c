"""Verbs as Changes: what stands in the ledger, who has acknowledged, and who is told that somebody was faster."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from flags.codec import document_of
from flags.errors import Conflict, Invalid, NotFound, Refused, StoreUnavailable
from flags.model import START, Kind, ObjectKey
from flags.snapshot import Snapshot
from gateway.order import Order
from policies.schedule import Schedule
from tests.gateway.office import Office, by, key_of, model, prompt

PROMPT = "support-bot.prompt"


async def test_a_rollback_is_a_change_that_every_worker_has_acknowledged(office: Office) -> None:
    await office.operations.switch(by(), PROMPT, "v7")

    done = await office.operations.rollback(by("alice", "wrong answers"), PROMPT)

    assert (done.flag, done.origin, done.to, done.routes) == (PROMPT, "v7", "v6", ["support-bot"])
    assert (done.changed, done.committed, done.acknowledged, done.workers) == (True, True, 2, 2)
    assert done.missing == []
    for watcher in office.watchers:
        assert watcher.snapshot.flags[PROMPT].flag.served == "v6"
    (entry,) = await office.store.read_log(done.revision - 1, 10)
    assert (entry.id, entry.actor, entry.action, entry.reason) == (
        done.id,
        "alice",
        "rollback",
        "wrong answers",
    )
    assert entry.after["withdrawn"] == ["v7"]


async def test_a_second_pull_of_the_brake_finds_it_done(office: Office) -> None:
    await office.operations.rollout(by(), PROMPT, "v7", 10)
    first = await office.operations.rollback(by(), PROMPT)

    second = await office.operations.rollback(by(), PROMPT)

    assert (second.changed, second.committed, second.id) == (False, False, None)
    assert (second.to, second.revision, second.acknowledged) == ("v6", first.revision, 2)


async def test_a_flag_that_serves_safe_alone_since_ever_names_the_others(office: Office) -> None:
    with pytest.raises(Refused, match="v6 is the safe version") as refused:
        await office.operations.rollback(by(), PROMPT)
    assert refused.value.rule == "already_safe"


async def test_rivals_who_roll_back_at_once_write_one_change(office: Office) -> None:
    await office.operations.switch(by(), PROMPT, "v7")
    before = (await office.store.head()).position.revision

    done = await asyncio.gather(*(office.operations.rollback(by(f"op{i}"), PROMPT) for i in range(5)))

    assert sorted(d.changed for d in done) == [False, False, False, False, True]
    entries = await office.store.read_log(before, 10)
    assert [entry.action for entry in entries] == ["rollback.open", "rollback"]


async def test_of_two_operators_who_switch_at_once_one_wins_and_the_other_is_told(office: Office) -> None:
    await office.warm_up()

    outcomes = await asyncio.gather(
        office.operations.switch(by("alice"), PROMPT, "v7"),
        office.operations.switch(by("bob"), PROMPT, "v5"),
        return_exceptions=True,
    )

    (told,) = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert isinstance(told, Conflict)
    assert "switch by" in str(told)


async def test_an_illegal_verb_writes_nothing(office: Office) -> None:
    before = await office.store.head()

    for illegal in (
        office.operations.withdraw(by(), PROMPT, "v6"),
        office.operations.switch(by(), PROMPT, "v9"),
        office.operations.rollout(by(), PROMPT, "v7", 101),
        office.operations.steer(by(), PROMPT, "promote"),
        office.operations.restore(by(), "absent", "v6"),
    ):
        with pytest.raises((Refused, NotFound, Invalid)):
            await illegal

    assert await office.store.head() == before


async def test_a_worker_that_does_not_follow_is_named_and_the_change_stands(office: Office) -> None:
    deaf = await office.hire("deaf")
    # Without its tasks it neither follows nor leaves the fleet.
    tasks, deaf._tasks = deaf._tasks, []
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    done = await office.operations.switch(by(wait_seconds=0.2), PROMPT, "v7")

    assert (done.committed, done.acknowledged, done.workers, done.missing) == (True, 2, 3, ["deaf"])
    assert (await office.flag()).serve == "v7"


def test_a_wait_has_limits() -> None:
    for seconds in (-0.1, 60.1):
        with pytest.raises(Invalid, match="0 to 60"):
            by(wait_seconds=seconds)
    assert by(wait_seconds=60).wait_seconds == 60


async def test_steering_a_rollout_ends_with_everybody_on_the_candidate(office: Office) -> None:
    await office.operations.rollout(by(), PROMPT, "v7", 10)
    await office.operations.steer(by(), PROMPT, "pause")
    await office.operations.steer(by(), PROMPT, "resume")

    done = await office.operations.steer(by(), PROMPT, "promote")

    assert (done.origin, done.to) == ("v6", "v7")
    actions = [entry.action for entry in await office.store.read_log(3, 10)]
    assert actions == ["rollout", "rollout.pause", "rollout.resume", "rollout.promote"]
    with pytest.raises(Invalid, match="pause, resume, promote, abort"):
        await office.operations.steer(by(), PROMPT, "explode")


class TestRollbackOfARoute:
    async def test_rolls_back_the_flag_whose_serving_changed_last(self, office: Office) -> None:
        await office.operations.switch(by(), "support-bot.model", "gpt-4o")
        await office.operations.switch(by(), PROMPT, "v7")

        done = await office.operations.rollback_route(by(), "support-bot")

        assert done.flag == PROMPT

    async def test_is_not_misled_by_a_change_that_serves_nobody_otherwise(self, office: Office) -> None:
        await office.operations.switch(by(), "support-bot.model", "gpt-4o")
        await office.operations.switch(by(), PROMPT, "v7")
        stored = await office.flag("support-bot.model")
        await office.put(key_of(stored.key), {**document_of(stored), "metadata": {"note": "edited"}})

        done = await office.operations.rollback_route(by(), "support-bot")

        assert done.flag == PROMPT

    async def test_names_every_route_that_shares_the_flag(self, office: Office) -> None:
        await office.put(ObjectKey(Kind.ROUTE, "sales-bot"), {"spec": {"prompt": PROMPT}})
        await office.operations.switch(by(), PROMPT, "v7")

        done = await office.operations.rollback_route(by(), "sales-bot")

        assert done.routes == ["sales-bot", "support-bot"]

    async def test_refuses_where_nothing_can_be_rolled_back_and_where_there_is_no_such_route(
        self, office: Office
    ) -> None:
        with pytest.raises(Refused) as refused:
            await office.operations.rollback_route(by(), "support-bot")
        assert refused.value.rule == "nothing_to_roll_back"
        with pytest.raises(NotFound, match="support-bot"):
            await office.operations.rollback_route(by(), "absent")


RULE = {"if": [{"==": [{"var": "plan"}, "pro"]}, "v7", None]}


class TestRollbackUnderATargetingRule:
    async def test_names_what_the_rule_may_still_serve(self, office: Office) -> None:
        await office.declare(prompt("greeting", targeting=RULE))
        await office.operations.switch(by(), "greeting", "v5")

        done = await office.operations.rollback(by(), "greeting")
        again = await office.operations.rollback(by(), "greeting")

        assert (done.to, done.changed, done.targeted) == ("v6", True, ["v7"])
        assert (again.changed, again.targeted) == (False, ["v7"])

    async def test_names_nothing_once_that_is_withdrawn(self, office: Office) -> None:
        await office.declare(prompt("greeting", targeting=RULE))
        await office.operations.switch(by(), "greeting", "v7")

        assert (await office.operations.rollback(by(), "greeting")).targeted == []

    async def test_is_refused_with_the_mend_where_the_rule_alone_serves_another(self, office: Office) -> None:
        await office.declare(prompt("shop.prompt", targeting=RULE), model("shop.model"), routes=["shop"])

        for refused in (
            office.operations.rollback(by(), "shop.prompt"),
            office.operations.rollback_route(by(), "shop"),
        ):
            with pytest.raises(Refused) as error:
                await refused
            assert "pointsman withdraw shop.prompt v7 --reason" in (error.value.mend or "")


async def test_without_the_store_nothing_is_written() -> None:
    away = Office("redis://127.0.0.1:1/0")
    away.operations.snapshot = lambda: Snapshot.build("gone", START, 0, {}, {})
    try:
        with pytest.raises(StoreUnavailable):
            await away.operations.rollback(Order(by().author), PROMPT)
    finally:
        await away.aclose()


async def test_a_plain_flag_can_be_operated_too(office: Office) -> None:
    made, contents = prompt("greeting")
    await office.declare((made, contents), model("other.model"))

    done = await office.operations.switch(by(), "greeting", "v5", safe="v5")

    assert (done.routes, done.to) == ([], "v5")


async def test_what_changes_the_serving_is_stamped_with_redis_clock(office: Office) -> None:
    switched = await office.operations.switch(by(), PROMPT, "v7")
    after_switch = await office.flag()
    await office.operations.rollout(by(), PROMPT, "v5", 10)
    after_rollout = await office.flag()
    await office.operations.revert(by(), key_of(PROMPT), switched.revision)
    after_revert = await office.flag()

    entries = await office.store.read_log(switched.revision - 1, 10)
    assert [entry.time for entry in entries] == [
        flag.changed_at for flag in (after_switch, after_rollout, after_revert)
    ]
    assert after_switch.changed_at < after_rollout.changed_at


async def test_a_restore_tells_that_it_lifts_a_quarantine(office: Office) -> None:
    flag = await office.flag()
    bad = frozenset({flag.variants["v7"].hash})
    await office.put(key_of(PROMPT), document_of(replace(flag, withdrawn=frozenset({"v7"}), quarantined=bad)))
    with pytest.raises(Refused) as refused:
        await office.operations.rollout(by(), PROMPT, "v7", 10)

    done = await office.operations.restore(by(), PROMPT, "v7")
    again = await office.operations.restore(by(), PROMPT, "v7")

    assert refused.value.rule == "quarantined"
    assert (done.changed, done.released) == (True, True)
    assert (again.changed, again.released) == (False, False)


async def test_a_rollout_in_steps_is_stored_with_them(office: Office) -> None:
    done = await office.operations.rollout(by(), PROMPT, "v7", Schedule([1, 5, 100], 600, 200))

    rollout = (await office.flag()).rollout
    assert done.changed
    assert rollout is not None
    assert (rollout.percent, rollout.step, rollout.steps) == (1, 0, (1, 5, 100))
    assert (rollout.hold_seconds, rollout.min_requests) == (600, 200)
