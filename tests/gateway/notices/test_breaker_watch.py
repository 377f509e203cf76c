"""Breakers that stay open are told of, once for the fleet; short outages are not."""

from __future__ import annotations

import pytest

from flags.change import Draft
from flags.model import Kind, ObjectKey
from flags.store import Store
from gateway.breaking.breakers import Guarded
from gateway.notices.breaker_watch import LONG_SECONDS, BreakerWatch
from policies.breaker import Standing, State
from policies.measures import Measures
from policies.notices.event import EventKind, event_of
from tests.flags.stores import ANN, always, opened
from tests.redis_server import RedisServer

BOT = ObjectKey(Kind.ROUTE, "bot")


class Watched:
    def __init__(self, store: Store) -> None:
        self.state, self.seconds = State.OPEN, 0.0
        self.retry_in: float | None = 5.0
        guarded = Guarded("bot", "openai/gpt-4.1")
        self.watch = BreakerWatch(
            lambda: [(guarded, Standing(self.state, 20, 18, 0, self.retry_in, False))],
            store,
            Measures(store),
            away=lambda: False,
            clock=lambda: self.seconds,
        )

    async def after(self, seconds: float) -> int:
        self.seconds += seconds
        return await self.watch.round()


async def test_a_breaker_that_stays_open_is_told_of_once(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        await store.change(ANN, [BOT], always(Draft("apply", BOT, {"spec": {}})))
        one, two = Watched(store), Watched(store)
        early = [await one.after(0), await two.after(0), await one.after(LONG_SECONDS - 1)]
        one.state = State.HALF_OPEN
        told = [await one.after(1), await two.after(LONG_SECONDS), await one.after(10)]
        (entry,) = await store.read_log(1, 10)
        event = event_of(entry)

    assert (early, told) == ([0, 0, 0], [1, 0, 0])
    assert event is not None
    assert (event.kind, event.routes) == (EventKind.BREAKER_OPEN, ("bot",))
    assert "openai/gpt-4.1 for route bot has not closed for 5 minutes (18 of its last 20" in event.reason


@pytest.mark.parametrize("state", [State.CLOSED, State.FORCED_OPEN, State.OFF])
async def test_one_that_closed_meanwhile_or_that_a_person_holds_is_not(
    state: State, redis_server: RedisServer
) -> None:
    async with opened(redis_server.url) as store:
        await store.change(ANN, [BOT], always(Draft("apply", BOT, {"spec": {}})))
        one = Watched(store)
        await one.after(0)
        one.state = state
        await one.after(LONG_SECONDS / 2)
        one.state = State.OPEN if state is State.CLOSED else state

        assert await one.after(LONG_SECONDS / 2) == 0


async def test_one_that_nobody_asks_any_more_is_not(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        await store.change(ANN, [BOT], always(Draft("apply", BOT, {"spec": {}})))
        one = Watched(store)
        one.retry_in = None
        await one.after(0)
        quiet = await one.after(10 * LONG_SECONDS)
        one.retry_in = 5.0

        assert (quiet, await one.after(1)) == (0, 1)


async def test_of_a_route_that_is_gone_nothing_is_told(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        one = Watched(store)
        await one.after(0)

        assert await one.after(LONG_SECONDS) == 0
        assert repr(one.watch) == "<BreakerWatch 1 not closed>"


async def test_its_loop_begins_and_ends(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        one = Watched(store)
        one.watch.rounds.start()
        await one.watch.rounds.aclose()
        await one.watch.rounds.aclose()
