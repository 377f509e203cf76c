"""Leases on a real server: one holder at a time, and none for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from flags.connect import connect
from flags.errors import StoreUnavailable
from flags.store import Store
from policies.lease import Lease, LeaseLost
from tests.redis_server import RedisServer

SHORT_SECONDS = 0.3


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[Store]:
    made = Store(connect(redis_server.url), "leases")
    yield made
    await made.aclose()


async def forget(store: Store, name: str = "work") -> None:
    """As if it had run out."""
    await store.calls.run(lambda redis: redis.delete(store.keys.lease(name)))


async def test_of_two_one_holds_it(store: Store) -> None:
    async with Lease(store, "work") as first, Lease(store, "work") as second:
        held = (first.held, second.held)

    assert held == (True, False)


async def test_another_name_is_another_lease(store: Store) -> None:
    async with Lease(store, "work") as first, Lease(store, "other") as second:
        held = (first.held, second.held)

    assert held == (True, True)


async def test_given_back_it_is_free_at_once(store: Store) -> None:
    async with Lease(store, "work"):
        pass

    async with Lease(store, "work") as again:
        assert again.held


async def test_given_back_to_rest_it_is_free_later(store: Store) -> None:
    async with Lease(store, "work") as first:
        first.rest_seconds = SHORT_SECONDS

    async with Lease(store, "work") as early:
        assert not early.held
    await _free(store)


async def test_it_is_renewed_for_as_long_as_it_is_held(store: Store) -> None:
    async with Lease(store, "work", seconds=SHORT_SECONDS) as first:
        await asyncio.sleep(3 * SHORT_SECONDS)

        async with Lease(store, "work") as second:
            assert (first.held, second.held) == (True, False)


async def test_of_one_who_died_it_runs_out(store: Store) -> None:
    dead = Lease(store, "work", seconds=SHORT_SECONDS)
    assert await dead._hold("take")

    await _free(store)


async def test_one_that_asks_again_for_want_of_an_answer_has_it(store: Store) -> None:
    """The first answer was lost on its way: the same token asks once more."""
    lease = Lease(store, "work")

    assert [await lease._hold("take"), await lease._hold("take")] == [True, True]


async def test_a_lost_lease_cancels_the_work_and_takes_nothing_from_the_new_holder(store: Store) -> None:
    cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with Lease(store, "work", seconds=SHORT_SECONDS) as first:
        working = asyncio.create_task(first.during(work()))
        await asyncio.sleep(0)
        await forget(store)
        async with Lease(store, "work") as second:
            with pytest.raises(LeaseLost):
                await working
            assert (cancelled.is_set(), first.held, second.held) == (True, False, True)

            await first.__aexit__(None, None, None)
            async with Lease(store, "work") as third:
                assert not third.held


async def test_what_ran_out_is_not_renewed_even_if_nobody_took_it(store: Store) -> None:
    """Somebody may have held it and given it back meanwhile."""
    async with Lease(store, "work", seconds=SHORT_SECONDS) as lease:
        await forget(store)

        with pytest.raises(LeaseLost):
            await lease.during(asyncio.Event().wait())


async def test_a_process_that_stood_still_knows_by_its_own_clock(store: Store) -> None:
    now = 100.0
    async with Lease(store, "work", monotonic=lambda: now) as lease:
        assert lease.held

        now += 60.0

        assert not lease.held
        with pytest.raises(LeaseLost):
            await lease.during(asyncio.Event().wait())


async def test_the_works_own_result_and_error_come_through(store: Store) -> None:
    async def answer() -> int:
        return 42

    async def fail() -> int:
        raise ValueError("no")

    async with Lease(store, "work") as lease:
        assert await lease.during(answer()) == 42
        with pytest.raises(ValueError, match="no"):
            await lease.during(fail())


async def test_cancelled_from_outside_the_work_ends_too(store: Store) -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with Lease(store, "work") as lease:
        task = asyncio.create_task(lease.during(work()))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert ended.is_set()


async def test_redis_away_is_said(redis_server: RedisServer, store: Store) -> None:
    redis_server.stop()

    with pytest.raises(StoreUnavailable):
        async with Lease(store, "work"):
            pass


async def test_redis_away_for_longer_than_the_lease_loses_it(redis_server: RedisServer, store: Store) -> None:
    async with Lease(store, "work", seconds=SHORT_SECONDS) as lease:
        redis_server.stop()

        with pytest.raises(LeaseLost):
            await lease.during(asyncio.Event().wait())


async def _free(store: Store) -> None:
    """Until somebody else can hold it."""
    async with asyncio.timeout(10):
        while True:
            async with Lease(store, "work") as lease:
                if lease.held:
                    return
            await asyncio.sleep(0.02)
