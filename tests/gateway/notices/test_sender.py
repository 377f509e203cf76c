"""The worker's loop over a real outbox: bad days of webhooks, of workers, of Redis, of the config."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flags.change import Draft
from flags.ledger import Author
from flags.model import Kind, ObjectKey
from flags.snapshot import Snapshot
from gateway.notices.making import Maker
from gateway.notices.sender import AT_ONCE_EACH, GONE_AFTER_SECONDS, Sender
from gateway.notices.web import Poster
from policies.notices.delivery import Result, State
from policies.notices.event import EventKind
from tests.flags.stores import always, put
from tests.policies.notices.outboxes import NOON, Clocked, clocked, event
from tests.redis_server import RedisServer
from tests.scripted_upstream import ScriptedUpstream
from tests.scripts import End, Script, head, json_answer

OK = Script((head(200, "text/plain", content_length=2) + b"ok",))
HANG = Script((End.HANG,))
PRINTED = {"kind": "stdout"}


class Desk:
    """One worker's sender, what it printed, and the numbers that it is given."""

    def __init__(self, box: Clocked, poster: Poster, environ: Mapping[str, str]) -> None:
        self.box, self.seconds, self.away = box, 0.0, False
        self.printed: list[str] = []
        maker = Maker(environ, "default", poster, now=lambda: NOON, write=self.printed.append)
        self.held: Snapshot | None = None
        self.sender = Sender(
            box.outbox,
            maker,
            lambda: self.held,
            away=lambda: self.away,
            clock=lambda: self.seconds,
            base="http://ops",
        )

    async def declare(self, **channels: Mapping[str, Any]) -> None:
        """These are the channels, all of them, from now on."""
        store = self.box.store
        known = (await store.load()).objects
        drafts = [
            Draft("apply", ObjectKey(Kind.NOTIFY, name), {"spec": spec}) for name, spec in channels.items()
        ]
        drafts += [
            Draft("apply", key, None) for key in known if key.kind is Kind.NOTIFY and key.name not in channels
        ]
        await store.change(Author("ann", "declared"), None, always(*drafts))
        await self.follow()

    async def follow(self) -> None:
        """See the ledger to its end, as a worker's watcher does."""
        loaded = await self.box.store.load()
        self.held = Snapshot.build(
            "default", loaded.position, loaded.revision, loaded.objects, loaded.contents
        )

    async def round(self) -> int:
        """One round, and all that it began ended."""
        begun = await self.sender.round()
        while self.sender._sending:
            await asyncio.wait(self.sender._sending)
        return begun

    async def states(self, event_id: str) -> dict[str, State]:
        told = await self.box.outbox.told(event_id)
        assert told is not None
        return {name: each.state for name, each in told.receipts.items()}


@asynccontextmanager
async def desk(redis: RedisServer, **environ: str) -> AsyncIterator[Desk]:
    poster = Poster()
    async with clocked(redis.url) as box:
        made = Desk(box, poster, environ)
        try:
            yield made
        finally:
            await made.sender.aclose()
            await poster.aclose()


@pytest.fixture
async def server() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream(choose=lambda _: OK) as upstream:
        yield upstream


def webhook(server: ScriptedUpstream, **fields: Any) -> Mapping[str, Any]:
    return {"kind": "cloudevents", "url": f"{server.address}/hook", **fields}


async def test_an_entry_becomes_one_message_with_routes_link_and_merkle_head(
    redis_server: RedisServer, server: ScriptedUpstream
) -> None:
    async with desk(redis_server) as one:
        await one.declare(audit=webhook(server))
        await one.box.store.change(
            Author("ann", "up"),
            None,
            always(Draft("apply", ObjectKey(Kind.ROUTE, "bot"), {"spec": {"prompt": "chat.prompt"}})),
        )
        await put(one.box.store, "v2")
        await one.follow()
        await one.round()
        committed = await put(one.box.store, "v1")
        key = ObjectKey(Kind.FLAG, "chat.prompt")
        committed = await one.box.store.change(
            Author("ann", "too slow"), [key], always(Draft("alert", key, None, affects=False))
        )
        await one.follow()
        assert await one.round() == 1
        assert await one.round() == 0

        (request,) = server.requests
        data = request.json["data"]
        assert (data["id"], data["routes"]) == (committed.entries[0].id, ["bot"])
        assert data["anchor"].startswith(f"{committed.position.revision}:")
        assert data["audit"] == f"http://ops/admin/v1/log?after={committed.position.revision - 1}&limit=1"


