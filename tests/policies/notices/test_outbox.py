"""The outbox on real servers: each event once, nothing lost, backoff for a day, dead letters."""

from __future__ import annotations

import asyncio

import msgspec

from policies.notices.delivery import Result, Room, State
from policies.notices.event import EventKind
from tests.policies.notices.outboxes import NOON, ROUTE, TEAM, Clocked, clocked
from tests.redis_server import RedisServer

DAY = 86_400


async def test_what_stands_in_the_ledger_before_the_first_start_is_not_told(any_redis: RedisServer) -> None:
    async with clocked(any_redis.url) as box:
        await box.note()

        assert await box.take_in("team") == 0
        assert await box.take_in("team") == 0
        assert await box.claimed() == []


async def test_an_entry_is_told_with_the_ledgers_head(any_redis: RedisServer) -> None:
    async with clocked(any_redis.url) as box:
        await box.take_in("team")
        change = await box.note()

        assert await box.take_in("team", "audit") == 1
        deliveries = await box.claimed(TEAM, Room("audit", 1, 40.0))

        assert [(each.event.id, each.channel) for each in deliveries] == [(change, "team"), (change, "audit")]
        size, _, root = deliveries[0].event.anchor.partition(":")
        assert (size, len(root)) == ("1", 64)


async def test_two_workers_that_race_put_each_event_in_once(redis_server: RedisServer) -> None:
    async with clocked(redis_server.url) as one, clocked(redis_server.url) as two:
        await one.take_in("team")
        changes = [await one.note(key=type(ROUTE)(ROUTE.kind, f"r{number}")) for number in range(20)]

        await asyncio.gather(*(box.take_in("team") for box in (one, two, one, two)))
        found = [*await one.claimed(Room("team", 100, 40.0)), *await two.claimed(Room("team", 100, 40.0))]

        assert sorted(each.event.id for each in found) == sorted(changes)


async def test_an_event_without_an_entry_is_added_once(redis_server: RedisServer) -> None:
    async with clocked(redis_server.url) as box:
        await box.add("e1")
        await box.add("e1", "e2")

        assert [each.event.id for each in await box.claimed()] == ["e1", "e2"]


async def test_a_claim_whose_owner_died_is_given_out_again_after_its_lease(any_redis: RedisServer) -> None:
    async with clocked(any_redis.url) as box:
        await box.add("e1")
        (lost,) = await box.claimed()
        box.at(NOON + 39)
        early = await box.claimed()
        box.at(NOON + 40)
        (again,) = await box.claimed()

        assert (early, again.event, again.attempt) == ([], lost.event, 2)
        assert await box.outbox.settle(lost, Result.FAILED, "late") is None
        assert await box.outbox.settle(again, Result.TOLD, "200") is State.TOLD


async def test_what_was_told_is_told_whoever_else_was_trying(redis_server: RedisServer) -> None:
    async with clocked(redis_server.url) as box:
        await box.add("e1")
        (first,) = await box.claimed()
        box.at(NOON + 40)
        (second,) = await box.claimed()

        assert await box.outbox.settle(first, Result.TOLD, "200") is State.TOLD
        assert await box.outbox.settle(second, Result.FAILED, "late") is None


async def test_a_failure_is_tried_again_after_1_2_4_seconds_and_at_most_10_minutes(
    redis_server: RedisServer,
) -> None:
    async with clocked(redis_server.url) as box:
        await box.add("e1")
        now, waits = NOON, []
        for _ in range(13):
            (delivery,) = await box.claimed()
            await box.outbox.settle(delivery, Result.FAILED, "answered 500")
            (receipt,) = (await box.outbox.board(10)).of(State.DUE)
            waits.append(receipt.due_ms / 1000 - now)
            now = receipt.due_ms / 1000
            box.at(now)

        assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600, 600]


async def test_half_of_each_wait_is_drawn(redis_server: RedisServer) -> None:
    async with clocked(redis_server.url, chance=0.0) as box:
        await box.add("e1")
        (delivery,) = await box.claimed()
        await box.outbox.settle(delivery, Result.FAILED, "answered 500")
        (receipt,) = (await box.outbox.board(10)).of(State.DUE)

        assert receipt.due_ms / 1000 == NOON + 0.5


