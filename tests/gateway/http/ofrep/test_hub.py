"""Streams of changes: who is told what and when, and who is cut off."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from gateway.auth import ANYBODY
from gateway.http.ofrep import hub as hubs
from gateway.http.ofrep.hub import TURN_SECONDS, Hub
from tests.gateway.builders import NOW, flag
from tests.gateway.http.ofrep.standing import FLAGS, Listener, Standing, turn


def connect(hub: Hub, last: str = "", reader: Any = ANYBODY) -> tuple[Listener, asyncio.Task[None]]:
    client = Listener()
    wire = (client.scope, client.receive, client.send)
    return client, asyncio.ensure_future(hub.serve(reader, last, wire, []))


async def with_a_client(house: Standing) -> tuple[Hub, tuple[Listener, asyncio.Task[None]]]:
    """A hub of `house`, and a client that has come to it."""
    hub = Hub(house, draw=lambda: 0.5)
    client = connect(hub)
    await turn()
    return hub, client


async def end(*clients: tuple[Listener, asyncio.Task[None]]) -> None:
    for client, task in clients:
        client.reading.set()
        client.leave()
        await task


def identified(event: bytes) -> str:
    return event.split(b"\n")[0].removeprefix(b"id: ").decode()


def data_of(event: bytes) -> Any:
    return msgspec.json.decode(event.split(b"data: ")[1])


class TestConnecting:
    async def test_who_comes_for_the_first_time_is_told_once_to_fetch(self) -> None:
        hub = Hub(Standing(), draw=lambda: 0.5)
        client, task = connect(hub)
        await turn()

        assert (client.status, client.headers[b"content-type"]) == (200, b"text/event-stream; charset=utf-8")
        assert len(client.events) == 1
        assert client.events[0].split(b"\n")[1] == b"event: message"
        assert data_of(client.events[0])["type"] == "refetchEvaluation"
        await end((client, task))

    async def test_who_comes_back_level_is_told_nothing_and_who_is_behind_at_once(self) -> None:
        house = Standing()
        hub = Hub(house, draw=lambda: 0.5)
        first = connect(hub)
        await turn()
        last = identified(first[0].events[0])

        level, number, behind, other = (
            connect(hub, each) for each in (last, "7", "6-00000000", "7-00000000")
        )
        await turn()

        assert [len(each[0].events) for each in (level, number, behind, other)] == [0, 0, 1, 1]
        await end(first, level, number, behind, other)

    async def test_it_says_when_to_come_again_and_each_client_another_time(self) -> None:
        draws = iter([0.0, 0.5, 1.0])
        hub = Hub(Standing(), draw=lambda: next(draws))
        clients = [connect(hub) for _ in range(3)]
        await turn()

        assert [each.parts[0] for each, _ in clients] == [
            b"retry: 1000\n\n",
            b"retry: 2000\n\n",
            b"retry: 3000\n\n",
        ]
        await end(*clients)

    async def test_the_more_there_are_the_wider_they_are_spread(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub = Hub(Standing(), draw=lambda: 1.0)
        monkeypatch.setattr(hub, "_open", 5_000)

        assert hub.pause_seconds() == pytest.approx(11.0)
        monkeypatch.setattr(hub, "_open", 1_000_000)
        assert hub.pause_seconds() == pytest.approx(21.0)

    async def test_who_leaves_is_forgotten_and_the_timer_stops(self) -> None:
        hub = Hub(Standing(), draw=lambda: 0.5)
        client, task = connect(hub)
        await turn()
        assert len(hub) == 1

        await end((client, task))
        hub.tick()

        assert len(hub) == 0
        assert hub._tick is None


class TestTelling:
    async def test_a_change_of_flags_is_told_to_all_with_the_new_revision_and_tag(self) -> None:
        house = Standing()
        hub = Hub(house, draw=lambda: 0.5)
        clients = [connect(hub) for _ in range(3)]
        await turn()

        house.serve(8)
        house.time = NOW + 5
        hub.poke()
        await turn()

        for client, _ in clients:
            assert len(client.events) == 2
            assert identified(client.events[1]).startswith("8-")
            snapshot = house.serving.snapshot if house.serving else None
            assert snapshot is not None
            assert data_of(client.events[1]) == {
                "type": "refetchEvaluation",
                "etag": f'"8-{snapshot.fingerprint}"',
                "lastModified": NOW + 5,
            }
        await end(*clients)

    async def test_nobody_is_told_before_all_other_workers_follow_and_then_of_the_newest(self) -> None:
        house = Standing()
        hub, client = await with_a_client(house)

        house.level.clear()
        for revision in (8, 9):
            house.serve(revision)
            hub.poke()
            await turn()
        early = len(client[0].events)
        house.level.set()
        await turn(20)

        assert early == 1
        assert [identified(each).split("-")[0] for each in client[0].events] == ["7", "9"]
        await end(client)

    async def test_a_worker_that_hangs_keeps_the_news_back_for_a_moment_only(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hubs, "FOLLOWED_SECONDS", 0.001)
        house = Standing()
        hub, client = await with_a_client(house)

        house.level.clear()
        house.serve(8)
        hub.poke()
        async with asyncio.timeout(5):
            while len(client[0].events) < 2:
                await asyncio.sleep(0)

        assert identified(client[0].events[1]).startswith("8-")
        await end(client)

    async def test_without_the_store_nobody_is_waited_for(self) -> None:
        house = Standing(away=True)
        hub, client = await with_a_client(house)

        house.level.clear()
        house.serve(8)
        hub.poke()
        await turn()

        assert len(client[0].events) == 2
        await end(client)

    async def test_what_changes_no_flag_is_told_to_nobody(self) -> None:
        house = Standing()
        hub, client = await with_a_client(house)

        house.serve(8, written=7, routes=["support-bot"])
        hub.poke()
        await turn()

        assert len(client[0].events) == 1
        await end(client)

    async def test_what_this_worker_diverts_by_itself_is_told_and_its_end_too(self) -> None:
        house = Standing()
        hub, client = await with_a_client(house)

        for local in ({"support-bot.prompt": "v7"}, {}):
            house.local = local
            hub.poke()
            await turn()

        ids = [identified(each) for each in client[0].events]
        assert len(ids) == 3
        assert ids[0] == ids[2] != ids[1]
        await end(client)

    async def test_another_history_of_the_same_revision_is_told(self) -> None:
        house = Standing()
        hub, client = await with_a_client(house)

        house.serve(7, flags=[*FLAGS, flag("new", None, {"a": 1})])
        hub.poke()
        await turn()

        assert len(client[0].events) == 2
        await end(client)

    async def test_pokes_of_one_turn_are_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        looked = []
        hub = Hub(Standing(), draw=lambda: 0.5)
        monkeypatch.setattr(hubs, "state_of", lambda *_: looked.append(1))

        for _ in range(10):
            hub.poke()
        await turn()

        assert len(looked) == 1


class TestSlow:
    async def test_who_was_slow_is_told_of_the_newest_state_alone(self) -> None:
        house = Standing()
        hub, client = await with_a_client(house)

        client[0].reading.clear()
        for revision in range(8, 20):
            house.serve(revision)
            hub.poke()
            await turn()
        client[0].reading.set()
        await turn()

        # The one that was on its way when it stopped to read, and the newest.
        assert [identified(each).split("-")[0] for each in client[0].events] == ["7", "8", "19"]
        await end(client)

    async def test_who_does_not_read_is_cut_off_at_once_and_the_others_are_not(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        house = Standing()
        hub = Hub(house, draw=lambda: 0.5)
        slow, quick = connect(hub), connect(hub)
        await turn()
        slow[0].reading.clear()
        house.serve(8)
        hub.poke()
        await turn()

        hub.tick()
        early = slow[0].aborted
        monkeypatch.setattr(hubs, "STALLED_SECONDS", 0.0)
        hub.tick()
        await slow[1]

        assert not early
        assert slow[0].aborted
        assert not quick[0].aborted
        assert len(hub) == 1
        await end(quick)


class TestTurns:
    async def test_each_has_a_sign_of_life_once_a_turn(self) -> None:
        hub = Hub(Standing(), draw=lambda: 0.5)
        clients = [connect(hub) for _ in range(3)]
        await turn()

        for _ in range(TURN_SECONDS):
            hub.tick()
            await turn()

        assert [each.parts.count(b": still here\n\n") for each, _ in clients] == [1, 1, 1]
        await end(*clients)

    async def test_a_key_that_was_revoked_ends_its_streams_within_a_turn_and_in_order(self) -> None:
        house = Standing().locked()
        hub = Hub(house, draw=lambda: 0.5)
        shop, vera = (connect(hub, reader=house.keys.reader(each)) for each in (b"shop-key-1", b"vera-token"))
        await turn()

        house.keys = type(house.keys)({b"x": next(iter(house.keys.apps.values()))}, house.keys.operators)
        for _ in range(TURN_SECONDS):
            hub.tick()
        await turn()

        assert (shop[0].ended, shop[0].aborted, vera[0].ended) == (True, False, False)
        await shop[1]
        await end(vera)

    async def test_a_stream_opened_without_keys_ends_once_there_are_some(self) -> None:
        house = Standing()
        hub, client = await with_a_client(house)

        house.locked()
        for _ in range(TURN_SECONDS):
            hub.tick()
        await client[1]

        assert client[0].ended

    async def test_a_process_that_stops_ends_all_at_once(self) -> None:
        house = Standing()
        hub = Hub(house, draw=lambda: 0.5)
        reading, stuck = connect(hub), connect(hub)
        await turn()
        stuck[0].reading.clear()
        house.serve(8)
        hub.poke()
        await turn()

        house.level.clear()
        house.serve(9)
        hub.poke()
        await turn()
        telling = hub._telling
        assert telling is not None

        house.stopped = True
        hub.poke()
        await asyncio.gather(reading[1], stuck[1])

        assert telling.cancelled()
        assert (reading[0].ended, reading[0].aborted, stuck[0].aborted) == (True, False, True)


class TestReaching:
    async def test_it_returns_when_the_revision_is_served(self) -> None:
        house = Standing()
        hub = Hub(house, draw=lambda: 0.5)
        waiting = asyncio.ensure_future(hub.reached(8))
        await turn()
        assert not waiting.done()

        house.serve(8)
        hub.poke()
        await waiting

    async def test_it_does_not_wait_for_what_is_served_already(self) -> None:
        hub = Hub(Standing(), draw=lambda: 0.5)

        reaching = asyncio.ensure_future(hub.reached(7))
        await turn(1)

        assert reaching.done()

    async def test_it_gives_up_in_the_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hubs, "REACH_SECONDS", 0.001)
        hub = Hub(Standing(), draw=lambda: 0.5)

        await hub.reached(999)

        assert not hub._waiting

    async def test_nobody_waits_in_a_process_that_stops(self) -> None:
        house = Standing()
        hub = Hub(house, draw=lambda: 0.5)
        waiting = asyncio.ensure_future(hub.reached(8))
        await turn()

        house.stopped = True
        hub.poke()
        await waiting
