"""One call: bounded, asked twice at most, its failures in our words."""

from __future__ import annotations

import pytest
from redis import exceptions as redis_errors
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import BusyLoadingError, OutOfMemoryError, ResponseError

from flags.call import Calls, translated
from flags.connect import connect
from flags.errors import LedgerBroken, StoreUnavailable
from tests.redis_server import RedisServer


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (redis_errors.TimeoutError("x"), "did not answer within 0.25 s"),
        (redis_errors.ConnectionError("refused"), "cannot be reached: refused"),
        (BusyLoadingError("LOADING"), "cannot be reached"),
        (OSError("no route"), "cannot be reached: no route"),
        (redis_errors.AuthenticationError("invalid username-password pair"), "refused: invalid username"),
        (
            MasterNotFoundError("No master found for 'm' : <redis.Redis(…)> - Error()"),
            "reached: No master found for 'm'",
        ),
        (OutOfMemoryError("OOM command not allowed"), "refused: OOM"),
    ],
)
def test_each_failure_says_what_happened_and_what_to_do(error: Exception, text: str) -> None:
    told = translated(error, 0.25)

    assert isinstance(told, StoreUnavailable)
    assert text in str(told)
    assert "<" not in str(told)
    assert told.mend


def test_a_ledger_beyond_its_head_is_broken_not_away() -> None:
    error = ResponseError("The ID specified in XADD is equal or smaller than the target stream top item")

    assert isinstance(translated(error, 0.25), LedgerBroken)


async def test_a_script_that_redis_has_forgotten_is_sent_again(any_redis: RedisServer) -> None:
    client = connect(any_redis.url)
    calls = Calls(client)
    first = await calls.script("workers", ["{x}:workers"])
    with any_redis.client() as hand:
        hand.script_flush()

    again = await calls.script("workers", ["{x}:workers"])

    assert again[0] >= first[0]
    await client.aclose()


async def test_what_redis_refuses_is_asked_once_and_what_it_loses_twice(redis_server: RedisServer) -> None:
    client = connect(redis_server.url)
    asked: list[Exception] = []

    async def refused(_redis: object) -> None:
        asked.append(ResponseError("no"))
        raise asked[-1]

    async def lost(_redis: object) -> None:
        asked.append(redis_errors.ConnectionError("gone"))
        raise asked[-1]

    for call, times in ((refused, 1), (lost, 2)):
        asked.clear()
        with pytest.raises(StoreUnavailable):
            await Calls(client).run(call)
        assert len(asked) == times
    await client.aclose()