async def test_after_a_day_it_is_dead_and_can_be_sent_again(any_redis: RedisServer) -> None:
    async with clocked(any_redis.url) as box:
        await box.add("e1")
        box.at(NOON + DAY - 1)
        (delivery,) = await box.claimed()
        state = await box.outbox.settle(delivery, Result.FAILED, "answered 500")
        board = await box.outbox.board(10)
        (dead,) = board.of(State.DEAD)

        assert (state, board.waiting, board.dead) == (State.DEAD, 0, 1)
        assert (dead.id, dead.found, await box.claimed()) == ("e1", "answered 500", [])

        assert await box.outbox.resend([dead]) == 1
        (again,) = await box.claimed()
        assert (again.event, again.attempt) == (delivery.event, 1)
        assert await box.outbox.resend([dead]) == 0


async def test_one_second_before_the_day_is_over_it_is_tried_again(redis_server: RedisServer) -> None:
    async with clocked(redis_server.url) as box:
        await box.add("e1")
        box.at(NOON + DAY - 2)
        (delivery,) = await box.claimed()

        assert await box.outbox.settle(delivery, Result.FAILED, "answered 500") is State.DUE


async def test_a_dead_delivery_can_be_dropped(redis_server: RedisServer) -> None:
    async with clocked(redis_server.url) as box:
        await box.add("e1")
        (delivery,) = await box.claimed()
        await box.outbox.settle(delivery, Result.DEAD, "no such channel")
        dead = (await box.outbox.board(10)).of(State.DEAD)

        assert await box.outbox.drop(dead) == 1
        assert (await box.outbox.board(10)).dead == 0
        told = await box.outbox.told("e1")
        assert told is not None
        assert told.receipts["team"].state is State.DROPPED


async def test_a_receipt_tells_when_and_after_how_many_attempts(any_redis: RedisServer) -> None:
    async with clocked(any_redis.url) as box:
        await box.add("e1", channels=["team", "audit"])
        (delivery,) = await box.claimed()
        await box.outbox.settle(delivery, Result.FAILED, "answered 500")
        box.at(NOON + 1)
        (delivery,) = await box.claimed()
        await box.outbox.settle(delivery, Result.TOLD, "200 ok")
        told = await box.outbox.told("e1")

        assert told is not None
        receipt = told.receipts["team"]
        assert (receipt.state, receipt.attempts, receipt.found) == (State.TOLD, 2, "200 ok")
        assert (receipt.first_ms, receipt.at_ms) == (NOON * 1000, NOON * 1000 + 1000)
        assert (told.receipts["audit"].state, told.settled) == (State.DUE, False)
        assert await box.outbox.told("e2") is None


async def test_a_flood_is_ten_messages_and_one_that_counts_the_rest(any_redis: RedisServer) -> None:
    async with clocked(any_redis.url) as box:
        await box.add(*(f"e{number}" for number in range(1000)), kind=EventKind.ALERT)
        first = await box.claimed(Room("team", 100, 40.0))
        for each in first:
            await box.outbox.settle(each, Result.TOLD, "200")
        box.at(NOON + 3599)
        early = await box.claimed()
        box.at(NOON + 3600)
        (rest,) = await box.claimed()

        assert (len(first), {each.more for each in first}, early) == (10, {0}, [])
        assert (rest.event.id, rest.more) == ("e10", 989)
        merged = await box.outbox.told("e500")
        assert merged is not None
        assert merged.merged == "e10"


async def test_after_an_hour_and_about_other_objects_messages_flow_again(redis_server: RedisServer) -> None:
    async with clocked(redis_server.url) as box:
        await box.add(*(f"e{number}" for number in range(30)), kind=EventKind.ALERT)
        await box.add("other", kind=EventKind.ALERT, object="flag/other")
        await box.add("kind", kind=EventKind.DRIFT)
        box.at(NOON + 3600)
        await box.add("later", kind=EventKind.ALERT)
        found = {each.event.id: each.more for each in await box.claimed(Room("team", 100, 40.0))}

        assert {"other", "kind", "later"} <= found.keys()
        assert (found["e10"], len(found)) == (19, 14)


async def test_a_channel_gets_no_more_than_it_has_room_for(redis_server: RedisServer) -> None:
    async with clocked(redis_server.url) as box:
        await box.add("e1", "e2", "e3", channels=["team", "audit"])
        found = await box.claimed(Room("team", 1, 40.0), Room("audit", 2, 40.0))

        assert [(each.channel, each.event.id) for each in found] == [
            ("team", "e1"),
            ("audit", "e1"),
            ("audit", "e2"),
        ]