async def test_two_senders_over_one_outbox_tell_each_event_once(
    redis_server: RedisServer, server: ScriptedUpstream
) -> None:
    async with desk(redis_server) as one, desk(redis_server) as two:
        await one.declare(audit=webhook(server))
        await two.follow()
        await one.round()
        changes = [await one.box.note(key=ObjectKey(Kind.ROUTE, f"r{n}")) for n in range(12)]
        await one.follow()
        await two.follow()
        for _ in range(12):
            await asyncio.gather(one.round(), two.round())

        assert sorted(each.json["id"] for each in server.requests) == sorted(changes)


async def test_a_webhook_that_answers_500_for_an_hour_gets_every_event_once_after_it(
    redis_server: RedisServer, server: ScriptedUpstream
) -> None:
    async with desk(redis_server) as one:
        await one.declare(audit=webhook(server))
        await one.round()
        change = await one.box.note()
        await one.follow()
        tries = 0
        while one.box.store and tries < 20:
            server.will(json_answer(b"no", status=500))
            tries += await one.round()
            due = (await one.box.outbox.board(1)).of(State.DUE)[0].due_ms / 1000
            if due >= NOON + 3600:
                break
            one.box.at(due)
        failed = len(server.requests)
        server._scripts.clear()
        one.box.at(NOON + 4200)
        await one.round()
        one.box.at(NOON + 90_000)
        await one.round()

        assert failed >= 12
        assert [each.json["id"] for each in server.requests] == [change] * (failed + 1)
        assert await one.states(change) == {"audit": State.TOLD}


async def test_a_channel_that_hangs_holds_no_other_up(
    redis_server: RedisServer, server: ScriptedUpstream
) -> None:
    async with ScriptedUpstream(choose=lambda _: HANG) as hanging, desk(redis_server) as one:
        stuck = {f"stuck{n}": webhook(hanging) for n in range(6)}
        await one.declare(audit=webhook(server), **stuck)
        await one.box.add(*(f"e{n}" for n in range(6)), channels=["audit", *stuck])
        for _ in range(40):
            await one.sender.round()
            await asyncio.sleep(0.01)

        assert {each.json["id"] for each in server.requests} == {f"e{n}" for n in range(6)}
        assert max([*one.sender._sending.values()].count(name) for name in stuck) <= AT_ONCE_EACH


async def test_a_sender_that_dies_before_it_noted_the_end_has_it_sent_again(
    redis_server: RedisServer, server: ScriptedUpstream
) -> None:
    async with desk(redis_server) as one, desk(redis_server) as two:
        await one.declare(audit=webhook(server))
        await two.follow()
        await one.box.add("e1", channels=["audit"])
        server.will(HANG)
        await one.sender.round()
        while not server.requests:
            await asyncio.sleep(0.005)
        for task in tuple(one.sender._sending):
            task.cancel()
        early = await two.round()
        two.box.at(NOON + 60)

        assert (early, await two.round()) == (0, 1)
        assert await one.states("e1") == {"audit": State.TOLD}


async def test_what_ended_while_redis_was_away_is_noted_when_it_is_back(
    redis_server: RedisServer, server: ScriptedUpstream
) -> None:
    async with desk(redis_server) as one:
        await one.declare(audit=webhook(server))
        await one.box.add("e1", channels=["audit"])
        server.will(Script((0.05, *OK.steps)))
        await one.sender.round()
        redis_server.pause()
        while one.sender._sending:
            await asyncio.wait(one.sender._sending)
        redis_server.resume()
        one.box.at(NOON + 60)
        await one.round()

        assert await one.states("e1") == {"audit": State.TOLD}
        assert len(server.requests) == 1


async def test_a_channel_is_told_of_what_it_asked_for(redis_server: RedisServer) -> None:
    async with desk(redis_server) as one:
        await one.declare(
            all=PRINTED,
            drift={**PRINTED, "events": ["drift"]},
            ungoverned={**PRINTED, "events": ["ungoverned"]},
            bot={**PRINTED, "routes": ["bot"]},
            other={**PRINTED, "routes": ["other"]},
        )
        await one.sender.tell(event("e1", also=(EventKind.UNGOVERNED,), routes=("bot",)))
        await one.sender.tell(event("e2", kind=EventKind.DRIFT))

        assert (await one.states("e1")).keys() == {"all", "ungoverned", "bot"}
        assert (await one.states("e2")).keys() == {"all", "drift", "bot", "other"}


