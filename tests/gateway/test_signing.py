"""All workers of a namespace sign with the same keys, week by week, and old ones do not pile up."""

from __future__ import annotations

import asyncio
import time

import pytest

from flags.errors import StoreUnavailable
from gateway.signing import TOKEN_KEY, Signing, name_of, signer_from
from gateway.token import PERIOD_SECONDS
from tests.flags.stores import opened
from tests.redis_server import RedisServer


async def test_the_first_worker_makes_the_keys_and_all_others_get_the_same(any_redis: RedisServer) -> None:
    async with opened(any_redis.url) as store:
        first = await signer_from(store, lambda size: b"a" * size, time.time)
        second = await signer_from(store, lambda size: b"b" * size, time.time)
    token = first.sign("req-1", int(time.time()), "support-bot~-")

    assert token is not None
    assert second.read(token.decode(), int(time.time())).request_id == "req-1"
    assert first.unit("ann") == second.unit("ann")


async def test_keys_of_namespaces_differ(redis_server: RedisServer) -> None:
    async with opened(redis_server.url, "one") as one, opened(redis_server.url, "two") as two:
        first = await signer_from(one, lambda size: b"a" * size, time.time)
        second = await signer_from(two, lambda size: b"b" * size, time.time)

    assert first.unit("ann") != second.unit("ann")


async def test_a_worker_whose_clock_is_wrong_signs_in_redis_time(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        right = await signer_from(store, lambda size: b"a" * size, time.time)
        wrong = await signer_from(store, lambda size: b"a" * size, lambda: time.time() + 90 * 86_400)
    token = wrong.sign("req-1", int(time.time()) + 90 * 86_400, "support-bot~-")

    assert token is not None
    assert abs(right.read(token.decode(), int(time.time())).decided_at - time.time()) < 5


async def test_a_worker_whose_clock_is_wrong_tells_redis_time(redis_server: RedisServer) -> None:
    """By it the judge's scores are dated, which a case compares with when it began."""
    async with opened(redis_server.url) as store:
        signing = Signing(store, entropy=lambda size: b"a" * size, now=lambda: time.time() - 90 * 86_400)
        alone = signing.now()
        await signing.start()
        told = signing.now()
        await signing.aclose()

    assert time.time() - alone > 89 * 86_400
    assert abs(told - time.time()) < 5


async def test_keys_that_nobody_can_use_any_more_are_removed(redis_server: RedisServer) -> None:
    week = int(time.time()) // PERIOD_SECONDS
    async with opened(redis_server.url) as store:
        for age in (2, 3, 40):
            await store.secret(name_of(week - age), lambda: b"old")
        await signer_from(store, lambda size: b"a" * size, time.time)
        with redis_server.client() as client:
            names = {name.decode() for name in client.hkeys(store.keys.secrets)}

    assert names == {"unit", *(f"{TOKEN_KEY}:{each}" for each in (week - 1, week, week + 1))}


async def test_while_redis_is_away_there_is_no_signer_and_nobody_waits(redis_server: RedisServer) -> None:
    async with opened(redis_server.url) as store:
        redis_server.stop()
        with pytest.raises(StoreUnavailable):
            await signer_from(store, lambda size: b"a" * size, time.time)
        signing = Signing(store, entropy=lambda size: b"a" * size, now=time.time)
        await signing.start()

        assert signing.signer is None
        await signing.aclose()
        await signing.aclose()


async def test_the_keys_are_taken_as_soon_as_redis_is_back(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.signing.AGAIN_SECONDS", 0.01)
    async with opened(redis_server.url) as store:
        redis_server.stop()
        signing = Signing(store, entropy=lambda size: b"a" * size, now=time.time)
        await signing.start()
        redis_server.start()
        async with asyncio.timeout(10):
            while signing.signer is None:
                await asyncio.sleep(0.01)

        await signing.aclose()