async def test_what_waits_for_a_channel_that_is_gone_is_dropped(redis_server: RedisServer) -> None:
    async with clocked(redis_server.url) as box:
        await box.add("e1", "e2", channels=["gone", "team"])
        waiting = (await box.outbox.claim([])).channels

        assert waiting == {"gone", "team"}
        assert await box.outbox.forsake("gone", "declared no more") == 2
        assert (await box.outbox.claim([])).channels == {"team"}
        told = await box.outbox.told("e1")
        assert told is not None
        assert told.receipts["gone"].state is State.DROPPED


async def test_too_many_that_wait_are_dead_at_once(redis_server: RedisServer) -> None:
    async with clocked(redis_server.url) as box:
        for page in range(0, 5_002, 1_000):
            ids = range(page, min(page + 1_000, 5_002))
            for one in range(0, len(ids), 10):
                await box.add(*(f"e{number}" for number in ids[one : one + 10]), object=f"flag/f{ids[one]}")
        board = await box.outbox.board(10)

        assert (board.waiting, board.dead) == (5_000, 2)
        assert "too many" in board.of(State.DEAD)[0].found


async def lost_tail(box: Clocked, entries: int) -> None:
    """Do to the ledger what a fail-over does that lost its last entries."""
    redis, keys = box.store.calls._redis, box.store.keys
    rows = (await redis.xrange(keys.ledger))[:-entries]
    await redis.delete(keys.ledger)
    for row_id, fields in rows:
        await redis.xadd(keys.ledger, fields, id=row_id)
    last = msgspec.json.decode(rows[-1][1][b"e"])
    await redis.hset(keys.head, mapping={"revision": last["revision"], "hash": last["hash"]})


async def test_a_ledger_that_lost_its_tail_is_told_once_and_followed_from_its_end(
    any_redis: RedisServer,
) -> None:
    async with clocked(any_redis.url) as box:
        await box.note()
        await box.take_in("team")
        await box.note()
        await box.note()
        await box.take_in("team")
        await box.claimed()
        await lost_tail(box, 2)
        await box.take_in("team")
        await box.take_in("team")
        (gone,) = await box.claimed()
        change = await box.note()
        await box.take_in("team")
        (new,) = await box.claimed()

        assert gone.event.kind is EventKind.HISTORY_CHANGED
        assert new.event.id == change


async def test_what_was_written_after_a_fail_over_is_told_too(redis_server: RedisServer) -> None:
    async with clocked(redis_server.url) as box:
        await box.note(reason="first")
        await box.take_in("team")
        await box.note(reason="lost")
        await box.take_in("team")
        await box.claimed()
        await lost_tail(box, 1)
        changes = [await box.note(reason="after"), await box.note(reason="after too")]
        await box.take_in("team")
        found = {each.event.id: each.event.kind for each in await box.claimed()}

        assert set(changes) <= found.keys()
        assert EventKind.HISTORY_CHANGED in found.values()


async def test_a_tampered_ledger_is_told_once_and_what_comes_after_it_too(redis_server: RedisServer) -> None:
    async with clocked(redis_server.url) as box:
        await box.take_in("team")
        await box.note(reason="first")
        await box.take_in("team")
        await box.claimed()
        await box.note(reason="a quiet word")
        await box.note(reason="second")
        redis = box.store.calls._redis
        rows = await redis.xrange(box.store.keys.ledger)
        await redis.delete(box.store.keys.ledger)
        for row_id, fields in rows:
            await redis.xadd(
                box.store.keys.ledger,
                {b"e": fields[b"e"].replace(b"a quiet word", b"another word")},
                id=row_id,
            )
        await box.take_in("team")
        change = await box.note(reason="third")
        await box.take_in("team")
        found = [each.event for each in await box.claimed()]

        assert [each.kind for each in found].count(EventKind.CHAIN_BROKEN) == 1
        assert change in {each.id for each in found}


async def test_an_entry_that_cannot_be_read_stops_nobody_from_hearing_of_what_follows(
    redis_server: RedisServer,
) -> None:
    async with clocked(redis_server.url) as box:
        await box.take_in("team")
        await box.note()
        redis = box.store.calls._redis
        rows = await redis.xrange(box.store.keys.ledger)
        await redis.delete(box.store.keys.ledger)
        await redis.xadd(box.store.keys.ledger, {b"e": b"not json"}, id=rows[0][0])
        await box.take_in("team")
        change = await box.note()
        await box.take_in("team")
        found = [each.event for each in await box.claimed()]

        assert EventKind.CHAIN_BROKEN in {each.kind for each in found}
        assert change in {each.id for each in found}