async def test_a_changed_channel_is_followed_at_once(
    redis_server: RedisServer, server: ScriptedUpstream
) -> None:
    async with desk(redis_server) as one:
        await one.declare(audit=webhook(server, url="http://127.0.0.1:1/nobody"))
        await one.box.add("e1", channels=["audit"])
        await one.round()
        await one.declare(audit=webhook(server))
        one.box.at(NOON + 2)
        await one.round()

        assert await one.states("e1") == {"audit": State.TOLD}


async def test_what_waits_for_a_removed_channel_is_dropped_after_a_while_and_told(
    redis_server: RedisServer,
) -> None:
    async with desk(redis_server) as one:
        await one.declare(team=PRINTED)
        await one.box.add("e1", channels=["gone"])
        await one.round()
        before = await one.states("e1")
        one.seconds = GONE_AFTER_SECONDS
        await one.round()
        await one.round()

        assert (before, await one.states("e1")) == ({"gone": State.DUE}, {"gone": State.DROPPED})
        assert len(one.printed) == 1
        assert "channel gone is declared no more" in one.printed[0]


async def test_a_missing_secret_is_told_by_its_reference_only(redis_server: RedisServer) -> None:
    async with desk(redis_server, OTHER="x") as one:
        await one.declare(team={"kind": "slack", "url": "os.environ/SLACK_URL"})
        await one.box.add("e1", channels=["team"])
        await one.round()
        (receipt,) = (await one.box.outbox.board(1)).of(State.DUE)

        assert "os.environ/SLACK_URL is not set" in receipt.found


async def test_a_resolved_secret_stands_nowhere_in_redis(
    redis_server: RedisServer, server: ScriptedUpstream
) -> None:
    async with desk(redis_server, SLACK_URL=f"{server.address}/services/hook-s3cret", KEY="k-s3cret") as one:
        await one.declare(
            team={"kind": "slack", "url": "os.environ/SLACK_URL"},
            audit=webhook(server, secret="os.environ/KEY"),
        )
        server.will(*[json_answer(b"/services/hook-s3cret k-s3cret", status=500)] * 2)
        await one.box.add("e1", channels=["team", "audit"])
        await one.round()
        with redis_server.client() as redis:
            found = [redis.dump(name) for name in redis.scan_iter()]

        assert not any(b"hook-s3cret" in each for each in found if each)


async def test_a_channels_own_fault_is_a_failure_and_no_end(redis_server: RedisServer) -> None:
    async with desk(redis_server) as one:

        def fail(_: str) -> None:
            raise RuntimeError("a bug")

        one.sender._maker._write = fail
        await one.declare(team=PRINTED)
        await one.box.add("e1", channels=["team"])
        await one.round()

        assert await one.states("e1") == {"team": State.DUE}


async def test_nothing_is_looked_at_beyond_what_the_snapshot_knows(redis_server: RedisServer) -> None:
    async with desk(redis_server) as one:
        await one.declare(team=PRINTED)
        await one.round()
        change = await one.box.note()
        await one.round()
        early = [*one.printed]
        await one.follow()
        await one.round()

        assert (early, [change in line for line in one.printed]) == ([], [True])


async def test_the_loop_sends_when_it_is_woken_and_ends(redis_server: RedisServer) -> None:
    async with desk(redis_server) as one:
        await one.declare(team=PRINTED)
        one.sender.start()
        await one.box.add("e1", channels=["team"])
        one.sender.wake()
        async with asyncio.timeout(10):
            while not one.printed:
                await asyncio.sleep(0.005)
        await one.sender.aclose()
        await one.sender.aclose()

        assert repr(one.sender) == "<Sender 0 being sent, 0 to note>"


async def test_a_delivery_that_another_has_told_stays_told(redis_server: RedisServer) -> None:
    async with desk(redis_server) as one:
        await one.declare(team=PRINTED)
        await one.box.add("e1", channels=["team"])
        (delivery,) = await one.box.claimed()
        await one.box.outbox.settle(delivery, Result.TOLD, "by another")
        await one.round()

        assert one.printed == []
